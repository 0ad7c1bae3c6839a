"""Table lookup: the plain sum times the slowdown; nothing made up for what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import CoverageError, TableError
from hwnas.latency.tables.correction import Slowdown
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.table import LatencyTable, OperatorRows
from hwnas.spaces import OfaMbv3Space, make_space


def without(table: LatencyTable, dropped: list[int]) -> LatencyTable:
    rows = table.operators
    kept = [position for position in range(len(rows.operators)) if position not in dropped]
    operators = OperatorRows(
        tuple(rows.operators[position] for position in kept), rows.median_ms[kept], rows.p10_ms[kept],
        rows.p90_ms[kept], rows.samples[kept], rows.in_network_ms[kept], ("",) * len(kept),
    )  # fmt: skip
    return replace(table, operators=operators)


def plain(table: LatencyTable) -> LatencyTable:
    return replace(table, provenance={**table.provenance, "correction": None})


def test_without_a_correction_it_is_the_plain_sum(table: LatencyTable, space: OfaMbv3Space) -> None:
    genotypes = space.sample(50, np.random.default_rng(1))
    cost = dict(zip(table.operators.operators, table.operators.in_network_ms, strict=True))
    expected = [sum(cost[operator] for operator in space.operators_of(genotype)) for genotype in genotypes]
    found = TableEstimator(plain(table), space).estimate(genotypes)
    np.testing.assert_allclose(found.mean_ms, expected, rtol=1e-12)
    assert found.std_ms is None
    assert found.covered.all()
    assert found.missing == ()


def test_large_networks_are_slowed_down(table: LatencyTable, space: OfaMbv3Space) -> None:
    genotypes = space.sample(50, np.random.default_rng(1))
    parameters = space.parameters(genotypes)
    expected = 1 + 0.5 / (1 + np.exp(-(np.log(parameters) - np.log(20000.0)) / 0.3))
    found = TableEstimator(table, space).estimate(genotypes)
    sums = TableEstimator(plain(table), space).estimate(genotypes).mean_ms
    np.testing.assert_allclose(found.mean_ms / sums, expected, rtol=1e-12)
    assert found.std_ms is not None
    np.testing.assert_allclose(found.std_ms, 0.02 * found.mean_ms)
    assert Slowdown(0.5, 20000.0, 0.3).factor(np.array([20000]))[0] == pytest.approx(1.25)


def test_a_missing_operator_is_nan_and_named(table: LatencyTable, space: OfaMbv3Space) -> None:
    genotypes = space.sample(200, np.random.default_rng(1))
    counts = space.operator_counts(genotypes)
    lost = int(np.flatnonzero((counts.sum(axis=0) > 0) & (counts.sum(axis=0) < 100))[0])
    estimator = TableEstimator(without(table, [lost]), space)
    found = estimator.estimate(genotypes)
    np.testing.assert_array_equal(found.covered, counts[:, lost] == 0)
    assert np.isnan(found.mean_ms[~found.covered]).all()
    assert np.isfinite(found.mean_ms[found.covered]).all()
    assert found.missing == estimator.missing == (space.operators[lost],)
    assert estimator.estimate(genotypes[found.covered]).missing == ()
    with pytest.raises(CoverageError, match="lacks 1 operators") as caught:
        estimator.latency_ms(genotypes)
    assert str(space.operators[lost]) in str(caught.value)
    with pytest.raises(CoverageError):
        estimator.fastest()


def test_a_table_of_another_space_covers_nothing(table: LatencyTable, space: OfaMbv3Space) -> None:
    other = make_space(replace(space.settings, widths=(16, 16, 32, 48, 128, 192)))
    estimator = TableEstimator(table, other)
    assert len(estimator.missing) > len(other.operators) / 2
    with pytest.raises(CoverageError, match=r"and \d+ more; measure a table"):
        estimator.latency_ms(other.sample(3, np.random.default_rng(0)))


@pytest.mark.parametrize("gain", [0.0, 0.5, 3.0])
def test_nothing_is_faster_than_the_fastest(table: LatencyTable, space: OfaMbv3Space, gain: float) -> None:
    correction = {"slowdown": {"gain": gain, "threshold": 12000.0, "width": 0.2}, "held_out_std": 0.02}
    estimator = TableEstimator(replace(table, provenance={**table.provenance, "correction": correction}), space)
    genotype, latency = estimator.fastest()
    assert estimator.latency_ms(genotype[None])[0] == pytest.approx(latency)
    grid = np.indices(space.cardinalities[[0, 1, 4, 5, 8, 9, 10]].tolist()).reshape(7, -1).T
    every = np.zeros((len(grid), len(space.genes)), dtype=np.int64)
    every[:, [0, 1, 4, 5, 8, 9, 10]] = grid
    everything = np.concatenate([space.canonical(every), space.sample(20000, np.random.default_rng(2))])
    assert estimator.latency_ms(everything).min() >= latency - 1e-12


@pytest.mark.parametrize("broken", [{}, {"slowdown": {}}, {"slowdown": {"gain": 1.0, "threshold": 0.0, "width": 1.0}}])
def test_a_broken_correction_is_refused(table: LatencyTable, space: OfaMbv3Space, broken: dict[str, object]) -> None:
    correction = {"held_out_std": 0.1, **broken} if broken else {"nonsense": 1}
    with pytest.raises(TableError, match="correction"):
        TableEstimator(replace(table, provenance={**table.provenance, "correction": correction}), space)


def test_factors_add_up_to_the_plain_sum(table: LatencyTable, space: OfaMbv3Space) -> None:
    """Also where blocks are left out, which cost nothing."""
    estimator = TableEstimator(plain(table), space)
    genotypes = np.concatenate([space.sample(50, np.random.default_rng(1)), space.extreme(False)[None]])
    factors = estimator.factors
    assert factors is not None
    total = sum(values[tuple(genotypes[:, gene] for gene in genes)] for genes, values in factors)
    np.testing.assert_allclose(total, estimator.latency_ms(genotypes), rtol=1e-12)
    assert TableEstimator(table, space).factors is None
