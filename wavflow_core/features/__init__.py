"""From frames and text to the features that condition the model."""

from .clip import ClipEncoder
from .encoders import fingerprint, load_clip, load_synchformer, save_encoder
from .extractor import extract_features, frame_requests
from .preprocess import clip_frame, normalize_clip, normalize_sync, sync_frame
from .store import Features, load_features, save_features
from .synchformer import Synchformer, SynchformerConfig
from .untrained import CLIP_PRESETS, SYNCHFORMER_PRESETS, init_clip, init_synchformer

__all__ = [
    "CLIP_PRESETS",
    "SYNCHFORMER_PRESETS",
    "ClipEncoder",
    "Features",
    "Synchformer",
    "SynchformerConfig",
    "clip_frame",
    "extract_features",
    "fingerprint",
    "frame_requests",
    "init_clip",
    "init_synchformer",
    "load_clip",
    "load_features",
    "load_synchformer",
    "normalize_clip",
    "normalize_sync",
    "save_encoder",
    "save_features",
    "sync_frame",
]
