"""Prompts for ComfyUI that several tests run."""

from support import comfy as support
from support.comfy import graph

SAMPLING = {
    "duration": 0.0,
    "steps": 6,
    "cfg": 4.5,
    "solver": "euler",
    "noise_shift": 0.0,
    "seed": 3,
    "batch": 1,
    "loudness": -23.0,
}
PART = {"fps": 25.0, "start": 0.0, "duration": 0.0}


def text_graph(prompt="a dog barks", negative="music", **sampling):
    model = {"weight_dtype": "auto", "weights": "auto", "sample_rate": "auto"}
    texts = {"prompt": prompt, "negative_prompt": negative}
    return graph(
        model=("WavFlowLoadModel", {"checkpoint": support.MODEL, **model}),
        clip=("WavFlowLoadCLIP", {"file": f"wavflow/{support.CLIP}", "dtype": "auto"}),
        text=("WavFlowEncodeText", {"clip": ["clip", 0], **texts}),
        sampler=(
            "WavFlowSampler",
            {"model": ["model", 0], "text_features": ["text", 0], **SAMPLING, **sampling},
        ),
        keep=("TestCapture", {"value": ["sampler", 0], "name": "audio"}),
    )
