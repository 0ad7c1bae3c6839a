"""What a latency predictor sees of an architecture: groups of numbers in which latency is close to linear.

Latency is close to a sum over operators, so that counts of operators, in the whole network and by place, carry most
of it. Which counts matter on a device is what the predictor learns; here they only stand side by side, in groups
that share one prior width.

Shapes: N architectures, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Genotypes, Space
from hwnas.spaces.cells import Cell, Kernel
from hwnas.spaces.genes import Floats
from hwnas.spaces.words import BlockGenes

__all__ = ["Groups", "WordSums", "cost_figures", "feature_groups"]

Groups = dict[str, Floats]

_BALANCES = (4, 16, 64)  # multiplications per number moved
_PARTS = 4  # of a long chain of genes with the same choices, whose counts are features each
_MOST_ONE_HOT = 10  # values of a numeric gene of which each is a feature of its own


def feature_groups(space: Space) -> Callable[[Genotypes], Groups]:
    """The function from genotypes `[N, G]` to named groups `[N, F_group]` that suits the space.

    A cell space counts operators as built and as left after dead code is removed. A once-for-all space counts
    kernels and expansions, as they are and times the feature map's area, since batched inference pays by the pixel
    and small batches by the call. Any other space has its genes one-hot, and where genes share their choices, counts;
    numeric genes as numbers, and their products.
    """
    cell, blocks = space.cell, space.blocks
    if cell is not None:
        return lambda genotypes: _of_cell(cell, genotypes)
    if blocks is not None:
        return lambda genotypes: _once_for_all(space, blocks, genotypes)
    return lambda genotypes: _categorical(space, genotypes)


def cost_figures(space: Space, genotypes: Genotypes) -> Floats:
    """What a network costs without a measurement, each relative to the mean of `genotypes`: `[N, C]`, rising ratios.

    Multiplications; numbers read and written; rooflines of devices that multiply so many times as often as they move
    a number; and the number of kernels. In a cell space of the cell as built, then of what is live. A space that knows
    no operators has none.
    """
    if (cell := space.cell) is not None:
        built = _one_hot(genotypes, cell.operators)
        costs = np.stack([sum((_kernel_costs([one]) for one in own), _kernel_costs([])) for own in cell.kernels])
        live = built * cell.live(genotypes)[:, :, None]
        figures = np.concatenate([built.sum(axis=1) @ costs, live.sum(axis=1) @ costs], axis=1)
    elif space.operators:
        values = np.stack([_kernel_costs(operator.kernels) for operator in space.operators])
        figures = np.stack([space.sum_over_operators(genotypes, column) for column in values.T], axis=1)
    else:
        return np.zeros((len(genotypes), 0))
    return np.asarray(figures / np.maximum(figures.mean(axis=0), 1e-12))


def _kernel_costs(kernels: Sequence[Kernel]) -> Floats:
    macs, moved = np.array(kernels, dtype=np.float64).reshape(-1, 2).T
    rooflines = [np.maximum(macs / balance, moved).sum() for balance in _BALANCES]
    return np.array([macs.sum(), moved.sum(), *rooflines, len(macs)])


@dataclass(frozen=True)
class WordSums:
    """The features of a once-for-all space as sums: `constant[r] + sum over blocks b of rows[r, words_b]`.

    R resolutions, W words, one of which (the last, with no features) stands for blocks that are left out.
    `constant` `[R, F]`, `rows` `[R, W, F]`. What is linear in the features needs one number a word, not F.
    """

    space: Space
    blocks: BlockGenes
    constant: Floats
    rows: Floats

    @classmethod
    def of(cls, space: Space) -> WordSums:
        """The sums that `feature_groups` gives for `space`. Raises ValueError for a space without `blocks`."""
        if (blocks := space.blocks) is None:
            raise ValueError(f"space {space.name} has no blocks of kernels and expansions")
        probes = np.concatenate([np.eye(blocks.size), np.zeros((1, blocks.size))])
        found = np.stack([
            np.concatenate(list(_sums(space, blocks, probes, np.full(len(probes), r)).values()), axis=1)
            for r in range(len(space.resolutions))
        ])  # fmt: skip
        constant = found[:, -1]
        return cls(space, blocks, constant, found - constant[:, None])

    def words(self, genotypes: Genotypes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Resolution `[N]` and words `[N, B]` of genotypes."""
        return genotypes[:, self.blocks.resolution], self.blocks.words(genotypes, self.space.active(genotypes))


