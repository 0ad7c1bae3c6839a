"""The runtimes that models are measured in, as the host knows them; the device's side of each is in the agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import ConfigError, choices
from hwnas.export.formats import ModelFormat, model_format
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.profiling.config import ProfilingConfig

if TYPE_CHECKING:
    from hwnas.operators import Operator

__all__ = ["RUNTIMES", "ModelWriter", "Runtime", "model_writer", "runtime_named"]

ModelWriter = Callable[["Sequence[Operator]", Path, int], Path]


@dataclass(frozen=True)
class Runtime:
    """A runtime's name, the distribution that holds it, and the extra of hwnas that installs it.

    `module`: its import name, which `is_namespace` says to be a package without an `__init__.py`; `format`: the name of
    what it runs.
    """

    name: str
    distribution: str
    extra: str
    module: str
    format: str
    is_namespace: bool = False

    @property
    def model_format(self) -> ModelFormat:
        """The format of the files that it runs."""
        return model_format(self.format)

    @property
    def suffix(self) -> str:
        """Of its model files."""
        return self.model_format.suffix

    def target(self, tvm_target: str | None) -> str | None:
        """What its files are compiled for on a device of that `tvm_target`: None where nothing is compiled."""
        return tvm_target if self.model_format.compiles_for_target else None

    @property
    def installed_version(self) -> str | None:
        """The version that is installed here, or None."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime("onnxruntime", "onnxruntime", "onnxruntime", "onnxruntime", "onnx"),
        Runtime("litert", "ai-edge-litert", "litert", "ai_edge_litert", "tflite"),
        Runtime("tvm", "apache-tvm", "tvm", "tvm", "tvm"),
        Runtime("executorch", "executorch", "executorch", "executorch", "executorch", is_namespace=True),
    )
}


def runtime_named(name: str) -> Runtime:
    """The runtime `name`, or ConfigError with the valid names."""
    if name not in RUNTIMES:
        raise ConfigError(f"runtime {name!r} unknown: {choices(name, RUNTIMES)}")
    return RUNTIMES[name]


def model_writer(config: ProfilingConfig, tvm_target: str | None = None) -> ModelWriter:
    """What writes operators, with a seed, into a file for the configured runtime, precision and batch."""
    runtime = runtime_named(config.runtime)
    write: Callable[..., Path] = synthetic_writer(runtime.format)
    target = {"target": tvm_target} if runtime.model_format.compiles_for_target else {}
    return partial(write, precision=config.precision, batch=config.batch, **target)
