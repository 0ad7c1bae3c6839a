"""Architectures as sparse 0/1 features, and what a network's first layer makes of them without a product.

Shapes: N architectures, G genes, F features, T terms, H outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Genotypes, Space

__all__ = ["Encoding", "Single", "gene_encoding", "path_encoding"]

Single = NDArray[np.float32]
Indices = NDArray[np.int64]
Condition = tuple[tuple[int, int], ...]
"""A feature: it is 1 where each of these genes has this choice. Choice -1: the gene is without effect."""

_LARGEST_TERM = 256


class Encoding:
    """0/1 features, each about the choices of a few genes. `conditions` says what each of the F features means.

    The genes are covered by T terms of a few genes each, every feature within one of them. A term has one state for
    each joint choice of its genes, so that a linear layer of all features is a sum of one table row a term:
    `tables(weight)[t][states[:, t]]` summed over t.
    """

    def __init__(self, space: Space, conditions: Sequence[Condition], terms: Sequence[tuple[int, ...]]) -> None:
        self.conditions = tuple(conditions)
        self._space = space
        # Digit 0 is "without effect", choice c is digit c + 1: a term's state is the number these digits write.
        self._radix = np.zeros((len(space.genes), len(terms)), dtype=np.float32)
        self._codes: list[Indices] = []
        within = [set(term) for term in terms]
        members: list[list[int]] = [[] for _ in terms]
        for feature, condition in enumerate(self.conditions):
            genes = {gene for gene, _ in condition}
            members[next(number for number, term in enumerate(within) if genes <= term)].append(feature)
        for number, term in enumerate(terms):
            bases = space.cardinalities[list(term)] + 1
            self._radix[list(term), number] = np.cumprod([1, *bases[:0:-1]])[::-1]
            digits = np.stack([axis.ravel() for axis in np.indices(tuple(bases))], axis=1)
            self._codes.append(self._matches(term, digits, members[number]))

    @property
    def features(self) -> int:
        """F."""
        return len(self.conditions)

    def states(self, genotypes: Genotypes) -> Indices:
        """Which state each term is in, `[N, T]`."""
        digits = np.where(self._space.active(genotypes), genotypes + 1, 0).astype(np.float32)
        # Whole numbers below 2^24 are exact in float32, and BLAS has no integers.
        return (digits @ self._radix).astype(np.int64)

    def encode(self, genotypes: Genotypes) -> Single:
        """The features themselves, `[N, F]`: what `tables` spares. A bound over many networks starts here."""
        encoded = np.zeros((len(genotypes), self.features + 1), dtype=np.float32)
        states, rows = self.states(genotypes), np.arange(len(genotypes))[:, None]
        for number, codes in enumerate(self._codes):
            encoded[rows, codes[states[:, number]]] = 1
        return encoded[:, :-1]

    def tables(self, weight: Single) -> list[Single]:
        """For a layer's `weight` `[H, F]`, what each state of each term adds to its output: T times `[states, H]`."""
        rows = np.concatenate([weight.T, np.zeros((1, len(weight)), dtype=np.float32)])
        return [np.ascontiguousarray(rows[codes].sum(axis=1, dtype=np.float32)) for codes in self._codes]

    def _matches(self, term: tuple[int, ...], digits: Indices, members: Iterable[int]) -> Indices:
        """The features that are 1 in each state, `[states, most at once]`, filled up with F."""
        matching: list[list[int]] = [[] for _ in digits]
        for feature in members:
            holds = np.ones(len(digits), dtype=bool)
            for gene, choice in self.conditions[feature]:
                holds &= digits[:, term.index(gene)] == choice + 1
            for state in np.flatnonzero(holds).tolist():
                matching[state].append(feature)
        codes = np.full((len(digits), max(1, *map(len, matching))), self.features, dtype=np.int64)
        for state, features in enumerate(matching):
            codes[state, : len(features)] = features
        return codes


def gene_encoding(space: Space, conditions: Sequence[Condition] | None = None) -> Encoding:
    """One feature a gene and choice, in that order (as `Space.features`), or the given `conditions` of one gene each.

    Terms are as many neighbouring gene groups (an elastic block each) as have few joint states.
    """
    if conditions is None:
        conditions = _choices(space)
    used = {gene for condition in conditions for gene, _ in condition}
    terms: list[tuple[int, ...]] = []
    current: tuple[int, ...] = ()
    for group in space.groups.members:
        joined = current + tuple(gene for gene in group if gene in used)
        if current and np.prod(space.cardinalities[list(joined)] + 1) > _LARGEST_TERM:
            terms.append(current)
            joined = joined[len(current) :]
        current = joined
    return Encoding(space, conditions, [*terms, current] if current else terms)


def path_encoding(space: Space) -> Encoding:
    """BANANAS's path encoding (White et al., AAAI 2021), for networks that are one path of blocks.

    The published encoding has one feature for each possible path from input to output, truncated to short ones. Here
    every network is one path, so that whole paths would never repeat: the features are its pieces of one gene, of one
    block, and of two blocks in a row (or the last one before a stage ends).
    """
    groups = space.groups.members
    shapes = [tuple(space.cardinalities[list(group)]) for group in groups]
    conditions = _choices(space)
    terms: list[tuple[int, ...]] = []
    for number, (group, shape) in enumerate(zip(groups, shapes, strict=True)):
        block = _joint(group, shape, with_none=False)
        if len(group) > 1:
            conditions += block
        if len(group) > 1 and number + 1 < len(groups) and shapes[number + 1] == shape:
            following = _joint(groups[number + 1], shape, with_none=True)
            conditions += [first + second for first in block for second in following]
            terms.append((*group, *groups[number + 1]))
    terms += [group for group in groups if not any(set(group) <= set(term) for term in terms)]
    return Encoding(space, conditions, terms)


def _choices(space: Space) -> list[Condition]:
    return [((number, choice),) for number, gene in enumerate(space.genes) for choice in range(len(gene.choices))]


def _joint(group: tuple[int, ...], shape: tuple[int, ...], with_none: bool) -> list[Condition]:
    joint = [tuple(zip(group, map(int, choice), strict=True)) for choice in np.ndindex(*shape)]
    return [*joint, tuple((gene, -1) for gene in group)] if with_none else joint
