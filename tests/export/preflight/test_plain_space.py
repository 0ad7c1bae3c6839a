"""The space for accelerators: nothing in any of its networks that they don't run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hwnas
from hwnas.export.formats import model_format
from hwnas.export.preflight import check_file, preflight
from hwnas.export.request import ExportRequest
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.spaces import OfaProxylessConfig, OfaProxylessSpace
from hwnas.supernet.build import build_subnet
from tests.export.preflight.test_check import Device

NAMES = ("ofa_plain", "ofa_plain_32")
PRECISIONS = [
    ("edge_tpu", "int8"), ("nnapi", "int8"), ("nnapi", "fp32"), ("nnapi", "fp16"), ("gpu", "fp32"), ("gpu", "fp16"),
]  # fmt: skip


def space_named(name: str, classes: int) -> OfaProxylessSpace:
    settings = hwnas.load_config([f"space={name}"]).space
    assert isinstance(settings, OfaProxylessConfig)
    return replace(settings, in_channels=3, classes=classes).space()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("delegate", "precision"), PRECISIONS)
def test_nothing_is_found_in_any_network(name: str, delegate: str, precision: str) -> None:
    space = space_named(name, 1000)
    rows = [space.extreme(True), space.extreme(False), *space.sample(50, np.random.default_rng(0))]
    assert preflight(space, np.stack(rows), precision, "litert", Device((delegate,))) == []


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_in_int8_files(name: str, largest: bool, tmp_path: Path) -> None:
    """As they are written to be measured."""
    space = space_named(name, 10)
    operators = space.operators_of(space.extreme(largest))
    path = synthetic_writer("tflite")(operators, tmp_path / "network.tflite", precision="int8")
    for delegate in ("edge_tpu", "nnapi"):
        assert check_file(path, "int8", "litert", Device((delegate,))) == []


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp32", "fp16"])
def test_nothing_is_found_in_exported_files(precision: str, tmp_path: Path) -> None:
    space = space_named("ofa_plain_32", 10)
    network = build_subnet(space, space.sample(1, np.random.default_rng(1))[0]).eval()
    images = np.random.default_rng(0).standard_normal((16, 3, 32, 32), dtype=np.float32)
    request = ExportRequest(network, torch.from_numpy(images[:1]), precision, images)
    path = model_format("tflite").export(request, tmp_path / "network.tflite")
    for delegate, own in PRECISIONS:
        if own == precision:
            assert check_file(path, precision, "litert", Device((delegate,))) == []
