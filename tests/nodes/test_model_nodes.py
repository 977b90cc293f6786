"""The nodes that load, encode and sample, inside ComfyUI."""

import shutil
from fractions import Fraction

import pytest
import torch
from support import comfy as support
from support.bundled import need_files
from support.comfy import graph
from support.graphs import PART, SAMPLING, text_graph
from support.media import make_video

from wavflow_core.cli import main
from wavflow_core.config import SamplerConfig
from wavflow_core.encoding import Encoders
from wavflow_core.pipeline import Request, generate, load_model
from wavflow_core.weights import bundled_file

pytestmark = pytest.mark.comfyui


def video_graph(path, part=None, video=None, **given):
    """With features of both encoders kept, too; ``video`` and ``images`` are links."""
    given = {"video": video or ["video", 0], **PART, **(part or {}), **given}
    prompt = text_graph() | graph(
        video=("TestFileVideo", {"path": str(path)}),
        sync_model=(
            "WavFlowLoadSynchformer",
            {"file": f"wavflow/{support.SYNC}", "dtype": "auto"},
        ),
        look=("WavFlowEncodeCLIP", {"clip": ["clip", 0], **given}),
        move=("WavFlowEncodeSync", {"synchformer": ["sync_model", 0], **given}),
        keep_look=("TestCapture", {"value": ["look", 0], "name": "look"}),
        keep_move=("TestCapture", {"value": ["move", 0], "name": "move"}),
    )
    prompt["sampler"]["inputs"] |= {"clip_features": ["look", 0], "sync_features": ["move", 0]}
    return prompt


def with_images(prompt, **nodes):
    """The same prompt with both encoders reading IMAGE and fps of a node called ``frames``."""
    for name in ("look", "move"):
        inputs = prompt[name]["inputs"]
        inputs.pop("video", None)
        inputs |= {"images": ["frames", 0], "fps": ["frames", 1]}
    return prompt | graph(**nodes)


def features_of(comfy, prompt):
    result = comfy.run(prompt)
    assert result.ok, result.error
    return result.captured["look"]["clip"], result.captured["move"]["sync"]


@pytest.fixture(scope="module")
def core(comfy_base):
    """The core alone with the same files: ``core(video=..., prompt=...)`` gives a waveform."""
    folder = comfy_base / "models" / "wavflow"
    model = load_model(folder / support.MODEL, device="cpu")
    encoders = Encoders(model.config, clip=folder / support.CLIP, synchformer=folder / support.SYNC)

    def run(**request):
        sampler = SamplerConfig(steps=SAMPLING["steps"])
        clips = generate(model, Request(**request), encoders=encoders, sampler=sampler)
        return torch.stack([clip.waveform for clip in clips])

    return run


# --- results


