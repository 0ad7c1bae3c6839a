"""Latencies, or another quantity, of many architectures on many devices, from a CSV file: what predictors are taught
and tested with.

Shapes: N architectures, D devices.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.csv_files import CsvFile, CsvRow, read_csv
from hwnas.errors import ArchError, ConfigError, DataError, choices
from hwnas.latency.predictors.dataset_config import LATENCY, LatencyDataConfig
from hwnas.latency.predictors.dataset_values import device_values
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.build import PUBLISHED_ON
from hwnas.spaces.categorical import CategoricalSpace
from hwnas.spaces.space import Floats

__all__ = ["LatencyData", "load_latency_data"]

_LEAST_ROWS = 10  # of a device that teaches


@dataclass(frozen=True)
class LatencyData:
    """`measured` `[N, D]` of `genotypes` `[N, G]` on `devices`, NaN where a device has no value; the first `pool` rows
    may be measured. `quantity` and `unit` say what it is of. `notes`: what was left out, a line each.

    `test` are the rows that are predicted; `trim` of them are cut off at either end of a device's latency range.
    `references` are the fixed architectures that describe a device to HELP.
    """

    name: str
    space: Space
    genotypes: Genotypes
    devices: tuple[str, ...]
    measured: Floats
    train_devices: tuple[str, ...]
    test_devices: tuple[str, ...]
    pool: int
    test: tuple[int, int]
    trim: float
    references: tuple[int, ...]
    quantity: str = LATENCY
    unit: str = "ms"
    notes: tuple[str, ...] = ()

    def column(self, device: str) -> Floats:
        """One device's values, `[N]`; NaN where it has none."""
        return np.asarray(self.measured[:, self.devices.index(device)])

    @property
    def train_pool(self) -> Floats:
        """The pool's rows on the training devices, `[pool, D_train]`."""
        return np.stack([self.column(device)[: self.pool] for device in self.train_devices], axis=1)

    def pool_rows(self, device: str) -> np.ndarray:
        """The pool's rows without the fastest and slowest `trim` of them on a device."""
        return self._trimmed(device, np.arange(self.pool))

    def test_rows(self, device: str) -> np.ndarray:
        """Rows to predict on a device: the test rows, trimmed by latency, `trim` of them at either end."""
        return self._trimmed(device, np.arange(*self.test))

    def _trimmed(self, device: str, rows: np.ndarray) -> np.ndarray:
        known = rows[~np.isnan(self.column(device)[rows])]
        order = known[np.argsort(self.column(device)[known], kind="stable")]
        cut = int(self.trim * len(known))
        return np.sort(order[cut : len(order) - cut])


def load_latency_data(config: LatencyDataConfig) -> LatencyData:
    """The data set that `config` describes.

    Raises DataError, one line, for a file that is missing or torn, columns or rows that are not there, values that are
    no numbers, devices without any, architectures that are not of the space or stand there twice; ConfigError for
    splits that can't be. Training devices that have fewer than ten of the pool's rows are left out, and named.
    """
    path = Path(config.path or "")
    if not config.path:
        raise ConfigError(f"data={config.name}: where is the file? give data.path=FILE.csv")
    if not config.test_devices:
        raise ConfigError("data.test_devices: expected at least one column to predict, got none")
    table = read_csv(path, DataError, "write it again, or give data.path=FILE.csv (it may be gzipped)")
    rows = table.rows
    devices = (*config.train_devices, *config.test_devices)
    columns = {device: _column_of(config, path, table, device) for device in dict.fromkeys(devices)}
    space, genotypes = _architectures(config, path, table)
    _check_repeats(path, space, genotypes, rows)
    found = {device: device_values(config, path, table, device, column) for device, column in columns.items()}
    pool = config.pool or (config.test[0] if config.test else len(rows))
    test = (config.test[0], config.test[1]) if config.test else (0, len(rows))
    if not (0 < pool <= len(rows) and 0 <= test[0] < test[1] <= len(rows)):
        raise ConfigError(
            f"data.pool={pool}, data.test={list(test)}: expected rows within the file's {len(rows)}; check both"
        )
    if test[0] < pool and config.test:
        raise ConfigError(f"data.test={list(test)} overlaps the pool, the first {pool} rows: test rows must be unseen")
    if config.references and max(config.references) >= len(rows):
        raise ConfigError(f"data.references: expected rows below {len(rows)}, got {max(config.references)}")
    train_devices, few = _teaching(config, path, {device: values for device, (values, _) in found.items()}, pool)
    kept = tuple(dict.fromkeys((*train_devices, *config.test_devices)))
    return LatencyData(
        config.name, space, genotypes, kept, np.stack([found[device][0] for device in kept], axis=1), train_devices,
        tuple(config.test_devices), pool, test, config.trim, tuple(config.references), config.quantity,
        config.unit_name, (*(note for _, note in found.values() if note), *few),
    )  # fmt: skip


