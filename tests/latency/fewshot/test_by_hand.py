"""Parts of the few-shot predictor against their definitions, computed another way."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from hwnas.errors import DataError
from hwnas.latency.fewshot.choosing import Beliefs, most_informative
from hwnas.latency.fewshot.evidence import maximise_evidence
from hwnas.latency.fewshot.features import cost_figures, feature_groups
from hwnas.latency.fewshot.method import FewShotSession, check_measurements, fastest_found
from hwnas.latency.fewshot.posterior import TAIL, Posterior
from hwnas.latency.fewshot.prior import LatencyPrior, joined
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.spaces import OfaMbv3Config, make_space
from hwnas.spaces.categorical import CategoricalSpace
from hwnas.spaces.nasbench201 import NasBench201Space
from hwnas.spaces.space import Floats
from tests.latency.families import cell_devices

CELLS = NasBench201Space()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_widths_are_where_the_posterior_is_highest() -> None:
    """Two batches of one device and one of another; likelihood by scipy, prior a normal of width 4 around the start."""
    generator = rng(1)
    inputs = generator.normal(size=(3, 25, 3))
    kernels = np.stack([np.stack([x[:, :2] @ x[:, :2].T, x[:, 2:] @ x[:, 2:].T]) for x in inputs])
    shape = generator.uniform(0.5, 2.0, size=(3, 25))
    device = np.array([0, 0, 1])
    scale = np.array([0.3, 0.3, 0.6])[:, None] * np.sqrt(shape)
    targets = inputs @ np.array([1.0, -0.5, 2.0]) + scale * generator.normal(size=(3, 25))
    start = np.array([0.5, 2.0, 0.1])
    variances, noise = maximise_evidence(kernels, targets, shape, device, start, 200)
    centre = np.log([0.5, 2.0, 0.1, 0.1])

    def posterior(theta: Floats) -> float:
        values = np.exp(theta)
        total = -((theta - centre) ** 2).sum() / 2 / 16
        for kernel, target, own, which in zip(kernels, targets, shape, device, strict=True):
            covariance = values[0] * kernel[0] + values[1] * kernel[1] + np.diag(values[2 + which] * own + 1e-6)
            total += multivariate_normal.logpdf(target, cov=covariance)
        return float(total)

    found = np.log([*variances, *noise])
    slopes = [(posterior(found + step) - posterior(found - step)) / 2e-4 for step in 1e-4 * np.eye(4)]
    assert np.allclose(slopes, 0, atol=0.01)
    assert np.sqrt(noise) == pytest.approx([0.3, 0.6], rel=0.35)


@pytest.mark.parametrize("measured", [[], [4], [1, 7]])
def test_the_most_informative_leaves_the_least_variance(measured: list[int]) -> None:
    """Each candidate tried out under each belief: the covariance of all, by the formulas of a conditional normal."""
    generator = rng(2)
    columns = generator.normal(size=(10, 6)) * generator.uniform(0.2, 2, 10)[:, None]
    shape, apart = generator.uniform(0.5, 5, 10), generator.normal(size=(2, 10)) * 0.3
    variances, within = generator.uniform(0.1, 2, size=(3, 6)), [generator.normal(size=(2, 6)) * 0.2] * 3
    beliefs = Beliefs(np.array([0.3, 0.2, 0.5]), variances, np.array([0.05, 0.2, 0.1]), within)
    left = np.ones(10)
    left[measured] = 0
    gain = np.zeros(10)
    for weight, own, level, directions in zip(beliefs.weights, variances, beliefs.noise, within, strict=True):
        noise = level * shape + 0.01

        def conditional(start: Floats, rows: list[int], noise: Floats = noise) -> Floats:
            if not rows:
                return start
            across = start[:, rows]
            gram = np.linalg.inv(start[np.ix_(rows, rows)] + np.diag(noise[rows]))
            return np.asarray(start - across @ gram @ across.T)

        before = columns @ (np.diag(own) + directions.T @ directions) @ columns.T
        known = conditional(before, measured) + apart.T @ apart
        gain += weight * np.array([np.trace(known) - np.trace(conditional(known, [one])) for one in range(10)])
    expected = int(np.where(left > 0, gain, -np.inf).argmax())
    assert most_informative(beliefs, columns, shape, 0.01, measured, apart, left) == expected


def test_features_of_a_users_space() -> None:
    space = CategoricalSpace("mine", {"a": ["x", "y"], "b": ["x", "y"], "w": ["16", "32", "64"]})
    found = feature_groups(space)(np.array([[0, 1, 2], [1, 1, 0]]))
    assert list(found) == ["genes", "numbers", "pairs of numbers", "counts 0", "pairs 0"]
    assert found["genes"].tolist() == [[1, 0, 0, 1, 0, 0, 1], [0, 1, 0, 1, 1, 0, 0]]
    spread = np.std([16, 32, 64])
    assert found["numbers"].ravel() == pytest.approx([64 / spread, 16 / spread])
    assert found["pairs of numbers"].ravel() == pytest.approx([(64 / spread) ** 2, (16 / spread) ** 2])
    assert found["counts 0"].tolist() == [[1, 1], [0, 2]]
    assert found["pairs 0"].tolist() == [[1, 1, 1], [0, 0, 4]]


def test_long_chains_are_counted_in_four_parts() -> None:
    chain = CategoricalSpace("chain", {f"g{gene}": ["x", "y"] for gene in range(8)})
    found = feature_groups(chain)(np.array([[0, 1, 1, 1, 0, 0, 1, 0]]))
    assert found["counts 0"].tolist() == [[4, 4]]
    assert found["parts 0"].tolist() == [[1, 1, 0, 2, 2, 0, 1, 1]]
    shorter = CategoricalSpace("chain", {f"g{gene}": ["x", "y"] for gene in range(7)})
    assert "parts 0" not in feature_groups(shorter)(np.zeros((1, 7), dtype=np.int64))


def test_which_genes_are_numbers() -> None:
    values = {
        "codes": ["0", "1", "2"], "gap": ["0", "1", "3"], "one": ["5"], "word": ["a", "b"], "bad": ["1", "inf"],
        "ten": [str(2 * width) for width in range(10)], "eleven": [str(2 * width) for width in range(11)],
    }  # fmt: skip
    found = feature_groups(CategoricalSpace("mine", values))(np.array([[0, 2, 0, 1, 0, 9, 10]]))
    assert found["numbers"][0] == pytest.approx(
        [3 / np.std([0, 1, 3]), 18 / np.std(np.arange(0, 20, 2)), 20 / np.std(np.arange(0, 22, 2))]
    )
    assert found["genes"].shape[1] == 3 + 3 + 1 + 2 + 2 + 10  # eleven values are no eleven features


def test_features_of_a_cell() -> None:
    # 0→1 skip, 0→2 none, 1→2 3x3, 0→3 pool, 1→3 none, 2→3 1x1; and one with nothing that reaches the output.
    found = feature_groups(CELLS)(np.array([[1, 0, 3, 4, 0, 2], [0, 0, 3, 0, 1, 2]]))
    assert found["built"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert found["live"].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]
    assert found["empty"].tolist() == [[0], [1]]
    assert found["built by edge"].shape == (2, 24)
    assert found["built by edge"][0].nonzero()[0].tolist() == [0, 8 + 2, 12 + 3, 20 + 1]
    assert found["live pairs"].tolist() == [[1] * 10, [0] * 10]


def test_features_of_a_once_for_all_network() -> None:
    """Two stages of two blocks, the last one left out; kernels 3, 5; expansions 3, 6; half the resolution."""
    space = make_space(
        OfaMbv3Config(
            name="two", resolution=(112, 224), widths=(8, 8, 16, 24, 32, 40), strides=(1, 2, 1),
            activations=("relu", "relu", "relu"), se=(False, False, False), kernel_sizes=(3, 5),
            expand_ratios=(3, 6), depths=(1, 2), classes=4,
        )
    )  # fmt: skip
    row = space.genotype({"ks": [3, 5, 5, 5], "e": [6, 3, 6, 3], "d": [2, 1], "r": 112})
    found = {name: values[0] for name, values in feature_groups(space)(row[None]).items()}
    # Three blocks: kernels 3, 5, 5; expansions 6, 3, 6. The fourth is left out.
    assert found["total"].tolist() == [1, 2, 1, 2, 3]
    assert found["total × area"].tolist() == [0.25, 0.5, 0.25, 0.5, 0.75]
    assert found["by stage"].tolist() == [1, 1, 1, 1, 2, 0, 1, 0, 1, 1]
    assert found["by block"].tolist() == [1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0]
    assert found["pairs"].tolist() == [0, 1, 1, 0, 0, 0, 0, 1]
    assert found["area"].tolist() == [0.25, 0.0625]
    assert found["resolution"].tolist() == [1, 0]


def test_cost_figures_of_a_pool_and_a_linear_layer() -> None:
    """MACs, numbers moved, three rooflines and kernels, as shares of their means over the networks."""
    space = make_space(OfaMbv3Config(resolution=(160, 224)))
    genotypes = space.sample(30, rng())
    found = cost_figures(space, genotypes)
    assert found.shape == (30, 6)
    assert found[:, 0] == pytest.approx(space.macs(genotypes) / space.macs(genotypes).mean())
    # Where a number moved costs as much as 4, 16, 64 multiplications, rooflines go from the one to the other.
    towards = [np.corrcoef(found[:, column], found[:, 0])[0, 1] for column in (2, 3, 4)]
    assert towards == sorted(towards, reverse=True)
    cells = CELLS.sample(40, rng())
    # Stages of 32²×16, 16²×32 and 8²×64 numbers: a 1×1 convolution multiplies each by the width, a 3×3 one nine times
    # as often, and pooling adds nine.
    numbers = [32 * 32 * 16, 16 * 16 * 32, 8 * 8 * 64]
    point = sum(n * width for n, width in zip(numbers, (16, 32, 64), strict=True))
    own = np.array([0, 0, point, 9 * point, 9 * sum(numbers)])[cells].sum(axis=1)
    moved = np.array([0, 2, 3, 3, 3]) * sum(numbers) + np.array([0, 0, 1, 9, 0]) * sum(w * w for w in (16, 32, 64))
    found = cost_figures(CELLS, cells)
    assert found[:, 0] == pytest.approx(own / own.mean())
    assert found[:, 1] == pytest.approx(moved[cells].sum(axis=1) / moved[cells].sum(axis=1).mean())
    kernels = (cells != 0).sum(axis=1)
    assert found[:, 5] == pytest.approx(kernels / kernels.mean())
    figures = cost_figures(CELLS, cells)
    assert figures.shape[1] % 2 == 0
    assert figures.mean(axis=0) == pytest.approx(np.ones(figures.shape[1]))


@lru_cache
def prior_of_cells(devices: int = 4) -> tuple[LatencyPrior, np.ndarray, Floats]:
    genotypes, latency = cell_devices(devices + 1, 150, 0)
    return fit_prior(CELLS, genotypes[:100], latency[:100, :devices], rng()), genotypes, latency


def test_spread_is_known_at_four_counts_and_between_them_by_logarithm() -> None:
    prior = replace(prior_of_cells()[0], spread=np.array([[1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]]))
    assert [prior.spread_after(count, 1.0) for count in (1, 3, 5, 10, 20, 50)] == pytest.approx([1, 1, 2, 3, 4, 4])
    between = 2 + np.log(7 / 5) / np.log(2)
    assert prior.spread_after(7, 1.0) == pytest.approx(between)
    assert prior.spread_after(7, 0.0) == 2.0
    assert prior.spread_after(7, 0.25) == pytest.approx(0.25 * between + 0.75 * 2)


def test_noise_follows_latency_down_to_a_tenth() -> None:
    assert LatencyPrior.noise_shape(np.array([-1.0, 0.05, 0.1, 1.0, 2.0])) == pytest.approx([0.01, 0.01, 0.01, 1, 4])


def test_a_posterior_in_milliseconds() -> None:
    posterior = Posterior(
        coefficients=np.array([0.5, -1.0]), diagonal=np.array([0.04, 0.01]), directions=np.array([[1.0, 1.0]]),
        signs=np.array([-0.02]), noise=0.001, rounding=0.003, scale_ms=10.0, spread=1.5,
        kinds=np.array([0.2, 0.3, 0.4, 0.1]), by_kind=np.array([[0.0, 0.0], [1.0, 0.0], [0.5, -2.0], [0.0, -2.0]]),
    )  # fmt: skip
    columns = np.array([[1.0, 0.2], [1.0, 1.6]])
    mean, std = posterior.moments(np.array([1.0, 0.2]), columns)
    # Relative: 1 + 0.5 - 0.2 = 1.3, and 0.2 + 0.5 - 1.6 < 0, which counts as 0.01; its noise as that of 0.1.
    assert mean == pytest.approx([13.0, 0.1])
    variances = np.array([0.04 + 0.01 * 0.04 - 0.02 * 1.44, max(0.04 + 0.01 * 2.56 - 0.02 * 6.76, 0)])
    assert np.sqrt(TAIL) == pytest.approx(2.132 / 1.645)  # Student's t with four degrees of freedom, 5 % at the top
    total = 1.5**2 * (variances + TAIL * 0.001 * np.array([1.69, 0.01])) + 0.003
    assert std == pytest.approx(10 * np.sqrt(total))
    assert posterior.hypotheses == pytest.approx({"no_device": 0.2, "all_devices": 0.3, "some_devices": 0.5})
    apart = posterior.disagreement(columns)
    assert apart[0] == pytest.approx(np.sqrt(0.2) * (columns @ np.array([-0.5, 1.0])))


def session(prior: LatencyPrior, genotypes: np.ndarray, latency: Floats, count: int) -> FewShotSession:
    made = FewShotSession(CELLS, prior, genotypes[:100])
    for _ in range(count):
        chosen = made.next()
        made.tell(chosen, float(latency[chosen]))
    return made


@pytest.mark.parametrize("devices", [0, 4])
def test_predictions_scale_with_the_unit(devices: int) -> None:
    prior, genotypes, latency = prior_of_cells(devices)
    own = latency[:, -1]
    one, seven = (session(prior, genotypes, factor * own, 6).predictor().estimate(genotypes) for factor in (1.0, 7.3))
    np.testing.assert_allclose(seven.mean_ms, 7.3 * one.mean_ms, rtol=1e-6)
    assert one.std_ms is not None
    assert seven.std_ms is not None
    np.testing.assert_allclose(seven.std_ms, 7.3 * one.std_ms, rtol=1e-6)


def test_a_posterior_is_the_mean_of_its_hypotheses() -> None:
    prior, genotypes, latency = prior_of_cells()
    posterior = session(prior, genotypes, latency[:, -1], 8).predictor().posterior
    assert posterior.kinds.sum() == pytest.approx(1)
    np.testing.assert_allclose(posterior.kinds @ posterior.by_kind, posterior.coefficients, atol=1e-9)
    assert posterior.rounding == 0
    whole = session(prior, genotypes, np.round(latency[:, -1] * 5), 8).predictor().posterior
    assert whole.rounding == pytest.approx(1 / 12 / whole.scale_ms**2, rel=0.2)
    shares = posterior.taught(prior)
    assert shares.sum() == pytest.approx(1 - posterior.kinds[0])
    assert (shares >= 0).all()


def test_one_measurement_that_is_far_off_counts_less() -> None:
    prior, genotypes, latency = prior_of_cells()
    own = latency[:, -1]
    good = session(prior, genotypes, own, 10)
    rows = good._chosen  # which those are doesn't matter, but that they are the same
    bad = FewShotSession(CELLS, prior, genotypes[:100])
    for place, row in enumerate(rows):
        bad.tell(row, float(own[row]) * (3.0 if place == 4 else 1.0))
    errors = [np.abs(one.predictor().latency_ms(genotypes[100:]) / own[100:] - 1).mean() for one in (good, bad)]
    assert errors[0] < 0.05
    assert errors[1] < 0.15


def test_the_expected_error_is_near_the_real_one() -> None:
    prior, genotypes, latency = prior_of_cells()
    expected, real = [], []
    for device in (0, 1, 2, 4):
        one = session(prior, genotypes, latency[:, device], 10)
        expected.append(one.expected_mape())
        real.append(np.abs(one.predictor().latency_ms(genotypes[100:]) / latency[100:, device] - 1).mean())
    assert 0.5 < np.mean(expected) / np.mean(real) < 2.5
    found = one.predictor().estimate(genotypes[:100])
    assert found.std_ms is not None
    assert one.expected_mape() == pytest.approx(np.sqrt(2 / np.pi) * np.mean(found.std_ms / found.mean_ms))


def test_measurements_are_checked_to_the_edge() -> None:
    rows = CELLS.unique(CELLS.sample(5, rng()))
    check_measurements(CELLS, rows[:2], np.array([1.0, 2.0]), 2)
    check_measurements(CELLS, rows[:1], np.array([1.0]), 1)
    for latency, message in (
        (np.array([1.0]), "at least 2 measurements, got 1"),
        (np.array([1.0, 0.0]), "measurement 1 is 0.0 ms"),
        (np.array([np.inf, 1.0]), "measurement 0 is inf"),
        (np.array([3.0, 3.0]), "all 2 measurements are 3.0 ms"),
    ):
        with pytest.raises(DataError, match=message):
            check_measurements(CELLS, rows[: len(latency)], latency, 2)
    with pytest.raises(DataError, match="measured twice"):
        check_measurements(CELLS, rows[[0, 0]], np.array([1.0, 2.0]), 2)


def test_a_session_measures_each_candidate_once() -> None:
    prior, genotypes, latency = prior_of_cells()
    small = FewShotSession(CELLS, prior, genotypes[:4])
    for number in range(4):
        assert small.measured == number
        chosen = small.next()
        small.tell(chosen, float(latency[chosen, 4]))
    with pytest.raises(DataError, match="all 4 candidates are measured"):
        small.next()
    with pytest.raises(DataError, match="is measured twice"):
        small.tell(0, 1.0)
    assert small.uses_devices
    assert not FewShotSession(CELLS, prior_of_cells(0)[0], genotypes[:4]).uses_devices


def test_the_fastest_is_found_by_climbing_down() -> None:
    space = CategoricalSpace("large", {f"g{gene}": [str(c) for c in range(6)] for gene in range(12)})
    best = rng(3).integers(0, 6, 12)
    found, latency_ms = fastest_found(space, lambda rows: 1.0 + (rows != best).sum(axis=1))
    assert np.array_equal(found, best)
    assert latency_ms == 1.0


def test_features_are_standardised_by_group() -> None:
    prior, genotypes, _ = prior_of_cells()
    features = joined(feature_groups(CELLS)(genotypes[:100]))
    inputs = (features - prior.centre) * prior.scale
    assert np.allclose(inputs.mean(axis=0), 0, atol=1e-9)
    for group in range(int(prior.group.max()) + 1):
        energy = (inputs[:, prior.group == group] ** 2).sum(axis=1).mean()
        assert energy == pytest.approx(1) or energy < 1e-9
    # A device's own regression gives its own relative latency back.
    predicted = prior.devices[:, :1] + prior.devices[:, 1:] @ inputs.T
    _, latency = cell_devices(5, 150, 0)
    relative = latency[:100, :4] / latency[:100, :4].mean(axis=0)
    assert np.abs(predicted.T / relative - 1).mean() < 0.03
    assert prior.devices[:, 0] == pytest.approx(np.ones(4))


def test_widths_and_noise_of_nothing_known_are_as_documented() -> None:
    """Where no device teaches: one group of totals dominates, or costs do, or none; each counts as its share."""
    prior, _, _ = prior_of_cells(0)
    rows = prior.hypotheses
    assert np.exp(rows.log_prior).sum() == pytest.approx(1)
    assert set(rows.kind.tolist()) == {0}
    taught, _, _ = prior_of_cells()
    rows = taught.hypotheses
    weights = np.bincount(np.minimum(rows.kind, 2), np.exp(rows.log_prior))
    assert weights == pytest.approx([0.25, 0.5, 0.25])
    assert taught.widths.min() >= 0
    assert taught.noise[1] >= 1.0
    assert taught.unit.shape == taught.part.shape
