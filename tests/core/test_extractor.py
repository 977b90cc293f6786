"""Features of a clip from one pass over its frames."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from support import golden

from wavflow_core.config import frame_counts
from wavflow_core.errors import FeatureError
from wavflow_core.features import (
    clip_frame,
    extract_features,
    frame_requests,
    init_clip,
    init_synchformer,
    load_clip,
    load_synchformer,
    normalize_sync,
    sync_frame,
)
from wavflow_core.features.extractor import SMALL_BATCH, SYNC_BATCH, batch_on
from wavflow_core.features.synchformer import Synchformer
from wavflow_core.media.video import open_video, stream_images

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    init_clip("clip_tiny", path / "clip.safetensors")
    init_synchformer("synchformer_tiny", path / "sync.safetensors")
    return {
        "clip": load_clip(path / "clip.safetensors"),
        "synchformer": load_synchformer(path / "sync.safetensors"),
    }


@pytest.fixture(scope="module")
def images():
    """Pictures in memory, 2.5 s at 30 per second."""
    return torch.rand(75, 40, 56, 3, generator=torch.Generator().manual_seed(0))


def frames(images, duration, *, fps=30, **encoders):
    return stream_images(images, Fraction(fps), frame_requests(duration, **encoders))


def close(first, second):
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_features_are_those_of_each_frame_and_segment_by_itself(encoders, images):
    duration = 2.0
    made = extract_features(
        None, duration=duration, frames=frames(images, duration, **encoders), **encoders
    )
    pictures = (images * 255).round().to(torch.uint8).permute(0, 3, 1, 2)
    # At 30 per second output n of 25 is the last input m with floor(m * 25 / 30 + 1/2) <= n.
    chosen = {fps: [-1] * 75 for fps in (8, 25)}
    for fps, outputs in chosen.items():
        for n in range(75):
            outputs[n] = max(m for m in range(75) if (2 * m * fps + 30) // 60 <= n)
    assert made.clip.shape == (16, 64)
    for n in (0, 7, 15):
        picture = clip_frame(pictures[chosen[8][n]], 64)[None]
        close(made.clip[n], encoders["clip"].encode_images(picture)[0])
    assert made.sync.shape == (40, 64)
    for segment in (0, 2, 4):
        numbers = [chosen[25][8 * segment + n] for n in range(16)]
        batch = torch.stack([sync_frame(pictures[m], 64) for m in numbers], 1)[None]
        tokens = encoders["synchformer"](normalize_sync(batch))[0]
        close(made.sync[8 * segment : 8 * segment + 8], tokens)


def test_results_do_not_depend_on_the_batch_sizes(encoders, images):
    first, *others = (
        extract_features(
            None,
            duration=2.5,
            frames=frames(images, 2.5, **encoders),
            clip_batch=clip_batch,
            sync_batch=sync_batch,
            **encoders,
        )
        for clip_batch, sync_batch in ((8, 2), (1, 1), (3, 4), (100, 100))
    )
    for made in others:
        close(made.clip, first.clip)
        close(made.sync, first.sync)


def test_only_small_pictures_are_batched_on_a_cpu(encoders):
    size = replace(encoders["synchformer"].size, image_size=224)
    large = Synchformer(size, device="meta")
    cpu, card = torch.device("cpu"), torch.device("cuda")
    assert (batch_on(cpu, large), batch_on(card, large)) == (1, SYNC_BATCH)
    for small in encoders.values():
        assert batch_on(cpu, small) == batch_on(card, small) == SMALL_BATCH


def test_a_video_gives_the_same_as_its_frames(encoders):
    video = open_video(golden.path_of("music_drum.mp4"))
    made = extract_features(video, duration=1.0, prompt="a drum", **encoders)
    clip_frames, sync_frames = frame_counts(1.0)
    assert len(made.clip) == clip_frames == 8
    assert len(made.sync) == 8 * ((sync_frames - 16) // 8 + 1) == 16
    assert made.text.shape == (77, 64)
    assert made.negative_text is None
    assert made.duration == 1.0
    assert made.clip_encoder == encoders["clip"].config
    assert made.sync_encoder == encoders["synchformer"].config
    one = extract_features(video, duration=1.0, synchformer=encoders["synchformer"])
    close(one.sync, made.sync)
    assert one.clip is one.clip_encoder is one.text is None


@pytest.mark.parametrize("duration", [0.1, 0.64, 0.99, 1.0, 3.21])
def test_every_duration_gets_the_counts_it_needs(encoders, images, duration):
    made = extract_features(
        None, duration=duration, frames=frames(images, duration, **encoders), **encoders
    )
    clip_frames, sync_frames = frame_counts(duration)
    assert len(made.clip) == clip_frames
    assert len(made.sync) == 8 * ((sync_frames - 16) // 8 + 1)


def test_a_still_picture_is_embedded_once_for_each_batch(encoders, monkeypatch):
    clip = encoders["clip"]
    counts = []
    real = clip.encode_images

    def counting(batch, **options):
        counts.append(len(batch))
        return real(batch, **options)

    monkeypatch.setattr(clip, "encode_images", counting)
    still = torch.rand(1, 40, 56, 3)
    seen = frames(still, 2.0, clip=clip)
    made = extract_features(None, duration=2.0, clip=clip, frames=seen, clip_batch=8)
    assert counts == [1, 1]
    assert torch.equal(made.clip, made.clip[:1].expand(16, -1))


def test_text_alone_reads_no_video(encoders):
    made = extract_features(
        None, duration=4.0, prompt="rain", negative_prompt="speech", clip=encoders["clip"]
    )
    expected = encoders["clip"].encode_text(["rain", "speech"])
    close(made.text, expected[0])
    close(made.negative_text, expected[1])
    assert made.clip is made.sync is made.sync_encoder is None
    assert made.clip_encoder == encoders["clip"].config


@pytest.mark.parametrize("blank", [None, "", "  \n\t"])
def test_a_blank_prompt_is_no_prompt(encoders, blank):
    made = extract_features(
        None, duration=4.0, prompt=blank, negative_prompt="speech", clip=encoders["clip"]
    )
    assert made.text is None
    close(made.negative_text, encoders["clip"].encode_text(["speech"])[0])
    made = extract_features(
        None, duration=4.0, prompt="rain", negative_prompt=blank, clip=encoders["clip"]
    )
    assert made.negative_text is None


def test_progress_ascends_to_its_total(encoders, images):
    seen = []
    extract_features(
        None,
        duration=2.0,
        prompt="rain",
        frames=frames(images, 2.0, **encoders),
        progress=lambda *item: seen.append(item),
        **encoders,
    )
    done = [item[0] for item in seen]
    assert done == sorted(done)
    assert seen[0] == (0, 16 + 48 + 1)
    assert seen[-1] == (65, 65)
    assert len(seen) > 5


class Cancelled(Exception):
    pass


def test_raising_in_progress_cancels_and_lets_go_of_the_frames(encoders, images):
    source = frames(images, 2.0, **encoders)

    def progress(done, total):
        if done > 20:
            raise Cancelled

    with pytest.raises(Cancelled):
        extract_features(None, duration=2.0, frames=source, progress=progress, **encoders)
    assert next(source, None) is None


def test_frames_are_kept_only_while_a_batch_needs_them(encoders):
    """Of ten minutes of frames at most two batches are alive."""
    import weakref

    alive = weakref.WeakSet()
    most = 0
    synchformer = encoders["synchformer"]
    [request] = frame_requests(20.0, synchformer=synchformer)

    def source():
        nonlocal most
        for n in range(request.limit):
            frame = torch.zeros(3, 64, 64, dtype=torch.uint8)
            alive.add(frame)
            most = max(most, len(alive))
            yield 0, n, frame

    extract_features(None, duration=20.0, frames=source(), synchformer=synchformer, sync_batch=2)
    assert most <= 26


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda items: items[:-1], r"15\] frames were given, but the encoders need \[16"),
        (lambda items: items[1:], "Frame 1 of request 0 was given, but the next of each are"),
        (lambda items: [*items, (0, 16, items[0][2])], r"\[17\] frames were given"),
        (lambda items: [(3, 0, items[0][2])], "of request 3"),
    ],
)
def test_frames_other_than_those_asked_for_are_refused(encoders, images, change, message):
    clip = encoders["clip"]
    items = list(frames(images, 2.0, clip=clip))
    with pytest.raises(FeatureError, match=message):
        extract_features(None, duration=2.0, frames=change(items), clip=clip)


def test_what_cannot_be_encoded_says_what_is_missing(encoders, tmp_path):
    clip, synchformer = encoders["clip"], encoders["synchformer"]
    init_clip("clip_tiny", tmp_path / "clip.safetensors")
    text, visual = (
        load_clip(tmp_path / "clip.safetensors", towers=(tower,)) for tower in ("text", "visual")
    )
    cases = [
        ({"clip": clip}, "nothing to encode: give a video, a prompt, or both"),
        ({"prompt": "  ", "clip": clip}, "nothing to encode"),
        ({"prompt": "a"}, "A prompt was given without a CLIP encoder"),
        ({"prompt": "a", "clip": visual}, "without its text tower"),
        ({"frames": []}, "without an encoder; load CLIP or Synchformer"),
        ({"frames": [], "clip": text}, "without its visual tower"),
        ({"frames": [], "clip": clip, "clip_batch": 0}, "clip_batch is 0"),
        ({"frames": [], "synchformer": synchformer, "sync_batch": -1}, "sync_batch is -1"),
        ({"frames": [], "clip": clip}, r"\[0\] frames were given"),
    ]
    for options, message in cases:
        with pytest.raises(FeatureError, match=message):
            extract_features(None, duration=2.0, **options)
    for duration in (0, -1.0, float("nan"), 601):
        with pytest.raises(FeatureError, match="duration is"):
            frame_requests(duration, clip=clip)
        with pytest.raises(FeatureError, match="duration is"):
            extract_features(None, duration=duration, prompt="a", clip=clip)
    video = open_video(golden.path_of("music_drum.mp4"))
    with pytest.raises(FeatureError, match="Both a video and frames"):
        extract_features(video, duration=2.0, frames=[], clip=clip)


def test_importing_the_features_does_not_import_open_clip():
    code = (
        "import sys, wavflow_core.features, wavflow_core.weights; "
        "print([n for n in ('open_clip', 'torchaudio', 'huggingface_hub') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
