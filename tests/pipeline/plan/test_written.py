"""A plan's file holds the whole run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import hwnas
from hwnas.errors import ConfigError
from hwnas.pipeline.config import RunStep
from hwnas.pipeline.plan.written import read_plan, write_plan
from hwnas.pipeline.store.plain import to_plain
from hwnas.spaces.ofa_proxyless import OfaProxylessConfig


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=smoke"],
        ["data=image_folder", "data.root=photos/a b", "data.augment=strong", "search.budgets=[1,2.5]"],
        ["space=ofa_proxyless", "training=bignas", "runtime=litert", "device=local", "search.constraints={macs: 1e9}"],
        ["space=ofa_resnet50", "data=digits", "formats=[onnx]", "precisions=[fp32]"],
    ],
)
def test_the_written_settings_are_the_planned_ones(overrides: list[str], tmp_path: Path) -> None:
    asked = hwnas.load_config([*overrides, "hours=2", "name=mine"]).part(RunStep)
    planned = replace(asked, finetune=replace(asked.finetune, epochs=1.25))
    path = write_plan(planned, asked, tmp_path)
    again = hwnas.load_config([f"experiment={path}"]).part(RunStep)
    assert _plain(again) == {**_plain(planned), "hours": None, "given": []}
    assert hwnas.load_config([f"experiment={path}", "seed=7"]).seed == 7
    assert _plain(read_plan(asked, tmp_path)) == _plain(planned)


def test_a_plan_of_something_else_is_made_anew(tmp_path: Path) -> None:
    asked = hwnas.load_config(["experiment=smoke", "hours=2"]).part(RunStep)
    assert read_plan(asked, tmp_path) is None
    path = write_plan(asked, asked, tmp_path)
    assert read_plan(replace(asked, name="other"), tmp_path) is not None
    assert read_plan(replace(asked, hours=3), tmp_path) is None
    assert read_plan(replace(asked, space=OfaProxylessConfig()), tmp_path) is None
    path.write_text(path.read_text()[: len(path.read_text()) // 2])
    assert read_plan(asked, tmp_path) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), ("a: [1", "cannot be read"), ("- 1", "got a list"), ("space: {nothing: 1}", "nothing")],
)
def test_a_file_that_is_no_experiment(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        hwnas.load_config([f"experiment={path}"])


def _plain(config: RunStep | None) -> dict[str, object]:
    plain: dict[str, object] = json.loads(json.dumps(to_plain(config)))
    return plain
