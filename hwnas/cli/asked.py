"""What the user set, as opposed to what a setting's default is."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig

__all__ = ["given_keys"]


def given_keys() -> frozenset[str]:
    """The settings that the command line names, such as `device.name`; empty outside of a command."""
    if not HydraConfig.initialized():
        return frozenset()
    return frozenset(override.partition("=")[0].lstrip("+") for override in HydraConfig.get().overrides.task)
