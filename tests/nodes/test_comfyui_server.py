"""The pack in a started ComfyUI: every workflow, Cancel, wrong input, parity, memory."""

import copy
import json
import os
import shutil
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from support import comfy as support
from support import schema
from support.bundled import need_files
from support.comfy import CLIP, MODEL, ROOT, SILENT, SYNC, VIDEO, Listener, graph
from support.media import make_video

from wavflow_core.cli import main
from wavflow_core.media.audio import read_audio

pytestmark = pytest.mark.comfyui

API = sorted((ROOT / "workflows" / "api").glob("*.json"))
STEPS = 3
# Resident memory may grow by this over the last 15 of 20 runs: allocators keep some pages.
MEMORY_TOLERANCE = 30 * 2**20


def loaders(video=VIDEO, **changes):
    nodes = graph(
        model=(
            "WavFlowLoadModel",
            {"checkpoint": MODEL, "weight_dtype": "fp32", "weights": "auto", "sample_rate": "auto"},
        ),
        clip=("WavFlowLoadCLIP", {"file": f"wavflow/{CLIP}", "dtype": "fp32"}),
        sync=("WavFlowLoadSynchformer", {"file": f"wavflow/{SYNC}", "dtype": "fp32"}),
        video=("WavFlowLoadVideo", {"file": video, "start": 0.0, "duration": 0.0}),
    )
    return {**nodes, **changes}


def encoders(**given):
    where = {"fps": 25.0, "start": 0.0, "duration": 0.0, "video": ["video", 0], **given}
    return graph(
        seen=("WavFlowEncodeCLIP", {"clip": ["clip", 0], **where}),
        moved=("WavFlowEncodeSync", {"synchformer": ["sync", 0], **where}),
    )


def text(prompt="rain", negative=""):
    inputs = {"clip": ["clip", 0], "prompt": prompt, "negative_prompt": negative}
    return graph(text=("WavFlowEncodeText", inputs))


def sampler(**given):
    inputs = {
        "model": ["model", 0],
        **{"duration": 0.0, "steps": 4, "cfg": 4.5, "solver": "euler", "noise_shift": 0.0},
        **{"seed": 0, "batch": 1, "loudness": 0.0},
        **given,
    }
    return graph(sampler=("WavFlowSampler", inputs))


def saved(source="sampler", format="wav 32 bit float"):
    inputs = {"filename_prefix": "audio/test", "format": format, "loudness": 0.0}
    return graph(save=("WavFlowSaveAudio", {"audio": [source, 0], **inputs}))


FEATURES = {"clip_features": ["seen", 0], "sync_features": ["moved", 0]}


def whole(steps=4, seed=0, prompt="rain"):
    return {
        **loaders(),
        **encoders(),
        **text(prompt),
        **sampler(**FEATURES, text_features=["text", 0], steps=steps, seed=seed),
        **saved(),
    }


def needed(prompt, *ends):
    """The part of a prompt that some nodes need."""
    kept, todo = {}, list(ends)
    while todo:
        id = todo.pop()
        kept[id] = prompt[id]
        links = [value for value in prompt[id]["inputs"].values() if isinstance(value, list)]
        todo += [link[0] for link in links]
    return kept


def seconds_of(path):
    with av.open(str(path)) as container:
        return container.duration / av.time_base


def test_every_node_is_there_and_as_the_snapshot_says(comfy_server):
    assert schema.reduce(comfy_server.get("/object_info")) == schema.snapshot()


def test_the_pack_is_imported_without_a_warning(comfy_server):
    log = comfy_server.log.read_text()
    assert "custom_nodes/wavflow" in log
    for line in log.splitlines():
        assert "IMPORT FAILED" not in line
        assert not ("wavflow" in line.lower() and "warn" in line.lower()), line


def test_help_pages_and_templates_are_served(comfy_server):
    for node in schema.snapshot():
        url = f"{comfy_server.url}/extensions/wavflow/docs/{node}.md"
        with support.urllib.request.urlopen(url) as answer:
            assert answer.read().decode().strip()
    names = comfy_server.get("/workflow_templates")["wavflow"]
    assert sorted(names) == sorted(path.stem for path in API)
    for name in names:
        url = f"{comfy_server.url}/api/workflow_templates/wavflow/{name}.jpg"
        with support.urllib.request.urlopen(url) as answer:
            assert answer.read(2) == b"\xff\xd8"


@pytest.mark.parametrize("path", API, ids=lambda path: path.stem)
def test_an_api_workflow_runs_and_its_files_have_the_right_length(comfy_server, path):
    need_files()
    prompt = quick(json.loads(path.read_text()))
    expected = 4.0  # the bundled model's window and the bundled video
    result = comfy_server.run(prompt)
    assert result.ok, result.error
    files = comfy_server.files(result)
    # Pictures, and what was given, have nothing to do with what is made.
    media = [file for file in files if file.suffix != ".png" and "bundled" not in file.name]
    sounds = 8 if path.stem == "compare_solvers_and_seeds" else None
    assert len(media) == (sounds or len(media)) > 0
    for file in media:
        assert seconds_of(file) == pytest.approx(expected, abs=0.03)


