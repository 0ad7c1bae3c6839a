"""What a run forecasts of its steps, and where that is found afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import hwnas
from hwnas.devices.fleet import FleetConfig
from hwnas.pipeline.config import RunStep
from hwnas.pipeline.plan.forecast import Rack, forecast
from hwnas.pipeline.run import ORDER, _ahead
from hwnas.training.speed import Speed

NAMES = tuple(ORDER)
SPEED = Speed(phases=(1e-3,) * 4, alone=1e-3, answer=1e-4)


@pytest.fixture
def config() -> RunStep:
    return hwnas.load_config(["experiment=smoke"]).part(RunStep)


def test_every_step_is_forecast(config: RunStep, tmp_path: Path) -> None:
    seconds = forecast(config, tmp_path, NAMES)
    assert list(seconds) == list(NAMES)
    assert all(value > 0 for value in seconds.values())
    assert sum(seconds.values()) < 3600


def test_more_work_takes_longer(config: RunStep, tmp_path: Path) -> None:
    longer = replace(
        config,
        training=replace(config.training, phases=tuple(replace(one, epochs=900) for one in config.training.phases)),
        evaluation=replace(config.evaluation, subnets=9000),
        profiling=replace(config.profiling, networks=3000),
        search=replace(config.search, budgets=tuple(range(1, 100)), budget_quantiles=()),
        finetune=replace(config.finetune, epochs=900),
    )
    short, long = (forecast(one, tmp_path, NAMES, SPEED) for one in (config, longer))
    longer_ones = {name for name in NAMES if long[name] > 10 * short[name]}
    assert longer_ones == {"train", "evaluate", "profile", "finetune", "export", "validate"}


def test_what_is_ahead(config: RunStep, smoke: Path) -> None:
    settings = config.settings()

    def ahead(**changed: object) -> list[str]:
        return _ahead({**settings, **changed}, settings, smoke, NAMES)

    assert ahead() == []
    assert ahead(finetune={"epochs": 9}) == ["finetune", "export", "validate"]
    assert ahead(predictor={"folds": 9}) == ["evaluate", "search", "finetune", "export", "validate"]
    assert ahead(profiling={"rounds": 9}) == ["profile", "search", "finetune", "export", "validate"]
    assert ahead(seed=9) == list(NAMES)
    two = {"devices": ["local", "board"]}
    after = ["profile", "search", "finetune", "export", "validate"]
    assert ahead(**two) == after
    assert _ahead(settings, {**settings, **two}, smoke, NAMES) == after
    (smoke / "export" / "result.json").unlink()
    assert ahead() == ["export", "validate"]


def test_an_interrupted_training_takes_what_was_left(config: RunStep, smoke: Path) -> None:
    whole = forecast(config, smoke, NAMES, SPEED)["train"]  # finished, and to be done again
    (smoke / "train" / "result.json").unlink()
    path = smoke / "train" / "history.json"
    history = json.loads(path.read_text())
    left = []
    for left_s in (0.0, 0.25, 1e9):
        history["rows"][-1]["left_s"] = left_s
        path.write_text(json.dumps(history))
        left.append(forecast(config, smoke, NAMES, SPEED)["train"])
    assert left == pytest.approx([left[0], left[0] + 0.25, whole])
    assert 0 < left[0] < whole


def test_the_result_holds_both_times(smoke_output: tuple[Path, str]) -> None:
    folder, said = smoke_output
    plan = json.loads((folder / "result.json").read_text())["result"]["plan"]
    assert [entry["step"] for entry in plan] == list(NAMES)
    for entry in plan:
        assert entry["planned_s"] > 0
        assert entry["elapsed_s"] == json.loads((folder / entry["step"] / "result.json").read_text())["elapsed_s"]
    assert said.startswith("plan: 7 steps, about ")
    assert "[7/7] validate: " in said


def test_devices_are_measured_at_once_and_their_networks_one_after_another(config: RunStep, tmp_path: Path) -> None:
    config = replace(config, profiling=replace(config.profiling, networks=3000))
    one, two, three = (forecast(config, tmp_path, NAMES, SPEED, rack=Rack(models)) for models in (1, 2, 3))
    assert [name for name in NAMES if two[name] == one[name]] == ["train", "evaluate"]
    assert [name for name in NAMES if three[name] == two[name]] == ["train", "evaluate", "profile"]
    assert two["profile"] - one["profile"] == pytest.approx(
        5.0 * len(config.runtimes)
    )  # until their workers have started
    assert two["finetune"] == pytest.approx(2 * one["finetune"])
    assert three["export"] - two["export"] == pytest.approx(one["export"])
    assert three["validate"] - two["validate"] < one["validate"]
    shared = forecast(config, tmp_path, NAMES, SPEED, rack=Rack(1, 4))
    assert {name for name in NAMES if shared[name] != one[name]} == {"profile"}
    assert one["profile"] / 4 < shared["profile"] < one["profile"]


def test_a_fleet_is_counted_by_its_models(config: RunStep, tmp_path: Path) -> None:
    assert Rack.of(config) == Rack()
    assert Rack.of(replace(config, devices=("local", "raspberry_pi_5"))) == Rack(2)
    fleet = tmp_path / "rack.yaml"
    units = [*({"device": "raspberry_pi_5", "address": host} for host in "ab"), {"device": "local"}]
    fleet.write_text(json.dumps(units))
    assert Rack.of(replace(config, fleet=FleetConfig(str(fleet)))) == Rack(2)
    fleet.write_text(json.dumps(units[:2]))
    assert Rack.of(replace(config, fleet=FleetConfig(str(fleet)))) == Rack(1, 2)
