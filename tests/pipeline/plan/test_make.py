"""A plan once more, when it is known how long the first steps took."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

import hwnas
from hwnas.files import write_json
from hwnas.pipeline.config import RunStep
from hwnas.pipeline.plan.itinerary import Itinerary
from hwnas.pipeline.plan.make import in_time, too_long
from hwnas.pipeline.plan.written import read_plan, write_plan
from hwnas.pipeline.run import ORDER
from tests.pipeline.plan.test_itinerary import Heard

NAMES = tuple(ORDER)
PLANNED = {
    "train": 1000.0, "evaluate": 100.0, "profile": 100.0, "search": 10.0, "finetune": 400.0, "export": 40.0,
    "validate": 50.0,
}  # fmt: skip


@pytest.fixture
def asked() -> RunStep:
    config = hwnas.load_config(["experiment=smoke", "hours=0.5"]).part(RunStep)
    return replace(config, finetune=replace(config.finetune, epochs=10.0))


def replanned(asked: RunStep, folder: Path, took: float, heard: Heard) -> RunStep:
    """The settings for fine-tuning where each step before it took `took` times what was planned."""
    itinerary = Itinerary(heard, PLANNED, heard.clock)
    write_plan(asked, asked, folder)
    for name in NAMES[:4]:
        with itinerary.at(name):
            heard.now += took * PLANNED[name]
        write_json(folder / name / "result.json", {"elapsed_s": took * PLANNED[name], "result": {}})
    return in_time(asked, asked, folder, NAMES, itinerary, time.monotonic() - itinerary.taken_s)


@pytest.mark.parametrize("took", [0.88, 0.95, 1.1, 1.2])
def test_fine_tuning_takes_the_time_that_is_left(asked: RunStep, tmp_path: Path, took: float) -> None:
    heard = Heard()
    config = replanned(asked, tmp_path, took, heard)
    seconds = took * (sum(PLANNED.values()) - PLANNED["finetune"] * (1 - config.finetune.epochs / 10))
    assert seconds == pytest.approx(1800, rel=0.03)
    again = read_plan(asked, tmp_path)
    assert again is not None
    assert again.finetune.epochs == config.finetune.epochs
    assert heard.lines == [
        f"plan: {config.finetune.epochs:g} epochs of each chosen network instead of 10, as time allows"
    ]


def test_it_is_not_given_up_nor_endless(asked: RunStep, tmp_path: Path) -> None:
    assert replanned(asked, tmp_path / "slow", 3.0, Heard()).finetune.epochs == 3
    assert replanned(asked, tmp_path / "fast", 0.01, Heard()).finetune.epochs == 20


def test_what_was_begun_or_given_stays(asked: RunStep, tmp_path: Path) -> None:
    (tmp_path / "finetune" / "one").mkdir(parents=True)
    (tmp_path / "finetune" / "one" / "inputs.json").write_text("{}")
    assert replanned(asked, tmp_path, 1.2, Heard()) == asked
    given = replace(asked, given=("finetune.epochs",))
    assert replanned(given, tmp_path / "given", 1.2, Heard()) == given


def test_days_are_said() -> None:
    said = too_long({"train": 9.1 * 86400, "evaluate": 3600.0, "search": 2.0})
    assert said.startswith("this takes 9.1 days here (train 218.4 h, evaluate 1.0 h): hours=8 ")
