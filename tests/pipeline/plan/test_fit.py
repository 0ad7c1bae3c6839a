"""What a plan chooses for the hours that are given, with a machine whose speed is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hwnas
from hwnas.errors import ConfigError
from hwnas.pipeline.config import RunStep
from hwnas.pipeline.plan.facts import look_at
from hwnas.pipeline.plan.fit import HOUR_S, Fitted, epochs_wanted, fit
from hwnas.pipeline.plan.ladder import ladder
from hwnas.pipeline.run import ORDER
from hwnas.pipeline.space import resolve_space
from hwnas.training.speed import Speed

NAMES = tuple(ORDER)


def machine(config: RunStep) -> Speed:
    """Seconds in proportion to the work of the largest network: what a planner is to find out."""
    space = resolve_space(config)
    work = float(space.macs(space.extreme(True)[None])[0]) ** 0.8 * 2e-9
    return Speed(tuple(work * (1 + phase.subnets_per_step) for phase in config.training.phases), work, 0.2 * work)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 5)):
        for name in ("apple", "pear", "plum"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (170, 230, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")
    return root


def planned(photos: Path, *overrides: str) -> Fitted:
    config = hwnas.load_config(["data=image_folder", f"data.root={photos}", *overrides]).part(RunStep)
    return fit(config, photos, NAMES, look_at(config.images), machine)


def test_the_folder_is_looked_at(photos: Path) -> None:
    facts = look_at(hwnas.load_config(["data=image_folder", f"data.root={photos}"]).images)
    assert (facts.shorter_side, facts.classes, facts.channels) == (170, 3, 3)
    assert facts.images.train + facts.images.held_out == 60
    assert facts.images.test == 15


def test_the_whole_fits_the_hours(photos: Path) -> None:
    chosen = [planned(photos, f"hours={hours}") for hours in (0.05, 0.2, 1)]
    for hours, fitted in zip((0.05, 0.2, 1), chosen, strict=True):
        total = sum(fitted.seconds.values())
        assert 0.85 * hours * HOUR_S < total + 15 < hours * HOUR_S
    work = [machine(fitted.config).alone for fitted in chosen]
    assert work == sorted(work)
    assert work[0] < work[-1]
    assert max(fitted.config.space.resolution[-1] for fitted in chosen) <= 170
    assert all(fitted.config.images.image_size == fitted.config.space.resolution[-1] for fitted in chosen)


def test_what_more_would_buy_is_said(photos: Path) -> None:
    notes = planned(photos, "hours=0.05").notes
    assert notes[0].startswith("with hours=0.1: ofa_mbv3_")
    assert "on a GPU: ofa_mbv3_" in notes[1]


def test_what_is_given_stays(photos: Path) -> None:
    own = planned(
        photos, "hours=0.3", "space=ofa_mbv3_smoke", "training=bignas_smoke", "data.image_size=40",
        "finetune.epochs=2", "evaluation.subnets=33", "training.batch_size=48",
    ).config  # fmt: skip
    asked = hwnas.load_config(["space=ofa_mbv3_smoke"]).space
    assert own.space == asked
    assert own.images.image_size == 40
    assert (own.finetune.epochs, own.evaluation.subnets, own.training.batch_size) == (2, 33, 48)
    assert [phase.name for phase in own.training.phases] == ["bignas"]


def test_a_given_size_chooses_among_spaces_of_it(photos: Path) -> None:
    spaces = {planned(photos, f"hours={hours}", "data.image_size=96").config.space for hours in (0.05, 0.5)}
    assert {space.resolution[-1] for space in spaces} == {96}
    assert len(spaces) == 2


def test_an_experiment_keeps_all_but_its_length() -> None:
    config = hwnas.load_config(["experiment=smoke", "hours=0.2"]).part(RunStep)
    fitted = fit(config, Path("nowhere"), NAMES, look_at(config.images), machine).config
    assert fitted.space == config.space
    assert fitted.training.batch_size == config.training.batch_size
    ratios = {
        round(after.epochs / before.epochs, 1)
        for after, before in zip(fitted.training.phases, config.training.phases, strict=True)
    }
    assert len(ratios) == 1


def test_too_few_hours_name_the_least(photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"hours=0\.0001: expected [\d.]+ or more on this machine \(") as raised:
        planned(photos, "hours=0.0001")
    least = str(raised.value).split("expected ")[1].split()[0]
    assert sum(planned(photos, f"hours={least}").seconds.values()) < float(least) * HOUR_S


@pytest.mark.parametrize("hours", ["0", "-1", ".inf", "nan"])
def test_hours_that_are_none(hours: str) -> None:
    with pytest.raises(ConfigError, match="hours"):
        hwnas.load_config([f"hours={hours}"])


def test_small_sets_are_seen_more_often() -> None:
    wanted = [epochs_wanted(images) for images in (10, 500, 5_000, 50_000, 1_281_167)]
    assert wanted == sorted(wanted, reverse=True)
    assert wanted[3] == 60
    assert epochs_wanted(50_000, pretrained=True) < 60


def test_every_rung_is_a_space() -> None:
    for side, channels in ((8, 1), (32, 3), (50, 3), (90, 3), (224, 3), (4000, 3)):
        spaces = ladder(side, channels)
        assert all(replace(space, classes=5, in_channels=channels).space().size > 1000 for space in spaces)
        pixels = [space.resolution[-1] for space in spaces]
        assert pixels == sorted(pixels)
        assert spaces[-1].resolution[-1] <= max(side, 48)