def quick(workflow):
    """A workflow, in either form, with fewer steps: the bundled model is made for more."""
    if "nodes" not in workflow:
        for item in workflow.values():
            if item["class_type"] == "WavFlowSampler":
                item["inputs"]["steps"] = STEPS
        return workflow
    for node in workflow["nodes"]:
        if node["type"] == "WavFlowSampler":
            node["widgets_values"][1] = STEPS
    return workflow


def test_a_prompt_shows_growing_pictures_and_progress(comfy_server):
    listener = Listener(comfy_server)
    result = comfy_server.run({**loaders(), **text(), **sampler(
        text_features=["text", 0], steps=200, duration=8.0, seed=7), **saved()})  # fmt: skip
    listener.close()
    assert result.ok
    assert any(b"\xff\xd8\xff" in content[:64] for content in listener.previews)
    values = [data["value"] for _, event, data in listener.events if event == "progress"]
    assert values[-1:] == [200]


@pytest.mark.parametrize("stage", ["encoding", "sampling"])
def test_cancel_stops_within_two_seconds_and_the_next_prompt_runs(comfy_server, stage):
    if stage == "encoding":
        long = comfy_server.base / "input" / "long.mp4"
        if not long.exists():
            make_video(long, fps=25, seconds=120)
        prompt = {**loaders("long.mp4"), **encoders(), **sampler(**FEATURES), **saved()}
    else:
        prompt = whole(steps=10000, seed=time.time_ns() % 2**32)
    node = "moved" if stage == "encoding" else "sampler"
    listener = Listener(comfy_server)
    queued = comfy_server.queue(prompt)
    listener.wait_for(lambda event, data: event == "progress" and data["node"] == node)
    began = time.monotonic()
    comfy_server.interrupt()
    ended, _, data = listener.wait_for(lambda event, _: event == "execution_interrupted")
    listener.close()
    assert ended - began < 2
    assert data["node_id"] == node
    assert not comfy_server.wait(queued).ok
    assert comfy_server.run(whole(seed=1)).ok


def save_features():
    given = {"filename_prefix": "x", "clip_features": ["seen", 0]}
    return graph(keep=("WavFlowSaveFeatures", given))


def wrong_encoder():
    prompt = whole()
    prompt["clip"]["inputs"]["file"] = f"wavflow/{SYNC}"
    return prompt


def no_model_file():
    prompt = whole()
    prompt["model"]["inputs"]["checkpoint"] = "missing.safetensors"
    return prompt


def text_as_video():
    prompt = whole()
    prompt["video"]["inputs"]["file"] = "text.mp4"
    return prompt


def encoder_as_model():
    prompt = whole()
    prompt["model"]["inputs"]["checkpoint"] = CLIP
    return prompt


def silent_video():
    prompt = {**loaders(SILENT), **saved("video")}
    prompt["save"]["inputs"]["audio"] = ["video", 1]
    return needed(prompt, "save")