def _column_of(config: LatencyDataConfig, path: Path, table: CsvFile, device: str) -> str:
    """The column of a device's quantity. Raises DataError where there is none, or its name says another quantity."""
    for name in (device, f"{device}_{config.quantity}", f"{device}_{config.quantity}_{config.unit_name}"):
        if name in table.columns:
            if config.quantity == LATENCY and re.search(r"energy|_m?j$", name, re.IGNORECASE):
                raise DataError(
                    f"{path}: column {name!r} reads like an energy, not a latency: give data.quantity=energy"
                    " data.unit=mJ"
                )
            return name
    others = [name for name in table.columns if name not in ("index", "arch", *config.genes)]
    raise DataError(f"{path}: no column for device {device!r}; {choices(device, others)}")


def _teaching(
    config: LatencyDataConfig, path: Path, values: Mapping[str, Floats], pool: int
) -> tuple[tuple[str, ...], list[str]]:
    """The training devices that have enough of the pool's rows, and a note on those that don't."""
    counts = {device: int(np.isfinite(values[device][:pool]).sum()) for device in config.train_devices}
    if none := [device for device, count in counts.items() if not count]:
        raise DataError(
            f"{path}: device {none[0]!r} has a {config.quantity} for none of the first {pool} rows, those that"
            " predictors learn from (data.pool): leave it out, or measure some of them there"
        )
    few = {device: count for device, count in counts.items() if count < _LEAST_ROWS}
    notes = [
        f"{device}: teaches nothing, since it has {count} of the pool's rows, and {_LEAST_ROWS} are needed"
        for device, count in few.items()
    ]
    return tuple(device for device in counts if device not in few), notes


def _architectures(config: LatencyDataConfig, path: Path, table: CsvFile) -> tuple[Space, Genotypes]:
    rows = table.rows
    if config.genes:
        for gene in config.genes:
            if gene not in table.columns:
                raise DataError(f"{path}: no column for gene {gene!r}; {choices(gene, table.columns)}")
            if gene in config.train_devices or gene in config.test_devices:
                raise ConfigError(f"data.genes: {gene!r} is a device's column as well")
        columns = {gene: [row.values[gene] for row in rows] for gene in config.genes}
        for gene, values in columns.items():
            if "" in values:
                raise DataError(f"{path}, line {rows[values.index('')].line}: gene {gene} has no value")
        for gene in config.numeric:
            for row in rows:
                _check_number(path, table, row, gene)
        made = (
            CategoricalSpace(config.name, {gene: config.values[gene] for gene in config.genes})
            if config.values
            else CategoricalSpace.from_columns(config.name, columns)
        )
        archs: list[object] = [
            dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]
        return made, _genotypes(made, path, rows, archs)
    if "arch" not in table.columns:
        raise DataError(f"{path}: expected a column 'arch' of a known space, or data.genes=[…] naming gene columns")
    space = PUBLISHED_ON[config.space]()
    named = [row.values["arch"] if space.archs_are_text else _literal(path, row) for row in rows]
    return space, _genotypes(space, path, rows, named)


def _literal(path: Path, row: CsvRow) -> object:
    text = row.values["arch"]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{path}, line {row.line}: arch is not readable: {text[:60]!r}") from error


def _genotypes(space: Space, path: Path, rows: Sequence[CsvRow], archs: list[object]) -> Genotypes:
    found = []
    for row, arch in zip(rows, archs, strict=True):
        try:
            found.append(space.genotype(arch))  # type: ignore[arg-type]
        except ArchError as error:  # noqa: PERF203 (the line's number is needed)
            raise DataError(f"{path}, line {row.line}: {error}") from error
    return np.stack(found)


def _check_repeats(path: Path, space: Space, genotypes: Genotypes, rows: Sequence[CsvRow]) -> None:
    _, first, inverse = np.unique(genotypes, axis=0, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[inverse.ravel()] != np.arange(len(genotypes)))
    if len(repeated):
        row = int(repeated[0])
        earlier = int(first[inverse.ravel()[row]])
        raise DataError(
            f"{path}, line {rows[row].line}: the same network of space {space.name} as in line {rows[earlier].line};"
            " keep one row of each, such as their mean"
        )


def _check_number(path: Path, table: CsvFile, row: CsvRow, gene: str) -> None:
    try:
        table.number(row.values[gene])
    except ValueError as error:
        raise DataError(f"{path}, line {row.line}: gene {gene} is {error}: it is one of data.numeric") from error
