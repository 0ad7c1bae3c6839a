"""How long the steps of a run will take here: what each has to do, times what a few measured pieces of it took."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.data.count import ImageCounts, count_images
from hwnas.pipeline.config import RunStep
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.steps import read_or_none
from hwnas.pipeline.units import by_model, units_of

if TYPE_CHECKING:
    from hwnas.training.speed import Speed

__all__ = ["Rack", "forecast"]

# Seconds of what no measurement of the training tells, as the quickstart took on two cores of an x86 server.
_MODEL_S = 0.03  # one model file written and loaded, for a latency table; its samples come on top
_SEARCH_S = 1.5
_FILE_S = 3.0  # one file exported and checked
_FILE_LATENCY_S = 1.5
_FIT_S = 3.0  # the accuracy predictor
_LOADED_S = 2.0  # a data set read
_WORKERS_S = 5.0  # the processes started that measure several devices, for one runtime
_CALIBRATED = 2.5  # times the time of an answer: an image on which BatchNorm is calibrated, which is not folded then


@dataclass(frozen=True)
class Rack:
    """The devices of a run: how many `models`, and the `fewest` units that one of these has."""

    models: int = 1
    fewest: int = 1

    @classmethod
    def of(cls, config: RunStep) -> Rack:
        """Raises what `units_of` does."""
        models = by_model(units_of(config)).values()
        return cls(len(models), min(map(len, models)))


def forecast(
    config: RunStep,
    folder: Path,
    ahead: Sequence[str],
    speed: Speed | None = None,
    images: ImageCounts | None = None,
    rack: Rack | None = None,
) -> dict[str, float]:
    """Seconds that each of the steps `ahead` will take in `folder`.

    A training that was interrupted takes what it said was left. `speed` is measured, `images` and the devices of the
    `rack` are counted where they are not given. Raises what counting them and making networks raise.
    """
    if not ahead:
        return {}
    space = resolve_space(config)
    if speed is None:
        from hwnas.training.speed import measure_speed

        speed = measure_speed(config.training, space)
    rack = rack or Rack.of(config)
    seconds = _device_s(config, rack, len(space.operators), speed)
    seconds |= _learning_s(config, rack, images or count_images(config.images), speed, _left_s(folder / "train"))
    return {name: seconds[name] for name in ahead}


def _device_s(config: RunStep, rack: Rack, operators: int, speed: Speed) -> dict[str, float]:
    """Of the steps on the devices, which are taken to be as fast as this machine. They are measured at the same time,
    and their models are written once.
    """
    profiling = config.profiling
    files = rack.models * _networks(config) * max(1, len(config.formats)) * max(1, len(config.precisions))
    latency_s = speed.answer * (os.cpu_count() or 1)  # speed's is of all cores, a network's latency of one
    sample_s = max(profiling.slice_ms / 1e3, profiling.min_repeats * latency_s)
    models_s = operators * (_MODEL_S + profiling.rounds * profiling.slice_ms / 1e3 / rack.fewest)
    models_s += profiling.networks * (_MODEL_S + profiling.rounds * sample_s / rack.fewest)
    runtimes = len(config.runtimes)
    return {
        "profile": runtimes * (models_s + _workers_s(rack.models * rack.fewest)),
        "export": files * _FILE_S + runtimes * _workers_s(rack.models),
    }


def _learning_s(config: RunStep, rack: Rack, images: ImageCounts, speed: Speed, left_s: float) -> dict[str, float]:
    """Of the steps that are made of networks' training and answers."""
    training, measure = config.training, config.evaluation.measure
    per_epoch = max(images.train, training.epoch_images)
    judged = _CALIBRATED * min(training.calibration_images, images.train) + images.held_out  # for a subnet's accuracy
    calibrated = _CALIBRATED * min(measure.calibration_images, images.calibration)
    evaluated = calibrated + (min(measure.images, images.held_out) or images.held_out)
    tested = calibrated + images.test
    subnets = 2 + training.random_subnets
    phases = zip(training.phases, speed.phases, strict=True)
    steps_s = sum(phase.epochs * per_epoch * seconds for phase, seconds in phases)
    networks = rack.models * _networks(config)
    random = config.search.comparison_networks
    return {
        "train": _LOADED_S
        + min(steps_s, left_s)
        + subnets * (len(training.phases) * judged + tested + judged) * speed.answer,
        "evaluate": _LOADED_S + config.evaluation.subnets * evaluated * speed.answer + _FIT_S,
        "search": rack.models * _SEARCH_S + networks * config.search.evaluate_top * evaluated * speed.answer,
        "finetune": networks
        * (_LOADED_S + config.finetune.epochs * per_epoch * speed.alone + (3 * judged + 2 * tested) * speed.answer),
        "validate": _LOADED_S
        + networks * (2 + random) * tested * speed.answer
        + _networks(config) * _FILE_LATENCY_S  # all devices at once
        + len(config.runtimes) * _workers_s(rack.models),
    }


def _workers_s(devices: int) -> float:
    return _WORKERS_S if devices > 1 else 0.0


def _networks(config: RunStep) -> int:
    """How many networks the search will choose for a device, where no two budgets meet in one."""
    return len(config.runtimes) * len(config.search.budgets or config.search.budget_quantiles)


def _left_s(folder: Path) -> float:
    """What the interrupted training in `folder` last said was left; infinite where there is none, or a finished one."""
    if (folder / "result.json").exists():
        return math.inf
    history = read_or_none(folder / "history.json")
    rows = history.get("rows") if isinstance(history, dict) else None
    return float(rows[-1]["left_s"]) if rows else math.inf
