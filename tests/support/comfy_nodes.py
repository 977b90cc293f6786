"""Nodes that only the tests use; ComfyUI loads this one file from its custom_nodes folder."""

import time
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import torch


class AnyType(str):
    """A socket type that ComfyUI finds equal to every other."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = str.__hash__


ANY = AnyType("*")
CAPTURED = {}  # read by comfy_worker.py, which runs in this process


class LazyAudio(Mapping):
    """AUDIO as Video Helper Suite gives it: a mapping that is no dict and reads when asked."""

    def __init__(self, waveform, sample_rate):
        self.values_ = {"waveform": waveform, "sample_rate": sample_rate}

    def __getitem__(self, key):
        return self.values_[key]

    def __iter__(self):
        return iter(self.values_)

    def __len__(self):
        return len(self.values_)


class Capture:
    """Keep any value under a name."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,), "name": ("STRING", {"default": "value"})}}

    def run(self, value, name):
        CAPTURED[name] = value
        return {"ui": {"captured": [name]}}


class Value:
    """A text as a value of any type."""

    RETURN_TYPES = (ANY,)
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("STRING", {})}}

    def run(self, value):
        return (value,)


class Frames:
    """IMAGE of a file at a rate, as Video Helper Suite loads it with force_rate."""

    RETURN_TYPES = ("IMAGE", "FLOAT")
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"path": ("STRING", {}), "fps": ("FLOAT", {"step": 0.001})}}

    def run(self, path, fps):
        frames, times = [], []
        with av.open(path) as container:
            stream = container.streams.video[0]
            for frame in container.decode(stream):
                frames.append(frame.to_ndarray(format="rgb24"))
                times.append(frame.time)
        end = times[-1] - times[0] + 1 / float(stream.average_rate)
        shown = []
        for n in range(round(end * fps)):
            wanted = times[0] + n / fps + 1e-6
            shown.append(frames[max(i for i, time in enumerate(times) if time <= wanted)])
        return torch.from_numpy(np.stack(shown)).float() / 255, fps


class Sound:
    """A sine as AUDIO: a dict, a lazy mapping, or None as a video without sound gives it."""

    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "kind": (["dict", "lazy", "none"],),
                "seconds": ("FLOAT", {"default": 1.0}),
                "sample_rate": ("INT", {"default": 16000, "max": 192000}),
                "channels": ("INT", {"default": 1}),
                "batch": ("INT", {"default": 1}),
            }
        }

    def run(self, kind, seconds, sample_rate, channels, batch):
        if kind == "none":
            return (None,)
        time = torch.arange(round(seconds * sample_rate)) / sample_rate
        wave = (0.5 * torch.sin(2 * torch.pi * 440 * time)).expand(batch, channels, -1).contiguous()
        make = LazyAudio if kind == "lazy" else dict
        return (make(waveform=wave, sample_rate=sample_rate),)


class ComponentVideo:
    """VIDEO made of images in memory, which has no file behind it."""

    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"images": ("IMAGE",), "fps": ("FLOAT", {"step": 0.001})},
            "optional": {"audio": ("AUDIO",)},
        }

    def run(self, images, fps, audio=None):
        from fractions import Fraction

        from comfy_api.v0_0_2 import InputImpl, Types

        rate = Fraction(fps).limit_denominator(1001)
        parts = Types.VideoComponents(images=images, audio=audio, frame_rate=rate)
        return (InputImpl.VideoFromComponents(parts),)


class FileVideo:
    """VIDEO of any path, without any check, as another pack may give it."""

    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"path": ("STRING", {})}}

    def run(self, path):
        from comfy_api.v0_0_2 import InputImpl

        assert Path(path).exists()
        return (InputImpl.VideoFromFile(path),)


class Slow:
    """Pass a value on after a while."""

    RETURN_TYPES = (ANY,)
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,), "seconds": ("FLOAT", {"default": 0.1})}}

    def run(self, value, seconds):
        time.sleep(seconds)
        return (value,)


NODE_CLASS_MAPPINGS = {
    "TestCapture": Capture,
    "TestFrames": Frames,
    "TestSound": Sound,
    "TestComponentVideo": ComponentVideo,
    "TestFileVideo": FileVideo,
    "TestSlow": Slow,
    "TestValue": Value,
}
