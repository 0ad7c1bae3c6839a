"""The writers of operator chains, by the format that they write."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from hwnas.errors import ConfigError, choices
from hwnas.operators import Operator
from hwnas.operators.wiring import Network

__all__ = ["WRITERS", "SyntheticWriter", "synthetic_writer"]

WRITERS: dict[str, str] = {
    "onnx": "hwnas.export.synthetic.onnx",
    "tflite": "hwnas.export.synthetic.tflite",
    "tvm": "hwnas.export.synthetic.tvm",
    "executorch": "hwnas.export.synthetic.executorch",
}
"""The module whose `write` is the format's `SyntheticWriter`."""


class SyntheticWriter(Protocol):
    def __call__(
        self, operators: Sequence[Operator], path: Path | str, seed: int = 0, *, precision: str = "fp32", batch: int = 1
    ) -> Path:
        """Write a chain of operators with random weights and return the path.

        Those of formats that are compiled for a processor take it as `target` too.
        """


def synthetic_writer(name: str) -> SyntheticWriter:
    """The writer of the format of that name, imported now. Raises ConfigError for an unknown one.

    Chains with an operator of a kind that has no fast writer, and networks that are no chains, are written by the
    format's exporter: in seconds each, not in milliseconds.
    """
    if name not in WRITERS:
        raise ConfigError(f"unknown model format {name!r}: {choices(name, WRITERS)}")
    return cast(SyntheticWriter, partial(_write, name, import_module(WRITERS[name]).write))


def _write(
    name: str, fast: SyntheticWriter, operators: Sequence[Operator], path: Path | str, seed: int = 0, **options: Any
) -> Path:
    if Network.chain(operators).is_chain and all(operator.has_fast_writer() for operator in operators):
        return fast(operators, path, seed, **options)
    from hwnas.export.synthetic.exported import write

    return write(name, operators, path, seed, **options)
