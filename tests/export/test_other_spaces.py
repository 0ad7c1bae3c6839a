"""Synthetic files of the other spaces' networks: what the exporters write for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas.export.formats import model_format
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.spaces import OfaProxylessConfig, OfaResNet50Config, SpaceConfig, make_space
from tests.export.conftest import Exported
from tests.export.synthetic.test_chains import SIGNATURES, outputs

SPACES = {
    "proxyless": OfaProxylessConfig(
        resolution=(20,), width_mult=1.0, widths=(16, 8, 16, 24, 32), strides=(1, 2, 1), depths=(1, 2), classes=5
    ),
    "resnet": OfaResNet50Config(
        resolution=(40,), stem_width=32, widths=(32, 48), strides=(1, 2), base_depths=(1, 1), depths=(0, 1),
        expand_ratios=(0.25, 0.5), width_mults=(0.5, 1.0), classes=5,
    ),
    "resnet-odd": OfaResNet50Config(
        resolution=(35,), stem_width=32, widths=(32, 48), strides=(2, 2), base_depths=(1, 1), depths=(0, 1),
        expand_ratios=(0.25, 0.5), width_mults=(0.5, 1.0), classes=5,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "config", [pytest.param(one, id=key, marks=[pytest.mark.slow] * (key == "resnet")) for key, one in SPACES.items()]
)
def test_graph_equals_the_exporters(config: SpaceConfig, tmp_path: Path) -> None:
    exported = Exported(tmp_path, make_space(config), seed=1)
    for name, signature in SIGNATURES.items():
        path = synthetic_writer(name)(exported.operators, tmp_path / "chain")
        assert signature(path) == signature(exported.files[name])
        image = exported.example.numpy()
        expected = exported.module(exported.example).detach().numpy()
        np.testing.assert_allclose(model_format(name).load_runner(exported.files[name])(image), expected, atol=1e-4)


@pytest.mark.parametrize("config", SPACES.values(), ids=SPACES)
def test_every_operator_runs_alone(config: SpaceConfig, tmp_path: Path) -> None:
    for operator in make_space(config).operators[::3]:
        one, other = outputs([operator], tmp_path)
        assert one.size == other.size == operator.out_channels * operator.out_height * operator.out_width
