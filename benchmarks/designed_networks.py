"""Networks trained alone, for `searched_vs_designed.py`: designed by hand at any width, or found by a search."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from timed_training import train_for

from hwnas import load_config
from hwnas.files import sha256_of_json
from hwnas.operators import Operator
from hwnas.pipeline.space import given_arch, resolve_space
from hwnas.spaces import Genotypes, Space
from hwnas.training.config import PhaseConfig, TrainingConfig

__all__ = ["Designed", "Searched", "Single", "ladder", "trained"]


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


def trained(peer: Single, recipe: TrainingConfig, minutes: float, folder: Path, seed: int) -> dict[str, Any]:
    """Train `peer` alone for `minutes` of CPU by `recipe`; accuracies, epochs and CPU seconds. Goes on where killed."""
    first = recipe.phases[0]
    settings = _training_settings(peer, recipe, seed)
    result, planned = train_for(minutes, settings, lambda epochs: _phase(first, epochs), folder)
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


def ladder(low: float, high: float, steps: int) -> list[float]:
    """`steps` widths from `low` to `high`, evenly spread on a logarithmic scale."""
    return [round(float(width), 4) for width in np.geomspace(low, high, steps)]
