import pytest
import torch
from support import golden

from wavflow_core.config import AudioConfig, num_samples
from wavflow_core.model.patchify import normalize, to_tokens, to_waveform

TENSORS, METADATA = golden.load("audio_tokens.safetensors")
PATCH = 200
UNCLIPPED = AudioConfig(normalization="unclipped")


@pytest.mark.parametrize("case", METADATA["cases"])
def test_tokens_of_the_reference_normalisation_equal_the_golden(case):
    about, waveform = METADATA["cases"][case], TENSORS[f"{case}.in"]
    rate = about["target_sr"]
    if about["sr"] != rate:
        # The golden's resampler; where it does not import, another one cannot be bit-equal.
        resample = pytest.importorskip("torchaudio.functional", exc_type=Exception).resample
        waveform = resample(waveform.mean(0, keepdim=True), about["sr"], rate)
    expected = TENSORS[f"{case}.tokens"]
    tokens = to_tokens(
        waveform, AudioConfig(sample_rate=rate), num_tokens=len(expected), patch_size=PATCH
    )
    assert -(-num_samples(about["duration"], rate) // PATCH) == len(expected)
    assert tokens.shape == expected.shape
    assert (tokens - expected).abs().max() <= 2e-5


@pytest.mark.parametrize("config", [AudioConfig(), UNCLIPPED], ids=lambda c: c.normalization)
def test_tokens_become_the_normalised_waveform_again(config):
    waveform = 0.05 * torch.randn(1, 999, generator=torch.Generator().manual_seed(0))
    tokens = to_tokens(waveform, config, num_tokens=5, patch_size=PATCH)
    back = to_waveform(tokens[None], config, samples=999)
    assert torch.allclose(back, normalize(waveform[0], config)[None], atol=1e-6)
    assert tokens.std().item() == pytest.approx(1.0, abs=0.02)


def test_the_unclipped_normalisation_keeps_the_crest_that_the_reference_clips():
    clicks = torch.zeros(16000)
    clicks[::1600] = 0.5
    clicks[800::1600] = -0.25
    kept, clipped = normalize(clicks, UNCLIPPED), normalize(clicks, AudioConfig())
    assert (kept[0] / kept[800]).item() == pytest.approx(-2.0)
    assert clipped[0].item() == 1.0
    assert clipped[800].item() == -1.0


def test_silence_stays_silent():
    for config in (AudioConfig(), UNCLIPPED):
        assert not normalize(torch.zeros(100), config).any()
