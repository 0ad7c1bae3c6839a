"""What goes into a network and comes out: names, shapes, types. One definition for files, checks, bundles and timing.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError, choices

__all__ = ["DTYPES", "IMAGE", "Port", "Signature", "fed_shape", "given_inputs"]

DTYPES = ("float32", "int64", "int32", "uint8", "int8", "bool")
IMAGE = "input"
"""The name of the one image that goes into a network, where nothing else was said."""

_FORM = "expected {name: [1, 3, 96, 160], …} or [[1, 3, 96, 160], …], each a shape for a batch of one"


@dataclass(frozen=True)
class Port:
    """One tensor: `shape` is torch's for one image, its batch axis of 1 included (outputs may have none).

    Integers that stand in for real ones lie in 0 … `high` - 1.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    high: int = 2

    @property
    def is_map(self) -> bool:
        """Whether it is `[1, C, H, W]`: what files of layout NHWC take with its channels last."""
        return len(self.shape) == 4 and self.dtype == "float32"

    def described(self, layout: str) -> dict[str, Any]:
        """As a manifest has what goes in: name, dtype, shape and, of a map, the order of its axes, which is `layout`.

        TFLite, which is NHWC, has int32 for torch's int64.
        """
        turned = self.is_map and layout == "NHWC"
        shape = [self.shape[axis] for axis in ((0, 2, 3, 1) if turned else range(len(self.shape)))]
        dtype = "int32" if (self.dtype, layout) == ("int64", "NHWC") else self.dtype
        known = {"name": self.name, "shape": shape, "dtype": dtype, "layout": layout if self.is_map else None}
        return known if dtype.startswith("float") else {**known, "high": self.high}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Port:
        """What `described` wrote, with torch's axes."""
        shape = described["shape"]
        if described["layout"] == "NHWC":
            shape = [shape[axis] for axis in (0, 3, 1, 2)]
        return cls(described["name"], tuple(shape), described["dtype"], described.get("high", 2))

    def to_file(self, values: NDArray[Any], layout: str) -> NDArray[Any]:
        """`values` `[N, C, H, W]` of a map with the axes in the file's order; others as they are."""
        turned = self.is_map and layout == "NHWC"
        return np.ascontiguousarray(values.transpose(0, 2, 3, 1)) if turned else values

    def from_file(self, values: NDArray[Any], layout: str) -> NDArray[Any]:
        """The inverse of `to_file`."""
        turned = self.is_map and layout == "NHWC"
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if turned else values


@dataclass(frozen=True)
class Signature:
    """All inputs and outputs, in the network's order. `logits`: the output that tells classes, or None."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    logits: str | None

    @property
    def logits_place(self) -> int | None:
        """Which of the outputs are the logits."""
        return next((place for place, port in enumerate(self.outputs) if port.name == self.logits), None)

    @property
    def classifies(self) -> bool:
        """Whether one image goes in and nothing but logits comes out."""
        return len(self.inputs) == len(self.outputs) == 1 and self.inputs[0].is_map and self.logits is not None


def fed_shape(ports: Sequence[Port]) -> tuple[Any, ...]:
    """What the measuring agent feeds: one float input's shape, or shape, dtype and range of each."""
    if len(ports) == 1 and ports[0].dtype == "float32":
        return ports[0].shape
    return tuple({"shape": list(port.shape), "dtype": port.dtype, "high": port.high} for port in ports)


def given_inputs(value: Any) -> tuple[Port, ...] | None:
    """`export.inputs`: by name, or in order (their names are empty then). None for null; ConfigError for others."""
    if value is None:
        return None
    named = isinstance(value, Mapping)
    if not named and (not isinstance(value, Sequence) or isinstance(value, str)):
        raise ConfigError(f"export.inputs: {_FORM}, got {value!r:.80}")
    entries = [(str(name), entry) for name, entry in value.items()] if named else [("", entry) for entry in value]
    if not entries:
        raise ConfigError(f"export.inputs: {_FORM}, got none")
    if not named and all(isinstance(entry, int) for _, entry in entries):
        raise ConfigError(f"export.inputs: {_FORM}, got one shape {list(value)}: write [{list(value)}]")
    return tuple(_port(name, entry) for name, entry in entries)


def _port(name: str, entry: Any) -> Port:
    title = f"export.inputs{f': {name}' if name else ''}"
    settings = dict(entry) if isinstance(entry, Mapping) else {"shape": entry}
    for key in settings:
        if key not in ("shape", "dtype", "high"):
            raise ConfigError(f"{title}: no setting {key!r}: {choices(key, ('shape', 'dtype', 'high'))}")
    shape, dtype, high = settings.get("shape"), settings.get("dtype", "float32"), settings.get("high", 2)
    sizes = isinstance(shape, Sequence) and not isinstance(shape, str) and bool(shape)
    if not sizes or any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in shape or ()):
        raise ConfigError(f"{title}: expected a shape of whole numbers such as [1, 3, 96, 160], got {shape!r:.80}")
    if shape[0] != 1:  # type: ignore[index]
        raise ConfigError(f"{title}: expected the shape for a batch of one, [1, …], got {list(shape or ())}")
    if dtype not in DTYPES:
        raise ConfigError(f"{title}: dtype {dtype!r} unknown: {choices(dtype, DTYPES)}")
    if not isinstance(high, int) or high < 1:
        raise ConfigError(f"{title}: high: expected 1 or more, one above the largest integer, got {high!r:.80}")
    return Port(name, tuple(shape or ()), dtype, high)
