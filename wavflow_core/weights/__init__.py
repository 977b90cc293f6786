"""Where encoder weights are: on this machine first, and how to get them when they are not.

Nothing here touches the network except :func:`download`, which runs only when a user asks.
"""

from .known import KNOWN_FILES, KnownFile, known_file
from .locate import default_folder, resolve
from .transfer import download

__all__ = ["KNOWN_FILES", "KnownFile", "default_folder", "download", "known_file", "resolve"]
