"""Distances of distributions agree with closed forms, scipy and torchmetrics."""

import math

import pytest
import torch

from training.evaluation.distances import (
    Gaussian,
    fit_gaussian,
    frechet_distance,
    inception_score,
    kl_divergence,
)
from wavflow_core.errors import WavFlowError

CLASSES = 7


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def probabilities(rows, seed=0, spread=2.0):
    return (spread * normal(rows, CLASSES, seed=seed)).softmax(dim=1)


def gaussian(mean, covariance):
    return Gaussian(
        mean=torch.tensor(mean, dtype=torch.float64),
        covariance=torch.tensor(covariance, dtype=torch.float64),
    )


def test_mean_and_covariance_are_those_of_the_samples():
    embeddings = normal(50, 4)
    fitted = fit_gaussian(embeddings.float())
    assert fitted.mean.dtype == torch.float64
    assert fitted.mean == pytest.approx(embeddings.mean(dim=0), abs=1e-6)
    assert fitted.covariance == pytest.approx(torch.cov(embeddings.T), abs=1e-6)


def test_equal_sets_have_no_distance_and_a_shift_its_square():
    embeddings = normal(100, 6)
    assert frechet_distance(embeddings, embeddings) == pytest.approx(0, abs=1e-9)
    shift = torch.tensor([1.0, 2.0, 0, 0, 0, -2.0], dtype=torch.float64)
    assert frechet_distance(embeddings, embeddings + shift) == pytest.approx(9)


def test_in_one_dimension_it_is_the_difference_of_means_and_of_deviations():
    first, second = gaussian([1.0], [[4.0]]), gaussian([4.0], [[25.0]])
    assert frechet_distance(first, second) == pytest.approx(3**2 + (5 - 2) ** 2)


def test_of_diagonal_covariances_it_is_the_difference_of_deviations():
    first = gaussian([0.0, 0.0], [[4.0, 0.0], [0.0, 9.0]])
    second = gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]])
    assert frechet_distance(first, second) == pytest.approx((2 - 1) ** 2 + 3**2)


def test_a_scale_is_as_computed_by_hand():
    # S2 = 9 S1, so (S1 S2)^1/2 = 3 S1 and the distance is Tr(S1) (1 + 9 - 6).
    embeddings = normal(200, 5)
    embeddings -= embeddings.mean(dim=0)
    trace = fit_gaussian(embeddings).covariance.trace().item()
    assert frechet_distance(embeddings, 3 * embeddings) == pytest.approx(4 * trace)


@pytest.mark.parametrize(("rows", "dimensions"), [(300, 8), (300, 64), (20, 64)])
def test_it_agrees_with_the_matrix_root_of_scipy(rows, dimensions):
    linalg = pytest.importorskip("scipy.linalg")
    mixing = normal(dimensions, dimensions, seed=3) / math.sqrt(dimensions)
    first = normal(rows, dimensions, seed=1) @ mixing
    second = 0.3 + normal(rows + 7, dimensions, seed=2) @ mixing.T
    one, other = fit_gaussian(first), fit_gaussian(second)
    root = linalg.sqrtm(one.covariance.numpy() @ other.covariance.numpy())
    expected = (one.mean - other.mean).square().sum() + one.covariance.trace()
    expected += other.covariance.trace() - 2 * torch.from_numpy(root.real.copy()).trace()
    rel = 1e-8 if rows > dimensions else 1e-4  # scipy's root of singular matrices is less exact
    assert frechet_distance(first, second) == pytest.approx(expected.item(), rel=rel)
    assert frechet_distance(second, first) == pytest.approx(expected.item(), rel=rel)


def test_it_agrees_with_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.fid")

    class Identity(torch.nn.Module):
        num_features = 12

        def forward(self, x):
            return x

    metric = image.FrechetInceptionDistance(feature=Identity())
    metric.set_dtype(torch.float64)
    first, second = normal(60, 12, seed=1), 1.5 * normal(80, 12, seed=2) + 0.2
    metric.update(first, real=True)
    metric.update(second, real=False)
    assert frechet_distance(first, second) == pytest.approx(metric.compute().item(), rel=1e-5)


