"""WavFlow: sound for video and text, made directly as a waveform.

import wavflow_core

model = wavflow_core.load_model()  # the bundled one, or load_model("model.safetensors")
request = wavflow_core.Request(video="clip.mp4", prompt="rain on a metal plate")
[clip] = wavflow_core.generate(model, request)
wavflow_core.write_audio(clip, "rain.wav")
"""

from .config import SamplerConfig
from .encoding import Encoders
from .errors import WavFlowError
from .media.audio import AudioClip, read_audio, write_audio
from .media.mux import mux
from .pipeline import LoadedModel, Request, generate, load_model

__all__ = [
    "AudioClip",
    "Encoders",
    "LoadedModel",
    "Request",
    "SamplerConfig",
    "WavFlowError",
    "generate",
    "load_model",
    "mux",
    "read_audio",
    "write_audio",
]
