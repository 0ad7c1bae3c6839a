"""The model file formats: one module each, found by name or by the runtime that runs them.

A format is one file that defines `FORMAT`, and its line here. Importing it imports no torch and no runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError, ExportError, choices
from hwnas.export.node import Node
from hwnas.export.passes import check_calibration, require, run_passes
from hwnas.export.request import ExportRequest, ExportState, Pass
from hwnas.files import atomic_path

__all__ = [
    "FORMATS",
    "Array",
    "LogitsRunner",
    "ModelFormat",
    "Runner",
    "format_of_file",
    "format_of_runtime",
    "model_format",
]

Array = NDArray[Any]

Runner = Callable[[Sequence[Array]], list[Array]]
"""Inputs `[N, …]`, each as torch has it, to outputs, both in the network's order; files of batch 1 are run N times.

An output is `[N, *shape]`, with what the file gives for one image, its own batch axis of 1 included, as `shape`.
"""

LogitsRunner = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Prepared images `[N, C, H, W]` to logits `[N, classes]`, for networks that take and give nothing else."""

FORMATS: dict[str, str] = {
    "onnx": "hwnas.export.onnx.format",
    "tflite": "hwnas.export.tflite.format",
    "tvm": "hwnas.export.tvm.format",
    "executorch": "hwnas.export.executorch.format",
}


class LayerErrors(Protocol):
    def __call__(self, state: ExportState, quantised_file: Path | str) -> dict[str, float]:
        """How much each layer that is quantised adds to the error, by its name there; worst first.

        `state` is what the graph passes left, `quantised_file` what was written of it, where the format doesn't
        simulate that. Its request's `calibration` are the images to find it out with.
        """


class Simulation(Protocol):
    def __call__(self, state: ExportState) -> LogitsRunner:
        """What answers nearly as the file that would be finished of `state`, made in less time."""


class FileOpener(Protocol):
    def __call__(self, path: Path | str, threads: int = 1) -> Runner:
        """Load a file of this format into its runtime. MissingExtraError without it, ExportError for a broken file."""


class OperatorReader(Protocol):
    def __call__(self, path: Path) -> list[Node]:
        """The operators of a file in the order in which they stand. Raises anything for a file that is no model."""


@dataclass(frozen=True)
class ModelFormat:
    """One file format and what it can do.

    `layout` is the order of its input's axes; `extra` the optional dependency group that it needs, `packages` the
    import names in it, `distributions` of those whose distribution has another name. A network becomes a file by two
    lists of passes: `graph_passes` make the float model and read ranges, and none of them looks at the request's
    `float_layers`; `file_passes` make bytes of that. `layer_errors` is None where single layers can't stay float;
    `simulate` where a file is written as soon as it would be simulated; `read_operators` where files hold no operators
    by name. `compiles_for_target`: a file is for one processor, `config.tvm_target`'s, and may not run on this one.
    """

    name: str
    suffix: str
    runtime: str
    layout: str
    extra: str
    packages: tuple[str, ...]
    precisions: tuple[str, ...]
    graph_passes: tuple[Pass, ...]
    file_passes: tuple[Pass, ...]
    open: FileOpener
    layer_errors: LayerErrors | None = None
    simulate: Simulation | None = None
    read_operators: OperatorReader | None = None
    compiles_for_target: bool = False
    distributions: Mapping[str, str] = field(default_factory=dict)

    @property
    def output_layout(self) -> str:
        """The order of the axes of outputs that are maps: torch's, in every format."""
        return "NCHW"

    def load_runner(self, path: Path | str, threads: int = 1) -> LogitsRunner:
        """The file in its runtime, as what takes images and gives logits alone. Raises as `open` does."""
        run = self.open(path, threads)
        return lambda images: run([images])[0][:, 0].astype(np.float32, copy=False)

    def export(self, request: ExportRequest, path: Path | str) -> Path:
        """Write the request's network, atomically, and return the path. The same request gives the same bytes.

        Raises ConfigError where the format has no such precision, MissingExtraError, ExportError where the example is
        no batch of one image, int8 is asked for without images to calibrate on, or a pass fails; StorageError where
        the path can't be written, which is found out first.
        """
        with atomic_path(path) as temporary:
            self.finish(self.start(request), temporary)
        return Path(path)

    def start(self, request: ExportRequest) -> ExportState:
        """The state after the graph passes, from which several files can be finished. Raises as `export` does."""
        require(("torch",), "train", "exporting")
        require(self.packages, self.extra, f"exporting to {self.name}")
        self.check(request)
        return run_passes(self.name, self.graph_passes, ExportState(request, request.module))

    def finish(self, state: ExportState, path: Path) -> Path:
        """Write the file that `start` began, with the float layers that its request names now; returns the path."""
        path.write_bytes(run_passes(self.name, self.file_passes, state).model)
        return path

    def check(self, request: ExportRequest) -> None:
        """Raise ConfigError or ExportError for what can't be written in this format."""
        if request.precision not in self.precisions:
            raise ConfigError(
                f"precisions: {self.name} is not written in {request.precision!r};"
                f" {choices(request.precision, self.precisions)}"
            )
        if request.float_layers and self.layer_errors is None:
            raise ConfigError(
                f"float_layers: {self.name} keeps no single layer float, got {list(request.float_layers)}"
            )
        first = request.example[0] if isinstance(request.example, tuple) else request.example
        shape = tuple(first.shape)
        if request.signature is None and (len(shape) != 4 or shape[0] != 1):
            raise ExportError(f"{self.name} export: expected an example of one image [1, C, H, W], got {shape}")
        if request.precision == "int8":
            check_calibration(self.name, request, shape[1:])


def model_format(name: str) -> ModelFormat:
    """The format of that name. Raises ConfigError for an unknown one."""
    if name not in FORMATS:
        raise ConfigError(f"unknown model format {name!r}: {choices(name, FORMATS)}")
    return cast(ModelFormat, import_module(FORMATS[name]).FORMAT)


def format_of_runtime(runtime: str) -> ModelFormat:
    """The format that `runtime` runs. Raises ConfigError for an unknown one."""
    by_runtime = {entry.runtime: entry for entry in map(model_format, FORMATS)}
    if runtime not in by_runtime:
        raise ConfigError(f"unknown runtime {runtime!r}: {choices(runtime, by_runtime)}")
    return by_runtime[runtime]


def format_of_file(path: Path | str) -> ModelFormat:
    """The format of a file by its suffix. Raises ConfigError for an unknown one."""
    by_suffix = {entry.suffix: entry for entry in map(model_format, FORMATS)}
    suffix = Path(path).suffix
    if suffix not in by_suffix:
        raise ConfigError(f"{path} is no model file: {choices(suffix, by_suffix)}")
    return by_suffix[suffix]
