"""What holds for genotype arrays of any space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import ArchError
from hwnas.spaces import OfaMbv3Space, Space

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=20, deadline=None)


def raw_rows(space: Space, seed: int, count: int = 30) -> np.ndarray:
    """Random rows that are not canonical."""
    return np.random.default_rng(seed).integers(0, space.cardinalities, size=(count, len(space.genes)))


@few
@given(seed=seeds)
def test_canonical_is_idempotent_and_keeps_active_genes(space: Space, seed: int) -> None:
    rows = raw_rows(space, seed)
    canonical = space.canonical(rows)
    active = space.active(rows)
    assert np.array_equal(space.canonical(canonical), canonical)
    assert np.array_equal(space.active(canonical), active)
    assert np.array_equal(canonical[active], rows[active])
    assert not canonical[~active].any()


@few
@given(seed=seeds)
def test_genes_without_effect_change_no_operator(space: Space, seed: int) -> None:
    rows = raw_rows(space, seed)
    canonical = space.canonical(rows)
    if not any(slot.is_edge for slot in space.slots):
        assert np.array_equal(space.slot_operators(rows), space.slot_operators(canonical))
    # What leads nowhere in a cell is no part of the network.
    assert [space.network_of(row) for row in rows[:5]] == [space.network_of(row) for row in canonical[:5]]


@few
@given(seed=seeds)
def test_samples_mutants_and_crosses_are_canonical_and_in_range(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = space.sample(40, rng), space.sample(40, rng)
    mutated, crossed = space.mutate(first, 0.3, rng), space.crossover(first, second, rng)
    for rows in (first, mutated, crossed):
        assert np.array_equal(space.canonical(space.check(rows)), rows)
        assert rows.shape == (40, len(space.genes))


def test_sample_is_uniform_over_each_gene(space: Space) -> None:
    rows = space.sample(20_000, np.random.default_rng(0))
    active = space.active(rows)
    for column, size in enumerate(space.cardinalities):
        counts = np.bincount(rows[active[:, column], column], minlength=size)
        if space.genes[column].kind == "edge":  # none, the first, is no effect
            counts = counts[1:]
        expected = counts.sum() / len(counts)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected), space.genes[column].name


def test_sample_repeats_with_the_seed(space: Space) -> None:
    first, again, other = (space.sample(50, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@few
@given(seed=seeds)
def test_mutation_leaves_or_redraws_whole_groups(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parents = space.sample(30, rng)
    assert np.array_equal(space.mutate(parents, 0.0, rng), parents)
    changed = np.any(space.mutate(parents, 1.0, rng) != parents, axis=1)
    assert changed.mean() > 0.5


def test_mutation_probability_is_per_group(full_space: OfaMbv3Space) -> None:
    rng = np.random.default_rng(0)
    parents = np.repeat(full_space.extreme(largest=True)[None], 20_000, axis=0)
    kept = full_space.mutate(parents, 0.1, rng)[:, -1] == parents[:, -1]
    # Redrawn in 10 %, and then another choice than before in 4 of 5.
    assert 1 - kept.mean() == pytest.approx(0.1 * 4 / 5, abs=0.01)
    first = full_space.gene_index["ks0"]
    mutated = full_space.mutate(parents, 0.1, rng)
    kernel, expand = mutated[:, first] != parents[:, first], mutated[:, first + 20] != parents[:, first + 20]
    # One group: where the kernel changed, the expand ratio was redrawn too.
    assert expand[kernel].mean() == pytest.approx(2 / 3, abs=0.05)


@few
@given(seed=seeds)
def test_crossover_takes_each_active_gene_from_a_parent(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = space.sample(30, rng), space.sample(30, rng)
    child = space.crossover(first, second, rng)
    assert np.all((child == first) | (child == second) | ~space.active(child))
    assert np.array_equal(space.crossover(first, first, rng), first)


def test_unique_keeps_the_first_of_equal_networks_in_order(tiny_space: OfaMbv3Space) -> None:
    shallow = np.zeros((1, len(tiny_space.genes)), dtype=np.int64)
    same = shallow.copy()
    same[0, tiny_space.gene_index["ks1"]] = 1  # past the depth
    other = shallow.copy()
    other[0, -1] = 1
    rows = tiny_space.unique(np.concatenate([other, shallow, same, other]))
    assert np.array_equal(rows, np.concatenate([other, shallow]))


def test_tiny_space_has_as_many_networks_as_counted_by_hand(every_tiny_genotype: np.ndarray) -> None:
    # Each of two stages: 4 blocks of one, or 4 × 4 of two; two resolutions.
    assert len(every_tiny_genotype) == (4 + 16) ** 2 * 2


@few
@given(seed=seeds)
def test_arch_and_genotype_are_inverse(space: Space, seed: int) -> None:
    for row in space.sample(5, np.random.default_rng(seed)):
        arch = space.arch(row)
        assert np.array_equal(space.genotype(arch), row)
        assert np.array_equal(space.genotype(arch.to_dict()), row)
        assert arch.space == space.name


def test_features_tell_networks_apart_and_are_one_hot(
    tiny_space: OfaMbv3Space, every_tiny_genotype: np.ndarray
) -> None:
    features = tiny_space.features(every_tiny_genotype)
    assert features.shape == (len(every_tiny_genotype), tiny_space.cardinalities.sum())
    assert set(np.unique(features)) == {0.0, 1.0}
    assert np.array_equal(features.sum(axis=1), tiny_space.active(every_tiny_genotype).sum(axis=1))
    assert len(np.unique(features, axis=0)) == len(every_tiny_genotype)


def test_extremes_bound_macs_and_parameters(space: Space) -> None:
    ends = np.stack([space.extreme(largest=False), space.extreme(largest=True)])
    rows = space.sample(500, np.random.default_rng(1))
    for count in (space.macs, space.parameters):
        low, high = count(ends)
        assert low < high
        assert low <= count(rows).min()
        assert count(rows).max() <= high


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 3), dtype=np.int64), "expected genotypes"),
        (np.zeros(9, dtype=np.int64), "expected genotypes"),
    ],
)
def test_wrong_shapes_are_refused(full_space: OfaMbv3Space, rows: np.ndarray, message: str) -> None:
    with pytest.raises(ArchError, match=message):
        full_space.check(rows)


@pytest.mark.parametrize("value", [-1, 3])
def test_a_choice_out_of_range_is_named(full_space: OfaMbv3Space, value: int) -> None:
    rows = full_space.sample(4, np.random.default_rng(0))
    rows[2, full_space.gene_index["e7"]] = value
    with pytest.raises(ArchError, match=rf"gene e7 of row 2 is choice {value}, expected 0 to 2"):
        full_space.check(rows)


def test_neighbours_differ_in_one_gene_at_most(space: Space) -> None:
    row = space.sample(1, np.random.default_rng(3))[0]
    rows = space.neighbours(row)
    assert rows.shape == (int(space.cardinalities.sum()), len(space.genes))
    np.testing.assert_array_equal(rows, space.canonical(rows))
    number = 0
    for column, choices in enumerate(space.cardinalities):
        for choice in range(choices):
            changed = row.copy()
            changed[column] = choice
            np.testing.assert_array_equal(rows[number], space.canonical(changed[None])[0])
            number += 1


def test_slots_of_a_gene_are_counted(space: Space) -> None:
    counts = [sum(column in slot.genes for slot in space.slots) for column in range(len(space.genes))]
    assert space.slots_of_gene.tolist() == counts
    assert space.shared_genes.tolist() == [count > 1 for count in counts]
