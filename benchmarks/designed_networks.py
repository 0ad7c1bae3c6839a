"""Networks trained alone, for `searched_vs_designed.py`: designed by hand at any width, or found by a search."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hwnas import load_config
from hwnas.cli.commands import COMMANDS
from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.files import read_json, sha256_of_json, write_json
from hwnas.operators import Operator
from hwnas.pipeline.space import given_arch, resolve_space
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.progress import no_progress
from hwnas.spaces import Genotypes, Space
from hwnas.training.config import PhaseConfig, TrainingConfig

__all__ = ["Designed", "Searched", "Single", "hwnas", "ladder", "latencies", "trained"]

PROBED_EPOCHS, PROBED_CPU_S = (0.05, 0.3, 1.3, 5.3), 20.0  # a start takes about 10 s, give or take 2


def hwnas(command: str, folder: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], float]:
    """A command as its users run it, in a process of its own: its result, and the seconds of CPU that it took."""
    used = (*COMMANDS[command].keys, "experiment", "seed")
    own = [setting for setting in overrides if setting.split("=")[0].split(".")[0] in used]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "hwnas.cli.main", command, *own, f"hydra.run.dir={folder}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return read_json(folder / "result.json", RuntimeError)["result"], cpu_s


class Single(ABC):
    """One network, and the settings of `hwnas train` that train it alone."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """The first part of its name."""

    @property
    @abstractmethod
    def settings(self) -> list[str]:
        """Which network, and on which data."""

    @cached_property
    def network(self) -> tuple[Space, Genotypes]:
        config = load_config(self.settings)
        space = resolve_space(config)
        return space, space.genotype(given_arch(config.arch))

    @property
    def operators(self) -> Sequence[Operator]:
        space, genotype = self.network
        return space.operators_of(genotype)

    @cached_property
    def name(self) -> str:
        """The same for settings that give the same network."""
        digest = sha256_of_json([operator.to_dict() for operator in self.operators])
        return f"{self.kind}-{digest[:10]}"


@dataclass(frozen=True)
class Designed(Single):
    """MobileNetV3 of a `size`, its widths times `width_mult`. `overrides` name the data."""

    size: str
    width_mult: float
    overrides: tuple[str, ...]

    @property
    def kind(self) -> str:
        return f"mobilenet_v3_{self.size}"

    @property
    def settings(self) -> list[str]:
        return [f"experiment={self.kind}", *self.overrides, f"space.width_mult={self.width_mult!r}"]


@dataclass(frozen=True)
class Searched(Single):
    """A network of the space of `experiment`, `arch` as JSON."""

    experiment: str
    arch: str
    overrides: tuple[str, ...]

    @property
    def kind(self) -> str:
        return "searched"

    @property
    def settings(self) -> list[str]:
        arch = ", ".join(f"{key}: {json.dumps(value)}" for key, value in json.loads(self.arch).items())
        return [f"experiment={self.experiment}", "training=single", *self.overrides, f"arch={{{arch}}}"]


def latencies(models: Mapping[str, Path], settings: ProfilingConfig, seed: int, journal: Path) -> dict[str, float]:
    """Latency in ms of each of `models`, which take turns; what a killed run measured is taken from `journal`."""
    reference = next(iter(models.values()))
    identity = {"models": sorted(models), "setting": settings.setting}
    with Journal(journal, identity) as opened, connect(load_profile("local"), DeviceConfig()) as transport:
        found = measure_models(transport, models, reference, settings, seed=seed, journal=opened, progress=no_progress)
    return {name: one.median_ms for name, one in found.latencies.items()}


def trained(peer: Single, recipe: TrainingConfig, minutes: float, folder: Path, seed: int) -> dict[str, Any]:
    """Train `peer` alone for `minutes` of CPU by `recipe`; accuracies, epochs and CPU seconds. Goes on where killed.

    The number of epochs is what fits in by the CPU time of an epoch, and is kept: a run that goes on needs the same.
    """
    settings = _training_settings(peer, recipe, seed)
    plan = folder / "plan.json"
    if plan.is_file():
        planned = json.loads(plan.read_text())
    else:
        epoch_s = _epoch_cpu_s(settings, recipe.phases[0])
        planned = {"epochs": round(60 * minutes / epoch_s, 3), "probed_epoch_cpu_s": round(epoch_s, 2), "cpu_s": 0.0}
        write_json(plan, planned)
    result, cpu_s = hwnas("train", folder / "train", [*settings, _phase(recipe.phases[0], planned["epochs"])])
    planned["cpu_s"] = round(planned["cpu_s"] + cpu_s, 1)
    write_json(plan, planned)
    return {
        **planned,
        "accuracy": result["subnet"]["accuracy"],
        "held_out_accuracy": result["subnet"]["held_out_accuracy"],
    }


def _training_settings(peer: Single, recipe: TrainingConfig, seed: int) -> list[str]:
    kept = ("batch_size", "shards", "accelerator", "optimiser", "momentum", "weight_decay", "label_smoothing")
    own = [f"training.{key}={getattr(recipe, key)}" for key in kept]
    return [*peer.settings, f"seed={seed}", "training.tensorboard=false", *own]


def _phase(first: PhaseConfig, epochs: float) -> str:
    """The setting that trains for `epochs` as the `first` phase of the recipe does."""
    warmup = min(first.warmup_epochs, epochs / 10)
    phase = f"epochs: {epochs}, learning_rate: {first.learning_rate}, warmup_epochs: {warmup}, teacher: none"
    return f"training.phases=[{{name: single, {phase}}}]"


def _epoch_cpu_s(settings: Sequence[str], first: PhaseConfig) -> float:
    """CPU seconds of an epoch, images included: what a longer training takes more than a short one."""
    with tempfile.TemporaryDirectory() as folder:

        def cpu_s(epochs: float) -> float:
            return hwnas("train", Path(folder) / str(epochs), [*settings, _phase(first, epochs)])[1]

        short = cpu_s(PROBED_EPOCHS[0])
        for epochs in PROBED_EPOCHS[1:]:
            more = cpu_s(epochs) - short
            if more >= PROBED_CPU_S:
                break
    return more / (epochs - PROBED_EPOCHS[0])


def ladder(low: float, high: float, steps: int) -> list[float]:
    """`steps` widths from `low` to `high`, evenly spread on a logarithmic scale."""
    return [round(float(width), 4) for width in np.geomspace(low, high, steps)]
