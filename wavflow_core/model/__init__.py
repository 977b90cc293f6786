"""The network alone: no input or output, no guidance, no loss."""

from .init import initialize
from .wavflow import Conditions, WavFlow

__all__ = ["Conditions", "WavFlow", "initialize"]
