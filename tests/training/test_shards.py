"""Features in files: shards, files of one sample, and the published system's."""

import json
import multiprocessing
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training import feature_store
from training.feature_store import FORMAT, FeatureReader, Settings, ShardWriter, read_shard_info
from training.manifest import Row
from wavflow_core.batch import Failure
from wavflow_core.config import EncoderConfig
from wavflow_core.errors import ConfigError, FeatureError
from wavflow_core.features.store import Features, save_features

SETTINGS = Settings(
    duration=2.0,
    storage="fp32",
    clip_encoder=EncoderConfig(architecture="eye", fingerprint="abc"),
    sync_encoder=EncoderConfig(architecture="motion"),
)


def features(seed, *, text=True, picture=True):
    generator = torch.Generator().manual_seed(seed)
    return Features(
        clip=torch.randn(16, 6, generator=generator) if picture else None,
        sync=torch.randn(8, 4, generator=generator) if picture else None,
        text=torch.randn(5, 6, generator=generator) if text else None,
        duration=2.0,
    )


def shard(path, settings=SETTINGS, count=3):
    writer = ShardWriter(settings)
    for n in range(count):
        caption = 'a, "b"\nü 音' if n else ""
        row = Row(id=f"sub/ü {n}", caption=caption, video=Path("x.mp4"), start=n / 3)
        writer.add(row, features(n, text=n > 0, picture=n < 2))
    writer.fail(Failure(name="bad", reason="it was, alas, empty"))
    writer.write(path)
    return path


def same(one, other):
    return one is other is None or torch.equal(one, other)


def test_a_shard_gives_back_every_value_in_fp32(tmp_path):
    path = shard(tmp_path / "a.safetensors")
    reader = FeatureReader(duration=8.0)
    for n in range(3):
        wanted, got = features(n, text=n > 0, picture=n < 2), reader.read(path, f"sub/ü {n}")
        assert all(
            same(getattr(got, name), getattr(wanted, name)) for name in feature_store.TENSORS
        )
        assert got.duration == 2.0
        assert (got.clip_encoder, got.sync_encoder) == (
            SETTINGS.clip_encoder,
            SETTINGS.sync_encoder,
        )


def test_bf16_is_half_the_size_and_within_its_rounding(tmp_path):
    path = shard(tmp_path / "a.safetensors", replace(SETTINGS, storage="bf16"))
    got, wanted = FeatureReader(duration=8.0).read(path, "sub/ü 1"), features(1)
    assert got.clip.dtype == torch.float32
    torch.testing.assert_close(got.clip, wanted.clip, rtol=2**-8, atol=0)
    assert torch.equal(got.text, wanted.text.bfloat16().float())


def test_equal_shards_are_equal_files(tmp_path):
    files = {shard(tmp_path / f"{n}.safetensors").read_bytes() for n in range(8)}
    assert len(files) == 1


def test_a_shard_says_its_rows_and_failures(tmp_path):
    info = read_shard_info(shard(tmp_path / "a.safetensors"))
    assert info.settings == SETTINGS
    assert [row.id for row in info.rows] == ["sub/ü 0", "sub/ü 1", "sub/ü 2"]
    assert info.rows[1].caption == 'a, "b"\nü 音'
    assert info.rows[1].start == 1 / 3
    assert info.rows[1].video == Path("x.mp4").resolve()
    assert info.failures == (Failure(name="bad", reason="it was, alas, empty"),)


def test_a_shard_in_which_all_failed_can_be_read(tmp_path):
    info = read_shard_info(shard(tmp_path / "a.safetensors", count=0))
    assert info.rows == ()
    assert len(info.failures) == 1


def test_features_can_be_changed_without_changing_the_file(tmp_path):
    path = shard(tmp_path / "a.safetensors")
    reader = FeatureReader(duration=8.0)
    reader.read(path, "sub/ü 1").clip.zero_()
    assert torch.equal(reader.read(path, "sub/ü 1").clip, features(1).clip)


def test_only_so_many_shards_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "MAX_OPEN", 2)
    paths = [shard(tmp_path / f"{n}.safetensors") for n in range(4)]
    reader = FeatureReader(duration=8.0)
    for path in (*paths, *paths):
        reader.read(path, "sub/ü 1")
        assert len(reader._open) <= 2