def _of_cell(cell: Cell, genotypes: Genotypes) -> Groups:
    built = _one_hot(genotypes, cell.operators)[:, :, 1:]
    live = built * cell.live(genotypes)[:, :, None]
    counts, live_counts = built.sum(axis=1), live.sum(axis=1)
    return {
        "built": counts,
        "live": live_counts,
        "empty": np.where(live.any(axis=(1, 2)), 0.0, 1.0)[:, None],
        "built by edge": built.reshape(len(genotypes), -1),
        "live by edge": live.reshape(len(genotypes), -1),
        "built pairs": _products(counts),
        "live pairs": _products(live_counts),
    }


def _once_for_all(space: Space, blocks: BlockGenes, genotypes: Genotypes) -> Groups:
    held = np.zeros((len(genotypes), blocks.size + 1))
    np.put_along_axis(held, blocks.words(genotypes, space.active(genotypes)), 1.0, axis=1)
    return _sums(space, blocks, held[:, : blocks.size], genotypes[:, blocks.resolution])


def _sums(space: Space, blocks: BlockGenes, held: Floats, resolution: NDArray[np.int64]) -> Groups:
    """The groups of networks that hold words as often as `held` `[N, W]` says. All of them linear in `held`."""
    # All that is counted is a sum over the blocks' pairs of kernel and expansion: one product instead of many sums.
    parts = _pair_counts(blocks)
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    total, by_stage, by_block, pairs = np.split(held @ np.concatenate(parts, axis=1), ends, axis=1)
    size = np.array(space.resolutions)[resolution]
    area = np.square(size / space.resolutions[-1])[:, None]
    return {
        "total": total,
        "total × area": total * area,
        "by stage": by_stage,
        "by stage × area": by_stage * area,
        "by block": by_block,
        "by block × area": by_block * area,
        "pairs": pairs,
        "pairs × area": pairs * area,
        "area": np.concatenate([area, area**2], axis=1),
        "resolution": _one_hot(resolution, len(space.resolutions)),
    }


def _pair_counts(blocks: BlockGenes) -> list[Floats]:
    """What a block's pair of kernel and expansion counts for, `[blocks * pairs, F]`: total, stage, block, pair."""
    count, pairs = blocks.count, blocks.pairs
    kernel, expand = np.divmod(np.arange(pairs), blocks.expands)
    one_hot = [np.eye(blocks.kernels)[kernel], np.eye(blocks.expands)[expand]]
    kinds = np.concatenate([*one_hot, np.ones((pairs, 1))], axis=1)
    stage = np.eye(len(blocks.depths))[np.repeat(np.arange(len(blocks.depths)), blocks.depths)]
    total = np.tile(kinds, (count, 1))
    return [total, np.kron(stage, kinds), np.kron(np.eye(count), kinds[:, :-1]), np.kron(stage, np.eye(pairs))]


def _categorical(space: Space, genotypes: Genotypes) -> Groups:
    numbers = space.numeric_genes
    many = [gene for gene, values in numbers.items() if len(values) > _MOST_ONE_HOT]
    groups: Groups = {}
    if len(many) < len(space.genes):
        kept = np.repeat([column not in many for column in range(len(space.genes))], space.cardinalities)
        groups["genes"] = space.features(genotypes)[:, kept]
    if numbers:
        columns = [own[genotypes[:, gene]] / max(float(own.std()), 1e-12) for gene, own in numbers.items()]
        groups["numbers"] = np.stack(columns, axis=1)
        groups["pairs of numbers"] = _products(groups["numbers"])
    shared: dict[tuple[object, ...], list[int]] = {}
    for column, values in enumerate(space.choice_values):
        if column not in many:
            shared.setdefault(values, []).append(column)
    alike = [(values, columns) for values, columns in shared.items() if len(columns) > 1]
    active = space.active(genotypes)[:, :, None]
    counts = [(_one_hot(genotypes[:, own], len(values)) * active[:, own]).sum(axis=1) for values, own in alike]
    for number, own in enumerate(counts):
        groups[f"counts {number}"] = own
        groups[f"pairs {number}"] = _products(own)
    for number, (named, own) in enumerate(alike):
        if len(own) >= 2 * _PARTS:  # genes stand in the order in which they run
            parts = np.array_split(own, _PARTS)
            held = [(_one_hot(genotypes[:, part], len(named)) * active[:, part]).sum(axis=1) for part in parts]
            groups[f"parts {number}"] = np.concatenate(held, axis=1)
    return groups


def _one_hot(choices: NDArray[np.int64], size: int) -> Floats:
    return np.eye(size)[choices]


def _products(values: Floats) -> Floats:
    """All products of two columns, squares included."""
    first, second = np.triu_indices(values.shape[1])
    return np.asarray(values[:, first] * values[:, second])
