"""Small encoders learn what they are meant to, on worlds simple enough to be learned at once."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.extraction import tiny_video

from training.config import OptimConfig
from training.encoders.audio_visual import SHIFTS, AudioVisual, SegmentLoss, initialize_video
from training.encoders.audio_visual import main as train_sync
from training.encoders.fit import fit
from training.encoders.image_text import MOVED, vary
from training.encoders.image_text import main as train_clip
from training.encoders.looks import Looks, LookSettings, read_looks
from training.encoders.patches import whiten_patches
from training.lock import only_run_in
from training.manifest import Row, write_manifest
from training.signals import StopRequest
from wavflow_core.errors import WavFlowError
from wavflow_core.features.encoders import load_clip, load_synchformer
from wavflow_core.features.preprocess import clip_frame
from wavflow_core.media.video import FrameRequest, open_video, stream_frames

CPU = torch.device("cpu")


@pytest.fixture
def manifest(tmp_path):
    rows = []
    for number in range(4):
        path = tmp_path / f"clip{number}.mp4"
        tiny_video(path, seconds=2.0, number=number)
        rows.append(Row(id=path.stem, video=path, caption=f"sound number {number}"))
    write_manifest(rows, tmp_path / "clips.csv")
    return tmp_path / "clips.csv"


def flashes(count=24, seconds=4):
    """Clips that flash white for a frame whenever their sound clicks, in a colour of their own."""
    generator = np.random.default_rng(0)
    frames = np.zeros((count, 25 * seconds, 3, 64, 64), np.uint8)
    sounds = np.full((count, 64, 100 * seconds), -80, np.float16)
    for clip in range(count):
        frames[clip] += generator.integers(0, 100, (3, 1, 1), dtype=np.uint8)
        for moment in np.cumsum(generator.integers(6, 14, 12)):
            if moment < 25 * seconds - 2:
                frames[clip, moment : moment + 2] = 255
                sounds[clip, :, 4 * moment : 4 * moment + 4] = -10
    names = [str(clip) for clip in range(count)]
    return Looks(ids=names, captions=names, pictures=frames, frames=frames, sounds=sounds)


def test_clips_are_decoded_once_and_as_the_encoders_will_see_them(manifest, tmp_path):
    settings = LookSettings(duration=2.0)
    looks = read_looks(manifest, tmp_path / "cache", settings, jobs=1)
    assert looks.pictures.shape == (4, 16, 3, 64, 64)
    assert looks.frames.shape == (4, 50, 3, 64, 64)
    assert looks.sounds.shape == (4, 64, 200)
    request = FrameRequest(fps=8, limit=16, transform=lambda frame: clip_frame(frame, size=64))
    seen = [frame for _, _, frame in stream_frames(open_video(tmp_path / "clip2.mp4"), [request])]
    assert np.array_equal(looks.pictures[2], torch.stack(seen).numpy())
    before = (tmp_path / "cache" / "frames.npy").stat().st_mtime_ns
    read_looks(manifest, tmp_path / "cache", settings, jobs=1)
    assert (tmp_path / "cache" / "frames.npy").stat().st_mtime_ns == before


def test_clips_that_have_changed_are_decoded_again(manifest, tmp_path):
    settings = LookSettings(duration=2.0)
    before = read_looks(manifest, tmp_path / "cache", settings, jobs=1).frames[2].copy()
    tiny_video(tmp_path / "clip2.mp4", seconds=2.0, number=9)
    os.utime(tmp_path / "clip2.mp4", ns=(1, 1))  # whatever a clock may say
    after = read_looks(manifest, tmp_path / "cache", settings, jobs=1).frames[2]
    assert not np.array_equal(after, before)


def test_two_runs_do_not_decode_into_one_cache(manifest, tmp_path):
    (tmp_path / "cache").mkdir()
    settings = LookSettings(duration=2.0)
    with only_run_in(tmp_path / "cache"), pytest.raises(WavFlowError, match="Another run"):
        read_looks(manifest, tmp_path / "cache", settings, jobs=1)
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_of_a_clip_only_its_own_part_is_seen_and_heard(tmp_path):
    path = tmp_path / "long.mp4"
    tiny_video(path, seconds=3.0, number=1)
    rows = [
        Row(id="part", video=path, caption="a", start=1.0, duration=0.5),
        Row(id="rest", video=path, caption="a", start=1.0),
        Row(id="unseen", video=path, caption="a", has_video=False),
        Row(id="untold", video=path, caption="a", has_text=False),
    ]
    write_manifest(rows, tmp_path / "parts.csv")
    looks = read_looks(
        tmp_path / "parts.csv", tmp_path / "cache", LookSettings(duration=1.5), jobs=1
    )
    assert looks.ids == ["part", "rest"]
    part, rest = looks.frames
    assert np.array_equal(part[:12], rest[:12])
    assert (part[13:] == part[13]).all()
    assert not np.array_equal(part[13:], rest[13:])
    heard, all_heard = looks.sounds
    assert (heard[:, 60:] == heard.min()).all()
    assert all_heard[:, 60:].max() > heard.min()


def test_both_programs_write_encoders_that_the_rest_loads(manifest, tmp_path):
    options = ["--cache", str(tmp_path / "cache"), "--seconds", "2", "--steps", "3"]
    options += ["--batch-size", "4", "--jobs", "1", "--device", "cpu"]
    clip, sync = tmp_path / "clip.safetensors", tmp_path / "sync.safetensors"
    assert train_clip([str(manifest), "-o", str(clip), *options]) == 0
    assert train_sync([str(manifest), "-o", str(sync), *options]) == 0
    encoder = load_clip(clip)
    assert encoder.encode_text(["a sound"]).shape == (1, 77, 64)
    assert encoder.encode_images(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 64)
    video = load_synchformer(sync, dtype=torch.float32)
    assert video(torch.zeros(1, 3, 16, 64, 64)).shape == (1, 8, 128)


def test_pictures_are_moved_and_mirrored_and_nothing_else():
    ramp = torch.arange(64.0).expand(200, 3, 64, 64)
    varied = vary(ramp, torch.Generator().manual_seed(0))
    steps = varied[:, 0, 0].diff(dim=1)
    mirrored = (steps <= 0).all(1)
    assert ((steps >= 0).all(1) | mirrored).all()
    assert 70 < mirrored.sum() < 130
    shift = varied[~mirrored, 0, 0, 32] - 32
    assert shift.unique().tolist() == list(range(-MOVED, MOVED + 1))
    assert torch.equal(varied, vary(ramp, torch.Generator().manual_seed(0)))


def test_too_few_clips_and_rows_without_captions_are_refused(manifest, tmp_path, capsys):
    options = ["--cache", str(tmp_path / "cache"), "-o", str(tmp_path / "x.safetensors")]
    assert train_clip([str(manifest), *options, "--batch-size", "5"]) == 2
    assert "There are 4 clips, fewer than a batch of 5" in capsys.readouterr().err
    assert train_clip([str(manifest), *options, "--jobs", "0"]) == 2
    assert "jobs is 0; it must be 1 or more" in capsys.readouterr().err
    write_manifest([Row(id="a", video=tmp_path / "clip0.mp4")], tmp_path / "none.csv")
    with pytest.raises(WavFlowError, match="no row has a video and a caption"):
        read_looks(tmp_path / "none.csv", tmp_path / "cache", LookSettings(), jobs=1)


def test_whitened_patches_show_what_stays_and_what_moves_equally_large():
    projection = torch.nn.Conv3d(3, 16, (2, 16, 16), stride=(2, 16, 16))
    generator = np.random.default_rng(0)
    ground = np.kron(generator.integers(0, 255, (20, 1, 3, 16, 16)), np.ones((1, 1, 1, 4, 4)))
    frames = (ground + generator.normal(0, 3, (20, 6, 3, 64, 64))).clip(0, 255).astype(np.uint8)
    whiten_patches(projection, frames, seed=0)
    pairs = torch.from_numpy(frames[:, :2]).float().div(127.5).sub(1).transpose(1, 2)
    with torch.no_grad():
        seen = projection(pairs).transpose(0, 1).flatten(1)
        still = projection(pairs[:, :, :1].expand_as(pairs)).transpose(0, 1).flatten(1)
    assert torch.allclose(seen.std(1), torch.ones(16), atol=0.25)
    assert still[8:].abs().max() < 1e-4  # the half that sees differences, where there are none
    assert torch.allclose(still[:8], seen[:8], atol=0.6)


@pytest.mark.slow
def test_the_video_tower_learns_when_something_happens(tmp_path):
    torch.manual_seed(0)
    model, looks = AudioVisual(), flashes()
    initialize_video(model.video, looks, seed=0)
    loss = SegmentLoss(model, looks, batch_size=6, seed=0, device=CPU)
    with torch.no_grad():
        before = loss(10_000)[1]["moment"]
    optim = OptimConfig(steps=80, lr=1e-3, warmup_steps=10, schedule="cosine")
    options = {"optim": optim, "made_from": {}, "stop": StopRequest(), "device": CPU}
    assert fit(model, loss, state=tmp_path / "s.safetensors", **options)
    model.eval()
    with torch.no_grad():
        after = np.mean([loss(10_000 + step)[1]["moment"] for step in range(6)])
    assert before <= 4 / len(SHIFTS)
    assert after > 0.8


def test_a_fit_that_was_stopped_goes_on_exactly(tmp_path):
    def model():
        torch.manual_seed(1)
        return torch.nn.Linear(3, 1)

    def loss_of(network):
        def loss(step):
            x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
            return (network(x) - x.sum(1, keepdim=True)).square().mean(), {}

        return loss

    optim = OptimConfig(steps=20, lr=0.1, warmup_steps=2, schedule="cosine")
    options = {"optim": optim, "made_from": {"seed": 1}, "device": CPU}
    whole, cut, again = model(), model(), model()
    fit(whole, loss_of(whole), state=tmp_path / "w.safetensors", stop=StopRequest(), **options)
    stop = StopRequest()

    def stopping(step):
        stop.made = step == 6
        return loss_of(cut)(step)

    state = tmp_path / "cut.safetensors"
    assert not fit(cut, stopping, state=state, stop=stop, **options)
    for changed in ({"made_from": {"seed": 2}}, {"optim": replace(optim, lr=0.2)}):
        with pytest.raises(WavFlowError, match=r"(seed 1, now 2|lr 0.1, now 0.2)\. Give what"):
            fit(again, loss_of(again), state=state, stop=StopRequest(), **{**options, **changed})
    assert fit(again, loss_of(again), state=state, stop=StopRequest(), **options)
    assert torch.equal(again.weight, whole.weight)


def test_a_loss_that_is_no_number_stops_the_fit(tmp_path):
    network = torch.nn.Linear(1, 1)
    with pytest.raises(WavFlowError, match="loss of step 1 is not a number"):
        fit(
            network,
            lambda _: (network.weight.sum() * torch.nan, {}),
            optim=OptimConfig(steps=2),
            made_from={},
            state=tmp_path / "s.safetensors",
            stop=StopRequest(),
            device=CPU,
        )
