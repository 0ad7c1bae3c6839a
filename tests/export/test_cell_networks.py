"""Networks whose places read several others, in every format and precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.export.formats import model_format
from hwnas.export.request import ExportRequest
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.spaces import DartsConfig, NasBench201Config, Space, make_space
from hwnas.supernet.build import build_subnet
from hwnas.supernet.fake_quantise import fake_quantised

CELLS: dict[str, tuple[NasBench201Config | DartsConfig, Any]] = {
    "nasbench201": (
        NasBench201Config(resolution=(16,), widths=(8, 16), cells=1, classes=5),
        "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    ),
    "darts": (
        DartsConfig(resolution=(16,), width=4, cells=3, nodes=3, stem_multiplier=2, classes=5),
        {
            "normal": [
                ["sep_conv_3x3", 0], ["skip_connect", 1], ["max_pool_3x3", 1], ["dil_conv_5x5", 2], ["avg_pool_3x3", 0],
                ["sep_conv_5x5", 3],
            ],
            "reduce": [
                ["skip_connect", 0], ["avg_pool_3x3", 1], ["dil_conv_3x3", 0], ["sep_conv_5x5", 2], ["max_pool_3x3", 1],
                ["skip_connect", 3],
            ],
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("cells", ["darts", pytest.param("nasbench201", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_files_compute_what_the_network_computes(cells: str, name: str, tmp_path: Path) -> None:
    config, arch = CELLS[cells]
    space: Space = make_space(config)
    network = build_subnet(space, space.genotype(arch), generator=torch.Generator().manual_seed(0)).eval()
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    chosen = model_format(name)
    expected = network(images).detach().numpy()
    for precision in ("fp32", "int8"):
        calibration = images.numpy() if precision == "int8" else None
        request = ExportRequest(network, images[:1], precision, calibration)
        path = chosen.export(request, tmp_path / f"{precision}{chosen.suffix}")
        found = chosen.load_runner(path)(images.numpy())
        if precision == "fp32":
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        else:
            rounded = fake_quantised(network, [images])(images).detach().numpy()
            assert np.abs(found - rounded).mean() < 0.1 * expected.std()
            assert np.abs(found - expected).mean() < 0.25 * expected.std()


def test_what_is_measured_is_what_is_exported(tmp_path: Path) -> None:
    config, arch = CELLS["nasbench201"]
    space: Space = make_space(config)
    genotype = space.genotype(arch)
    network = build_subnet(space, genotype, generator=torch.Generator().manual_seed(0)).eval()
    request = ExportRequest(network, torch.zeros(1, 3, 16, 16))
    exported = operators(model_format("onnx").export(request, tmp_path / "exported.onnx"))
    held = space.operators_of(genotype)
    assert operators(synthetic_writer("onnx")(held, tmp_path / "measured.onnx")) == exported
    assert exported.count("Conv") == sum(one.kind in ("conv", "relu_conv") for one in held)
    assert exported.count("AveragePool") == sum(one.kind == "avg_pool" for one in held)


def operators(path: Path) -> list[str]:
    import onnx

    return [node.op_type for node in onnx.load(path).graph.node]
