import itertools
import multiprocessing
import re
from dataclasses import replace

import pytest
import torch
from support.training import features, make_clip, make_data, one_process, run_config

from training.data import Clips
from training.distributed import World
from training.loading import Positions, open_batches
from training.manifest import read_manifest, write_manifest
from training.sources import adopt_encoders, read_rows, read_training_rows
from wavflow_core.config import EncoderConfig
from wavflow_core.errors import ConfigError, FeatureError, WavFlowError
from wavflow_core.features.store import save_features
from wavflow_core.model.patchify import to_tokens


def clips_of(manifest, **sections):
    config = run_config(manifest, **sections)
    rows, _ = read_rows(config.data.train, max_failures=1.0)
    return Clips(rows, adopt_encoders(config, rows))


def taken(clips, count, *, first_step):
    with open_batches(clips, one_process(), first_step=first_step) as batches:
        return list(itertools.islice(batches, count))


def same(first, second):
    assert first.ids == second.ids
    for name in ("x_1", "x_0", "t"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    for name in ("clip", "sync", "text", "has_clip", "has_sync", "has_text"):
        assert torch.equal(getattr(first.features, name), getattr(second.features, name)), name


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"), 5)


def test_a_clip_comes_with_its_sound_as_tokens_and_its_features(manifest):
    clips = clips_of(manifest, data={"drop_video": 0.0, "drop_text": 0.0})
    batch = clips[0]
    [row] = [row for row in clips.rows if row.id == batch.ids[0]]
    sound, config = clips.reader.sound(row), clips.config
    tokens = to_tokens(sound, config.audio, num_tokens=80, patch_size=200)
    assert torch.equal(batch.x_1[0], tokens)
    assert torch.equal(batch.features.clip[0], clips.reader.features(row).clip)
    assert batch.features.has_clip.all()
    assert batch.features.has_text.all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_restart_in_the_middle_of_an_epoch_goes_on_with_the_same_batches(manifest, workers):
    clips = clips_of(manifest, data={"workers": 0})
    whole = taken(clips, 6, first_step=0)
    clips = clips_of(manifest, data={"workers": workers})
    rest = taken(clips, 3, first_step=3)
    for first, second in zip(whole[3:], rest, strict=True):
        same(first, second)


def test_processes_and_micro_batches_share_the_same_clips(manifest):
    config = run_config(manifest, optim={"batch_size": 4})
    alone = [i for batch in itertools.islice(Positions(config, one_process()), 3) for i in batch]
    split = replace(config, optim=replace(config.optim, micro_batch=1))
    worlds = [World(rank=rank, size=2, device=torch.device("cpu")) for rank in range(2)]
    streams = [iter(Positions(split, world)) for world in worlds]
    shared = []
    for _ in range(3):
        for stream in streams:
            shared += [i for batch in itertools.islice(stream, 2) for i in batch]
    assert shared == alone == list(range(12))


def test_a_batch_that_processes_cannot_share_evenly_is_refused(manifest):
    config = run_config(manifest, optim={"batch_size": 4})
    world = World(rank=0, size=3, device=torch.device("cpu"))
    with pytest.raises(ConfigError, match="batch_size is 4, which 3 processes cannot share"):
        Positions(config, world)


def test_missing_modalities_are_marked(tmp_path):
    rows = [
        make_clip(tmp_path, "t2a", video=False),
        make_clip(tmp_path, "v2a", text=False),
        make_clip(tmp_path, "vt2a"),
    ]
    write_manifest(rows, tmp_path / "m.csv")
    clips = clips_of(tmp_path / "m.csv", data={"drop_video": 0.0, "drop_text": 0.0})
    shown = {}
    for position in range(3):
        batch = clips[position]
        flags = (batch.features.has_clip, batch.features.has_sync, batch.features.has_text)
        shown[batch.ids[0]] = tuple(bool(flag) for flag in flags)
    assert shown == {
        "t2a": (False, False, True),
        "v2a": (True, True, False),
        "vt2a": (True, True, True),
    }


def test_longer_clips_are_cropped_at_random_with_their_features(tmp_path):
    write_manifest([make_clip(tmp_path, "long", seconds=4.0)], tmp_path / "m.csv")
    clips = clips_of(tmp_path / "m.csv", data={"drop_video": 0.0})
    sound = clips.reader.sound(clips.rows[0])
    whole = clips.reader.features(clips.rows[0])
    starts = set()
    for position in range(12):
        batch = clips[position]
        [hop] = [
            hop
            for hop in range(10)
            if torch.equal(batch.features.sync[0], whole.sync[8 * hop : 8 * hop + 16])
        ]
        start = round(hop * 0.32 * 16000)
        audio = clips.config.audio
        tokens = to_tokens(sound, audio, num_tokens=80, patch_size=200, start=start)
        assert torch.equal(batch.x_1[0], tokens)
        starts.add(hop)
    assert len(starts) > 3


def test_a_file_that_goes_bad_is_named_and_its_place_taken_by_the_next_clip(tmp_path):
    manifest = make_data(tmp_path, 4)
    (tmp_path / "clip2.wav").write_bytes(b"no sound at all")
    clips = clips_of(manifest)
    batches = [clips[position] for position in range(4)]
    names = [batch.ids[0] for batch in batches]
    [bad] = [n for n, batch in enumerate(batches) if batch.failures]
    assert names[bad] == names[(bad + 1) % 4]  # the next of the epoch, not of the table
    assert set(names) == {"clip0", "clip1", "clip3"}
    [failure] = batches[bad].failures
    assert failure.name == "clip2"
    assert "clip2.wav" in failure.reason


def test_data_in_which_nothing_can_be_read_say_why(tmp_path):
    manifest = make_data(tmp_path, 2)
    clips = clips_of(manifest)
    for row in clips.rows:
        row.audio.unlink()
    with pytest.raises(WavFlowError, match=r"2 clips in a row cannot be read. clip.*wav"):
        clips[0]


def test_rows_that_cannot_be_trained_on_are_named_and_counted(tmp_path, caplog):
    manifest = make_data(tmp_path, 6)
    rows, _ = read_manifest(manifest)
    (tmp_path / "clip1.features.safetensors").unlink()
    rows[2] = replace(rows[2], features=None)
    rows[3] = replace(rows[3], audio=None)
    write_manifest([*rows, rows[0]], manifest)
    found, failures = read_rows([str(tmp_path)], max_failures=1.0)
    assert [row.id for row in found] == ["clip0", "clip4", "clip5"]
    reasons = {failure.name: failure.reason for failure in failures.found}
    assert "do not exist" in reasons["clip1"]
    assert "no features of it" in reasons["clip2"]
    assert "no sound of it" in reasons["clip3"]
    assert "same id" in reasons["clip0"]
    assert "Left out clip1" in caplog.text


def test_too_many_rows_that_fail_stop_the_run(tmp_path):
    manifest = make_data(tmp_path, 8)
    for i in range(5):
        (tmp_path / f"clip{i}.features.safetensors").unlink()
    with pytest.raises(WavFlowError, match="4 of 8 samples failed, and 3 may: .*clip3"):
        read_rows([str(manifest)], max_failures=0.25)


def test_no_data_at_all_are_refused():
    with pytest.raises(ConfigError, match="no clip can be used; give manifests, or folders"):
        read_rows([], max_failures=0.1)


def test_clips_to_repeat_come_once_more_in_each_round(tmp_path):
    manifest = make_data(tmp_path, 4)
    rows, _ = read_manifest(manifest)
    write_manifest([rows[2]], tmp_path / "again.csv")
    again = str(tmp_path / "again.csv")
    config = run_config(manifest, data={"repeat": [again, again]})
    found, _ = read_training_rows(config.data)
    assert [row.id for row in found] == ["clip0", "clip1", "clip2", "clip3", "clip2", "clip2"]
    clips = Clips(found, adopt_encoders(config, found))
    for number in (0, 1):
        batches = [clips[6 * number + place] for place in range(6)]
        assert sorted(batch.ids[0] for batch in batches) == sorted(row.id for row in found)
        noises = [batch.x_0 for batch in batches if batch.ids == ("clip2",)]
        assert not torch.equal(noises[0], noises[1])


def test_clips_to_repeat_must_be_trained_on(tmp_path):
    manifest = make_data(tmp_path, 3)
    rows, _ = read_manifest(manifest)
    write_manifest([rows[1], replace(rows[1], id="other")], tmp_path / "again.csv")
    config = run_config(manifest, data={"repeat": [str(tmp_path / "again.csv")]})
    with pytest.raises(ConfigError, match=r"data.repeat names 'other' in .*again.csv.*not a clip"):
        read_training_rows(config.data)


def test_clips_to_repeat_that_cannot_be_used_are_left_out(tmp_path):
    manifest = make_data(tmp_path, 4)
    (tmp_path / "clip1.features.safetensors").unlink()
    config = run_config(manifest, data={"repeat": [str(manifest)], "max_failures": 0.5})
    found, failures = read_training_rows(config.data)
    assert [row.id for row in found] == ["clip0", "clip2", "clip3"] * 2
    assert [failure.name for failure in failures.found] == ["clip1"]


def test_the_encoders_of_the_features_enter_the_configuration(manifest):
    config = clips_of(manifest).config
    assert config.clip.fingerprint == "c" * 16
    assert config.sync.fingerprint == "5" * 16


def test_a_new_model_is_as_wide_as_the_features_of_a_store(manifest, caplog):
    caplog.set_level("INFO")
    config = run_config(manifest, model={"sync_dim": 32}, clip={"architecture": "another"})
    rows, _ = read_rows(config.data.train, max_failures=0.1)
    adopted = adopt_encoders(config, rows)
    assert adopted.model.sync_dim == 64
    assert adopted.clip.architecture == "clip_tiny"
    assert "widths follow the features of clip_tiny" in caplog.text


def test_widths_are_found_also_where_many_clips_have_a_caption_alone(tmp_path):
    rows = [make_clip(tmp_path, f"told{n:02}", video=False) for n in range(17)]
    write_manifest([*rows, make_clip(tmp_path, "seen")], tmp_path / "m.csv")
    config = run_config(tmp_path / "m.csv", model={"sync_dim": 32, "clip_dim": 32})
    rows, _ = read_rows(config.data.train, max_failures=0.1)
    adopted = adopt_encoders(config, rows)
    assert (adopted.model.sync_dim, adopted.model.clip_dim) == (64, 64)


def test_features_of_other_encoders_than_the_first_are_left_out(tmp_path):
    manifest = make_data(tmp_path, 4)
    other = EncoderConfig(architecture="clip_tiny", fingerprint="f" * 16)
    save_features(
        replace(features("clip2"), clip_encoder=other), tmp_path / "clip2.features.safetensors"
    )
    batches = [clips_of(manifest)[position] for position in range(4)]
    [failure] = [failure for batch in batches for failure in batch.failures]
    assert failure.name == "clip2"
    assert "The CLIP encoder given is clip_tiny (ffffffffffffffff)" in failure.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sync": torch.zeros(16, 32)}, r"sync features have shape \(16, 32\).*\(16, 64\)"),
        ({"clip": torch.zeros(7, 64)}, "have 7 CLIP rows and 16 sync rows .* needs 8 and 16"),
        ({"text": torch.zeros(5, 64)}, r"text features have shape \(5, 64\)"),
    ],
)
def test_features_of_another_shape_are_left_out_with_the_reason(tmp_path, change, reason):
    manifest = make_data(tmp_path, 3)
    wrong = replace(features("clip2"), **change)
    save_features(wrong, tmp_path / "clip2.features.safetensors")
    batches = [clips_of(manifest)[position] for position in range(3)]
    [failure] = [failure for batch in batches for failure in batch.failures]
    assert re.search(reason, failure.reason)


