"""``python -m wavflow_core``."""

from .cli import entry_point

entry_point()
