"""The judge hears classes, whatever the level, and can be trained again."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.sounds import noise, silence

from training.foley_world import classifier as program
from training.foley_world.classes import CLASSES
from training.foley_world.classifier import SoundsLoss, main
from training.foley_world.classifier_data import Sounds, hear_clips
from training.foley_world.classifier_model import (
    NAMES,
    Classifier,
    class_accuracy,
    label,
    level,
    listen,
    load_classifier,
    save_classifier,
    spectrum,
)
from wavflow_core.errors import CheckpointError


def test_accuracy_is_the_share_of_the_true_classes_among_as_many_most_probable():
    probabilities = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.8, 0.1], [0.2, 0.1, 0.0]])
    labels = torch.tensor([[True, True, False], [True, False, True], [False, True, False]])
    assert class_accuracy(probabilities, labels).tolist() == [1.0, 0.5, 0.0]
    assert class_accuracy(probabilities, torch.zeros(3, 3, dtype=torch.bool)).isnan().all()


def test_the_gain_of_a_sound_does_not_count():
    clip = noise()
    quiet = replace(clip, waveform=clip.waveform * 0.1)
    assert torch.allclose(level(spectrum(clip)), level(spectrum(quiet)), atol=1e-3)


def test_silence_is_silence_and_the_loudest_moment_is_one():
    assert (level(spectrum(silence())) == -1).all()
    assert level(spectrum(noise())).max() == 1


def test_labels_name_the_classes_of_the_table():
    assert set(NAMES) == set(CLASSES)
    assert [NAMES[n] for n in label(["rain", "bell"]).nonzero()[:, 0]] == ["bell", "rain"]


def test_a_network_comes_back_from_its_file_nearly_the_same(tmp_path):
    torch.manual_seed(0)
    model = Classifier().eval()
    path = tmp_path / "c.safetensors"
    save_classifier(model, path, licence="Apache-2.0", training={"steps": 3})
    clips = [noise(1.0), noise(0.5, seed=1)]
    before, after = listen(model, clips), listen(load_classifier(path), clips)
    assert torch.allclose(before.probabilities, after.probabilities, atol=5e-3)
    assert after.embeddings.shape == (2, 64)


def test_files_that_hold_something_else_are_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(CheckpointError, match="There is no file"):
        load_classifier(path)
    save_classifier(Classifier(), path, licence="Apache-2.0", training={})
    tensors = load_file(path)
    save_file(tensors, path, metadata={"format": "something"})
    with pytest.raises(CheckpointError, match="is no classifier of version 1"):
        load_classifier(path)
    wrong = {"format": "foley_world.classifier", "version": "1", "classes": '["cat"]'}
    save_file(tensors, path, metadata=wrong)
    with pytest.raises(CheckpointError, match="other classes"):
        load_classifier(path)
    save_file({"x": torch.zeros(1)}, path, metadata={**wrong, "classes": json.dumps(NAMES)})
    with pytest.raises(CheckpointError, match="is damaged"):
        load_classifier(path)


def test_examples_are_changed_but_stay_what_they_are():
    spectra = torch.full((12, 96, 50), -90.0).half()
    labels = torch.zeros(12, len(NAMES), dtype=torch.bool)
    for row in range(12):
        spectra[row, 8 * (row % 12) : 8 * (row % 12) + 4, 10:20] = -10
        labels[row, row] = True
    loss = SoundsLoss(Classifier(), Sounds(spectra=spectra, labels=labels), batch_size=12, seed=0)
    seen = [loss.batch(torch.Generator().manual_seed(seed)) for seed in range(20)]
    counts = torch.cat([made.sum(dim=1) for _, made in seen])
    assert set(counts.tolist()) == {0.0, 1.0, 2.0}  # nothing, one thing, and two mixed
    changed, _ = seen[0]
    assert changed.shape == spectra.shape
    assert changed.isfinite().all()
    again, _ = loss.batch(torch.Generator().manual_seed(0))
    assert torch.equal(changed, again)


OPTIONS = ["--count", "8", "--checked", "4", "--seconds", "1", "--steps", "4", "--batch-size", "4"]


def test_the_program_gives_the_same_network_again_also_when_it_was_stopped(tmp_path, monkeypatch):
    cache = ["--cache", str(tmp_path / "cache")]
    first, second = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert main(["-o", str(first), *cache, *OPTIONS]) == 0
    with safe_open(first, framework="pt") as file:
        training = json.loads(file.metadata()["training"])
        assert file.metadata()["license"] == "Apache-2.0"
    assert training["seeds"] == {"train": [0, 7], "validation": [10_000_000, 10_000_003]}
    assert set(training["validation_accuracy"]) >= {"all"}
    whole = program.SoundsLoss.__call__

    def stopping(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return whole(self, step)

    monkeypatch.setattr("training.encoders.fit.SAVE_EVERY", 2)
    monkeypatch.setattr(program.SoundsLoss, "__call__", stopping)
    assert main(["-o", str(second), *cache, *OPTIONS]) == 130
    assert not second.exists()
    monkeypatch.setattr(program.SoundsLoss, "__call__", whole)
    assert main(["-o", str(second), *cache, *OPTIONS]) == 0
    one, two = load_file(first), load_file(second)
    assert all(torch.equal(two[name], value) for name, value in one.items())


def test_sounds_are_made_once(tmp_path, monkeypatch):
    made = hear_clips(range(3), tmp_path, seconds=1.0, jobs=1)
    assert made.spectra.shape == (3, 96, 51)
    assert made.labels.any(dim=1).all()
    monkeypatch.setattr("training.foley_world.classifier_data.make_scene", None)
    assert torch.equal(hear_clips(range(3), tmp_path, seconds=1.0, jobs=1).spectra, made.spectra)
