"""Who stays in a population."""

import numpy as np
from numpy.typing import NDArray

from hwnas.search.population import Population
from hwnas.search.selection import Selection
from hwnas.spaces import Genotypes, OfaMbv3Config, Space, make_space


def _population(space: Space, count: int, shapes: int, seed: int = 0) -> Population:
    """`count` networks of `shapes` shapes; the earlier a shape, the more accurate all its networks."""
    rng = np.random.default_rng(seed)
    rows = space.sample(count, rng)
    genes = np.flatnonzero(space.shared_genes)
    kinds = np.arange(count) * shapes // count
    rows[:, genes] = rows[kinds * (count // shapes)][:, genes]
    rows = space.canonical(rows)
    return Population(rows, 1 - 0.1 * kinds - 0.001 * rng.random(count), np.linspace(1, 2, count))


def _shapes(space: Space, rows: Genotypes) -> NDArray[np.int64]:
    """How many rows each shape has."""
    return np.unique(rows[:, space.shared_genes], axis=0, return_counts=True)[1]


def test_shared_genes_are_resolution_and_depths() -> None:
    space = make_space(OfaMbv3Config(resolution=(160, 224)))
    shared = [gene.name for gene, is_shared in zip(space.genes, space.shared_genes, strict=True) if is_shared]
    assert len(shared) == 6
    assert all(name == "r" or name.startswith("d") for name in shared)


def test_no_shape_takes_more_than_its_places() -> None:
    space = make_space(OfaMbv3Config())
    population = _population(space, 90, shapes=6)
    kept = Selection(space, 20, most_alike=0.25)([population])
    assert len(kept) == 20
    assert sorted(_shapes(space, kept.genotypes)) == [5, 5, 5, 5]
    assert (np.diff(kept.accuracy) <= 0).all()
    assert kept.accuracy[0] == population.accuracy.max()


def test_without_places_the_best_stay() -> None:
    space = make_space(OfaMbv3Config())
    population = _population(space, 90, shapes=6)
    kept = Selection(space, 20, most_alike=1.0)([population])
    np.testing.assert_array_equal(kept.accuracy, np.sort(population.accuracy)[::-1][:20])


def test_few_shapes_fill_a_population() -> None:
    space = make_space(OfaMbv3Config())
    assert len(Selection(space, 20, most_alike=0.25)([_population(space, 60, shapes=2)])) == 20


def test_equal_rows_count_once() -> None:
    space = make_space(OfaMbv3Config())
    population = _population(space, 30, shapes=3)
    kept = Selection(space, 100, most_alike=0.5)([population, population])
    assert len(kept) == len(np.unique(kept.genotypes, axis=0)) == 30
