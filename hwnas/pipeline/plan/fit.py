"""A run's settings, chosen so that the whole takes the hours that are given.

What the user gave stays as it is. Left to the plan are, first, the space and its resolution: the dearest of a ladder
whose supernet still sees each image often enough; then how often, how long chosen networks are trained on, and how many
subnets and models are measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import ConfigError
from hwnas.pipeline.config import RunStep
from hwnas.pipeline.plan.facts import DataFacts
from hwnas.pipeline.plan.forecast import Rack, forecast
from hwnas.pipeline.plan.ladder import ladder
from hwnas.pipeline.plan.suit import suited
from hwnas.pipeline.space import resolve_space, space_of
from hwnas.progress import time_in_words
from hwnas.spaces import FileSpaceConfig, Space, SpaceConfig
from hwnas.training.config import PhaseConfig

if TYPE_CHECKING:
    from hwnas.training.speed import Speed

__all__ = ["Fitted", "fit", "in_its_space", "is_given", "with_epochs"]

HOUR_S = 3600.0
_SPARE = 0.03  # of the time: what no forecast knows
_START_S = 15.0  # the command, its checks, this plan and the report
_EVALUATE_SHARE, _PROFILE_SHARE, _VALIDATE_SHARE = 0.08, 0.12, 0.05  # of the time, at most, where less does
_LEAST_SUBNETS, _LEAST_NETWORKS, _LEAST_COMPARED = 60, 40, 3
_LEAST_EPOCHS, _MOST_EPOCHS = 0.1, 8.0  # times `epochs_wanted`
_MEASUREMENTS = 3
_SIZES = (96, 112, 128, 144, 160, 176, 192, 208, 224)  # in steps of once-for-all's
_LEAST_SIZE = 64  # of an image for weights that know photographs
_GPU = 20.0  # times as fast as two CPU cores, or more, is any GPU of the last years


@dataclass(frozen=True)
class Fitted:
    """`config` with what was planned, and `seconds` by step. `notes`: what else people should know, a line each."""

    config: RunStep
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()


def fit(
    config: RunStep, folder: Path, steps: Sequence[str], facts: DataFacts, measure: Callable[[RunStep], Speed]
) -> Fitted:
    """The plan of `config.hours`. `measure` times a few steps of a candidate.

    Raises ConfigError where the hours are too few for any plan, naming the least.
    """
    hours = config.hours
    if hours is None:
        raise TypeError("fit: expected config.hours")
    chooser = _Chooser(config, folder, steps, facts, measure)
    fitted, factor = chooser.choose(hours)
    notes = []
    for label, other in (("hours", 2 * hours), ("gpu", hours)):
        more, _ = chooser.imagined(other, _GPU if label == "gpu" else 1.0)
        what = f"with hours={other:g}" if label == "hours" else f"with training {_GPU:g} × as fast, as on a GPU"
        notes.append(f"{what}: {described(more)}")
    if factor >= chooser.most:
        notes.insert(0, f"done in less than {hours:g} hours: each image is seen often enough")
    return replace(fitted, notes=tuple(notes))


def described(config: RunStep) -> str:
    """The plan in a line."""
    sizes = config.space.resolution
    pixels = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    epochs = sum(phase.epochs for phase in config.training.phases)
    tuned = f", {config.finetune.epochs:.3g} of each chosen network" if config.finetune.epochs else ""
    return f"{config.space.name}, {pixels} pixels, {epochs:.3g} epochs of the supernet{tuned}"


def is_given(config: RunStep, *keys: str) -> bool:
    """Whether the user set one of `keys`, or anything below it."""
    return any(own == key or own.startswith(f"{key}.") for own in config.given for key in keys)


def in_its_space(config: RunStep) -> RunStep:
    """`config` in the space of its checkpoint, where it has one and the space is left to the plan.

    Raises CheckpointError where the file tells no space.
    """
    if not config.checkpoint or is_given(config, "space", "experiment"):
        return config
    return replace(config, space=space_of(config.checkpoint))


def epochs_wanted(images: int, pretrained: bool = False) -> float:
    """How often a supernet should see each of so many training images before a dearer space is worth its time.

    60 times where they are 50,000, and more often the fewer they are, by the fourth root: on 2,376 photographs of 81
    classes, a network of 19 million MACs reached .639 of the test images in 160 epochs alone; of a supernet of 13 to 73
    million, trained for 55 epochs and 1.4 times the CPU time, the networks measured reached .53 to .59.

    Of `pretrained` weights a twelfth of it is wanted, since pixels matter more: ProxylessNAS w0.3 on the same images at
    128 pixels reached .748 after 22 epochs as part of a supernet and 20 alone, and .746 after 40 alone at once, which
    had .775 where they saw the images at 160 pixels.
    """
    epochs = min(300.0, max(20.0, 60 * math.pow(50_000 / max(1, images), 0.25)))
    return epochs * (0.08 if pretrained else 1.0)


def with_epochs(config: RunStep, factor: float) -> RunStep:
    """The epochs of all phases and of the fine-tuning times `factor`, but for those that were given."""
    if not is_given(config, "training.phases"):
        phases = tuple(_scaled(phase, factor) for phase in config.training.phases)
        config = replace(config, training=replace(config.training, phases=phases))
    if not is_given(config, "finetune.epochs"):
        finetune = replace(config.finetune, epochs=_rounded(config.finetune.epochs * factor))
        config = replace(config, finetune=finetune)
    return config


class _Chooser:
    def __init__(
        self, config: RunStep, folder: Path, steps: Sequence[str], facts: DataFacts, measure: Callable[[RunStep], Speed]
    ) -> None:
        self._folder, self._steps, self._facts, self._measure = folder, steps, facts, measure
        self._rack = Rack.of(config)
        self._candidates = _candidates(config, facts)
        self._speeds: dict[int, Speed] = {}
        recipe = sum(phase.epochs for phase in config.training.phases)
        wanted = epochs_wanted(facts.images.train, bool(config.checkpoint)) / recipe
        free = len(self._candidates) > 1
        self._wanted = wanted if free else 1.0
        self.least = _LEAST_EPOCHS * self._wanted
        self.most = _MOST_EPOCHS * max(wanted, 1.0)

    def choose(self, hours: float) -> tuple[Fitted, float]:
        """The plan, and the factor of its epochs. Candidates are measured until the chosen one is."""
        place = len(self._candidates) // 2
        for _ in range(_MEASUREMENTS):
            self._speeds[place] = self._measure(self._candidates[place])
            place = self._best(hours, range(len(self._candidates)))
            if place in self._speeds:
                break
        place = self._best(hours, sorted(self._speeds))
        fitted, factor = self._at(place, hours)
        if factor < self.least:
            raise self._too_few(place, hours)
        return fitted, factor

    def imagined(self, hours: float, faster: float) -> tuple[RunStep, float]:
        """What would be planned for other hours, or where training went so many times as fast."""
        place = self._best(hours, range(len(self._candidates)), faster)
        fitted, factor = self._at(place, hours, faster)
        return fitted.config, factor

    def _best(self, hours: float, among: Sequence[int], faster: float = 1.0) -> int:
        """The dearest of the candidates `among` that is trained for long enough; the cheapest where none is."""
        affordable = [place for place in among if self._at(place, hours, faster)[1] >= self._wanted]
        return affordable[-1] if affordable else among[0]

    def _at(self, place: int, hours: float, faster: float = 1.0) -> tuple[Fitted, float]:
        speed = _faster(self._speed(place), faster)
        config = self._modest(place, speed, hours)
        once, twice = (sum(self._forecast(with_epochs(config, factor), speed).values()) for factor in (1.0, 2.0))
        left = hours * HOUR_S * (1 - _SPARE) - _START_S - (2 * once - twice)
        factor = min(left / (twice - once), self.most) if twice > once else 1.0
        fitted = with_epochs(config, max(factor, self.least))
        return Fitted(fitted, self._forecast(fitted, speed)), factor

    def _modest(self, place: int, speed: Speed, hours: float) -> RunStep:
        """The candidate with fewer measurements, where those would take more than their share of the time."""
        config = self._candidates[place]
        seconds = self._forecast(config, speed)

        def allowed(step: str, share: float, count: int, least: int) -> int:
            most = share * hours * HOUR_S
            return (
                count if seconds.get(step, 0.0) <= most else max(min(count, least), int(count * most / seconds[step]))
            )

        if not is_given(config, "evaluation.subnets"):
            subnets = allowed("evaluate", _EVALUATE_SHARE, config.evaluation.subnets, _LEAST_SUBNETS)
            config = replace(config, evaluation=replace(config.evaluation, subnets=subnets))
        if not is_given(config, "profiling.networks") and config.profiling.networks:
            networks = allowed("profile", _PROFILE_SHARE, config.profiling.networks, _LEAST_NETWORKS)
            config = replace(config, profiling=replace(config.profiling, networks=networks))
        if not is_given(config, "search.comparison_networks"):
            compared = allowed("validate", _VALIDATE_SHARE, config.search.comparison_networks, _LEAST_COMPARED)
            config = replace(config, search=replace(config.search, comparison_networks=compared))
        return config

    def _forecast(self, config: RunStep, speed: Speed) -> dict[str, float]:
        return forecast(config, self._folder, self._steps, speed, self._facts.images, self._rack)

    def _too_few(self, place: int, hours: float) -> ConfigError:
        speed = self._speed(place)
        config = with_epochs(self._modest(place, speed, 0.0), self.least)
        seconds = self._forecast(config, speed)
        least = (_START_S + sum(seconds.values())) / (1 - _SPARE) / HOUR_S
        longest = sorted(seconds, key=lambda name: -seconds[name])[:3]
        return ConfigError(
            f"hours={hours:g}: expected {_rounded_up(least):g} or more on this machine"
            f" ({', '.join(f'{name} {time_in_words(seconds[name])}' for name in longest)}, …): give more hours, fewer"
            " devices, runtimes or search.budgets, or smaller images (data.image_size)"
        )

    def _speed(self, place: int) -> Speed:
        """As measured; else that of the nearest one measured, by the work of an image."""
        if place in self._speeds:
            return self._speeds[place]
        nearest = min(self._speeds, key=lambda measured: abs(measured - place))
        return _faster(self._speeds[nearest], self._work(nearest) / self._work(place))

    def _work(self, place: int) -> float:
        """What a training step of the largest network costs, in units of its own: MACs to the power of 0.8, which is
        within 4 % of four spaces of 40 to 86 million (widths 0.35 and 0.5 at 128 pixels, ProxylessNAS 0.3 at 128 and
        160, on two x86 cores).
        """
        space: Space = resolve_space(self._candidates[place])
        return math.pow(int(space.macs(space.extreme(True)[None])[0]), 0.8)


def _candidates(config: RunStep, facts: DataFacts) -> list[RunStep]:
    """`config` in every space that it may be planned in, from the cheapest on."""
    if is_given(config, "space", "experiment"):
        return [suited(config, facts)]
    spaces: list[SpaceConfig] = [*ladder(facts.shorter_side, facts.channels)]
    if config.checkpoint:
        spaces = [*_sizes_of(in_its_space(config).space, facts.shorter_side)]
    if is_given(config, "data.image_size"):
        most = config.images.image_size
        spaces = [space for space in spaces if space.resolution[-1] <= most] or spaces[:1]
        spaces = [space for space in spaces if space.resolution[-1] == spaces[-1].resolution[-1]]
    return [suited(replace(config, space=space), facts) for space in spaces]


def _sizes_of(space: SpaceConfig, shorter_side: int) -> list[SpaceConfig]:
    """The space of a checkpoint at each size, from 96 pixels on, that images of `shorter_side` fill."""
    if isinstance(space, FileSpaceConfig):
        return [space]
    sizes = [size for size in _SIZES if size <= max(shorter_side, _SIZES[0])]
    return [replace(space, resolution=_below(size)) for size in sizes]


def _below(largest: int) -> tuple[int, ...]:
    """Once-for-all's five resolutions, or those of them from `_LEAST_SIZE` on.

    Fewer pixels cost a trained network less than fewer of its blocks: ProxylessNAS w0.3 on 2,478 photographs, trained
    on alone, had .748 of the test images at 128 pixels with 19 million MACs, and networks of its parts .72 to .75 at
    160 with 20 to 23 million, as long in latency or longer.
    """
    return tuple(size for size in range(largest - 64, largest + 1, 16) if size >= _LEAST_SIZE)


def _scaled(phase: PhaseConfig, factor: float) -> PhaseConfig:
    epochs = max(_rounded(phase.epochs * factor), 0.01)
    warmup = min(_rounded(phase.warmup_epochs * factor), 0.9 * epochs)
    return replace(phase, epochs=epochs, warmup_epochs=warmup, decay_epochs=_rounded(phase.decay_epochs * factor))


def _rounded(epochs: float) -> float:
    """To a hundredth: what a person reads, and the plan's file holds."""
    return round(epochs, 2)


def _rounded_up(hours: float) -> float:
    """To two digits, up: what is asked for next must do."""
    unit = 10.0 ** (math.floor(math.log10(hours)) - 1)
    return round(math.ceil(hours / unit) * unit, 6)


def _faster(speed: Speed, factor: float) -> Speed:
    phases = tuple(one / factor for one in speed.phases)
    return replace(speed, phases=phases, alone=speed.alone / factor, answer=speed.answer / factor)
