"""The model file formats: one module each, found by name or by the runtime that runs them.

A format is one file that defines `FORMAT`, and its line here. Importing it imports no torch and no runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError, choices
from hwnas.export.config import ExportConfig
from hwnas.progress import Progress, no_progress
from hwnas.spaces import Operator

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "FORMATS",
    "PRECISIONS",
    "ExportRequest",
    "ModelFormat",
    "Runner",
    "format_of_file",
    "format_of_runtime",
    "model_format",
]

Runner = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Prepared images `[N, C, H, W]` to logits `[N, classes]`; files of batch 1 are run N times."""

FORMATS: dict[str, str] = {
    "onnx": "hwnas.export.onnx",
    "tflite": "hwnas.export.tflite",
    "tvm": "hwnas.export.tvm",
    "executorch": "hwnas.export.executorch",
}


PRECISIONS = ("fp32", "fp16", "int8", "int8_dynamic")


@dataclass(frozen=True)
class ExportRequest:
    """A network that is to become a file, and how.

    `example` is one image `[1, C, H, W]`; `calibration` real, prepared ones `[N, C, H, W]`, off which int8 reads the
    ranges of activations. `metadata` goes into the file, name to text. `float_layers` stay float in a quantised file:
    layers by the format's own names, as its `layer_errors` gives them. `progress` is of what takes long: tuning.
    """

    module: nn.Module
    example: torch.Tensor
    precision: str = "fp32"
    calibration: NDArray[np.float32] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    config: ExportConfig = field(default_factory=ExportConfig)
    progress: Progress = no_progress


class ExportFunction(Protocol):
    def __call__(self, request: ExportRequest, path: Path | str) -> Path:
        """Write the request's network and return the path."""


class LayerErrors(Protocol):
    def __call__(self, request: ExportRequest, quantised_file: Path | str) -> dict[str, float]:
        """How much each layer that `request` quantised adds to the error, by its name there; worst first.

        `quantised_file` is what was written of `request`, whose `calibration` are the images to find it out with.
        """


class SyntheticWriter(Protocol):
    def __call__(
        self, operators: Sequence[Operator], path: Path | str, seed: int = 0, *, precision: str = "fp32"
    ) -> Path:
        """Write a chain of operators with random weights and return the path."""


class RunnerLoader(Protocol):
    def __call__(self, path: Path | str, threads: int = 1) -> Runner:
        """Load a file of this format into its runtime."""


@dataclass(frozen=True)
class ModelFormat:
    """One file format and what it can do.

    `layout` is the order of its input's axes; `extra` the optional dependency group that it needs, `packages` the
    import names in it. `layer_errors` is None where single layers can't stay float.
    """

    name: str
    suffix: str
    runtime: str
    layout: str
    extra: str
    packages: tuple[str, ...]
    precisions: tuple[str, ...]
    export: ExportFunction
    write_synthetic: SyntheticWriter
    load_runner: RunnerLoader
    layer_errors: LayerErrors | None = None


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