def test_features_that_cannot_be_read_at_all_are_told(tmp_path):
    manifest = make_data(tmp_path, 2)
    for path in tmp_path.glob("*.features.safetensors"):
        path.write_bytes(b"damaged")
    config = run_config(manifest)
    rows, _ = read_rows(config.data.train, max_failures=0.1)
    with pytest.raises(FeatureError, match="features of the first clips cannot be used. clip1: "):
        adopt_encoders(config, rows)


def test_a_folder_that_is_no_store_is_told(tmp_path):
    with pytest.raises(ConfigError, match="data.train names the folder .* which has no manifest"):
        read_rows([str(tmp_path)], max_failures=0.1)


def test_a_process_that_reads_and_is_killed_is_told(manifest):
    clips = clips_of(manifest, data={"workers": 1})

    def read():
        with open_batches(clips, one_process(), first_step=0) as batches:
            next(batches)
            for child in multiprocessing.active_children():
                child.kill()
            list(batches)

    with pytest.raises(WavFlowError, match="process that reads clips has ended .* data.workers"):
        read()


def test_a_process_that_ends_while_it_hands_over_a_batch_is_told(manifest):
    clips = clips_of(manifest, data={"workers": 0})
    with (
        pytest.raises(WavFlowError, match="process that reads clips has ended .*reset by peer"),
        open_batches(clips, one_process(), first_step=0),
    ):
        raise ConnectionResetError(104, "Connection reset by peer")


def test_overfitting_takes_the_first_clips_alone(manifest):
    clips = clips_of(manifest, data={"overfit": 2})
    assert {clips[position].ids[0] for position in range(8)} == {"clip0", "clip1"}
