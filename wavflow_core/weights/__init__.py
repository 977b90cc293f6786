"""Where weights are: in the repository or on this machine, and how to get them when they are not.

Nothing here touches the network except :func:`download`, which runs only when a user asks.
"""

from .bundled import ABOUT, BUNDLED, WEIGHTS, bundled_encoder, bundled_file, is_as_published
from .known import KNOWN_FILES, KnownFile, known_file
from .locate import default_folder, resolve
from .transfer import download

__all__ = [
    "ABOUT",
    "BUNDLED",
    "KNOWN_FILES",
    "WEIGHTS",
    "KnownFile",
    "bundled_encoder",
    "bundled_file",
    "default_folder",
    "download",
    "is_as_published",
    "known_file",
    "resolve",
]
