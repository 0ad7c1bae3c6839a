"""`hwnas train training=quantisation_aware`: from a supernet and an arch to a checkpoint, and what the result says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.errors import ConfigError
from hwnas.pipeline.inputs import load_network, resolve_space
from hwnas.pipeline.train import train
from hwnas.supernet.single import SingleNetwork

PHASE = "[{name: q, epochs: 1, learning_rate: 1.0e-3, teacher: start}]"


def test_a_chosen_subnet_is_tuned_for_int8(smoke: Path) -> None:
    register_schemas()
    selected = json.loads((smoke / "search" / "result.json").read_text())["result"]["selected"]
    (smoke / "arch.json").write_text(json.dumps(selected[0]["arch"]))
    settings = (
        "experiment=smoke", "training=quantisation_aware", f"training.phases={PHASE}",
        "training.calibration_images=200", "training.tensorboard=false",
        f"checkpoint={smoke / 'train' / 'supernet.safetensors'}", f"arch={smoke / 'arch.json'}",
    )  # fmt: skip
    config = to_pipeline_config(compose_config("train", settings))
    result = train(config, smoke / "tuned")
    assert result is not None
    subnet = result.subnet
    assert subnet is not None
    assert subnet.arch == selected[0]["arch"]
    assert subnet.before is not None
    for one in (subnet, subnet.int8, subnet.before, subnet.before.int8):
        assert one is not None
        assert 0 <= one.accuracy <= 1
        assert 0 <= one.held_out_accuracy <= 1
    assert abs(subnet.int8.held_out_accuracy - subnet.held_out_accuracy) < 0.15
    network = load_network(smoke / "tuned" / result.checkpoint, resolve_space(config))
    assert isinstance(network, SingleNetwork)
    # As for any other single network, `hwnas export checkpoint=…` needs nothing but the file.
    assert network.space.arch(network.genotype).to_dict() == selected[0]["arch"]


def test_what_it_starts_from_must_be_said(tmp_path: Path) -> None:
    register_schemas()
    config = to_pipeline_config(compose_config("train", ("experiment=smoke", "training=quantisation_aware")))
    with pytest.raises(ConfigError, match="expected checkpoint=PATH"):
        train(config, tmp_path / "train")
