"""Nodes for video, sound and features: what they write can be read back and is what was asked."""

import json
import re
from pathlib import Path

import av
import pytest
import torch
from support.comfy import CLIP, SILENT, SYNC, VIDEO, graph
from support.media import make_video, packets, sine

from wavflow_core.media.audio import read_audio
from wavflow_core.media.video import open_video
from wavflow_core.picture import picture
from wavflow_core.weights import bundled_file

ROOT = Path(__file__).parents[2]
BUNDLED = "demo_clip.mp4 (bundled)"
SOUND = {"kind": "dict", "seconds": 1.0, "sample_rate": 16000, "channels": 1, "batch": 1}
SUFFIXES = {
    "flac": ".flac",
    "flac 24 bit": ".flac",
    "wav": ".wav",
    "wav 24 bit": ".wav",
    "wav 32 bit float": ".wav",
    "mp3": ".mp3",
    "opus": ".opus",
    "m4a": ".m4a",
}


def sound(**changes):
    return ("TestSound", {**SOUND, **changes})


def load(file=VIDEO, start=0.0, duration=0.0):
    return ("WavFlowLoadVideo", {"file": file, "start": start, "duration": duration})


def add(mode="replace", sound_db=0.0, original_db=0.0, start=0.0, video="v", audio="a"):
    inputs = {"mode": mode, "sound_db": sound_db, "original_db": original_db, "start": start}
    return ("WavFlowAddSoundToVideo", {"video": [video, 0], "audio": [audio, 0], **inputs})


def save(format="flac", loudness=0.0, prefix="audio/test", audio="a", slot=0):
    inputs = {"filename_prefix": prefix, "format": format, "loudness": loudness}
    return ("WavFlowSaveAudio", {"audio": [audio, slot], **inputs})


def save_video(video):
    inputs = {"filename_prefix": "video/test", "format": "auto", "codec": "auto"}
    return ("SaveVideo", {"video": [video, 0], **inputs})


def capture(node, slot=0):
    return ("TestCapture", {"value": [node, slot], "name": f"{node}{slot}"})


def shown(comfy, result, node, kind):
    """Files that a node shows."""
    assert result.ok, result.error
    items = result.outputs[node][kind]
    return [comfy.base / item["type"] / item["subfolder"] / item["filename"] for item in items]


def tags(path):
    with av.open(str(path)) as file:
        found = {**file.metadata, **file.streams[0].metadata}
    return {name.lower(): value for name, value in found.items()}


def power(clip, frequency):
    """Amplitude of a sine in the first channel."""
    time = torch.arange(clip.waveform.shape[1], dtype=torch.float64) / clip.sample_rate
    turned = clip.waveform[0].double() * torch.exp(-2j * torch.pi * frequency * time)
    return 2 * turned.mean().abs().item()


def test_every_node_has_a_help_page_and_every_page_a_node():
    sources = [path.read_text() for path in (ROOT / "nodes").glob("*.py")]
    ids = {found for text in sources for found in re.findall(r'node_id="(\w+)"', text)}
    assert len(ids) == 13
    assert {path.stem for path in (ROOT / "web" / "docs").glob("*.md")} == ids


@pytest.mark.comfyui
def test_help_pages_name_the_node_and_all_its_inputs_and_outputs(comfy):
    code = """
result = []
for node in pack.nodes.NODES:
    schema = node.define_schema()
    result.append([
        schema.node_id,
        schema.display_name,
        [item.id for item in schema.inputs if item.id != "audioUI"],
        [item.display_name for item in schema.outputs],
        [item.id for item in schema.inputs if not item.tooltip],
    ])
"""
    for node, title, inputs, outputs, bare in comfy.code(code):
        text = (ROOT / "web" / "docs" / f"{node}.md").read_text()
        assert text.startswith(f"# {title}\n")
        assert not [name for name in inputs + outputs if f"`{name}`" not in text], node
        assert not bare, f"{node} has inputs without a tooltip"