def test_a_reader_can_be_pickled_and_forgets_what_was_open(tmp_path):
    path = shard(tmp_path / "a.safetensors")
    reader = FeatureReader(duration=3.0)
    reader.read(path, "sub/ü 1")
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.duration == 3.0
    assert not copy._open
    assert torch.equal(copy.read(path, "sub/ü 1").clip, features(1).clip)


def read_sum(reader, path):
    reader_open = len(reader._open)
    return float(reader.read(path, "sub/ü 1").clip.sum()), reader_open


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_open_files_for_themselves(tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    path = shard(tmp_path / "a.safetensors")
    reader = FeatureReader(duration=3.0)
    reader.read(path, "sub/ü 1")
    with multiprocessing.get_context(method).Pool(1) as pool:
        total, _ = pool.apply(read_sum, (reader, path))
    assert total == float(features(1).clip.sum())


def test_a_file_of_one_sample_is_read_whatever_the_id(tmp_path):
    save_features(features(4), tmp_path / "one.safetensors")
    got = FeatureReader(duration=8.0).read(tmp_path / "one.safetensors", "any")
    assert torch.equal(got.sync, features(4).sync)
    assert got.duration == 2.0


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_the_published_systems_file_is_read(tmp_path, suffix):
    made = features(5)
    path = tmp_path / f"x{suffix}"
    torch.save({"clip_features": made.clip.half(), "text_features": made.text, "id": "x"}, path)
    got = FeatureReader(duration=7.5).read(path, "x")
    assert torch.equal(got.clip, made.clip.half().float())
    assert got.sync is None
    assert torch.equal(got.text, made.text)
    assert (got.duration, got.clip_encoder) == (7.5, None)


def damaged(path):
    whole = shard(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def of_version(path, version):
    content = {"version": version, "settings": {}, "rows": [], "failures": []}
    save_file({"x": torch.ones(1)}, path, metadata={FORMAT: json.dumps(content)})


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.safetensors", lambda path: None, "there is no such file"),
        ("a.safetensors", damaged, "not a whole safetensors file"),
        (
            "a.safetensors",
            lambda path: of_version(path, 9),
            "has version 9 and this WavFlow reads 1",
        ),
        ("a.safetensors", lambda path: of_version(path, 1), "damaged metadata"),
        (
            "a.safetensors",
            lambda path: save_file({"x": torch.ones(1)}, path),
            "holds no WavFlow features",
        ),
        (
            "a.safetensors",
            shard,
            "does not hold this clip; extract it again. It failed: it was, alas",
        ),
        ("a.npy", lambda path: path.touch(), "its suffix is '.npy'"),
        ("a.pth", lambda path: path.write_bytes(b"PK junk"), "is not"),
        ("a.pth", lambda path: torch.save({"clip": torch.ones(2)}, path), "it holds clip; it must"),
        (
            "a.pth",
            lambda path: torch.save({}, path),
            "it holds nothing; it must hold any of clip_f",
        ),
        (
            "a.pth",
            lambda path: torch.save({"clip_features": [1.0]}, path),
            "clip_features is a list; it must be a tensor",
        ),
        (
            "a.pth",
            lambda path: torch.save({"clip_features": torch.full((2, 2), torch.nan)}, path),
            "not finite",
        ),
    ],
)
def test_what_cannot_be_read_names_file_clip_and_reason(tmp_path, name, make, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(FeatureError, match=re.escape(message)) as error:
        FeatureReader(duration=8.0).read(path, "bad")
    assert str(error.value).startswith(f"Features of 'bad' in {str(path)!r}: ")


def test_a_shard_says_which_clip_it_does_not_hold(tmp_path):
    path = shard(tmp_path / "a.safetensors")
    with pytest.raises(FeatureError, match="of 'other' in .* does not hold this clip"):
        FeatureReader(duration=8.0).read(path, "other")


def test_settings_are_checked():
    with pytest.raises(ConfigError, match=r"storage is 'fp8'; allowed: bf16, fp32"):
        Settings(duration=8.0, storage="fp8")
    with pytest.raises(FeatureError, match="duration is 0"):
        Settings(duration=0, storage="bf16")
    with pytest.raises(FeatureError, match="duration is -1"):
        FeatureReader(duration=-1)