BAD = {
    "nothing_connected": ({**loaders(), **sampler(), **saved()}, "sampler", "nothing to make a"),
    "no_video_no_images": (
        {**{k: v for k, v in loaders().items() if k != "video"},
         **graph(seen=("WavFlowEncodeCLIP", {"clip": ["clip", 0], "fps": 25.0, "start": 0.0,
                                             "duration": 0.0})), **save_features()},
        "seen", "Connect either a video or images",
    ),
    "wrong_encoder": (wrong_encoder(), "clip", "give one of wavflow.clip"),
    "encoder_as_model": (encoder_as_model(), "model", "is not a WavFlow checkpoint"),
    "missing_checkpoint": (no_model_file(), "model", "missing.safetensors"),
    "text_as_video": (text_as_video(), "video", "text.mp4"),
    "video_without_sound": (silent_video(), "save", "sound"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_the_right_node_says_in_a_sentence_what_is_wrong(comfy_server, case):
    prompt, node, said = BAD[case]
    result = comfy_server.run(copy.deepcopy(prompt))
    assert result.error is not None
    assert result.error[0] == node
    assert said in result.error[1]
    assert result.error[1].count("\n") == 0
    assert len(result.error[1]) < 400
    assert "Traceback" not in result.error[1]


def test_the_nodes_make_what_the_command_line_makes(comfy_server, tmp_path):
    prompt = whole(steps=8, seed=42)
    prompt["text"]["inputs"]["negative_prompt"] = "music"
    result = comfy_server.run(prompt)
    assert result.ok, result.error
    [file] = comfy_server.files(result)
    models, video = comfy_server.base / "models" / "wavflow", comfy_server.base / "input" / VIDEO
    given = {"checkpoint": models / MODEL, "clip": models / CLIP, "synchformer": models / SYNC,
             "video": video, "prompt": "rain", "negative-prompt": "music", "steps": 8, "seed": 42,
             "loudness": "none", "device": "cpu", "dtype": "fp32"}  # fmt: skip
    pairs = [part for name, value in given.items() for part in ("--" + name, str(value))]
    # .wav has 16 bits from the command line, so the comparison is made before the file.
    expected = command_line(pairs, tmp_path)
    got = read_audio(file).waveform
    assert got.shape == expected.shape
    assert expected.abs().max() > 0.01
    assert (got - expected).abs().max() <= 1e-6


def command_line(pairs, tmp_path):
    """What ``wavflow generate`` hands to its writer."""
    from wavflow_core import outputs

    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "write_audio", lambda clip, path, **_: kept.append(clip.waveform))
        assert main(["generate", *pairs, "--output", str(tmp_path / "x.wav")]) == 0
    return kept[0]


def test_changing_the_seed_runs_the_sampler_alone_and_the_prompt_the_text_alone(comfy_server):
    assert comfy_server.run(whole(seed=100, prompt="wind")).ok
    seed = comfy_server.run(whole(seed=101, prompt="wind"))
    prompt = comfy_server.run(whole(seed=101, prompt="waves"))
    everything = set(whole())
    assert everything - set(seed.cached) == {"sampler", "save"}
    assert everything - set(prompt.cached) == {"text", "sampler", "save"}


@pytest.mark.slow
def test_twenty_runs_of_two_prompts_do_not_grow(comfy_server):
    sizes = []
    for run in range(20):
        for prompt in (f"rain {run}", f"wind {run}"):
            assert comfy_server.run(whole(seed=run, prompt=prompt)).ok
        sizes.append(comfy_server.memory())
    grown = sizes[-1] - sizes[4]
    assert grown < MEMORY_TOLERANCE, [size // 2**20 for size in sizes]


@pytest.mark.parametrize("fps", [30, Fraction(24000, 1001), 12])
def test_images_with_their_rate_give_the_features_of_the_file(comfy, fps):
    """As Video Helper Suite loads them: all frames of the file, at the file's rate."""
    path = comfy.base / "input" / f"vhs_{float(fps):.3f}.mp4"
    make_video(path, fps=fps, seconds=3)
    frames = graph(frames=("TestFrames", {"path": str(path), "fps": float(fps)}))
    images = {"images": ["frames", 0], "fps": float(fps)}
    prompt = {**loaders(path.name), **encoders(), **frames}
    others = encoders(**images)
    for id, item in others.items():
        del item["inputs"]["video"]
        prompt[id + "_images"] = item
    for id in ("seen", "moved", "seen_images", "moved_images"):
        prompt["keep_" + id] = graph(x=("TestCapture", {"value": [id, 0], "name": id}))["x"]
    result = comfy.run({id: prompt[id] for id in prompt if id != "model"})
    assert result.ok, result.error
    for id, field in (("seen", "clip"), ("moved", "sync")):
        of_file, of_images = (result.captured[name][field] for name in (id, id + "_images"))
        assert of_file.shape == of_images.shape
        assert relative(of_images, of_file) < 1e-3


def relative(got, expected):
    return float(torch.linalg.vector_norm(got - expected) / torch.linalg.vector_norm(expected))


@pytest.fixture(scope="session")
def browser():
    """The driver's command, or a skip that says what is missing."""
    node = shutil.which("node")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if not node or not chromium:
        pytest.skip("the browser tests need node and chromium (CHROMIUM names another one)")
    found = subprocess.run([node, "-e", "require('playwright-core')"], capture_output=True)
    if found.returncode:
        pytest.skip("the browser tests need playwright-core (NODE_PATH says where it is)")
    driver = Path(__file__).parent / "browser" / "workflows.js"

    def run(server, out, files, *flags):
        command = [node, driver, server.url, chromium, out, *files, *flags]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.slow
def test_the_frontend_loads_every_workflow_without_an_error_and_runs_it(
    comfy_server, browser, tmp_path
):
    need_files()
    files = []
    for path in sorted((ROOT / "workflows").glob("*.json")):
        files.append(tmp_path / "given" / path.name)
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].write_text(json.dumps(quick(json.loads(path.read_text()))))
    reports = browser(comfy_server, tmp_path, files, "--run")
    assert set(reports) == {path.stem for path in files}
    for name, report in reports.items():
        assert report["errors"] == [], name
        assert report["console"] == [], name
        assert report["dialogs"] == [], name
        assert [event for event, *_ in report["events"]] == ["execution_success"], name
        twin = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text())
        assert values(report["api"]) == values(quick(twin)), name


def values(prompt):
    """Kinds and inputs, without what only a player's widget adds."""
    players = ("audioUI", "video-preview")
    return {
        id: (item["class_type"], {k: v for k, v in item["inputs"].items() if k not in players})
        for id, item in prompt.items()
    }
