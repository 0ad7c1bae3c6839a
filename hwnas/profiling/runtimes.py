"""The runtimes that models are measured in, as the host knows them; the device's side of each is in the agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import ConfigError, choices
from hwnas.profiling.config import PRECISIONS_OF_RUNTIME, ProfilingConfig

if TYPE_CHECKING:
    from hwnas.spaces import Operator

__all__ = ["RUNTIMES", "ModelWriter", "Runtime", "model_writer", "runtime_named"]

ModelWriter = Callable[["Sequence[Operator]", Path, int], Path]


@dataclass(frozen=True)
class Runtime:
    """A runtime's name, the distribution that holds it, and the extra of hwnas that installs it.

    `suffix` of its model files; `writer`: the module whose `write` writes a chain of operators as one.
    """

    name: str
    distribution: str
    extra: str
    module: str
    suffix: str
    writer: str

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
        Runtime("onnxruntime", "onnxruntime", "onnxruntime", "onnxruntime", ".onnx", "hwnas.export.synthetic.onnx"),
        Runtime("litert", "ai-edge-litert", "litert", "ai_edge_litert", ".tflite", "hwnas.export.synthetic.tflite"),
        Runtime("tvm", "apache-tvm", "tvm", "tvm", ".so", "hwnas.export.synthetic.tvm"),
        Runtime("executorch", "executorch", "executorch", "executorch", ".pte", "hwnas.export.synthetic.executorch"),
    )
}


def runtime_named(name: str) -> Runtime:
    """The runtime `name`, or ConfigError with the valid names."""
    if name not in RUNTIMES:
        raise ConfigError(f"runtime {name!r} unknown: {choices(name, PRECISIONS_OF_RUNTIME)}")
    return RUNTIMES[name]


def model_writer(config: ProfilingConfig, tvm_target: str | None = None) -> ModelWriter:
    """What writes operators, with a seed, into a file for the configured runtime, precision and batch."""
    runtime = runtime_named(config.runtime)
    write = partial(import_module(runtime.writer).write, precision=config.precision, batch=config.batch)
    if runtime.name == "tvm":
        write = partial(write, target=tvm_target)
    return write
