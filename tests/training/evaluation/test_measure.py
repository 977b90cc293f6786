"""One sound is measured alone and against what is known of it; many are summed up."""

import json
import math

import pytest
import torch

from training.evaluation.embeddings import Embeddings, compare_embeddings, read_embeddings
from training.evaluation.measure import METRICS, measure_sound
from training.evaluation.report import records, summarize, table, values_table, write_json
from wavflow_core.errors import WavFlowError
from wavflow_core.media.audio import AudioClip
from wavflow_core.tensor_files import write_safetensors

RATE = 16000


def clicks(times, seconds=3.0, rate=RATE):
    sound = torch.zeros(1, int(seconds * rate))
    for time in times:
        sound[0, round(time * rate)] = 0.5
    return AudioClip(waveform=sound, sample_rate=rate)


def test_a_sound_against_itself_is_perfect():
    clip = clicks([0.5, 1.2, 2.0])
    numbers = measure_sound("a", clip, original=clip).numbers()
    assert set(numbers) == set(METRICS)
    assert numbers["onset_f1"] == 1
    assert numbers["onsets"] == 3
    assert numbers["log_mel_distance"] == 0
    assert numbers["log_mel_correlation"] == pytest.approx(1)
    assert numbers["duration"] == 3


def test_a_sound_alone_has_no_agreement():
    numbers = measure_sound("a", clicks([1.0])).numbers()
    missing = {name for name, value in numbers.items() if value is None}
    assert missing == {
        "onset_precision",
        "onset_recall",
        "onset_f1",
        "log_mel_distance",
        "log_mel_correlation",
    }


def test_silence_has_no_true_peak_and_that_is_no_infinity_in_the_file():
    numbers = measure_sound("a", clicks([])).numbers()
    assert numbers["true_peak"] is None
    assert numbers["silent"] == 1


def test_given_times_go_before_those_of_the_original():
    clip = clicks([0.5, 1.2])
    measured = measure_sound("a", clip, original=clip, times=[0.5, 1.2, 2.0, 2.5])
    assert measured.expected == [0.5, 1.2, 2.0, 2.5]
    assert measured.agreement.recall == 0.5
    assert measured.distance == 0


def test_times_after_the_end_are_not_expected():
    assert measure_sound("a", clicks([0.5]), times=[0.5, 3.5]).agreement.f1 == 1


def test_a_given_time_near_the_beginning_counts():
    assert measure_sound("a", clicks([0.05, 1.0]), times=[0.05, 1.0]).agreement.matched == 2


def test_the_beginning_of_an_original_does_not_count():
    result, original = clicks([1.0]), clicks([0.05, 1.0])
    assert measure_sound("a", result, original=original).agreement.f1 == 1
    assert measure_sound("a", original, original=result).agreement.f1 == 1


def test_only_the_common_beginning_is_compared():
    short, long = clicks([0.5, 1.2], seconds=2.0), clicks([0.5, 1.2, 2.5], seconds=3.0)
    for result, original in ((short, long), (long, short)):
        measured = measure_sound("a", result, original=original)
        assert measured.agreement.f1 == 1
        assert measured.distance == pytest.approx(0, abs=1e-4)


def test_rates_and_channels_may_differ():
    other = clicks([0.5, 1.2], rate=48000)
    stereo = AudioClip(waveform=other.waveform.repeat(2, 1), sample_rate=48000)
    assert measure_sound("a", clicks([0.5, 1.2]), original=stereo).agreement.f1 == 1


def test_the_tolerance_is_the_callers():
    late = clicks([0.58, 1.28])
    assert measure_sound("a", late, times=[0.5, 1.2]).agreement.f1 == 0
    assert measure_sound("a", late, times=[0.5, 1.2], tolerance=0.1).agreement.f1 == 1


def test_the_summary_has_mean_median_and_count_of_those_that_have_the_number():
    some = [
        measure_sound("a", clicks([0.5, 1.0]), times=[0.5, 1.0]),
        measure_sound("b", clicks([0.5]), times=[2.0]),
        measure_sound("c", clicks([], seconds=1.0)),
    ]
    summary = summarize(some)
    assert summary["onset_f1"] == {"mean": 0.5, "median": 0.5, "count": 2}
    assert summary["duration"] == {"mean": pytest.approx(7 / 3), "median": 3, "count": 3}
    assert summary["true_peak"]["count"] == 2
    assert summary["onset_f1_pooled"] == {"mean": pytest.approx(2 * 2 / 6), "count": 2}
    assert "log_mel_distance" not in summary


def test_the_table_has_a_line_for_each_number():
    summary = summarize([measure_sound("a", clicks([0.5]), times=[0.5])])
    lines = table(summary).splitlines()
    assert lines[0].split() == ["mean", "median", "sounds"]
    assert len(lines) == 1 + len(summary)
    assert any(line.split() == ["onset", "F1", "1.000", "1.000", "1"] for line in lines)
    assert values_table({"FD": 1.5}).split() == ["FD", "1.5000"]


def test_the_file_says_what_it_is_and_holds_the_moments(tmp_path):
    measured = measure_sound("ü", clicks([0.5]), times=[0.5, 1.0])
    write_json({"clips": records([measured])}, tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (content["format"], content["version"]) == ("wavflow.evaluation", 1)
    [clip] = content["clips"]
    assert clip["id"] == "ü"
    assert clip["onset_times"] == [pytest.approx(0.5, abs=0.002)]
    assert clip["expected_times"] == [0.5, 1.0]
    assert clip["onset_recall"] == 0.5


def probabilities(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 6, generator=generator).softmax(dim=1)


def test_embeddings_are_read_and_compared(tmp_path):
    generator = torch.Generator().manual_seed(0)
    made = {
        "embeddings": torch.randn(30, 4, generator=generator),
        "probabilities": probabilities(30, 1),
    }
    write_safetensors(made, {}, tmp_path / "a.safetensors")
    results = read_embeddings(tmp_path / "a.safetensors")
    values = compare_embeddings(results, results)
    assert values["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert values["kl_divergence"] == pytest.approx(0, abs=1e-6)
    assert 1 < values["inception_score"] < 6
    assert set(values) == {
        "frechet_distance",
        "inception_score",
        "inception_score_std",
        "kl_divergence",
    }


def test_without_probabilities_or_pairs_there_is_less_to_compare():
    plain = Embeddings(embeddings=torch.randn(9, 2))
    assert set(compare_embeddings(plain, plain)) == {"frechet_distance"}
    few = Embeddings(embeddings=torch.randn(9, 2), probabilities=probabilities(9, 0))
    more = Embeddings(embeddings=torch.randn(12, 2), probabilities=probabilities(12, 0))
    assert "kl_divergence" not in compare_embeddings(few, more)
    assert math.isfinite(compare_embeddings(few, more)["inception_score"])


def test_files_without_embeddings_are_explained(tmp_path):
    with pytest.raises(WavFlowError, match="There is no file"):
        read_embeddings(tmp_path / "none.safetensors")
    write_safetensors({"weights": torch.zeros(2)}, {}, tmp_path / "w.safetensors")
    with pytest.raises(WavFlowError, match=r"holds weights; it must hold 'embeddings' \(M, D\)"):
        read_embeddings(tmp_path / "w.safetensors")
