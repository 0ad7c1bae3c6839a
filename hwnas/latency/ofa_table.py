"""The latency tables that once-for-all published (Cai et al., ICLR 2020): one YAML file a resolution.

A file holds `key: {count, mean, std}` in ms, where a key spells out an operator:
`expanded_conv-input:HxWxC-output:HxWxC-expand:<mid channels>-kernel:K-stride:S-idskip:0|1-se:0|1-hs:0|1` and
`Conv`, `Conv_1`, `AvgPool2D`, `Conv_2` and `Logits` for what stands before and after the blocks. A network's latency
is the plain sum of its operators' means.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hwnas.errors import TableError
from hwnas.latency.estimate import LatencyEstimate
from hwnas.latency.lookup import require_coverage
from hwnas.spaces import Genotypes, Operator, Space
from hwnas.spaces.elimination import Factor, minimise_sum
from hwnas.spaces.space import Floats

__all__ = ["OfaTableEstimator", "ofa_files", "operator_key", "published_files"]

_NAME = re.compile(r"(?P<device>.+)_w(?P<width>\d+)_(?P<resolution>\d+)")
_BLOCK = 4096  # what stays in a core's cache
_REMEDY = "restore the files or give latency.path=FOLDER of complete ones"


def operator_key(operator: Operator) -> str:
    """The published key of an operator.

    The first convolution is `Conv`, the one before pooling `Conv_1`, the one after it `Conv_2`. Mid channels are
    round(in × expand) there and a multiple of 8 here, which is the same for every published width.
    """
    into = f"{operator.in_height}x{operator.in_width}x{operator.in_channels}"
    out = f"{operator.out_height}x{operator.out_width}x{operator.out_channels}"
    if operator.kind == "mbconv":
        flags = (operator.residual, operator.se, operator.activation == "h_swish")
        skip, se, hs = (int(flag) for flag in flags)
        return (
            f"expanded_conv-input:{into}-output:{out}-expand:{operator.mid_channels}-kernel:{operator.kernel}"
            f"-stride:{operator.stride}-idskip:{skip}-se:{se}-hs:{hs}"
        )
    if operator.kind == "linear":
        return f"Logits-input:{into}-output:{operator.out_channels}"
    if operator.kind == "pool":
        return f"AvgPool2D-input:{into}-output:{out}"
    name = "Conv" if operator.kernel > 1 else ("Conv_1" if operator.norm else "Conv_2")
    return f"{name}-input:{into}-output:{out}"


def ofa_files(folder: Path | str, space: Space) -> dict[int, Path]:
    """The published table of each resolution of `space` in `folder`, `<device>_w<width>_<resolution>.yaml`.

    Raises TableError where a resolution has no file, or where files of several devices or widths stand there.
    """
    _, files = published_files(folder)
    if missing := [str(resolution) for resolution in space.resolutions if resolution not in files]:
        raise TableError(
            f"{folder}: no table for resolution {', '.join(missing)}; set space.resolution to some of"
            f" {', '.join(map(str, sorted(files)))}"
        )
    return {resolution: files[resolution] for resolution in space.resolutions}


def published_files(folder: Path | str) -> tuple[str, dict[int, Path]]:
    """The device of the published tables in `folder`, and their files by resolution. Raises as `ofa_files`."""
    folder = Path(folder)
    named = {path: _NAME.fullmatch(path.stem) for path in sorted(folder.glob("*.yaml"))}
    found = [(path, match) for path, match in named.items() if match]
    if not found:
        raise TableError(f"{folder}: no published tables: expected files named like note10_w12_224.yaml; {_REMEDY}")
    if len(settings := {f"{match['device']}_w{match['width']}" for _, match in found}) > 1:
        raise TableError(f"{folder}: tables of several settings ({', '.join(sorted(settings))}): keep one a folder")
    return found[0][1]["device"], {int(match["resolution"]): path for path, match in found}


class OfaTableEstimator:
    """A LatencyEstimator from published tables: every network's plain sum, in its own resolution's file.

    Also operators that don't depend on the resolution are looked up there: the files differ by a few percent in them,
    as they were measured one after another. `device` is the name in the files' names; there is no `std_ms`.
    """

    def __init__(self, folder: Path | str, space: Space) -> None:
        """Raises TableError for files that are missing or malformed. Operators that they lack are in `missing`."""
        self.space = space
        files = ofa_files(folder, space)
        name = _NAME.fullmatch(next(iter(files.values())).stem)
        self.device = name["device"] if name else ""
        self.files = tuple(files.values())
        resolution = next(column for column, gene in enumerate(space.genes) if gene.name == "r")
        keys = [operator_key(operator) for operator in space.operators]
        means = [_read(path) for path in self.files]
        costs = np.array([[values.get(key, np.nan) for key in keys] for values in means])
        padded = np.append(costs, np.zeros((len(costs), 1)), axis=1)  # operator id -1 reads the zero
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

    def latency_ms(self, genotypes: Genotypes) -> Floats:
        """The mean of `estimate`, `[N]`. Raises CoverageError where an operator is missing."""
        found = self.estimate(genotypes)
        require_coverage(found.missing)
        return found.mean_ms

    def fastest(self) -> tuple[Genotypes, float]:
        """The network `[G]` with the lowest sum, and that in ms, exact. Raises CoverageError unless all is covered."""
        require_coverage(self.missing)
        row, _ = minimise_sum(self.space.cardinalities, self._factors)
        best = self.space.canonical(row[None])
        return best[0], float(self.latency_ms(best)[0])


def _read(path: Path) -> dict[str, float]:
    """Key to mean in ms."""
    try:
        entries = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise TableError(f"{path} is not a readable YAML table ({first}); {_REMEDY}") from error
    if not isinstance(entries, dict) or not entries:
        raise TableError(f"{path}: expected a mapping from operators to their latency; {_REMEDY}")
    return {str(key): _mean(path, key, entry) for key, entry in entries.items()}


def _mean(path: Path, key: Any, entry: Any) -> float:
    try:
        if not isinstance(entry, Mapping):
            raise TypeError(f"got {entry!r}")
        mean = float(entry["mean"])
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path}: {key}: expected a mean in ms ({error}); {_REMEDY}") from error
    if not (math.isfinite(mean) and mean > 0):
        raise TableError(f"{path}: {key}: mean is {mean}, expected a positive number; {_REMEDY}")
    return mean
