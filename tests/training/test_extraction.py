"""Features of a whole manifest: what is in the store, and what becomes of what fails."""

import csv
import json
import os
import re
import signal
from dataclasses import replace

import pytest
import torch
from support.extraction import (
    content,
    empty_sound,
    extract,
    files,
    manifest,
    missing_rows,
    mixed_rows,
    times,
    tiny_encoders,
    tiny_sound,
    tiny_video,
)
from support.media import make_video

from training import extract_features, extraction_plan
from training.decoding import DecodedClips, decode, default_workers
from training.extraction_plan import MANIFEST, PLAN, shard_path
from training.failures import note_failure, read_notes
from training.feature_store import FeatureReader, read_shard_info
from training.lock import only_run_in
from training.manifest import Row, read_manifest
from wavflow_core.batch import Failure
from wavflow_core.checkpoint import Checkpoint, write_checkpoint
from wavflow_core.config import EncoderConfig
from wavflow_core.encoding import Encoders
from wavflow_core.errors import ConfigError, WavFlowError
from wavflow_core.features.encoders import load_clip, load_synchformer
from wavflow_core.features.extractor import frame_requests
from wavflow_core.media.video import open_video
from wavflow_core.model import WavFlow
from wavflow_core.presets import get_preset


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return tiny_encoders(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return mixed_rows(tmp_path_factory.mktemp("clips"), 6)


@pytest.fixture
def table(rows, tmp_path):
    return manifest(tmp_path / "m.csv", rows)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def read(store, id):
    rows, _ = read_manifest(store / MANIFEST)
    row = next(row for row in rows if row.id == id)
    return FeatureReader(duration=99.0).read(row.features, id)


def failures_of(store):
    with (store / "failures.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


def direct(rows, options, duration=1.0):
    """What the core makes of every row."""
    encoders = Encoders(clip=options[1], synchformer=options[3])
    for row in rows:
        video = None
        if row.has_video and row.video:
            video = open_video(row.video, start=row.start, duration=row.duration)
        prompt = row.caption if row.has_text else ""
        yield row, encoders.extract(video, duration=duration, prompt=prompt)


@pytest.mark.parametrize("storage", ["fp32", "bf16"])
def test_all_kinds_of_rows_give_what_the_core_gives(rows, table, store, options, storage):
    assert extract(table, store, options, "--storage", storage, "--shard-size", 4) == 0
    for row, wanted in direct(rows, options):
        got = read(store, row.id)
        assert got.duration == 1.0
        for name in ("clip", "sync", "text"):
            one, other = getattr(got, name), getattr(wanted, name)
            assert (one is None) == (other is None), (row.id, name)
            if one is not None and storage == "fp32":
                assert torch.equal(one, other)
            elif one is not None:
                assert torch.equal(one, other.bfloat16().float())
    kinds = [(row.has_video, row.has_text) for row in read_manifest(store / MANIFEST)[0]]
    assert kinds == [(False, True), (True, False), (True, True)] * 2


def test_the_stores_manifest_names_everything_that_a_training_needs(rows, table, store, options):
    assert extract(table, store, options, "--shard-size", 4) == 0
    found, failures = read_manifest(store / MANIFEST)
    assert not failures
    shards = [shard_path(store, n // 4) for n in range(6)]
    assert found == [replace(row, features=shard) for row, shard in zip(rows, shards, strict=True)]
    plan = json.loads((store / PLAN).read_text())
    assert plan["settings"]["clip_encoder"]["architecture"] == "clip_tiny"
    assert len(plan["settings"]["sync_encoder"]["fingerprint"]) == 12


def test_start_and_duration_of_a_row_are_those_of_the_video(tmp_path, store, options):
    path = tiny_video(tmp_path / "long.mp4", seconds=3.0)
    rows = [
        Row(id="a", video=path, audio=path, start=1.0),
        Row(id="b", video=path, audio=path, start=0.5, duration=0.3),
        Row(id="c", video=path, audio=path),
    ]
    more = ("--storage", "fp32", "--duration", "2")
    assert extract(manifest(tmp_path / "m.csv", rows), store, options, *more) == 0
    for row, wanted in direct(rows, options, 2.0):
        got = read(store, row.id)
        assert torch.equal(got.clip, wanted.clip)
        assert torch.equal(got.sync, wanted.sync)
        assert got.clip.shape[0] == 16
    assert not torch.equal(read(store, "a").clip, read(store, "b").clip)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(table, store, tmp_path, options, workers):
    assert extract(table, store, options, "--shard-size", 4) == 0
    other = tmp_path / "other"
    assert extract(table, other, options, "--shard-size", 4, "--workers", workers) == 0
    assert content(other) == content(store)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_may_be_forked_or_spawned(rows, options, method):
    clip, synchformer = load_clip(options[1]), load_synchformer(options[3])
    requests = frame_requests(1.0, clip=clip, synchformer=synchformer)
    clips = DecodedClips(rows[:3], requests, check_audio=True)
    for alone, other in zip(
        decode(clips, workers=0), decode(clips, workers=1, start_method=method), strict=True
    ):
        assert alone.row == other.row
        assert alone.reason is other.reason is None
        for (i, n, one), (j, m, two) in zip(alone.frames(), other.frames(), strict=True):
            assert (i, n) == (j, m)
            assert torch.equal(one, two)


def test_a_still_picture_is_sent_once(tmp_path, options):
    path = make_video(tmp_path / "still.mp4", fps=1, seconds=2, size=(64, 48))
    clip = load_clip(options[1], towers=("visual",))
    clips = DecodedClips(
        [Row(id="a", video=path)], frame_requests(2.0, clip=clip), check_audio=False
    )
    [decoded] = decode(clips, workers=0)
    assert decoded.pictures[0].distinct.shape[0] == 2
    assert len({id(frame) for _, _, frame in decoded.frames()}) == 2
    assert len(list(decoded.frames())) == 16


def test_captions_alone_load_no_eye(tmp_path, store, options, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("Synchformer was loaded for captions alone")

    monkeypatch.setattr("training.towers.load_synchformer", refuse)
    sound = tiny_sound(tmp_path / "a.wav")
    rows = [Row(id=f"{n}", audio=sound, caption=f"sound {n}", has_video=False) for n in range(3)]
    rows.append(
        Row(id="video unused", video=tmp_path / "x.mp4", audio=sound, caption="c", has_video=False)
    )
    assert extract(manifest(tmp_path / "m.csv", rows), store, options) == 0
    settings = read_shard_info(shard_path(store, 0)).settings
    assert settings.clip_encoder is not None
    assert settings.sync_encoder is None


def test_a_second_run_over_a_finished_store_changes_nothing(table, store, options, monkeypatch):
    assert extract(table, store, options, "--shard-size", 4) == 0
    before = content(store), times(store)

    def refuse(*_, **__):
        raise AssertionError("an encoder was loaded for nothing")

    monkeypatch.setattr("training.towers.load_clip", refuse)
    for more in ((), ("--shard-size", 1), ("--retry-failed",), ("--workers", 2)):
        assert extract(table, store, options, *more) == 0
        assert (content(store), times(store)) == before


def test_a_manifest_that_has_grown_adds_shards(rows, store, tmp_path, options):
    # The new ones come in between, and need an encoder that the first did not.
    first = [row for row in rows if not row.has_video]
    table = manifest(tmp_path / "m.csv", first)
    assert extract(table, store, options) == 0
    old = (shard_path(store, 0).read_bytes(), shard_path(store, 0).stat().st_mtime_ns)
    assert extract(manifest(table, rows), store, options, "--shard-size", 3) == 0
    assert (shard_path(store, 0).read_bytes(), shard_path(store, 0).stat().st_mtime_ns) == old
    plan = json.loads((store / PLAN).read_text())
    assert [len(ids) for ids in plan["shards"]] == [2, 3, 1]
    assert {row.id for row in read_manifest(store / MANIFEST)[0]} == {row.id for row in rows}
    assert read(store, "clip004").sync is not None


def test_a_manifest_that_has_shrunk_takes_nothing_away(rows, table, store, tmp_path, options):
    assert extract(table, store, options, "--shard-size", 4) == 0
    before = content(store), times(store)
    small = manifest(tmp_path / "small.csv", rows[2:3])
    assert extract(small, store, options) == 0
    assert (content(store), times(store)) == before


def test_clips_that_left_before_their_turn_come_back(rows, table, store, tmp_path, options):
    assert extract(table, store, options, "--shard-size", 3) == 0
    shard_path(store, 0).unlink()
    shard_path(store, 1).unlink()
    small = manifest(tmp_path / "small.csv", rows[2:3])
    assert extract(small, store, options) == 0
    assert not shard_path(store, 1).exists()
    assert [row.id for row in read_manifest(store / MANIFEST)[0]] == ["clip002"]
    assert extract(table, store, options) == 0
    assert {row.id for row in read_manifest(store / MANIFEST)[0]} == {row.id for row in rows}
    assert failures_of(store) == {}


def test_a_shard_that_was_deleted_is_made_again(table, store, options):
    assert extract(table, store, options, "--shard-size", 4) == 0
    before = content(store)
    shard_path(store, 0).unlink()
    assert extract(table, store, options) == 0
    assert content(store) == before


def test_files_that_moved_are_found_in_the_new_manifest(rows, table, store, tmp_path, options):
    assert extract(table, store, options) == 0
    moved = tmp_path / "moved.wav"
    tiny_sound(moved)
    assert extract(manifest(table, [replace(rows[0], audio=moved), *rows[1:]]), store, options) == 0
    assert read_manifest(store / MANIFEST)[0][0].audio == moved


def test_a_caption_that_changed_is_told(rows, table, store, options, said):
    assert extract(table, store, options) == 0
    before = content(store)
    manifest(table, [replace(rows[0], caption="another"), *rows[1:]])
    assert extract(table, store, options) == 0
    assert "1 clips are not what they were when they were encoded" in said()
    assert "clip000" in said()
    assert content(store) == before


def bad_rows(folder):
    """Rows with one fault each, and one good one."""
    good = tiny_video(folder / "good.mp4")
    broken = folder / "broken.mp4"
    broken.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    return [
        Row(id="good", video=good, audio=good, caption='one, "two"\nthree'),
        Row(id="broken", video=broken, audio=good),
        Row(id="empty", audio=empty_sound(folder / "empty.wav"), caption="a", has_video=False),
        Row(id="missing", video=folder / "none.mp4", audio=good),
        Row(id="nothing", audio=good),
        Row(id="silent", caption="no sound at all", has_video=False),
        Row(id="late", video=good, audio=good, start=5.0),
    ]


def test_what_fails_is_named_counted_and_not_fatal_below_the_limit(
    tmp_path, store, options, caplog
):
    caplog.set_level("INFO")
    rows = bad_rows(tmp_path)
    table = manifest(tmp_path / "m.csv", [*rows, replace(rows[0], caption="again")])
    assert extract(table, store, options, "--max-failures", "0.9") == 0
    found = failures_of(store)
    assert set(found) == {row.id for row in rows[1:]}
    assert "broken.mp4" in found["broken"]
    assert "empty.wav" in found["empty"]
    assert "There is no video" in found["missing"]
    assert found["nothing"] == "it has neither a video nor a caption to encode."
    assert found["silent"] == "It has no sound to train on; name a file in audio_path."
    assert "start" in found["late"] or "no sound from 5 s on" in found["late"]
    [row] = read_manifest(store / MANIFEST)[0]
    assert (row.id, row.caption) == ("good", 'one, "two"\nthree')
    assert "Left out good: line 10: a row before it has the same id." in caplog.text
    for name, reason in found.items():
        assert f"Left out {name}: {reason}" in caplog.text
    assert "holds 1 clips in 1 shards: 1 with video, 1 with a caption; 6 failed" in caplog.text


def test_sound_need_not_be_looked_at(tmp_path, store, options):
    table = manifest(tmp_path / "m.csv", bad_rows(tmp_path))
    assert extract(table, store, options, "--max-failures", "0.9", "--no-audio-check") == 0
    assert {row.id for row in read_manifest(store / MANIFEST)[0]} == {"good", "empty", "silent"}


def test_above_the_limit_it_stops_and_says_how_many(tmp_path, store, options, said):
    table = manifest(tmp_path / "m.csv", bad_rows(tmp_path))
    assert extract(table, store, options, "--shard-size", 2) == 2
    assert "4 of 7 samples failed, and 3 may: " in said()
    assert "nothing: it has neither" in said()
    # What had been finished stays, and a larger limit goes on from there.
    before = times(store)
    assert shard_path(store, 0).name in before
    assert extract(table, store, options, "--max-failures", "1") == 0
    assert times(store)[shard_path(store, 0).name] == before[shard_path(store, 0).name]
    # What failed before counts in every run.
    said()
    assert extract(table, store, options) == 2
    assert "4 of 7 samples failed" in said()


def assert_reasons_are_there_and_nothing_half_done(store, ids):
    assert set(failures_of(store)) == ids
    assert "There is no video" in failures_of(store)["missing00"]
    assert not [path for path in files(store) if path.name.startswith(".")]


def test_above_the_limit_the_reasons_of_a_shard_that_is_not_there_are_kept(
    rows, tmp_path, store, options, caplog
):
    caplog.set_level("INFO")
    table = manifest(tmp_path / "m.csv", [*rows, *missing_rows(tmp_path, 6)])
    assert extract(table, store, options) == 2
    assert not shard_path(store, 0).exists()
    assert_reasons_are_there_and_nothing_half_done(store, {f"missing{n:02d}" for n in range(4)})
    assert f"holds 0 clips in 0 shards: 0 with video, 0 with a caption; 4 failed, see {store}" in (
        caplog.text
    )


def test_notes_are_read_up_to_the_last_whole_line(tmp_path):
    failures = [Failure(name="ü \udcff", reason='"a",\nb\x85c'), Failure(name="b", reason="")]
    for failure in failures:
        note_failure(failure, tmp_path / "notes")
    with (tmp_path / "notes").open("a") as file:
        file.write('["c", "half')
    assert read_notes(tmp_path / "notes") == failures
    assert read_notes(tmp_path / "none") == []
    with pytest.raises(WavFlowError, match="Cannot write .*No such file"):
        note_failure(failures[0], tmp_path / "none" / "notes")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_the_reasons_of_the_shard_in_progress(
    rows, tmp_path, store, options, monkeypatch, number
):
    table = manifest(tmp_path / "m.csv", [*missing_rows(tmp_path, 2), *rows])
    assert extract(table, tmp_path / "quiet", options, "--shard-size", 5) == 0
    encode, begun = extract_features.encode, []

    def interrupted(clip, *arguments):
        begun.append(clip.row.id)
        if len(begun) == 4:
            os.kill(os.getpid(), number)
        return encode(clip, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(extract_features, "encode", interrupted)
        assert extract(table, store, options, "--shard-size", 5) == 130
    assert_reasons_are_there_and_nothing_half_done(store, {"missing00", "missing01"})
    assert not shard_path(store, 0).exists()
    assert extract(table, store, options) == 0
    assert content(store) == content(tmp_path / "quiet")


def test_a_signal_does_not_cut_the_tables_short(table, store, options, monkeypatch):
    conclude = extraction_plan.conclude

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return conclude(*arguments)

    monkeypatch.setattr(extraction_plan, "conclude", interrupted)
    assert extract(table, store, options) == 0
    assert len(read_manifest(store / MANIFEST)[0]) == 6


def test_a_signal_that_comes_long_after_the_clearing_up_began_ends_us_at_once(monkeypatch):
    raised = []
    monkeypatch.setattr("signal.raise_signal", raised.append)
    monkeypatch.setattr(extract_features, "PATIENCE", 0.0)
    before = signal.getsignal(signal.SIGTERM)
    with extract_features._stopping_on_signals() as let_finish:
        let_finish()
        os.kill(os.getpid(), signal.SIGTERM)
        assert raised == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_run_in_the_same_store_is_refused(table, store, options, said):
    pytest.importorskip("fcntl")
    assert extract(table, store, options) == 0
    before = content(store), times(store)
    with only_run_in(store):
        assert extract(table, store, options) == 2
    told = said()
    assert f"Another run works in {str(store)!r} (process {os.getpid()} on " in told
    assert (content(store), times(store)) == before
    assert extract(table, store, options) == 0


def test_options_may_stand_anywhere(table, store, options):
    orders = (
        [*options, "-o", store, "--workers", 0, table],
        ["--workers", 0, table, *options, "-o", store],
        [table, "--no-audio-check", "-o", store, "--workers", 0, *options],
    )
    for arguments in orders:
        assert extract_features.main([str(item) for item in arguments]) == 0
    assert len(read_manifest(store / MANIFEST)[0]) == 6


def test_what_failed_is_tried_again_only_when_asked(tmp_path, store, options):
    rows = bad_rows(tmp_path)[:4]
    table = manifest(tmp_path / "m.csv", rows)
    assert extract(table, store, options) == 0
    tiny_video(tmp_path / "none.mp4")
    before = content(store)
    assert extract(table, store, options) == 0
    assert content(store) == before
    assert extract(table, store, options, "--retry-failed") == 0
    assert set(failures_of(store)) == {"broken", "empty"}
    assert {row.id for row in read_manifest(store / MANIFEST)[0]} == {"good", "missing"}
    assert content(store)[shard_path(store, 0).name] == before[shard_path(store, 0).name]


def test_what_a_killed_run_left_is_removed_and_nothing_else(table, store, options):
    store.mkdir()
    stale = [
        ".shard-00001.0123456789ab.safetensors",
        ".empty_text.0123456789ab.safetensors",
        ".plan.0123456789ab.json",
        ".manifest.0123456789ab.csv",
        ".failures.0123456789ab.csv",
        ".failures-00003.jsonl",
    ]
    others = [".shard-00001.safetensors", "notes.txt", ".shard-00001.XYZ.safetensors", ".keep.csv"]
    for name in (*stale, *others):
        (store / name).touch()
    assert extract(table, store, options) == 0
    names = {path.name for path in store.iterdir()}
    assert names.isdisjoint(stale)
    assert names >= set(others)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--duration", 2), "was made with duration 1.0, and this run has 2.0; give the same"),
        (("--storage", "fp32"), "was made with storage bf16, and this run has fp32; give the same"),
    ],
)
def test_other_settings_than_the_stores_are_refused(table, store, options, said, more, message):
    assert extract(table, store, options) == 0
    before = content(store), times(store)
    assert extract(table, store, options, *more) == 2
    assert message in said()
    assert (content(store), times(store)) == before


def test_another_encoder_than_the_stores_is_refused(rows, store, tmp_path, options, said):
    from wavflow_core.features.untrained import init_clip

    table = manifest(tmp_path / "m.csv", rows[:3])
    assert extract(table, store, options) == 0
    before = content(store)
    init_clip("clip_tiny", tmp_path / "other.safetensors", seed=1)
    manifest(table, rows)
    assert extract(table, store, options, "--clip", tmp_path / "other.safetensors") == 2
    assert re.search(r"was made with clip_encoder clip_tiny \(\w+\), and this run has", said())
    assert content(store) == before


@pytest.fixture
def checkpoint(tmp_path):
    def write(clip):
        config = get_preset("tiny")
        config = replace(config, clip=clip, audio=replace(config.audio, window=1.5))
        state = WavFlow(config.model).state_dict()
        write_checkpoint(Checkpoint(config=config, tensors=state), tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    return write


def test_a_checkpoint_sets_the_window_and_refuses_other_encoders(
    rows, store, tmp_path, options, checkpoint, said
):
    table = manifest(tmp_path / "m.csv", rows[:1])
    options = options[:-2]  # without --duration
    fitting = checkpoint(EncoderConfig(architecture="clip_tiny"))
    assert extract(table, store, options, "--checkpoint", fitting) == 0
    assert read(store, "clip000").duration == 1.5
    other = checkpoint(EncoderConfig(architecture="clip_tiny", fingerprint="0123456789ab"))
    assert extract(table, tmp_path / "b", options, "--checkpoint", other) == 2
    assert "0123456789ab" in said()
    assert not (tmp_path / "b" / PLAN).exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--workers", -1), "--workers is -1; give 0 or more"),
        (("--shard-size", 0), "--shard-size is 0; give 1 or more"),
        (("--max-failures", -1), "The share that may fail is -1.0"),
        (("--duration", 0), "duration is 0.0; allowed: seconds above 0, at most 600"),
        (("--clip", "none.safetensors"), "none.safetensors"),
        (("--device", "tpu"), "device is 'tpu'"),
        (("--checkpoint", "none.safetensors"), "none.safetensors"),
    ],
)
def test_options_that_cannot_be_are_told(table, store, options, said, more, message):
    assert extract(table, store, options, *more) == 2
    assert message in said()


def test_a_manifest_that_is_not_there_is_told(tmp_path, store, options, said):
    assert extract(tmp_path / "none.csv", store, options) == 2
    assert not store.exists()
    assert "cannot be read as a CSV file" in said()


def other_version(store):
    text = (store / PLAN).read_text()
    (store / PLAN).write_text(text.replace('"version": 1', '"version": 7'))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda store: (store / PLAN).write_text("{"), "cannot be read as a plan"),
        (lambda store: (store / PLAN).write_text("[]"), "cannot be read as a plan"),
        (other_version, "has version 7 and this WavFlow reads 1; extract into another"),
        (lambda store: (store / PLAN).unlink(), "holds shards without their plan.json"),
        (lambda store: shard_path(store, 0).write_bytes(b"x" * 99), "is not a whole safetensors"),
    ],
)
def test_a_store_that_is_damaged_is_told(table, store, options, said, spoil, message):
    assert extract(table, store, options) == 0
    spoil(store)
    assert extract(table, store, options) == 2
    assert message in said()


