"""The networks of one supernet, where a search chose of several, with what they are validated by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.devices.fleet import Unit
from hwnas.errors import ConfigError
from hwnas.pipeline.config import ValidateStep
from hwnas.pipeline.inputs import data_inputs, input_path, trained_checkpoint
from hwnas.pipeline.on_device import Devices
from hwnas.pipeline.search.result import SearchedSupernet, SearchEntry
from hwnas.pipeline.search.supernets import beside, of_supernet
from hwnas.pipeline.space import resolve_space
from hwnas.spaces import Space

__all__ = ["Home", "inputs_of"]


@dataclass(frozen=True)
class Home:
    """The networks `selected` of one supernet, with what they are validated by: its `config` has its own space."""

    name: str
    config: ValidateStep
    space: Space
    checkpoint: Path
    devices: Devices
    selected: list[SearchEntry]

    @classmethod
    def of(
        cls,
        config: ValidateStep,
        units: Sequence[Unit],
        folder: Path,
        supernet: SearchedSupernet | None,
        selected: list[SearchEntry],
    ) -> Home:
        """Of `supernet`; of None what `config` says, and the steps beside `folder`."""
        if supernet is not None and config.latency.path is not None:
            raise ConfigError(
                "latency.path: the networks are of several supernets, each with tables in its run: leave it out"
            )
        home = of_supernet(config, supernet)
        own = beside(folder, supernet)
        checkpoint = trained_checkpoint(home.checkpoint, home, own)
        devices = Devices.of(home, units, input_path(config.latency.path, own, "profile", "", "latency.path"))
        name = "" if supernet is None else supernet.name
        return cls(name, home, resolve_space(home), checkpoint, devices, selected)

    @property
    def files(self) -> dict[str, Path]:
        """Supernet and tables, by roles that name one of several supernets."""
        prefix = f"{self.name}: " if self.name else ""
        return {f"{prefix}{role}": file for role, file in {"checkpoint": self.checkpoint, **self.devices.files}.items()}

    @property
    def inputs(self) -> dict[str, Any]:
        """What its networks and images are."""
        return {"space": self.space.config(), "data": data_inputs(self.config.images)}


def inputs_of(homes: Sequence[Home]) -> dict[str, Any]:
    """What the networks and images of all are; of one that is not one of several, its own."""
    if not homes[0].name:
        return homes[0].inputs
    return {"supernets": {home.name: home.inputs for home in homes}}
