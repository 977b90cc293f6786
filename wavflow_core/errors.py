"""The errors a user can meet; each message says what was given, what is allowed and what to do."""


class WavFlowError(ValueError):
    """Something given to WavFlow cannot be used; the message says what to do."""


class ConfigError(WavFlowError):
    """A setting is unknown, out of range or contradicts another."""


class MediaError(WavFlowError):
    """A video or audio file cannot be read or written."""


class NoSoundError(MediaError):
    """A file, or the part of it that was asked for, has no sound."""


class CheckpointError(WavFlowError):
    """A weights file is missing, damaged, of another architecture or unsafe to read."""


class FeatureError(WavFlowError):
    """Features are missing, have wrong shapes or come from other encoders than expected."""