@pytest.mark.comfyui
def test_the_bundled_video_is_shown_as_an_uploaded_one_is(comfy):
    with_sound = comfy.run(graph(v=load(BUNDLED), a=sound(), o=add(), s=save_video("o")))
    (file,) = shown(comfy, with_sound, "v", "images")
    assert file.is_relative_to(comfy.base / "temp")
    assert file.read_bytes() == bundled_file("video").read_bytes()
    own = comfy.run(graph(v=load(SILENT), a=sound(), o=add(), s=save_video("o")))
    assert own.ok
    assert "v" not in own.outputs  # the browser shows it from the input folder


@pytest.mark.comfyui
def test_a_loaded_video_is_the_file_itself_and_its_sound_is_read(comfy):
    result = comfy.run(
        graph(
            v=load(),
            s=save_video("v"),
            **{f"c{n}": capture("v", n) for n in (1, 2, 3)},
        )
    )
    [saved] = shown(comfy, result, "s", "images")
    assert packets(saved) == packets(comfy.base / "input" / VIDEO)
    kept = result.captured
    assert (kept["v2"], kept["v3"]) == (25.0, 2.0)
    assert kept["v1"]["sample_rate"] == 16000
    expected = read_audio(comfy.base / "input" / VIDEO).waveform[None]
    assert torch.equal(kept["v1"]["waveform"], expected)


@pytest.mark.comfyui
def test_a_part_is_as_long_as_asked_in_picture_and_sound(comfy):
    result = comfy.run(
        graph(v=load(start=0.48, duration=1.0), s=save_video("v"), c=capture("v", 1))
    )
    [saved] = shown(comfy, result, "s", "images")
    clip = open_video(saved)
    assert clip.total == pytest.approx(1.0, abs=0.05)
    assert read_audio(saved).duration == pytest.approx(1.0, abs=0.07)
    assert result.captured["v1"]["waveform"].shape == (1, 1, 16000)


@pytest.mark.comfyui
def test_encoders_see_the_same_whether_the_part_is_named_at_the_video_or_at_the_encoder(comfy):
    def features(start, inner):
        nodes = {"start": inner, "duration": 1.0, "fps": 25.0, "video": ["v", 0]}
        result = comfy.run(
            graph(
                l=("WavFlowLoadCLIP", {"file": f"wavflow/{CLIP}", "dtype": "fp32"}),
                v=load(start=start, duration=1.0 if start else 0.0),
                e=("WavFlowEncodeCLIP", {"clip": ["l", 0], **nodes}),
                c=capture("e"),
            )
        )
        assert result.ok, result.error
        return result.captured["e0"]["clip"]

    at_video, at_encoder = features(0.6, 0.0), features(0.0, 0.6)
    other = features(0.0, 0.1)
    near = (at_video - at_encoder).abs().max()
    assert near < 0.2 * (other - at_encoder).abs().max()  # older ones code the part again


@pytest.mark.comfyui
def test_a_video_without_sound_gives_an_empty_sound_and_the_saver_says_so(comfy):
    result = comfy.run(graph(v=load(SILENT), c=capture("v", 1)))
    assert result.ok, result.error
    assert result.captured["v1"] is None
    result = comfy.run(graph(v=load(SILENT), s=save(audio="v", slot=1)))
    node, message = result.error
    assert node == "s"
    assert "no sound" in message


