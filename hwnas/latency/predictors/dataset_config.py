"""Which latency data to read, and how it is split."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwnas.errors import ConfigError, choices
from hwnas.spaces.build import PUBLISHED_ON

__all__ = ["LATENCY", "LatencyDataConfig"]

LATENCY, _MS = "latency", "ms"


@dataclass(frozen=True)
class LatencyDataConfig:
    """A CSV file, gzipped or not, with one column a device: named as the device, or `<device>_<quantity>`.

    `quantity` is what the columns hold, `unit` its unit (null: ms for a latency; any other quantity needs one). Cells
    may be empty, or say that a measurement failed (0, negative, nan): those rows are left out for that device.

    Architectures stand in a column `arch` of the known space `space`, or in one column a gene: `genes`, with `values`
    where not every choice occurs in the file; those of `numeric` must be numbers, such as widths. `pool`: the first
    rows, which may be measured and learnt from (0: those before the test rows). `test`: first and end of the rows to
    predict. `trim`: the share of them that is cut off at either end of a device's latency range. `references`: rows of
    the architectures that describe a device to HELP (none: taken from the pool).
    """

    name: str = "csv"
    path: str | None = None
    space: str = "nasbench201"
    genes: tuple[str, ...] = ()
    values: dict[str, list[str]] = field(default_factory=dict)
    numeric: tuple[str, ...] = ()
    quantity: str = LATENCY
    unit: str | None = None
    train_devices: tuple[str, ...] = ()
    test_devices: tuple[str, ...] = ()
    pool: int = 0
    test: tuple[int, ...] = ()
    trim: float = 0.0
    references: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.space not in PUBLISHED_ON:
            raise ConfigError(f"data.space: {self.space!r} unknown: {choices(self.space, PUBLISHED_ON)}")
        if both := sorted(set(self.train_devices) & set(self.test_devices)):
            raise ConfigError(f"data.train_devices: {', '.join(both)} is among data.test_devices as well")
        for key in ("train_devices", "test_devices", "genes"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ConfigError(f"data.{key}: a name stands there twice: {list(getattr(self, key))}")
        if self.pool < 0 or (self.test and (len(self.test) != 2 or not 0 <= self.test[0] < self.test[1])):
            raise ConfigError(f"data.test: expected [from,to] with 0 ≤ from < to, and data.pool ≥ 0; got {self.test}")
        if not 0 <= self.trim < 0.5:
            raise ConfigError(f"data.trim: expected a share from 0 to below 0.5, got {self.trim}")
        if any(row < 0 for row in self.references) or len(set(self.references)) < len(self.references):
            raise ConfigError(f"data.references: expected distinct rows, got {list(self.references)}")
        if not self.quantity or (self.unit is None and self.quantity != LATENCY):
            raise ConfigError(
                f"data.quantity={self.quantity}: in which unit is it? give data.unit=…, such as mJ or MiB"
            )
        if others := [gene for gene in self.numeric if gene not in self.genes]:
            raise ConfigError(f"data.numeric: {others[0]!r} is none of data.genes: {choices(others[0], self.genes)}")
        if self.values and (missing := [gene for gene in self.genes if gene not in self.values]):
            raise ConfigError(
                f"data.values: expected the values of every gene of data.genes, {missing[0]!r} is missing"
            )

    @property
    def unit_name(self) -> str:
        """`unit` with null resolved."""
        return _MS if self.unit is None else self.unit
