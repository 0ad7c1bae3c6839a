"""The latency tables that once-for-all published (Cai et al., ICLR 2020): one YAML file a resolution.

A file holds `key: {count, mean, std}` in ms, where a key spells out an operator:
`expanded_conv-input:HxWxC-output:HxWxC-expand:<mid channels>-kernel:K-stride:S-idskip:0|1-se:0|1-hs:0|1` and
`Conv`, `Conv_1`, `AvgPool2D`, `Conv_2` and `Logits` for what stands before and after the blocks. A network's latency
is the plain sum of its operators' means.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwnas.errors import TableError
from hwnas.latency.estimate import LatencyEstimate, LatencyEstimator, require_coverage
from hwnas.latency.tables.published_files import find_tables
from hwnas.latency.tables.published_yaml import read_entries
from hwnas.operators import Conv, GlobalPool, Linear, MBConv, Operator
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.elimination import Factor, minimise_sum
from hwnas.spaces.slots import with_nothing

__all__ = ["OfaTableEstimator", "ofa_files", "operator_key"]

_BLOCK = 4096  # what stays in a core's cache


def operator_key(operator: Operator) -> str:
    """The published key of an operator.

    The first convolution is `Conv`, the one before pooling `Conv_1`, the one after it `Conv_2`. Mid channels are
    round(in × expand) there and a multiple of 8 here, which is the same for every published width.
    """
    into = f"{operator.in_height}x{operator.in_width}x{operator.in_channels}"
    out = f"{operator.out_height}x{operator.out_width}x{operator.out_channels}"
    if isinstance(operator, MBConv):
        flags = (operator.residual, operator.se, operator.activation == "h_swish")
        skip, se, hs = (int(flag) for flag in flags)
        return (
            f"expanded_conv-input:{into}-output:{out}-expand:{operator.mid_channels}-kernel:{operator.kernel}"
            f"-stride:{operator.stride}-idskip:{skip}-se:{se}-hs:{hs}"
        )
    if isinstance(operator, Linear):
        return f"Logits-input:{into}-output:{operator.out_channels}"
    if isinstance(operator, GlobalPool):
        return f"AvgPool2D-input:{into}-output:{out}"
    if not isinstance(operator, Conv):
        raise TableError(f"{operator}: the published tables have no operators of kind {operator.kind}")
    name = "Conv" if operator.kernel > 1 else ("Conv_1" if operator.norm else "Conv_2")
    return f"{name}-input:{into}-output:{out}"


def ofa_files(folder: Path | str, space: Space) -> dict[int, Path]:
    """The published table of each resolution of `space` in `folder` (see `hwnas.latency.tables.published_files`).

    Raises TableError where a resolution has no file, or where files of several devices or widths stand there.
    """
    files = find_tables(folder).files
    if missing := [str(resolution) for resolution in space.resolutions if resolution not in files]:
        raise TableError(
            f"{folder}: no table for resolution {', '.join(missing)}; set space.resolution to some of"
            f" {', '.join(map(str, files))}"
        )
    return {resolution: files[resolution] for resolution in space.resolutions}


class OfaTableEstimator(LatencyEstimator):
    """A LatencyEstimator from published tables: every network's plain sum, in its own resolution's file.

    Also operators that don't depend on the resolution are looked up there: the files differ by a few percent in them,
    as they were measured one after another. `device` is what the files' names say, or ''; there is no `std_ms`.
    """

    def __init__(self, folder: Path | str, space: Space) -> None:
        """Raises TableError for files that are missing or malformed. Operators that they lack are in `missing`."""
        self.space = space
        files = ofa_files(folder, space)
        self.device = find_tables(folder).device
        self.files = tuple(files.values())
        resolution = next(column for column, gene in enumerate(space.genes) if gene.name == "r")
        keys = [operator_key(operator) for operator in space.operators]
        means = [_read(path) for path in self.files]
        costs = np.array([[values.get(key, np.nan) for key in keys] for values in means])
        padded = with_nothing(costs)
        self._factors: tuple[Factor, ...] = tuple(
            (slot.genes, np.stack([
                padded[place].take(slot.operator_ids.take(place, axis=slot.genes.index(resolution)))
                for place in range(len(self.files))
            ], axis=slot.genes.index(resolution)))
            for slot in space.slots
        )  # fmt: skip
        flat = [np.ravel(table) for _, table in self._factors]
        self._flat = np.concatenate(flat)
        self._offsets = np.cumsum([0, *map(len, flat)])[:-1].astype(np.float32)
        self._strides = np.zeros((len(space.genes), len(flat)), dtype=np.float32)
        for number, (columns, table) in enumerate(self._factors):
            self._strides[list(columns), number] = np.cumprod([1, *table.shape[:0:-1]])[::-1]
        lacking = [
            slot.operator_ids[np.isnan(table)] for slot, (_, table) in zip(space.slots, self._factors, strict=True)
        ]
        self._missing = np.unique(np.concatenate(lacking))

    @property
    def missing(self) -> tuple[Operator, ...]:
        """The space's operators that a file which they stand in lacks."""
        return tuple(self.space.operators[position] for position in self._missing)

    @property
    def factors(self) -> tuple[Factor, ...] | None:
        """Each slot's genes and latencies, which add up to a network's."""
        return self._factors

    def estimate(self, genotypes: Genotypes) -> LatencyEstimate:
        """The latency of `[N, G]` genotypes; NaN, uncovered, for a network with an operator that its file lacks."""
        mean = np.empty(len(genotypes))
        for start in range(0, len(genotypes), _BLOCK):
            # Where in the flat tables each slot's cost stands; whole numbers this small are exact in float32.
            places = genotypes[start : start + _BLOCK].astype(np.float32) @ self._strides + self._offsets
            mean[start : start + _BLOCK] = self._flat.take(places.astype(np.int64)).sum(axis=1)
        covered = ~np.isnan(mean)
        missing: tuple[Operator, ...] = ()
        if not covered.all():
            held = np.intersect1d(self.space.slot_operators(genotypes[~covered]), self._missing)
            missing = tuple(self.space.operators[position] for position in held)
        return LatencyEstimate(mean, None, covered, missing)

    def fastest(self) -> tuple[Genotypes, float]:
        """The network `[G]` with the lowest sum, and that in ms, exact. Raises CoverageError unless all is covered."""
        require_coverage(self.missing)
        row, _ = minimise_sum(self.space.cardinalities, self._factors)
        best = self.space.canonical(row[None])
        return best[0], float(self.latency_ms(best)[0])


def _read(path: Path) -> dict[str, float]:
    """Key to mean in ms."""
    entries = read_entries(path)
    blocks = [key for key in entries if key.startswith("expanded_conv-")]
    if blocks and not any("-se:" in key for key in blocks):
        raise TableError(
            f"{path}: keys without se and hs, such as {blocks[0]}, as ProxylessNAS's tables have them:"
            " hwnas import-table format=proxyless makes a table of them that latency=table takes"
        )
    return {key: entry.mean_ms for key, entry in entries.items()}