@pytest.mark.comfyui
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("missing.mp4", "is not in the folder 'input'"),
        ("../secret.mp4", "lies outside of the folder 'input'"),
        ("/etc/hostname", "lies outside of the folder 'input'"),
        ("text.mp4", "is not a readable video or sound file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_at_its_node(comfy, file, message):
    result = comfy.run(graph(v=load(file), s=save_video("v")))
    node, said = result.error
    assert node == "v"
    assert message in said


@pytest.mark.comfyui
def test_a_replaced_file_is_loaded_again(comfy):
    path = comfy.base / "input" / "changing.mp4"
    durations = []
    for seconds in (1, 2):
        make_video(path, fps=25, seconds=seconds)
        result = comfy.run(graph(v=load("changing.mp4"), c=capture("v", 3)))
        durations.append(result.captured["v3"])
    assert durations == [1.0, 2.0]


@pytest.mark.comfyui
@pytest.mark.parametrize("mode", ["replace", "mix"])
@pytest.mark.parametrize("file", [VIDEO, SILENT])
def test_pictures_of_a_whole_file_are_copied_bit_for_bit(comfy, file, mode):
    result = comfy.run(graph(v=load(file), a=sound(channels=2), m=add(mode), s=save_video("m")))
    [made], [saved] = shown(comfy, result, "m", "images"), shown(comfy, result, "s", "images")
    source = packets(comfy.base / "input" / file)
    assert packets(made) == source
    assert packets(saved) == source
    assert read_audio(made).waveform.shape[0] == 2


@pytest.mark.comfyui
def test_sounds_are_mixed_at_their_levels_and_cut_at_the_end_of_the_video(comfy):
    result = comfy.run(
        graph(
            v=load(),  # a sine of 440 Hz at 0.5
            a=sound(seconds=3.0, sample_rate=16000),  # the same
            f=("WavFlowSaveAudio", save(audio="a")[1]),
            m=add("mix", sound_db=-20.0, original_db=-6.0, start=1.0),
        )
    )
    [made] = shown(comfy, result, "m", "images")
    track = read_audio(made)
    assert track.duration == pytest.approx(2.0, abs=0.07)
    first = read_audio(made, start=0.2, duration=0.5)
    own = 0.5 * 10 ** (-6 / 20)
    assert power(first, 440) == pytest.approx(own, rel=0.05)
    both = read_audio(made, start=1.2, duration=0.5)  # in phase, as both have whole cycles a second
    assert power(both, 440) == pytest.approx(own + 0.05, rel=0.05)


STOPPED = """
import importlib, comfy.model_management as mm
sound = importlib.import_module(pack.__name__ + ".nodes.video").LazyAudio(
    importlib.import_module(pack.__name__ + ".wavflow_core.media.video").open_video(path))
mm.interrupt_current_processing()
try:
    sound["waveform"]
    result = "read"
except mm.InterruptProcessingException:
    result = "stopped"
finally:
    mm.interrupt_current_processing(False)
result = [result, sound["waveform"].ndim]
"""


@pytest.mark.comfyui
def test_reading_the_sound_of_a_video_stops_on_cancel(comfy):
    assert comfy.code(STOPPED, path=str(comfy.base / "input" / VIDEO)) == ["stopped", 3]


@pytest.mark.comfyui
def test_a_new_sound_replaces_the_old_from_its_start_on(comfy):
    result = comfy.run(graph(v=load(), a=sound(seconds=0.5), m=add(start=1.0)))
    [made] = shown(comfy, result, "m", "images")
    assert read_audio(made, start=0.1, duration=0.8).waveform.abs().max() < 0.01
    assert power(read_audio(made, start=1.1, duration=0.3), 440) == pytest.approx(0.5, rel=0.05)


@pytest.mark.comfyui
def test_parts_and_images_get_sound_too(comfy):
    frames = {"path": str(comfy.base / "input" / VIDEO), "fps": 12.5}
    result = comfy.run(
        graph(
            a=sound(),
            p=load(start=0.5, duration=1.0),
            x=add("mix", video="p"),
            i=("TestFrames", frames),
            o=("TestComponentVideo", {"images": ["i", 0], "fps": 12.5, "audio": ["a", 0]}),
            y=add("mix", video="o"),
        )
    )
    [part], [images] = shown(comfy, result, "x", "images"), shown(comfy, result, "y", "images")
    assert open_video(part).total == pytest.approx(1.0, abs=0.01)
    clip = open_video(images)
    assert (clip.total, clip.frame_rate) == (pytest.approx(2.0), 12.5)
    assert read_audio(images).waveform.abs().max() < 1  # twice the same sound would clip


@pytest.mark.comfyui
def test_where_the_own_sound_has_ended_a_part_is_silent_and_gets_sound(comfy):
    path = comfy.base / "input" / "soon_silent.mp4"
    make_video(path, fps=25, seconds=4, audio=sine(440, 1, 16000).numpy())
    result = comfy.run(
        graph(
            v=load("soon_silent.mp4", start=2.0),
            c=capture("v", 1),
            a=sound(),
            m=add("mix"),
        )
    )
    assert result.ok, result.error
    silence = result.captured["v1"]
    assert silence["waveform"].abs().max() == 0
    assert silence["waveform"].shape[-1] / silence["sample_rate"] == pytest.approx(2.0)
    [made] = shown(comfy, result, "m", "images")
    assert power(read_audio(made, start=0.2, duration=0.5), 440) == pytest.approx(0.5, rel=0.05)


@pytest.mark.comfyui
def test_a_choice_may_come_from_another_node(comfy):
    nodes = graph(
        x=("TestValue", {"value": VIDEO}),
        v=("WavFlowLoadVideo", {"file": ["x", 0], "start": 0.0, "duration": 0.0}),
        y=("TestValue", {"value": f"wavflow/{CLIP}"}),
        l=("WavFlowLoadCLIP", {"file": ["y", 0], "dtype": "fp32"}),
        z=("TestValue", {"value": "wavflow_foley_16k (bundled)"}),
        m=(
            "WavFlowLoadModel",
            {"checkpoint": ["z", 0], "weight_dtype": "fp32", "weights": "auto"}
            | {"sample_rate": "auto"},
        ),
        c=capture("v", 3),
        d=capture("l"),
        e=capture("m"),
    )
    result = comfy.run(nodes)
    assert result.ok, result.error
    # Nodes that are refused are left out, and the others run.
    assert set(result.captured) == {"v3", "l0", "m0"}
    assert result.captured["v3"] == 2.0


@pytest.mark.comfyui
def test_a_start_after_the_end_is_an_error_at_its_node(comfy):
    result = comfy.run(graph(v=load(), a=sound(), m=add(start=9.0)))
    assert result.error[0] == "m"
    assert "only 2.000 s long" in result.error[1]


@pytest.mark.comfyui
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("format", SUFFIXES)
def test_every_format_keeps_length_channels_and_level(comfy, format, channels):
    result = comfy.run(graph(a=sound(channels=channels, batch=2), s=save(format), c=capture("a")))
    files = shown(comfy, result, "s", "audio")
    assert len(set(files)) == 2
    for path in files:
        assert path.suffix == SUFFIXES[format]
        clip = read_audio(path)
        assert clip.waveform.shape[0] == channels
        assert clip.duration == pytest.approx(1.0, abs=1e-6)
        # The mp3 encoder makes everything softer by 5 percent.
        assert power(clip, 440) == pytest.approx(0.5, rel=0.06 if format == "mp3" else 0.01)
        if path.suffix != ".wav":
            assert json.loads(tags(path)["prompt"])["a"]["class_type"] == "TestSound"


@pytest.mark.comfyui
def test_a_loudness_is_reached_in_the_file_and_the_output_is_as_it_was(comfy):
    result = comfy.run(graph(a=sound(), s=save("wav 32 bit float", loudness=-30.0), c=capture("s")))
    [path] = shown(comfy, result, "s", "audio")
    # A sine of amplitude A has 20 log10(A) - 3.7 LUFS at 440 Hz or so.
    assert read_audio(path).waveform.max().item() == pytest.approx(10 ** (-26.3 / 20), rel=0.1)
    assert result.captured["s0"]["waveform"].max().item() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.comfyui
def test_saving_again_replaces_no_file_and_a_prefix_cannot_leave_the_folder(comfy):
    files = [
        *shown(
            comfy,
            comfy.run(graph(a=sound(seconds=0.5), s=save(prefix="audio/again"))),
            "s",
            "audio",
        ),
        *shown(
            comfy,
            comfy.run(graph(a=sound(seconds=0.6), s=save(prefix="audio/again"))),
            "s",
            "audio",
        ),
    ]
    assert [path.name for path in files] == ["again_00001_.flac", "again_00002_.flac"]
    result = comfy.run(graph(a=sound(), s=save(prefix="../../outside")))
    assert result.error[0] == "s"
    assert "leads out of the folder" in result.error[1]


@pytest.mark.comfyui
def test_a_picture_of_each_sound_is_the_core_s(comfy):
    inputs = {"audio": ["a", 0], "width": 320, "height": 160}
    result = comfy.run(
        graph(
            a=sound(kind="lazy", channels=2, batch=3),
            p=("WavFlowAudioPicture", inputs),
            c=capture("p"),
            d=capture("a"),
        )
    )
    assert result.ok, result.error
    waveform = result.captured["a0"]["waveform"][1].mean(dim=0)
    drawn = result.captured["p0"]
    assert drawn.shape == (3, 160, 320, 3)
    expected = picture(waveform, 16000, width=320, height=160)
    assert (drawn[1] * 255 - expected).abs().max() < 0.01


@pytest.fixture
def encoded():
    """Nodes that encode a video and a prompt."""
    part = {"start": 0.0, "duration": 1.0, "fps": 25.0, "video": ["v", 0]}
    return {
        "v": load(),
        "lc": ("WavFlowLoadCLIP", {"file": f"wavflow/{CLIP}", "dtype": "fp32"}),
        "ls": ("WavFlowLoadSynchformer", {"file": f"wavflow/{SYNC}", "dtype": "fp32"}),
        "clip": ("WavFlowEncodeCLIP", {"clip": ["lc", 0], **part}),
        "sync": ("WavFlowEncodeSync", {"synchformer": ["ls", 0], **part}),
        "text": (
            "WavFlowEncodeText",
            {"clip": ["lc", 0], "prompt": "rain", "negative_prompt": "music"},
        ),
    }


@pytest.mark.comfyui
@pytest.mark.parametrize("kinds", [("clip", "sync", "text"), ("clip",), ("sync",), ("text",)])
def test_features_come_back_as_they_were_saved(comfy, encoded, kinds):
    folder = "-".join(kinds)
    inputs = {f"{kind}_features": [kind, 0] for kind in kinds}
    saver = ("WavFlowSaveFeatures", {"filename_prefix": f"features/{folder}/x", **inputs})
    used = {name: node for name, node in encoded.items() if name in kinds or len(name) < 3}
    before = comfy.run(graph(**used, s=saver, **{f"c{kind}": capture(kind) for kind in kinds}))
    assert before.ok, before.error
    file = f"features/{folder}/x_00001_.safetensors [output]"
    names = ("clip", "sync", "text")
    after = comfy.run(
        graph(
            l=("WavFlowLoadFeatures", {"file": file}),
            **{f"c{name}": capture("l", n) for n, name in enumerate(names)},
        )
    )
    assert after.ok, after.error
    for n, name in enumerate(names):
        found = after.captured[f"l{n}"]
        if name not in kinds:
            assert found is None
            continue
        saved = before.captured[f"{name}0"]
        for key in ("clip", "sync", "text", "negative_text"):
            assert (found[key] is None) == (saved[key] is None)
            assert saved[key] is None or torch.equal(found[key], saved[key])
        for key in ("clip_encoder", "sync_encoder"):
            assert found[key] == saved[key]
        assert name == "text" or found["duration"] == 1.0  # texts have no length of their own


@pytest.mark.comfyui
def test_features_can_be_chosen_from_both_folders_and_from_nowhere_else(comfy):
    code = "result = pack.nodes.LoadFeatures.define_schema().inputs[0].options"
    (comfy.base / "input" / "here.safetensors").write_bytes(b"no features")
    assert "here.safetensors" in comfy.code(code)
    result = comfy.run(
        graph(l=("WavFlowLoadFeatures", {"file": "here.safetensors"}), c=capture("l"))
    )
    assert result.error[0] == "l"
    assert "here.safetensors cannot be read" in result.error[1]
    outside = {"file": "../models/wavflow/wavflow_test.safetensors"}
    result = comfy.run(graph(l=("WavFlowLoadFeatures", outside), c=capture("l")))
    assert result.error[0] == "l"
    assert "lies outside of the folder" in result.error[1]


@pytest.mark.comfyui
def test_nothing_to_save_is_an_error_that_says_what_to_connect(comfy):
    result = comfy.run(graph(s=("WavFlowSaveFeatures", {"filename_prefix": "features/none"})))
    assert result.error[0] == "s"
    assert "connect clip_features, sync_features" in result.error[1]
