"""The nodes: each converts, calls the core and converts back."""

import importlib.util

# Outside of ComfyUI only the modules that need nothing of it can be imported.
if importlib.util.find_spec("comfy_api") is not None:
    from .audio import AudioPicture, SaveAudio
    from .encode import EncodeCLIP, EncodeSync, EncodeText
    from .features import LoadFeatures, SaveFeatures
    from .models import LoadCLIP, LoadModel, LoadSynchformer
    from .sample import WavFlowSampler
    from .video import AddSoundToVideo, LoadVideo

    # In the order in which a workflow uses them.
    NODES = [
        LoadModel,
        LoadCLIP,
        LoadSynchformer,
        LoadVideo,
        EncodeCLIP,
        EncodeSync,
        EncodeText,
        WavFlowSampler,
        SaveAudio,
        AddSoundToVideo,
        AudioPicture,
        SaveFeatures,
        LoadFeatures,
    ]
