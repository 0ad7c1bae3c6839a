"""Local improvement of one network by changes of one gene group and exchanges of two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.search.methods.local import changes, improve
from hwnas.search.population import Archive


def test_changes_are_all_settings_of_every_group(tiny: Any) -> None:
    rows, groups = changes(tiny.space, tiny.fastest)
    # Four blocks of 2 × 2 settings, two depths and a resolution of 2 each; less the current one.
    assert len(rows) == 4 * 3 + 2 + 1
    assert len(np.unique(rows, axis=0)) == len(rows)
    names = np.array([gene.group for gene in tiny.space.genes])
    for row, group in zip(rows, groups, strict=True):
        changed = set(names[row != tiny.fastest])
        assert changed == {list(dict.fromkeys(names))[group]}


@pytest.mark.parametrize("pairs", [0, 500])
def test_local_search_ends_where_no_neighbour_is_better(full: Any, pairs: int) -> None:
    budget = full.quantile_ms(0.3)
    problem = full.problem(budget)
    archive = Archive()
    accuracy, latency = improve(problem, archive, full.fastest, pairs)
    met = archive.population()
    genotypes, found, costs = met.genotypes, met.accuracy, met.latency_ms
    assert latency <= budget
    assert costs.max() <= budget
    end = genotypes[np.flatnonzero(found == found.max())[0]]
    assert full.accuracy(end[None])[0] == pytest.approx(accuracy)
    rows = full.space.canonical(changes(full.space, end)[0])
    assert full.accuracy(rows)[full.latency_ms(rows) <= budget].max() <= accuracy + 1e-9


def test_exchanging_two_finds_more_than_changing_one(full: Any) -> None:
    problem = full.problem(full.quantile_ms(0.3))
    rng = np.random.default_rng(0)
    starts = problem.repair(full.space.sample(5, rng), rng)[0]
    one = [improve(problem, Archive(), start, 0)[0] for start in starts]
    two = [improve(problem, Archive(), start, 500)[0] for start in starts]
    assert np.mean(two) > np.mean(one)
    assert all(more >= less for more, less in zip(two, one, strict=True))
