"""The bundled files: what they are called, where they are looked for, and what is published."""

import hashlib

import pytest
from support.bundled import need_files, need_trained

from wavflow_core.checkpoint import read_checkpoint
from wavflow_core.config import EncoderConfig
from wavflow_core.errors import CheckpointError
from wavflow_core.features import load_clip, load_synchformer
from wavflow_core.weights import BUNDLED, WEIGHTS, bundled, bundled_encoder, bundled_file

MOST = 40_000_000  # bytes of all bundled files


def test_the_bundled_video_is_the_one_of_the_table():
    path, known = bundled_file("video"), BUNDLED["video"]
    assert path.stat().st_size == known.size
    assert hashlib.sha256(path.read_bytes()).hexdigest() == known.sha256
    assert bundled.is_as_published("video") is True


@pytest.mark.parametrize("kind", WEIGHTS)
def test_bundled_weights_are_those_of_the_table_and_of_the_model_card(kind):
    need_trained()
    path, known = bundled_file(kind), BUNDLED[kind]
    found = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    told = 'wavflow_core/weights/bundled.py should say size={}, sha256="{}"'.format(*found)
    assert (known.size, known.sha256) == found, told
    card = (bundled.ASSETS / "MODEL_CARD.md").read_text()
    assert known.filename in card
    assert known.sha256 in card
    assert "Apache-2.0" in card


def test_all_bundled_files_together_are_small():
    need_files()
    assert sum(path.stat().st_size for path in bundled.ASSETS.iterdir()) < MOST


def test_the_bundled_checkpoint_names_the_bundled_encoders():
    need_files()
    config = read_checkpoint(bundled_file("model")).config
    assert config.clip == load_clip(bundled_file("clip")).config
    assert config.sync == load_synchformer(bundled_file("synchformer")).config
    assert None not in (config.clip.fingerprint, config.sync.fingerprint)
    assert config.audio.sample_rate == 16000
    assert config.audio.window == 4.0


def test_the_bundled_weights_say_what_they_were_trained_on_and_their_licence():
    need_trained()
    about = read_checkpoint(bundled_file("model")).provenance
    assert "FoleyWorld" in (about.data or "")
    assert about.license == "Apache-2.0"


@pytest.mark.parametrize("kind", BUNDLED)
def test_a_bundled_file_that_is_not_there_is_named_with_what_to_do(kind, monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "ASSETS", tmp_path)
    with pytest.raises(CheckpointError) as error:
        bundled_file(kind)
    assert BUNDLED[kind].filename in str(error.value)
    assert "clone of the repository" in str(error.value)
    assert f"give a {BUNDLED[kind].what} of your own" in str(error.value)


def test_the_bundled_encoder_is_found_by_the_weights_that_a_checkpoint_names(assets):
    config = read_checkpoint(bundled_file("model")).config
    assert bundled_encoder("clip", config.clip) == bundled_file("clip")
    assert bundled_encoder("synchformer", config.sync) == bundled_file("synchformer")


def test_no_bundled_encoder_is_taken_for_a_checkpoint_that_names_others_or_none(assets):
    name = read_checkpoint(bundled_file("model")).config.clip.architecture
    assert bundled_encoder("clip", EncoderConfig(architecture=name)) is None
    other = EncoderConfig(architecture=name, fingerprint="0" * 12)
    assert bundled_encoder("clip", other) is None


def test_no_bundled_encoder_is_missed_where_there_is_none(assets, monkeypatch, tmp_path):
    expected = read_checkpoint(bundled_file("model")).config.clip
    monkeypatch.setattr(bundled, "ASSETS", tmp_path)
    assert bundled_encoder("clip", expected) is None


def test_whether_a_file_is_as_published_is_known_by_its_hash(assets, monkeypatch):
    content = bundled_file("clip").read_bytes()
    cases = [
        (None, None, None),
        (len(content), hashlib.sha256(content).hexdigest(), True),
        (len(content), "0" * 64, False),
        (1, hashlib.sha256(content).hexdigest(), False),
    ]
    for size, digest, expected in cases:
        known = bundled.BundledFile(
            filename=BUNDLED["clip"].filename, what="CLIP", size=size, sha256=digest
        )
        monkeypatch.setattr(bundled, "BUNDLED", {**BUNDLED, "clip": known})
        assert bundled.is_as_published("clip") is expected
