"""Ranges that XNNPACK's scales can express."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.export.request import ExportRequest
from tests.export.tflite.conftest import TFLITE
from tests.narrow import present


class Silent(nn.Module):
    """Branches that add next to nothing: one by its weights, one because its kernel's rows miss so small a map."""

    def __init__(self, kernel: int, scale: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.branch = nn.Conv2d(8, 8, kernel, 1, kernel // 2, groups=8)
        self.squeeze = nn.Conv2d(8, 8, 1)
        for part, factor in ((self.branch, scale), (self.squeeze, 0.0)):
            part.weight.data = factor * torch.randn(part.weight.shape, generator=generator)
            present(part.bias).data.zero_()
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x + self.branch(x)
        logits: torch.Tensor = self.classifier((y + self.squeeze(y).relu()).mean((2, 3), keepdim=True).flatten(1))
        return logits


@pytest.mark.parametrize(("kernel", "scale"), [(7, 1.0), (3, 1e-9), (7, 1e-5)])
def test_branches_that_add_nothing_can_be_int8(kernel: int, scale: float, tmp_path: Path) -> None:
    # XNNPACK crashed the whole process where such a branch had a scale of its own size.
    images = np.random.default_rng(0).normal(size=(32, 8, 2, 2)).astype(np.float32)
    module = Silent(kernel, scale).eval()
    TFLITE.export(
        ExportRequest(module, torch.zeros(1, 8, 2, 2), precision="int8", calibration=images), tmp_path / "x.tflite"
    )
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    script = (
        "import sys, numpy; from hwnas.export.formats import model_format;"
        "numpy.save(sys.argv[3], model_format('tflite').load_runner(sys.argv[1])(numpy.load(sys.argv[2])))"
    )
    np.save(tmp_path / "images.npy", images)
    arguments = [str(tmp_path / name) for name in ("x.tflite", "images.npy", "logits.npy")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.abs(np.load(tmp_path / "logits.npy") - expected).mean() < 0.2 * expected.std()
