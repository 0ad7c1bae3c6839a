"""The latency predictors of new devices by name. What one needs is imported when it is made."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from hwnas.errors import ConfigError, MissingExtraError, choices
from hwnas.latency.predictors.interface import Method, MethodBase

__all__ = ["METHODS", "make_method"]

METHODS = {
    "fewshot": "hwnas.latency.predictors.fewshot:FewShotMethod",
    "help": "hwnas.latency.help.method:HelpMethod",
    "macs": "hwnas.latency.predictors.baselines:MacsMethod",
    "parameters": "hwnas.latency.predictors.baselines:ParametersMethod",
    "forest": "hwnas.latency.predictors.baselines:ForestMethod",
    "nearest_device": "hwnas.latency.predictors.baselines:NearestDeviceMethod",
}
"""Module and class of each, a `MethodBase`."""


def make_method(name: str, published: bool = False, file: Path | None = None) -> Method:
    """The method `name`, for the honest protocol or the `published` one; `file`: as taught before (HELP).

    Raises ConfigError for another name, MissingExtraError where it needs what isn't installed.
    """
    if name not in METHODS:
        raise ConfigError(f"latency={name}: no predictor of new devices; {choices(name, METHODS)}")
    module, _, kind = METHODS[name].partition(":")
    try:
        made: type[MethodBase] = getattr(import_module(module), kind)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or module, "train", f"latency={name}") from error
    return made.make(published, file)
