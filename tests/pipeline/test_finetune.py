"""`hwnas finetune`: what is trained, what the steps after it take, and when they refuse."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import ConfigError, StorageError
from hwnas.files import read_json
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.finetune import finetune, has_lost
from hwnas.pipeline.inputs import chosen_networks, load_network
from hwnas.pipeline.search.result import SearchEntry
from hwnas.pipeline.space import resolve_space
from hwnas.supernet.extract import extract
from hwnas.supernet.single import SingleNetwork
from hwnas.training.config import FinetuneConfig, TrainingConfig
from tests.cli.test_config import composed
from tests.cli.test_pipeline import refused, result_of
from tests.narrow import present


def settings(*overrides: str) -> PipelineConfig:
    return composed("experiment=smoke", *overrides, command="finetune")


def rewritten(path: Path, change: Any) -> None:
    """The search's result with `selected` as `change` makes it."""
    document = json.loads(path.read_text())
    document["result"]["selected"] = change(document["result"]["selected"])
    path.write_text(json.dumps(document))


def test_the_weights_that_were_tuned_are_exported(smoke: Path) -> None:
    config = settings()
    _, chosen = chosen_networks(None, config, smoke / "export", SearchEntry)
    targets = {target["id"]: target for target in result_of(smoke)["targets"]}
    assert [entry.id for entry in chosen] == list(targets)
    supernet = load_network(smoke / "train" / "supernet.safetensors", resolve_space(config))
    images = read_json(smoke / "train" / "result.json")["result"]["data"]["images"]["held_out"]
    for entry in chosen:
        assert targets[entry.id]["finetuned"] == (entry.checkpoint is not None)
        lost = has_lost(present(entry.accuracy_inherited), present(entry.accuracy_finetuned), images)
        assert lost == (entry.checkpoint is None)
        if entry.checkpoint is None:
            continue
        network = load_network(Path(entry.checkpoint), supernet.space)
        assert isinstance(network, SingleNetwork)
        assert network.space.arch(network.genotype).to_dict() == entry.arch
        own, inherited = (
            next(extract(one, network.genotype).parameters()).detach().numpy() for one in (network, supernet)
        )
        assert not np.array_equal(own, inherited)
    assert any(entry.checkpoint for entry in chosen)


def test_one_network_of_two_targets_is_trained_once(smoke: Path) -> None:
    searched = smoke / "search" / "result.json"
    rewritten(searched, lambda selected: [selected[0], {**selected[1], "arch": selected[0]["arch"]}])
    shutil.rmtree(smoke / "finetune")
    result = finetune(settings(), smoke / "finetune")
    first, second = result.selected
    assert first.id != second.id
    assert first.accuracy_finetuned == second.accuracy_finetuned
    assert [path.name for path in sorted((smoke / "finetune").iterdir()) if path.is_dir()] == [first.id]


def test_what_was_trained_is_kept_where_a_budget_is_added(smoke: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (smoke / "finetune").rglob("subnet.safetensors")}
    searched = smoke / "search" / "result.json"
    rewritten(searched, lambda selected: [*selected, {**selected[0], "id": "another", "budget": "another"}])
    finetune(settings(), smoke / "finetune")
    assert before
    assert {path: path.stat().st_mtime_ns for path in (smoke / "finetune").rglob("subnet.safetensors")} == before


def test_a_network_that_lost_keeps_its_weights(smoke: Path) -> None:
    rewritten(smoke / "search" / "result.json", lambda selected: selected[:1])
    (entry,) = finetune(settings("finetune.learning_rate=1.5"), smoke / "lost").selected
    assert present(entry.accuracy_finetuned) < present(entry.accuracy_inherited)
    assert entry.checkpoint is None
    (written,) = read_json(smoke / "lost" / "result.json")["result"]["selected"]
    assert "checkpoint" not in written


def test_a_loss_within_chance_keeps_what_was_tuned() -> None:
    assert has_lost(0.5, 0.46, images=100) is False
    assert has_lost(0.5, 0.44, images=100) is True
    assert has_lost(0.5, 0.46, images=1000) is True
    assert has_lost(1.0, 0.999, images=100) is True


def test_tuned_networks_of_a_former_search_are_not_taken(smoke: Path) -> None:
    rewritten(smoke / "search" / "result.json", lambda selected: selected[:1])
    message = refused("export", smoke)
    assert "of a former search: run hwnas finetune again, or give targets=" in message
    with pytest.raises(StorageError, match="former search"):
        chosen_networks(None, settings(), smoke / "validate", SearchEntry)
    targets = str(smoke / "search/result.json")
    path, (entry,) = chosen_networks(targets, settings(), smoke / "export", SearchEntry)
    assert path == smoke / "search" / "result.json"
    assert entry.checkpoint is None


def test_no_epochs_are_refused_with_a_number_to_try(smoke: Path) -> None:
    message = refused("finetune", smoke, "finetune.epochs=0")
    assert "try finetune.epochs=3" in message


def test_networks_chosen_for_int8_may_be_trained_as_int8() -> None:
    config = FinetuneConfig(2, 0.01, "int8")
    supernet = TrainingConfig(shards=2, accelerator="cpu")
    recipe = config.recipe(supernet, "int8")
    assert (recipe.network, recipe.start, recipe.quantisation, recipe.shards) == ("subnet", "checkpoint", "int8", 2)
    assert [(phase.epochs, phase.learning_rate, phase.teacher) for phase in recipe.phases] == [(2, 0.01, "start")]
    plain = config.recipe(supernet, "fp32")
    assert (plain.quantisation, plain.phases[0].teacher) == ("none", "none")
    assert replace(config, quantisation="none").recipe(supernet, "int8").quantisation == "none"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"epochs": -1}, "epochs"), ({"learning_rate": 0}, "learning_rate"), ({"quantisation": "int4"}, "int4")],
)
def test_wrong_settings(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        FinetuneConfig(**wrong)
