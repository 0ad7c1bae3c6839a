"""What the user set, as opposed to what a setting's default is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig

from hwnas.cli.config import PipelineConfig
from hwnas.errors import ConfigError

__all__ = ["given_keys", "refuse_others"]


def given_keys() -> frozenset[str]:
    """The settings that the command line names, such as `device.name`; empty outside of a command."""
    if not HydraConfig.initialized():
        return frozenset()
    return frozenset(override.partition("=")[0].lstrip("+") for override in HydraConfig.get().overrides.task)


def refuse_others(config: PipelineConfig, own: Mapping[str, Any], what: str) -> None:
    """Raise ConfigError where a setting was given another value than `own`, those that `what` is of."""
    for key in sorted(given_keys() & own.keys()):
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value not in (own[key], (own[key],)):
            shown = value if isinstance(value, (str, int, float)) else ", ".join(map(str, value))
            raise ConfigError(
                f"{key}={shown}: {what} is of {own[key]}, and nothing else is measured of it: leave {key} out"
            )