def test_the_inception_score_is_one_where_all_are_alike_and_the_classes_where_each_is_one():
    alike = probabilities(1).expand(30, -1)
    assert inception_score(alike, splits=3).mean == pytest.approx(1)
    each = torch.eye(CLASSES).repeat(10, 1)
    score = inception_score(each, splits=1)
    assert score.mean == pytest.approx(CLASSES)
    assert score.std == 0
    # In order, each part of seven has every class once.
    score = inception_score(each, splits=10, seed=None)
    assert (score.mean, score.std) == (pytest.approx(CLASSES), pytest.approx(0))


def test_the_order_is_shuffled_by_the_seed_alone():
    given = probabilities(95)
    assert inception_score(given, seed=1) == inception_score(given, seed=1)
    assert inception_score(given, seed=1) != inception_score(given, seed=2)
    assert inception_score(given, seed=1, splits=1).mean == pytest.approx(
        inception_score(given, seed=2, splits=1).mean
    )


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save")
def test_the_inception_score_agrees_with_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.inception")
    logits = 2 * normal(100, CLASSES)
    metric = image.InceptionScore(feature=torch.nn.Identity(), splits=10)
    metric.update(logits)
    torch.manual_seed(4)  # its order comes from the global generator
    mean, std = metric.compute()
    score = inception_score(logits.softmax(dim=1), splits=10, seed=4)
    assert score.mean == pytest.approx(mean.item(), rel=1e-6)
    # Its deviation is that of a sample (over n - 1), the paper's that of the population.
    assert score.std == pytest.approx(std.item() * math.sqrt(9 / 10), rel=1e-6)


def test_the_divergence_is_as_computed_by_hand():
    first = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    second = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    one = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert kl_divergence(first, second) == pytest.approx((one + math.log(2)) / 2)
    assert kl_divergence(first, first) == pytest.approx(0, abs=1e-12)


def test_the_divergence_agrees_with_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics")
    first, second = probabilities(40, seed=1), probabilities(40, seed=2)
    expected = torchmetrics.KLDivergence()(first, second).item()
    assert kl_divergence(first, second) == pytest.approx(expected, rel=1e-6)


def test_an_impossible_class_is_costly_and_not_infinite():
    value = kl_divergence(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    assert value == pytest.approx(-math.log(1e-12))


def test_half_precision_is_taken():
    given = probabilities(20).half()
    assert kl_divergence(given, given) == pytest.approx(0, abs=1e-6)
    assert inception_score(given, splits=2).mean > 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_gaussian(normal(1, 4)), r"shape \(1, 4\); they must be \(M, D\), M 2 or more"),
        (lambda: fit_gaussian(normal(5)), r"shape \(5,\)"),
        (lambda: fit_gaussian(torch.full((3, 2), math.nan)), "hold NaN or infinite values"),
        (lambda: frechet_distance(normal(9, 4), normal(9, 5)), "of 4 and of 5 dimensions"),
        (lambda: gaussian([0.0], [[1.0, 0.0], [0.0, 1.0]]), r"must be \(D,\) and \(D, D\)"),
        (lambda: gaussian([math.inf], [[1.0]]), "mean holds NaN or infinite"),
        (
            lambda: Gaussian(mean=torch.zeros(1), covariance=torch.zeros(1, 1)),
            "mean is torch.float32; it must be torch.float64",
        ),
        (lambda: inception_score(probabilities(5)), "splits is 10; it must be 1 to .* 5"),
        (lambda: inception_score(probabilities(5), splits=0), "splits is 0"),
        (lambda: inception_score(normal(20, 5)), "Apply softmax to logits first"),
        (lambda: inception_score(torch.ones(20, 5)), "a sum is off by 4"),
        (lambda: inception_score(torch.full((20, 5), math.nan)), "off by nan"),
        (lambda: inception_score(torch.ones(5)), r"shape \(5,\); they must be \(M, C\)"),
        (lambda: kl_divergence(probabilities(3), probabilities(4)), "row i of both must belong"),
    ],
)
def test_mistakes_are_explained(call, message):
    with pytest.raises(WavFlowError, match=message):
        call()
