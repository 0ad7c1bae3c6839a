"""Networks as others write them, in every format that keeps their layers: BatchNorm that stays, and moved axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hwnas.errors import ExportError
from hwnas.export.formats import model_format
from hwnas.export.preflight import check_file
from hwnas.export.request import ExportRequest
from tests.export.conftest import in_both
from tests.narrow import present


class PreActivation(nn.Module):
    """BatchNorm at the input, and before activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.stem = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=1)
        self.norm, self.conv = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.last, self.drop, self.linear = nn.BatchNorm2d(8), nn.Dropout(), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(self.first(x))
        x = x + self.conv(F.relu(self.norm(x)))
        logits: torch.Tensor = self.linear(self.drop(F.relu(self.last(x)).mean((2, 3))))
        return logits


class NormAfterPool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.flat = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.BatchNorm1d(8)
        self.linear = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.norm(F.adaptive_avg_pool2d(F.relu(self.conv(x)), 1))
        logits: torch.Tensor = self.linear(self.flat(pooled.flatten(1)))
        return logits


class FlattenedMap(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3, 4), nn.Linear(4 * 8 * 8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(F.relu(self.conv(x)).flatten(1))
        return logits


class ChannelShuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.grouped, self.linear = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, groups=2), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        logits: torch.Tensor = self.linear(self.grouped(x).mean((2, 3)))
        return logits


class PixelShuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(F.adaptive_avg_pool2d(F.pixel_shuffle(self.conv(x), 2), 1).flatten(1))
        return logits


class SqueezeByMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.linear = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 8), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv(x))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        logits: torch.Tensor = self.linear(x.mean((2, 3)))
        return logits


NETS = (PreActivation, NormAfterPool, FlattenedMap, ChannelShuffle, PixelShuffle, SqueezeByMean)
CALIBRATION = np.random.default_rng(0).standard_normal((16, 3, 32, 32)).astype(np.float32)


def made(kind: type[nn.Module]) -> nn.Module:
    """With statistics that are none of a new network's."""
    torch.manual_seed(0)
    module = kind().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(present(part.running_mean), 0, 0.3)
            for values in (present(part.running_var), part.weight):
                nn.init.uniform_(values, 0.5, 2)
    return module


def check_answers(kind: type[nn.Module], name: str, precision: str, folder: Path) -> None:
    module, chosen = made(kind), model_format(name)
    images = CALIBRATION[:4]
    expected = module(torch.from_numpy(images)).detach().numpy()
    request = ExportRequest(module, torch.from_numpy(images[:1]), precision, CALIBRATION, plain_layout=False)
    found = chosen.load_runner(chosen.export(request, folder / f"a{chosen.suffix}"))(images)
    np.testing.assert_allclose(found, expected, atol=1e-5 if precision == "fp32" else 0.05)


@pytest.mark.parametrize(("kind", "name"), in_both(NETS, NETS))
def test_file_computes_what_the_network_does(kind: type[nn.Module], name: str, tmp_path: Path) -> None:
    check_answers(kind, name, "fp32", tmp_path)


@pytest.mark.parametrize(("kind", "name"), in_both(NETS, *[{PreActivation, ChannelShuffle}] * 2))
def test_int8_file_computes_what_the_network_does(kind: type[nn.Module], name: str, tmp_path: Path) -> None:
    check_answers(kind, name, "int8", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tvm", "executorch"])
@pytest.mark.parametrize("kind", NETS)
def test_compiled_file_computes_what_the_network_does(kind: type[nn.Module], name: str, tmp_path: Path) -> None:
    check_answers(kind, name, "fp32", tmp_path)


class DropsAlways(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.conv(x))  # its default is training=True


def test_layers_in_training_mode_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"training mode are left in the graph: Dropout; .*training=self.training"):
        model_format("onnx").export(ExportRequest(DropsAlways(), torch.zeros(1, 3, 8, 8)), tmp_path / "a.onnx")


def test_batch_norm_before_a_convolution_stays_in_the_graph(tmp_path: Path) -> None:
    path = model_format("onnx").export(
        ExportRequest(made(PreActivation), torch.zeros(1, 3, 32, 32)), tmp_path / "a.onnx"
    )
    assert "BatchNormalization" in {node.op_type for node in onnx.load(path).graph.node}


def test_transposes_that_stay_are_said(tmp_path: Path) -> None:
    request = ExportRequest(made(SqueezeByMean), torch.zeros(1, 3, 32, 32), plain_layout=False)
    path = model_format("tflite").export(request, tmp_path / "a.tflite")
    from hwnas.devices.profile import load_profile

    found = check_file(path, "fp32", "litert", load_profile("local"))
    (finding,) = {(one.operator, one.severity, one.delegate) for one in found}
    assert finding == ("TRANSPOSE", "slow", "xnnpack")
    assert "keepdim=True" in found[0].suggestion
