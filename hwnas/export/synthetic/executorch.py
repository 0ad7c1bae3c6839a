"""Operator chains as ExecuTorch programs: a torch module of the chain, exported as any network is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import ConfigError
from hwnas.export.passes import require
from hwnas.export.request import ExportRequest
from hwnas.export.synthetic.chain import build_chain
from hwnas.operators import Operator
from hwnas.operators.graph import Affine

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["write"]

CALIBRATION_IMAGES = 16


def write(
    operators: Sequence[Operator], path: Path | str, seed: int = 0, *, precision: str = "fp32", batch: int = 1
) -> Path:
    """Write the chain `operators` with random weights and return the path.

    The program takes float32 `[1, C, H, W]`; int8 ranges are those of random images. Raises ValueError where the
    operators don't fit onto each other, ConfigError for another batch than 1, MissingExtraError, StorageError.
    """
    if batch != 1:
        raise ConfigError(f"executorch programs take one image: expected profiling.batch=1, got {batch}")
    require(("executorch", "torch"), "executorch", "writing ExecuTorch programs")
    import torch

    from hwnas.export.executorch.format import FORMAT

    rng = np.random.default_rng(seed)
    module = _module(operators, rng)
    first = operators[0]
    shape = (CALIBRATION_IMAGES, first.in_channels, first.in_height, first.in_width)
    images = rng.standard_normal(shape, dtype=np.float32)
    return FORMAT.export(ExportRequest(module, torch.from_numpy(images[:1]), precision, images), path)


def _module(operators: Sequence[Operator], rng: np.random.Generator) -> nn.Module:
    """A module that computes the chain, value after value."""
    from torch import nn

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList()
            builder = _Builder(self.layers)
            self._output = build_chain(operators, builder, "0", rng)
            self._steps = builder.steps

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            values = {"0": image}
            for number, step in enumerate(self._steps, start=1):
                values[str(number)] = step(values)
            return values[self._output]

    return Chain()


class _Builder:
    """Implements `GraphBuilder`: each value is a step that computes it from those before."""

    def __init__(self, layers: nn.ModuleList) -> None:
        self.layers = layers
        self.steps: list[Callable[[dict[str, torch.Tensor]], torch.Tensor]] = []

    def convolution(
        self, value: str, affine: Affine, *, stride: int = 1, depthwise: bool = False, activation: str = "none"
    ) -> str:
        import torch
        from torch import nn

        out, inside, kernel, _ = affine.weight.shape
        layer = nn.Conv2d(
            out if depthwise else inside, out, kernel, stride, kernel // 2, groups=out if depthwise else 1,
            bias=affine.bias is not None,
        )  # fmt: skip
        layer.weight.data = torch.from_numpy(affine.weight)
        if affine.bias is not None:
            layer.bias.data = torch.from_numpy(affine.bias)  # type: ignore[union-attr]
        return self._activation(self._layer(value, layer), activation)

    def squeeze_excite(self, value: str, reduce: Affine, expand: Affine) -> str:
        from torch import nn

        squeezed = self.convolution(self.pool(value), reduce, activation="relu")
        gate = self._layer(self.convolution(squeezed, expand), nn.Hardsigmoid())
        return self._step(lambda values: values[value] * values[gate])

    def add(self, first: str, second: str, activation: str = "none") -> str:
        return self._activation(self._step(lambda values: values[first] + values[second]), activation)

    def max_pool(self, value: str, kernel: int, stride: int) -> str:
        from torch import nn

        return self._layer(value, nn.MaxPool2d(kernel, stride, kernel // 2))

    def average_pool(self, value: str, stride: int) -> str:
        from torch import nn

        return self._layer(value, nn.AvgPool2d(stride, ceil_mode=True))

    def pool(self, value: str, flat: bool = False) -> str:  # noqa: ARG002 (torch keeps the axes and flattens)
        return self._step(lambda values: values[value].mean((2, 3), keepdim=True))

    def linear(self, value: str, affine: Affine) -> str:
        import torch
        from torch import nn

        layer = nn.Linear(affine.weight.shape[1], affine.weight.shape[0])
        layer.weight.data = torch.from_numpy(affine.weight)
        layer.bias.data = torch.from_numpy(affine.bias)
        return self._layer(self._step(lambda values: values[value].flatten(1)), layer)

    def _activation(self, value: str, activation: str) -> str:
        from torch import nn

        kinds: dict[str, Any] = {"relu": nn.ReLU, "relu6": nn.ReLU6, "h_swish": nn.Hardswish}
        return value if activation == "none" else self._layer(value, kinds[activation]())

    def _layer(self, value: str, layer: nn.Module) -> str:
        self.layers.append(layer)
        return self._step(lambda values: layer(values[value]))

    def _step(self, step: Callable[[dict[str, torch.Tensor]], torch.Tensor]) -> str:
        self.steps.append(step)
        return str(len(self.steps))
