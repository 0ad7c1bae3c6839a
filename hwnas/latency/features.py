"""What a latency predictor sees of an architecture: groups of numbers in which latency is close to linear.

Latency is close to a sum over operators, so that counts of operators, in the whole network and by place, carry most
of it. Which counts matter on a device is what the predictor learns; here they only stand side by side, in groups
that share one prior width.

Shapes: N architectures, F features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Genotypes, OfaMbv3Space, Space
from hwnas.spaces.categorical import CategoricalSpace
from hwnas.spaces.nasbench201 import EDGE_OPERATORS, NasBench201Space
from hwnas.spaces.space import Floats

__all__ = ["Groups", "feature_groups"]

Groups = dict[str, Floats]


def feature_groups(space: Space) -> Callable[[Genotypes], Groups]:
    """The function from genotypes `[N, G]` to named groups `[N, F_group]` that suits the space.

    A cell space counts operators as built and as left after dead code is removed. A once-for-all space counts
    kernels and expansions, as they are and times the feature map's area, since batched inference pays by the pixel
    and small batches by the call. Any other space has its genes one-hot, and where genes share their choices, counts.
    """
    if isinstance(space, NasBench201Space):
        return lambda genotypes: _cell(space, genotypes)
    if isinstance(space, OfaMbv3Space):
        return lambda genotypes: _once_for_all(space, genotypes)
    return lambda genotypes: _categorical(space, genotypes)


def _cell(space: NasBench201Space, genotypes: Genotypes) -> Groups:
    built = _one_hot(genotypes, len(EDGE_OPERATORS))[:, :, 1:]
    live = built * space.live(genotypes)[:, :, None]
    counts, live_counts = built.sum(axis=1), live.sum(axis=1)
    return {
        "built": counts,
        "live": live_counts,
        "empty": 1.0 - live.any(axis=(1, 2)).astype(np.float64)[:, None],
        "built by edge": built.reshape(len(genotypes), -1),
        "live by edge": live.reshape(len(genotypes), -1),
        "built pairs": _products(counts),
        "live pairs": _products(live_counts),
    }


def _once_for_all(space: OfaMbv3Space, genotypes: Genotypes) -> Groups:
    settings = space.settings
    rows, blocks, stages = len(genotypes), settings.blocks, settings.stages
    active = space.active(genotypes)[:, :blocks].astype(np.float64)
    kernel = _one_hot(genotypes[:, :blocks], len(settings.kernel_sizes)) * active[:, :, None]
    expand = _one_hot(genotypes[:, blocks : 2 * blocks], len(settings.expand_ratios)) * active[:, :, None]
    both = (kernel[..., :, None] * expand[..., None, :]).reshape(rows, blocks, -1)
    by_stage = np.concatenate([_stagewise(part, stages) for part in (kernel, expand, active[..., None])], axis=1)
    total = np.concatenate([kernel.sum(axis=1), expand.sum(axis=1), active.sum(axis=1, keepdims=True)], axis=1)
    by_block = np.concatenate([kernel.reshape(rows, -1), expand.reshape(rows, -1)], axis=1)
    pairs = _stagewise(both, stages)
    resolution = np.array(settings.resolution)[genotypes[:, -1]]
    area = np.square(resolution / settings.resolution[-1])[:, None]
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
        "resolution": _one_hot(genotypes[:, -1], len(settings.resolution)),
    }


def _categorical(space: Space, genotypes: Genotypes) -> Groups:
    groups = {"genes": space.features(genotypes)}
    shared: dict[tuple[object, ...], list[int]] = {}
    for column, gene in enumerate(space.genes):
        named = space.values[gene.name] if isinstance(space, CategoricalSpace) else gene.choices
        shared.setdefault(tuple(named), []).append(column)
    alike = [(values, columns) for values, columns in shared.items() if len(columns) > 1]
    active = space.active(genotypes)[:, :, None]
    counts = [(_one_hot(genotypes[:, own], len(values)) * active[:, own]).sum(axis=1) for values, own in alike]
    for number, own in enumerate(counts):
        groups[f"counts {number}"] = own
        groups[f"pairs {number}"] = _products(own)
    return groups


def _one_hot(choices: NDArray[np.int64], size: int) -> Floats:
    return np.eye(size)[choices]


def _stagewise(values: Floats, stages: int) -> Floats:
    """`[N, blocks, K]` summed within each stage, `[N, stages * K]`."""
    rows, blocks, width = values.shape
    return values.reshape(rows, stages, blocks // stages, width).sum(axis=2).reshape(rows, -1)


def _products(values: Floats) -> Floats:
    """All products of two columns, squares included."""
    first, second = np.triu_indices(values.shape[1])
    return np.asarray(values[:, first] * values[:, second])
