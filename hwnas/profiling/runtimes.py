"""The runtimes that models are measured in, as the host knows them; the device's side of each is in the agent."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from hwnas.errors import ConfigError, choices
from hwnas.export.formats import ModelFormat, format_of_runtime
from hwnas.profiling.config import RUNTIMES as NAMES

__all__ = ["RUNTIMES", "Runtime", "runtime_named"]


@dataclass(frozen=True)
class Runtime:
    """A runtime's name, the distribution that holds it, and the extra of hwnas that installs it."""

    name: str
    distribution: str
    extra: str

    @property
    def installed_version(self) -> str | None:
        """The version that is installed here, or None."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    @property
    def model_format(self) -> ModelFormat:
        """The format of the files that it runs: suffix, writers."""
        return format_of_runtime(self.name)


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": Runtime("onnxruntime", distribution="onnxruntime", extra="onnxruntime"),
    "litert": Runtime("litert", distribution="ai-edge-litert", extra="litert"),
}


def runtime_named(name: str) -> Runtime:
    """The runtime `name`, or ConfigError with the valid names."""
    if name not in RUNTIMES:
        raise ConfigError(f"runtime {name!r} unknown: {choices(name, NAMES)}")
    return RUNTIMES[name]
