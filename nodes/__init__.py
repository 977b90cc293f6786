"""The nodes: each converts, calls the core and converts back."""

import importlib.util

# Outside of ComfyUI only the modules that need nothing of it can be imported.
if importlib.util.find_spec("comfy_api") is not None:
    from .encode import EncodeCLIP, EncodeSync, EncodeText
    from .models import LoadCLIP, LoadModel, LoadSynchformer
    from .sample import WavFlowSampler

    NODES = [
        LoadModel,
        LoadCLIP,
        LoadSynchformer,
        EncodeCLIP,
        EncodeSync,
        EncodeText,
        WavFlowSampler,
    ]
