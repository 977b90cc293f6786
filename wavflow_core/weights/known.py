"""Published files of encoder weights; sizes and hashes stand here only where verified."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError

KINDS = ("clip", "synchformer")


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownFile:
    """A published file of encoder weights.

    Attributes:
        name: How to ask for it.
        kind: ``clip`` or ``synchformer``.
        filenames: Names under which it may lie in a folder; the first is what we save it as.
        hub_ids: Hugging Face repositories that have it, for a look into the local cache.
        hub_file: Its name there.
        url: Where to download it.
        size: Bytes, if verified.
        sha256: Hash, if verified.
        licence: Licence of the weights.
        note: What to know before choosing it.
    """

    name: str
    kind: str
    filenames: tuple[str, ...]
    hub_ids: tuple[str, ...]
    hub_file: str
    url: str
    size: int | None = None
    sha256: str | None = None
    licence: str
    note: str


HUB = "https://huggingface.co"
APPLE = "Apple's licence for the DFN models; see LICENSE in the repository"

# In the order in which they are looked for.
KNOWN_FILES = (
    KnownFile(
        name="dfn5b_clip_fp16",
        kind="clip",
        filenames=("apple_DFN5B-CLIP-ViT-H-14-384_fp16.safetensors",),
        hub_ids=("Kijai/MMAudio_safetensors",),
        hub_file="apple_DFN5B-CLIP-ViT-H-14-384_fp16.safetensors",
        url=f"{HUB}/Kijai/MMAudio_safetensors/resolve/main/"
        "apple_DFN5B-CLIP-ViT-H-14-384_fp16.safetensors",
        size=1973509450,
        sha256="d8ad903a79adc2b29bacfeedabfa3d78b03d36d3b4dcb885c0649fe8c5d763cb",
        licence=APPLE,
        note="Half precision, as users of other packs have it.",
    ),
    KnownFile(
        name="dfn5b_clip",
        kind="clip",
        # Every open_clip repository calls its file open_clip_pytorch_model.bin.
        filenames=(
            "DFN5B-CLIP-ViT-H-14-384.bin",
            "DFN5B-CLIP-ViT-H-14-384/open_clip_pytorch_model.bin",
            "open_clip_pytorch_model.bin",
        ),
        hub_ids=("apple/DFN5B-CLIP-ViT-H-14-384", "apple/DFN5B-CLIP-ViT-H-14-378"),
        hub_file="open_clip_pytorch_model.bin",
        url=f"{HUB}/apple/DFN5B-CLIP-ViT-H-14-384/resolve/main/open_clip_pytorch_model.bin",
        licence=APPLE,
        note="The original, in full precision.",
    ),
    KnownFile(
        name="synchformer_fp16",
        kind="synchformer",
        filenames=("mmaudio_synchformer_fp16.safetensors",),
        hub_ids=("Kijai/MMAudio_safetensors",),
        hub_file="mmaudio_synchformer_fp16.safetensors",
        url=f"{HUB}/Kijai/MMAudio_safetensors/resolve/main/mmaudio_synchformer_fp16.safetensors",
        size=474981098,
        sha256="b8d05128c76da6ee88720a89d25a5f86c603589883d02b53f563c3c66afe3581",
        licence="MIT",
        note="Half precision, as users of other packs have it.",
    ),
    KnownFile(
        name="synchformer",
        kind="synchformer",
        filenames=("synchformer_state_dict.pth",),
        hub_ids=("hkchengrex/MMAudio",),
        hub_file="ext_weights/synchformer_state_dict.pth",
        url=f"{HUB}/hkchengrex/MMAudio/resolve/main/ext_weights/synchformer_state_dict.pth",
        sha256="8aff082f2df5c3bc52759db0c865c7ee772ae6400b860d1b7e90413f2defb67c",
        licence="MIT",
        note="The release, in full precision; also an asset of MMAudio's v0.1 release on GitHub: "
        "https://github.com/hkchengrex/MMAudio/releases/download/v0.1/synchformer_state_dict.pth",
    ),
)


def known_file(name: str) -> KnownFile:
    """The known file of a name or file name.

    Raises:
        ConfigError: There is none; the message lists them.
    """
    for known in KNOWN_FILES:
        if name == known.name or name in known.filenames:
            return known
    raise ConfigError(
        f"{name!r} is no known file; known are {', '.join(item.name for item in KNOWN_FILES)}."
    )
