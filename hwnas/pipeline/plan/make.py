"""The plan of a run that has so many hours: made before it, and once more before its chosen networks are trained on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hwnas.pipeline.config import RunStep
from hwnas.pipeline.plan.facts import look_at
from hwnas.pipeline.plan.fit import HOUR_S, described, fit, is_given
from hwnas.pipeline.plan.itinerary import Itinerary
from hwnas.pipeline.plan.written import write_plan
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.steps import read_or_none
from hwnas.progress import Reporter, time_in_words

__all__ = ["DAY_S", "in_time", "make_plan", "too_long"]

DAY_S = 24 * HOUR_S
_LEAST_SHARE, _MOST_SHARE = 0.3, 2.0  # of the fine-tuning that was planned, where there is less or more time for it
_CHANGED = 0.05  # a smaller change is not worth another plan


def make_plan(
    asked: RunStep, folder: Path, steps: Sequence[str], reporter: Reporter
) -> tuple[RunStep, dict[str, float]]:
    """The settings that fit `asked.hours`, written to the run's folder and said, and the seconds of each step.

    Raises ConfigError where the hours are too few, DataError where the images are not as expected.
    """
    facts = look_at(asked.images)
    images = facts.images
    reporter.say(
        f"data: {images.train} images to learn from, {images.held_out} held out, {images.test} to test on;"
        f" {facts.classes} classes; {facts.shorter_side} pixels, the shorter side's median"
    )
    with reporter.step(
        f"plan: what fits {time_in_words((asked.hours or 0) * HOUR_S)}, by a few steps here"
    ) as progress:
        from hwnas.training.speed import Speed, measure_speed

        tried: list[str] = []

        def measure(config: RunStep) -> Speed:
            tried.append(config.space.name)
            progress(len(tried) / 4, f"{config.space.name} up to {config.space.resolution[-1]} pixels")
            return measure_speed(config.training, resolve_space(config))

        fitted = fit(asked, folder, steps, facts, measure)
    reporter.say(f"plan: {described(fitted.config)}")
    for note in fitted.notes:
        reporter.say(f"  {note}")
    reporter.say(f"  as an experiment: {write_plan(fitted.config, asked, folder)}")
    return fitted.config, fitted.seconds


def in_time(
    asked: RunStep, config: RunStep, folder: Path, steps: Sequence[str], itinerary: Itinerary, began: float
) -> RunStep:
    """`config` with as much fine-tuning as the time allows that is left, where that is not what was planned, and the
    plan's file with it. What was said to be too short or too long by then is made up for here.

    `began`: when this run did, by `time.monotonic`. A fine-tuning that has begun is left as it is.
    """
    planned_s = itinerary.planned_s("finetune")
    begun = (folder / "finetune" / "result.json").exists() or any((folder / "finetune").glob("*/inputs.json"))
    if begun or not planned_s or is_given(asked, "finetune.epochs") or asked.hours is None:
        return config
    before = steps[: steps.index("finetune")]
    spent_s = sum(_elapsed_s(folder / name) for name in before) + (time.monotonic() - began - itinerary.taken_s)
    after_s = sum(itinerary.planned_s(name) for name in steps[steps.index("finetune") + 1 :])
    share = min(max((asked.hours * HOUR_S - spent_s - after_s) / planned_s, _LEAST_SHARE), _MOST_SHARE)
    if abs(share - 1) < _CHANGED:
        return config
    epochs = round(config.finetune.epochs * share, 2)
    itinerary.say(
        f"plan: {epochs:g} epochs of each chosen network instead of {config.finetune.epochs:g}, as time allows"
    )
    changed = replace(config, finetune=replace(config.finetune, epochs=epochs))
    write_plan(changed, asked, folder)
    itinerary.replan("finetune", planned_s * share)
    return changed


def too_long(seconds: Mapping[str, float]) -> str:
    """What is said before a run of more than a day."""
    longest = ", ".join(f"{name} {value / HOUR_S:.1f} h" for name, value in seconds.items() if value >= 0.05 * HOUR_S)
    return (
        f"this takes {sum(seconds.values()) / DAY_S:.1f} days here ({longest}): hours=8 fits it into a night, and"
        " experiment=photos on smaller images (data.image_size=96), or a GPU (training.accelerator=auto"
        " training.shards=1), takes less; going on as asked"
    )


def _elapsed_s(folder: Path) -> float:
    document = read_or_none(folder / "result.json")
    return float(document.get("elapsed_s", 0.0)) if isinstance(document, dict) else 0.0
