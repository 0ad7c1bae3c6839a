"""Large depthwise convolutions as sums."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.export.convolutions import row_groups
from hwnas.export.tflite.depthwise import split_depthwise
from hwnas.export.tflite.operators import operator_names
from tests.export.tflite.conftest import run

CASES = [(kernel, size, stride) for kernel in (5, 7, 9) for size, stride in ((12, 1), (12, 2), (13, 2))]
FAST = {(5, 12, 1), (7, 13, 2), (9, 12, 2)}


@pytest.mark.parametrize(
    ("kernel", "size", "stride"), [pytest.param(*one, marks=[] if one in FAST else [pytest.mark.slow]) for one in CASES]
)
def test_split_depthwise_computes_the_same(kernel: int, size: int, stride: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=8), nn.ReLU6(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    ).eval()
    import litert_torch

    image = torch.randn(1, size, size, 8)
    plain = litert_torch.convert(litert_torch.to_channel_last_io(module, args=[0]).eval(), (image,)).model_content()
    split = split_depthwise(plain)
    assert Counter(operator_names(split))["DEPTHWISE_CONV_2D"] == max(1, len(row_groups(kernel)))
    np.testing.assert_allclose(run(split, image.numpy()), run(plain, image.numpy()), atol=1e-5)
    assert split_depthwise(split) == split
