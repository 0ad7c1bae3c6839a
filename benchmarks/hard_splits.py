"""Splits where what teaches misleads: the sources agree with one another, and not with the device to predict.

The rule, written down before anything was tuned on it:

1. Devices are grouped by complete linkage so that within a group Spearman's rank correlation is at least 0.9.
   Correlations are those of the pool's rows; energies are predicted, and never teach.
2. A group teaches a target with those of its members whose correlation with the target is at most 0.7, where these
   are at least two.
3. Of the targets of one group that the same group teaches, the one least like its teachers is kept: others would be
   the same split again.
4. Targets of one group (and quantities of one device) are a family. Families go, largest first, to the half with fewer
   splits, of two that have as many to the half that is looked at once (`held`); the other half (`choosing`) may be
   tuned on.

Cells of NAS-Bench-201 (27 devices of HELP's data and what HW-NAS-Bench adds to them: latency on an EdgeGPU and an Edge
TPU, energy of an EdgeGPU and of Eyeriss; rows that failed are left out) give 21 splits by it. Phones and this
repository's tables give none as they are: networks that differ a hundredfold in size rank alike on any device (0.74 is
the lowest correlation of any two phone settings, 0.89 that of any two settings of the tables). For these two the rule
is therefore relaxed: latency per multiplication is correlated, which leaves out the size that all devices share. What
is predicted, and scored, is latency.

A row of the phones' data is a model, known by its kernels: their number and GFLOPs by kind, as numeric genes.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import spearmanr

from hwnas.files import read_json
from hwnas.latency.predictors.dataset import LatencyData
from hwnas.profiling.onboard import known_devices
from hwnas.spaces import Genotypes, Space, space_from_dict
from hwnas.spaces.categorical import CategoricalSpace
from hwnas.spaces.nasbench201 import NasBench201Space
from hwnas.spaces.space import Floats

__all__ = ["HardSplit", "hard_splits"]

AGREE, DIFFER = 0.9, 0.7
_LEAST_SOURCES = 2
_POOL, _TEST = 900, 1000
_FURTHER = ("edgegpu_latency", "edgegpu_energy", "edgetpu_latency", "eyeriss_energy")


@dataclass(frozen=True)
class HardSplit:
    """One target and the devices that teach. `half`: `choosing`, or `held` for what is looked at once."""

    name: str
    half: str
    family: str
    likeness: float
    data: LatencyData


@dataclass(frozen=True)
class _Measured:
    """One data set: `latency` `[N, D]` of `devices`; `size` `[N]` divides it where correlations are taken."""

    name: str
    space: Space
    genotypes: Genotypes
    devices: tuple[str, ...]
    latency: Floats
    pool: int
    size: Floats


def hard_splits(reference: Path, tables: Path) -> list[HardSplit]:
    """All splits that the rule gives, from the folder of published measurements and the repository's tables."""
    sets = [_cells(reference), _phones(reference / "phones"), *(_table(folder) for folder in sorted(tables.iterdir()))]
    found = [split for measured in sets if measured for split in _splits_of(measured)]
    sizes: dict[str, int] = {}
    for split in found:
        sizes[split.family] = sizes.get(split.family, 0) + 1
    half: dict[str, str] = {}
    count = {"choosing": 0, "held": 0}
    for family in sorted(sizes, key=lambda name: (-sizes[name], name)):
        half[family] = "choosing" if count["choosing"] < count["held"] else "held"
        count[half[family]] += sizes[family]
    return [HardSplit(s.name, half[s.family], s.family, s.likeness, s.data) for s in found]


def _splits_of(measured: _Measured) -> list[HardSplit]:
    relative = measured.latency[: measured.pool] / measured.size[: measured.pool, None]
    likeness = np.array([[_rank_correlation(first, second) for second in relative.T] for first in relative.T])
    distance = np.maximum(1 - likeness[np.triu_indices(len(likeness), 1)], 0)
    group = fcluster(linkage(distance, "complete"), 1 - AGREE, "distance")
    energy = np.array(["energy" in name for name in measured.devices])
    found = []
    for teaching in range(1, group.max() + 1):
        candidates: dict[int, tuple[float, int, list[int]]] = {}
        for target in range(len(group)):
            own = [int(d) for d in np.flatnonzero((group == teaching) & ~energy) if likeness[d, target] <= DIFFER]
            if len(own) < _LEAST_SOURCES:
                continue
            highest = float(likeness[own, target].max())
            # Energies are other quantities than the latencies that they rank like: targets of their own.
            place = -target - 1 if energy[target] else int(group[target])
            if place not in candidates or highest < candidates[place][0]:
                candidates[place] = (highest, target, own)
        found += [_split(measured, target, own, group, highest) for highest, target, own in candidates.values()]
    return found


