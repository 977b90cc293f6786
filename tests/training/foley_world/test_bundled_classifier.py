"""The judge that comes with the project hears what it should, and is not fooled easily."""

from pathlib import Path

import pytest
import torch
from support.sounds import noise, silence

from training.foley_world.classifier_data import hear_clips
from training.foley_world.classifier_model import (
    class_accuracy,
    hear_spectra,
    listen,
    load_classifier,
)

BUNDLED = Path(__file__).parents[3] / "assets" / "foley_classifier.safetensors"
TEST = 20_000_000


@pytest.fixture(scope="module")
def bundled():
    return load_classifier(BUNDLED)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    seeds = range(TEST + 5000, TEST + 5080)
    return hear_clips(seeds, tmp_path_factory.mktemp("spectra"), seconds=4.0, jobs=1)


def test_the_bundled_judge_hears_the_classes_of_real_sound(bundled, real):
    heard = hear_spectra(bundled, real.spectra)
    right = class_accuracy(heard.probabilities, real.labels)
    assert right.mean() >= 0.97
    assert BUNDLED.stat().st_size < 1_500_000


def test_the_bundled_judge_hears_through_some_noise(bundled, real):
    loudest = real.spectra.float().amax((1, 2), True)
    hiss = (
        loudest - 30 + torch.randn(real.spectra.shape, generator=torch.Generator().manual_seed(0))
    )
    noisy = 10 * torch.log10(10 ** (real.spectra.float() / 10) + 10 ** (hiss / 10))
    right = class_accuracy(hear_spectra(bundled, noisy).probabilities, real.labels)
    assert right.mean() >= 0.85


def test_the_bundled_judge_is_sure_of_nothing_in_noise_and_silence(bundled):
    clips = [silence(), *(noise(seed=seed) for seed in range(3))]
    assert listen(bundled, clips).probabilities.max() < 0.5