def test_text_alone_gives_what_the_command_line_gives(comfy, core):
    result = comfy.run(text_graph())
    audio = result.captured["audio"]
    expected = core(prompt="a dog barks", negative_prompt="music", seed=3)
    assert audio["sample_rate"] == 16000
    assert audio["waveform"].shape == (1, 1, 8 * 16000)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(audio["waveform"], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("part", [{}, {"start": 0.3, "duration": 1.2}, {"duration": 0.5}])
def test_video_and_text_give_what_the_command_line_gives(comfy, comfy_base, core, part):
    path = comfy_base / "input" / support.VIDEO
    result = comfy.run(video_graph(path, part))
    assert result.ok, result.error
    prompts = {"prompt": "a dog barks", "negative_prompt": "music"}
    expected = core(video=path, **prompts, seed=3, **part)
    torch.testing.assert_close(result.captured["audio"]["waveform"], expected, atol=1e-6, rtol=0)


def test_a_batch_has_the_sounds_of_the_seeds_that_follow(comfy, core):
    batch = comfy.run(text_graph(batch=3)).captured["audio"]["waveform"]
    expected = core(prompt="a dog barks", negative_prompt="music", seed=3, count=3)
    torch.testing.assert_close(batch, expected, atol=1e-6, rtol=0)


def test_loudness_0_leaves_the_model_s_level(comfy, core):
    waveform = comfy.run(text_graph(loudness=0.0)).captured["audio"]["waveform"]
    expected = core(prompt="a dog barks", negative_prompt="music", seed=3, loudness=None)
    torch.testing.assert_close(waveform, expected, atol=1e-6, rtol=0)


def test_progress_and_a_growing_picture_are_shown(comfy):
    result = comfy.run(text_graph(seed=11))
    shown = [data for event, data in result.events if event == "progress"]
    assert [6, 6] in [[data["value"], data["max"]] for data in shown]
    assert [512, 256] in [data["preview"] for data in shown]


# --- what runs again


def test_another_seed_samples_again_and_another_prompt_encodes_its_text_again(comfy, comfy_base):
    path = comfy_base / "input" / support.VIDEO
    first = video_graph(path)
    comfy.run(first)
    first["sampler"]["inputs"]["seed"] = 4
    assert comfy.run(first).executed == ["sampler", "keep"]
    first["text"]["inputs"]["prompt"] = "a cat"
    assert comfy.run(first).executed == ["text", "sampler", "keep"]


def test_a_replaced_checkpoint_is_loaded_again(comfy, comfy_base):
    folder = comfy_base / "models" / "wavflow"
    shutil.copy(folder / support.MODEL, folder / "replaced.safetensors")
    prompt = text_graph()
    prompt["model"]["inputs"]["checkpoint"] = "replaced.safetensors"
    before = comfy.run(prompt).captured["audio"]["waveform"]
    command = ["init", "--preset", "tiny", "--seed", "9", "--overwrite"]
    assert main([*command, "-o", str(folder / "replaced.safetensors")]) == 0
    again = comfy.run(prompt)
    assert "model" in again.executed
    assert not torch.equal(again.captured["audio"]["waveform"], before)


# --- where pictures come from


@pytest.mark.parametrize("fps", [30, 23.976, 12])
def test_images_and_their_rate_give_the_features_of_the_file(comfy, comfy_base, tmp_path, fps):
    rates = {30: 30, 23.976: Fraction(24000, 1001), 12: 12}
    path = make_video(tmp_path / "a.mp4", fps=rates[fps], seconds=2)
    part = {"duration": 1.5}
    look, move = features_of(comfy, video_graph(path, part))
    frames = ("TestFrames", {"path": str(path), "fps": fps})
    images = features_of(comfy, with_images(video_graph(path, part), frames=frames))
    # Colours are converted by another routine there; on moving pictures one frame more or less
    # would change what is seen by far more.
    assert torch.cosine_similarity(images[0], look).min() > 0.999
    assert torch.cosine_similarity(images[1], move).min() > 0.99


def test_a_video_of_images_in_memory_gives_what_the_images_give(comfy, comfy_base):
    path = comfy_base / "input" / support.VIDEO
    frames = ("TestFrames", {"path": str(path), "fps": 25.0})
    part = {"start": 0.2}
    images = features_of(comfy, with_images(video_graph(path, part), frames=frames))
    prompt = video_graph(path, part, video=["made", 0]) | graph(
        frames=frames,
        made=("TestComponentVideo", {"images": ["frames", 0], "fps": 25.0}),
    )
    made = features_of(comfy, prompt)
    assert torch.equal(made[0], images[0])
    assert torch.equal(made[1], images[1])


def test_a_trimmed_video_is_seen_as_trimmed(comfy, comfy_base):
    path = comfy_base / "input" / support.VIDEO
    if not comfy.code("import nodes; result = 'Video Slice' in nodes.NODE_CLASS_MAPPINGS"):
        pytest.skip("this ComfyUI cannot trim a video")
    slice_ = {"start_time": 0.5, "duration": 1.0, "strict_duration": True, "video": ["video", 0]}
    sliced = graph(cut=("Video Slice", slice_))
    trimmed = features_of(comfy, video_graph(path, video=["cut", 0]) | sliced)
    expected = features_of(comfy, video_graph(path, {"start": 0.5, "duration": 1.0}))
    assert torch.equal(trimmed[0], expected[0])
    late = comfy.run(video_graph(path, {"start": 1.5}, video=["cut", 0]) | sliced)
    assert "the video was trimmed to 1 s" in late.error[1]


# --- errors


def change(node, **inputs):
    def apply(prompt):
        for name, value in inputs.items():
            prompt[node]["inputs"][name] = value
            if value is None:
                del prompt[node]["inputs"][name]

    return apply


@pytest.mark.parametrize(
    ("fault", "node", "message"),
    [
        (change("sampler", text_features=None), "sampler", "There is nothing to make a sound for"),
        (change("text", prompt=" "), "sampler", "There is nothing to make a sound for"),
        (change("model", checkpoint="gone.pth"), "model", "'gone.pth' is not there; put a WavFlow"),
        (change("model", checkpoint=support.CLIP), "model", "is not a WavFlow checkpoint"),
        (change("clip", file="wavflow/gone.bin"), "clip", "or models/mmaudio, press R, and choose"),
        (change("clip", file="old.bin"), "clip", "'old.bin' is not there; put CLIP weights into"),
        (change("clip", file=f"wavflow/{support.SYNC}"), "clip", "give one of wavflow.clip"),
        (change("clip", file="wavflow/other.safetensors"), "sampler", "was trained with clip_tiny"),
    ],
)
def test_a_fault_in_a_text_graph_turns_its_node_red(comfy, comfy_base, fault, node, message):
    folder = comfy_base / "models" / "wavflow"
    prompt = text_graph()
    if "other" in str(prompt["clip"]) or node == "sampler":
        make_bound(folder)
    fault(prompt)
    if prompt["clip"]["inputs"]["file"].endswith("other.safetensors"):
        prompt["model"]["inputs"]["checkpoint"] = "bound.safetensors"
    result = comfy.run(prompt)
    assert result.error[0] == node
    assert message in result.error[1]


def make_bound(folder):
    """A checkpoint made for one CLIP alone, and another CLIP."""
    if (folder / "bound.safetensors").exists():
        return
    other = [
        "init",
        "--preset",
        "clip_tiny",
        "--seed",
        "9",
        "-o",
        str(folder / "other.safetensors"),
    ]
    bound = ["init", "--preset", "tiny", "--clip", str(folder / support.CLIP)]
    assert main(other) == 0
    assert main([*bound, "-o", str(folder / "bound.safetensors")]) == 0


@pytest.mark.parametrize(
    ("fault", "node", "message"),
    [
        (change("look", duration=1.0), "sampler", "The lengths differ: CLIP features 1 s and sync"),
        (change("look", start=60.0), "look", "start is 60 s, but"),
        (change("look", video=None), "look", "Connect either a video or images; neither of them"),
        (change("sampler", duration=5.0), "sampler", "the features were encoded for 2 s"),
    ],
)
def test_a_fault_in_a_video_graph_turns_its_node_red(comfy, comfy_base, fault, node, message):
    prompt = video_graph(comfy_base / "input" / support.VIDEO)
    fault(prompt)
    result = comfy.run(prompt)
    assert result.error[0] == node
    assert message in result.error[1]


def test_a_text_file_in_place_of_the_video_is_named(comfy, comfy_base):
    result = comfy.run(video_graph(comfy_base / "input" / "text.mp4"))
    assert result.error[0] in ("look", "move")
    assert "is not a readable video" in result.error[1]


# --- choices and downloads


def test_the_bundled_files_are_the_first_choices_and_the_defaults(comfy):
    answer = comfy.code(
        """
import importlib
folders, files, models, video = (
    importlib.import_module(pack.__name__ + ".nodes." + name)
    for name in ("folders", "files", "models", "video")
)
def default(node):
    first = node.define_schema().inputs[0]
    return [first.options[0], first.default]
result = {
    "model": default(models.LoadModel),
    "clip": default(models.LoadCLIP),
    "synchformer": default(models.LoadSynchformer),
    "video": video.LoadVideo.define_schema().inputs[0].options[-1],
}
"""
    )
    for kind, name in (
        ("model", "wavflow_foley_16k (bundled)"),
        ("clip", "clip_foley (bundled)"),
        ("synchformer", "synchformer_foley (bundled)"),
    ):
        assert answer[kind] == [name, name]
    assert answer["video"] == "demo_clip.mp4 (bundled)"


@pytest.mark.parametrize("kind", ["model", "clip", "synchformer"])
def test_a_bundled_file_that_is_not_there_turns_its_node_red(comfy, kind):
    code = """
import importlib
bundled = importlib.import_module(pack.__name__ + ".wavflow_core.weights.bundled")
kept, bundled.ASSETS = str(bundled.ASSETS), type(bundled.ASSETS)(folder)
result = kept
"""
    folder = comfy.code(code, folder=str(comfy.base / "nothing"))
    prompt = video_graph(comfy.base / "input" / support.VIDEO)
    del prompt["keep_look"], prompt["keep_move"]  # what is needed for them alone would run
    node = "sync_model" if kind == "synchformer" else kind
    choice = "wavflow_foley_16k" if kind == "model" else f"{kind}_foley"
    field = "checkpoint" if kind == "model" else "file"
    prompt[node]["inputs"][field] = f"{choice} (bundled)"
    try:
        result = comfy.run(prompt)
    finally:
        comfy.code(code, folder=folder)
    assert result.error[0] == node
    assert "is not here: there is no" in result.error[1]
    assert "clone of the repository" in result.error[1]


def test_the_bundled_weights_make_what_the_command_line_makes_without_a_checkpoint(comfy):
    need_files()
    prompt = video_graph(bundled_file("video"))
    for node, field, choice in (
        ("model", "checkpoint", "wavflow_foley_16k (bundled)"),
        ("clip", "file", "clip_foley (bundled)"),
        ("sync_model", "file", "synchformer_foley (bundled)"),
    ):
        prompt[node]["inputs"][field] = choice
    prompt["video"] = graph(
        x=("WavFlowLoadVideo", {"file": "demo_clip.mp4 (bundled)", "start": 0.0, "duration": 4.0})
    )["x"]
    result = comfy.run(prompt)
    assert result.ok, result.error
    prompts = {"prompt": "a dog barks", "negative_prompt": "music"}
    request = Request(video=bundled_file("video"), **prompts, seed=3)
    sampler = SamplerConfig(steps=SAMPLING["steps"])
    [expected] = generate(load_model(device="cpu"), request, sampler=sampler)
    got = result.captured["audio"]["waveform"][0]
    assert got.shape == (1, 4 * 16000)
    torch.testing.assert_close(got, expected.waveform, atol=1e-5, rtol=0)


def test_a_download_is_never_the_first_choice_and_a_file_that_is_there_is_not_fetched(comfy):
    answer = comfy.code(
        """
import importlib, pathlib, folder_paths
folders = importlib.import_module(pack.__name__ + ".nodes.folders")
choices = folders.encoder_choices("synchformer")
offer = next(item for item in choices if item == "download synchformer")
empty = folders.encoder_file(offer, "synchformer")
there = pathlib.Path(folder_paths.models_dir) / "mmaudio" / "synchformer_state_dict.pth"
there.parent.mkdir(exist_ok=True)
there.write_bytes(b"")
found = folders.find_encoder(offer, "synchformer")
there.unlink()
result = [choices[0].startswith("download"), str(empty), found == there]
"""
    )
    assert answer == [False, "None", True]


# --- memory and cancelling

SIMULATION = """
import importlib, torch, comfy.model_management as mm, comfy.ops
core = lambda name: importlib.import_module(pack.__name__ + ".wavflow_core." + name)
memory = importlib.import_module(pack.__name__ + ".nodes.memory")
meta, cpu, result = torch.device("meta"), torch.device("cpu"), {}
kept = mm.vram_state, mm.get_free_memory
def get_free_memory(dev=None, torch_free_too=False):
    return (room, room) if torch_free_too else room
def attempt(name, run):
    try:
        with torch.inference_mode():
            run()
        result[name] = "runs"
    except (RuntimeError, NotImplementedError) as error:
        result[name] = f"fails: {error}"
def model(ops):
    checkpoint = core("checkpoint").read_checkpoint(folder + "/wavflow_test.safetensors")
    network = core("checkpoint").build_model(checkpoint, ops=ops, dtype=torch.bfloat16)
    network.requires_grad_(False)
    patcher = memory.wrap(network, meta, cpu)
    memory.load(patcher, 1e6)
    lengths = checkpoint.config.lengths(2.0)
    features = core("features").Features(duration=2.0, clip=torch.rand(lengths.clip_frames, 64))
    both = core("conditions").build_conditions(
        network, features, lengths, device=meta, dtype=torch.bfloat16)
    settings = {"flow": checkpoint.config.flow, "sampler": core("config").SamplerConfig()}
    predict = core("sampler").guide(network, *both, **settings, dtype=torch.bfloat16)
    predict(torch.zeros(1, lengths.tokens, 200, device=meta), 0.5)
def sync():
    path = folder + "/synchformer_tiny.safetensors"
    encoder = core("features").load_synchformer(
        path, dtype=torch.bfloat16, ops=comfy.ops.manual_cast)
    memory.load(memory.wrap(encoder, meta, cpu), 1e6)
    encoder(torch.zeros(1, 3, 16, 64, 64, device=meta, dtype=torch.bfloat16))
def clip():
    encoder = core("features").load_clip(folder + "/clip_tiny.safetensors", dtype=torch.bfloat16)
    with memory.loaded_whole(memory.wrap(encoder, meta, cpu), 1e6):
        encoder.visual(torch.zeros(1, 3, 64, 64, device=meta, dtype=torch.bfloat16))
try:
    mm.vram_state, mm.get_free_memory = getattr(mm.VRAMState, state), get_free_memory
    attempt("model", lambda: model(comfy.ops.manual_cast))
    attempt("synchformer", sync)
    attempt("clip", clip)
    attempt("plain model", lambda: model(torch.nn))
finally:
    mm.vram_state, mm.get_free_memory = kept
"""


@pytest.mark.parametrize(
    ("state", "room"),
    [("HIGH_VRAM", 10**12), ("NORMAL_VRAM", 10**12), ("LOW_VRAM", 10**5), ("NO_VRAM", 10**12)],
)
def test_everything_runs_on_a_device_too_small_for_it(comfy, comfy_base, state, room):
    folder = str(comfy_base / "models" / "wavflow")
    answer = comfy.code(SIMULATION, state=state, room=room, folder=folder)
    control = answer.pop("plain model")
    assert answer == dict.fromkeys(("model", "synchformer", "clip"), "runs")
    if state == "NO_VRAM":
        assert control.startswith("fails")  # the simulation sees weights that were left behind
