"""Nodes that save sound and draw it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from comfy_api.v0_0_2 import io, ui

from ..wavflow_core.media.audio import set_level, write_audio
from ..wavflow_core.picture import picture
from .convert import check_interrupted, to_clips
from .files import new_files, workflow_tags

CATEGORY = "audio/WavFlow"
# What a choice means to write_audio: suffix and kind of samples.
FORMATS = {
    "flac": (".flac", "16"),
    "flac 24 bit": (".flac", "24"),
    "wav": (".wav", "16"),
    "wav 24 bit": (".wav", "24"),
    "wav 32 bit float": (".wav", "32f"),
    "mp3": (".mp3", None),
    "opus": (".opus", None),
    "m4a": (".m4a", None),
}


class SaveAudio(io.ComfyNode):
    """Write sounds to files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowSaveAudio",
            display_name="WavFlow Save Audio",
            category=CATEGORY,
            description="Saves each sound of a batch to the output folder, and plays it here.",
            inputs=[
                io.Audio.Input("audio", tooltip="The sounds to save; each becomes a file."),
                io.String.Input(
                    "filename_prefix",
                    default="audio/WavFlow",
                    tooltip="Begin of the file names in the output folder, with subfolders and "
                    "variables such as %year%-%month%-%day%. A number follows.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="flac",
                    tooltip="flac and wav lose nothing; mp3, opus (at 48 kHz) and m4a are small. "
                    "All but wav keep the workflow.",
                ),
                io.Float.Input(
                    "loudness",
                    default=0.0,
                    min=-70.0,
                    max=0.0,
                    step=0.5,
                    tooltip="Integrated loudness in LUFS to bring each sound to, with its true "
                    "peak below -1 dB: -23 for broadcast, -16 or -14 for streaming. 0 leaves the "
                    "level as it is.",
                ),
                # ComfyUI shows its player in nodes with an input of this type.
                io.Custom("AUDIO_UI").Input(
                    "audioUI", optional=True, tooltip="Shows the player; nothing to connect."
                ),
            ],
            outputs=[io.Audio.Output(display_name="audio", tooltip="The sound as it came in.")],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        audio: Mapping[str, object],
        filename_prefix: str,
        format: str,
        loudness: float,
        audioUI: object = None,
    ) -> io.NodeOutput:
        """Write the files."""
        suffix, subtype = FORMATS[format]
        tags = workflow_tags(cls)
        shown = []
        for clip, file in zip(to_clips(audio), new_files(filename_prefix, suffix), strict=False):
            check_interrupted()
            levelled = set_level(clip, loudness=loudness) if loudness else clip
            write_audio(levelled, file.path, subtype=subtype, metadata=tags)
            shown.append(file.shown)
        return io.NodeOutput(audio, ui=ui.SavedAudios(shown))


class AudioPicture(io.ComfyNode):
    """Draw sounds."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What the node looks like."""
        return io.Schema(
            node_id="WavFlowAudioPicture",
            display_name="WavFlow Audio Picture",
            category=CATEGORY,
            description="Draws the waveform and the spectrogram of a sound.",
            inputs=[
                io.Audio.Input("audio", tooltip="The sounds to draw; each becomes an image."),
                io.Int.Input(
                    "width", default=1024, min=64, max=8192, tooltip="Pixels, for all of the time."
                ),
                io.Int.Input(
                    "height",
                    default=512,
                    min=64,
                    max=8192,
                    tooltip="Pixels: the waveform takes the upper three eighths, the spectrogram "
                    "from 40 Hz to half the sample rate the rest.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, audio: Mapping[str, object], width: int, height: int) -> io.NodeOutput:
        """Draw the mean of the channels."""
        drawn = []
        for clip in to_clips(audio):
            check_interrupted()
            sound = clip.waveform.mean(dim=0)
            drawn.append(picture(sound, clip.sample_rate, width=width, height=height))
        return io.NodeOutput(torch.stack(drawn).float() / 255)