def _split(measured: _Measured, target: int, sources: list[int], group: Sequence[int], likeness: float) -> HardSplit:
    known = np.all(~np.isnan(measured.latency[:, [target, *sources]]), axis=1)
    pool = int(known[: measured.pool].sum())
    device, teachers = measured.devices[target], tuple(measured.devices[own] for own in sources)
    data = LatencyData(
        measured.name, measured.space, measured.genotypes[known], measured.devices, measured.latency[known], teachers,
        (device,), pool, (pool, int(known.sum())), 0.0, (),
    )  # fmt: skip
    member = measured.devices[int(np.flatnonzero(np.asarray(group) == group[target])[0])]
    family = f"{measured.name}: {member}"
    return HardSplit(f"{measured.name}: {device} <- {_short(teachers)}", "", family, likeness, data)


def _short(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"


def _rank_correlation(first: Floats, second: Floats) -> float:
    both = ~(np.isnan(first) | np.isnan(second))
    return float(spearmanr(first[both], second[both]).statistic)


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _cells(reference: Path) -> _Measured:
    rows = _rows(reference / "help/nasbench201_latency_ms.csv.gz")[: _POOL + _TEST]
    further = _rows(reference / "nasbench201/hw_nasbench_cifar10.csv.gz")
    space = NasBench201Space()
    devices = [name for name in rows[0] if name not in ("index", "arch")]
    by_index = {row["index"]: row for row in further}
    latency = [
        [float(row[name]) for name in devices] + [float(by_index[row["index"]][name]) for name in _FURTHER]
        for row in rows
    ]
    values = np.array(latency)
    values[values <= 0] = np.nan
    genotypes = np.stack([space.genotype(row["arch"]) for row in rows])
    return _Measured("cells", space, genotypes, (*devices, *_FURTHER), values, _POOL, np.ones(len(rows)))


def _phones(folder: Path) -> _Measured:
    rows = _rows(folder / "tflite_cnn_latency.csv.gz")
    described = _described(_rows(folder / "tflite_gpu_kernels.csv.gz"))
    rows = [rows[number] for number in np.random.default_rng(0).permutation(len(rows))]
    kinds = sorted({kind for parts in described.values() for kind in parts})
    numbers = np.array([[described[row["model"]].get(kind, 0.0) for kind in kinds] for row in rows])
    columns = {kind: [f"{value:.6g}" for value in column] for kind, column in zip(kinds, numbers.T, strict=True)}
    space = CategoricalSpace.from_columns("phones", columns)
    genotypes = np.stack([
        space.genotype(dict(zip(kinds, values, strict=True))) for values in zip(*columns.values(), strict=True)
    ])  # fmt: skip
    devices = tuple(name for name in rows[0] if name != "model")
    latency = np.array([[float(row[name]) for name in devices] for row in rows])
    flops = numbers[:, [kind.startswith("gflops") for kind in kinds]].sum(axis=1)
    return _Measured("phones", space, genotypes, devices, latency, len(rows) // 2, flops)


def _described(kernels: Sequence[Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """Of each model, the number and GFLOPs of its kernels by kind; convolutions of 1×1 are a kind of their own."""
    found: dict[str, dict[str, float]] = {}
    for row in kernels:
        feature = json.loads(row["feature"])
        kind = row["operation"].lower() + (" 1x1" if row["operation"] == "CONV_2D" and feature["Kernel"] == "1" else "")
        parts = found.setdefault(row["model"], {})
        parts[f"count {kind}"] = parts.get(f"count {kind}", 0.0) + 1
        if feature["FLOPS"] != "-":
            parts[f"gflops {kind}"] = parts.get(f"gflops {kind}", 0.0) + float(feature["FLOPS"]) / 1e9
    return found


def _table(folder: Path) -> _Measured | None:
    facts = sorted(folder.rglob("*.json"))
    if not facts:
        return None
    space = space_from_dict(read_json(facts[0])["spaces"][0])
    names, genotypes, latency_ms = known_devices(folder, space)
    order = np.random.default_rng(0).permutation(len(genotypes))
    devices = tuple(name.rpartition("/")[2] for name in names)
    size = space.macs(genotypes).astype(np.float64)[order]
    return _Measured(folder.name, space, genotypes[order], devices, latency_ms[order], len(order) // 2, size)
