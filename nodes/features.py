"""Nodes that keep features on disk, so that an encoder need not run again."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.v0_0_2 import io, ui

from ..wavflow_core.errors import FeatureError
from ..wavflow_core.features import Features, load_features, save_features
from .convert import merge_features
from .files import choose_file, list_both, new_files, problem_of, version_of
from .types import WAVFLOW_CLIP_FEATURES, WAVFLOW_SYNC_FEATURES, WAVFLOW_TEXT_FEATURES

CATEGORY = "audio/WavFlow"
SUFFIX = ".safetensors"


class SaveFeatures(io.ComfyNode):
    """Write features to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowSaveFeatures",
            display_name="WavFlow Save Features",
            category=CATEGORY,
            description="Saves what the encoders found to one file in the output folder.",
            inputs=[
                io.String.Input(
                    "filename_prefix",
                    default="features/WavFlow",
                    tooltip="Begin of the file name in the output folder, with subfolders and "
                    "variables such as %year%-%month%-%day%. A number follows.",
                ),
                WAVFLOW_CLIP_FEATURES.Input(
                    "clip_features", optional=True, tooltip="From WavFlow Encode CLIP."
                ),
                WAVFLOW_SYNC_FEATURES.Input(
                    "sync_features", optional=True, tooltip="From WavFlow Encode Sync."
                ),
                WAVFLOW_TEXT_FEATURES.Input(
                    "text_features", optional=True, tooltip="From WavFlow Encode Text."
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        filename_prefix: str,
        clip_features: Features | None = None,
        sync_features: Features | None = None,
        text_features: Features | None = None,
    ) -> io.NodeOutput:
        """Write one file with all that is connected."""
        features = merge_features(clip_features, sync_features, text_features)
        if features is None:
            raise FeatureError(
                "There are no features to save; connect clip_features, sync_features or "
                "text_features of a prompt that is not empty."
            )
        file = next(new_files(filename_prefix, SUFFIX))
        save_features(features, file.path)
        where = f"{file.shown.subfolder}/" if file.shown.subfolder else ""
        return io.NodeOutput(ui=ui.PreviewText(f"Saved {where}{file.shown.filename}"))


class LoadFeatures(io.ComfyNode):
    """Read features from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowLoadFeatures",
            display_name="WavFlow Load Features",
            category=CATEGORY,
            description="Loads features that were saved here or by the wavflow command.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=list_both(SUFFIX),
                    tooltip="A .safetensors file of features in the input or output folder; press "
                    "R to see new ones.",
                ),
            ],
            outputs=[
                WAVFLOW_CLIP_FEATURES.Output(display_name="clip_features"),
                WAVFLOW_SYNC_FEATURES.Output(display_name="sync_features"),
                WAVFLOW_TEXT_FEATURES.Output(display_name="text_features"),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """Say before the run whether the file is there."""
        return problem_of(file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None) -> str:
        """Load again when the file has changed."""
        return version_of(file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Read the file; what it does not hold is empty."""
        return io.NodeOutput(*_split(load_features(choose_file(file))))


def _split(features: Features) -> tuple[Features | None, Features | None, Features | None]:
    """What the three sockets carry: each its own modality, or nothing."""
    nothing = replace(
        features,
        clip=None,
        sync=None,
        text=None,
        negative_text=None,
        clip_encoder=None,
        sync_encoder=None,
    )
    clip = replace(nothing, clip=features.clip, clip_encoder=features.clip_encoder)
    sync = replace(nothing, sync=features.sync, sync_encoder=features.sync_encoder)
    text = replace(
        nothing,
        text=features.text,
        negative_text=features.negative_text,
        clip_encoder=features.clip_encoder,
    )
    read = features.text is not None or features.negative_text is not None
    return (
        clip if features.clip is not None else None,
        sync if features.sync is not None else None,
        text if read else None,
    )