def test_a_store_that_is_a_file_is_told(table, store, options, said):
    store.touch()
    assert extract(table, store, options) == 2
    assert f"Cannot write to {str(store)!r}: File exists" in said()


@pytest.mark.skipif(not hasattr(os, "geteuid") or not os.geteuid(), reason="root may write")
@pytest.mark.parametrize("inner", [".", "store"])
def test_a_folder_that_must_not_be_written_is_told(table, tmp_path, options, said, inner):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    store = folder / inner
    assert extract(table, store, options) == 2
    assert f"error: Cannot write to {str(store)!r}: Permission denied." in said()


def test_a_full_disk_stops_the_run_and_leaves_no_part(table, store, options, said, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wavflow_core.tensor_files.save_file", full)
    assert extract(table, store, options) == 2
    assert "No space left on device" in said()
    assert not [path for path in store.iterdir() if "shard" in path.name]


def test_a_worker_that_dies_is_told_with_what_it_read(rows, options, monkeypatch):
    import os

    monkeypatch.setattr("training.decoding.check_sound", lambda row: os._exit(3))
    clips = DecodedClips(rows, [], check_audio=True)
    with pytest.raises(WavFlowError, match=r"has died .* clip000, clip001, clip002.*--workers 0"):
        list(decode(clips, workers=1, start_method="fork"))


def test_a_fault_of_ours_is_not_a_failed_clip(rows, options, table, store, monkeypatch):
    def out_of_memory(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(extract_features, "encode", out_of_memory)
    with pytest.raises(RuntimeError, match="out of memory"):
        extract(table, store, options)


def test_workers_are_as_many_as_the_rank_has_cores_for(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 32)
    assert default_workers() == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert default_workers() == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    assert default_workers() == 1
    with pytest.raises(ConfigError, match="--workers is -1"):
        decode(DecodedClips([], [], check_audio=False), workers=-1)
