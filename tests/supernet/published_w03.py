"""The published ProxylessNAS w0.3 in plain torch, put together from its description alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

STEM = "proxyless_w0.3_r176_imagenet"


def weights_file(reference_data: Path) -> Path:
    """The file of weights. Skips where it is not there."""
    path = reference_data / "weights" / f"{STEM}.safetensors"
    if not path.is_file():
        pytest.skip(f"no {path}: set HWNAS_REFERENCE_DATA to the folder that holds weights/")
    return path


class Published:
    """Features and logits as the description says that they are computed."""

    def __init__(self, path: Path) -> None:
        self.weights: Mapping[str, Tensor] = load_file(path)
        self.description: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())

    def features(self, x: Tensor) -> Tensor:
        """`[B, 384]`, what the classifier reads."""
        x = F.relu6(self._conv(x, "first_conv", 3, stride=2))
        for number, block in enumerate(self.description["blocks"]):
            inner = block["mobile_inverted_conv"]
            if inner["name"] != "ZeroLayer":
                out = self._block(x, f"blocks.{number}.mobile_inverted_conv", inner)
                x = x + out if block["shortcut"] is not None else out
        return F.relu6(self._conv(x, "feature_mix_layer", 1)).mean(dim=(2, 3))

    def logits(self, x: Tensor) -> Tensor:
        return F.linear(
            self.features(x), self.weights["classifier.linear.weight"], self.weights["classifier.linear.bias"]
        )

    def _block(self, x: Tensor, name: str, block: Mapping[str, Any]) -> Tensor:
        if block["expand_ratio"] != 1:
            x = F.relu6(self._conv(x, f"{name}.inverted_bottleneck", 1))
        x = F.relu6(self._conv(x, f"{name}.depth_conv", block["kernel_size"], block["stride"], x.shape[1]))
        return self._conv(x, f"{name}.point_linear", 1)

    def _conv(self, x: Tensor, name: str, kernel: int, stride: int = 1, groups: int = 1) -> Tensor:
        w = self.weights
        x = F.conv2d(x, w[f"{name}.conv.weight"], stride=stride, padding=kernel // 2, groups=groups)
        scale: Tensor = w[f"{name}.bn.weight"] / (w[f"{name}.bn.running_var"] + self.description["bn"]["eps"]).sqrt()
        shift: Tensor = w[f"{name}.bn.bias"] - w[f"{name}.bn.running_mean"] * scale
        found: Tensor = x * scale[:, None, None] + shift[:, None, None]
        return found


@torch.no_grad()
def images(size: int = 176) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(7))
