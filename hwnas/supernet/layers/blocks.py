"""What the layers of several kinds of operators are made of.

Shapes: B images, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.supernet.batch_norm import conv_norm_act, norm_act, sliced_batch_norm
from hwnas.supernet.depthwise import depthwise_conv

__all__ = [
    "ConvBlock",
    "ResidualChain",
    "SqueezeExcite",
    "Startable",
    "activation",
    "attention",
    "set_norm_eps",
    "sliced_conv",
]

_ACTIVATION_MODULES: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "h_swish": nn.Hardswish,
}


def set_norm_eps(network: nn.Module, eps: float) -> None:
    """Set what every BatchNorm adds to the variance (`Space.norm_eps`)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps


def activation(name: str) -> nn.Module:
    """The module of an activation of `hwnas.operators.ACTIVATIONS`."""
    return _ACTIVATION_MODULES[name]()


class ConvBlock(nn.Sequential):
    """`conv`, `norm` (unless left out) and `act`; padding keeps the size at stride 1.

    In training they are computed together, in fewer passes over memory; not where running statistics are plain means
    (`momentum` None), for which batches have to be counted.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: str = "none",
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        if norm:
            self.norm = nn.BatchNorm2d(out_channels)
        if act != "none":
            self.act = activation(act)
        self._activation = act

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the convolution's shape."""
        conv, stride = self.conv, self.conv.stride[0]
        together = self.training and hasattr(self, "norm") and self._activation != "none"
        if not together or self.norm.momentum is None:
            result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return result
        if conv.groups > 1:
            return norm_act(depthwise_conv(x, conv.weight, stride), self.norm, self._activation)
        if conv.kernel_size == (1, 1) and stride == 1:
            return conv_norm_act(x, conv.weight, self.norm, self._activation)
        return norm_act(conv(x), self.norm, self._activation)


class Startable:
    """What a static block does for weights of another shape to be loaded into it; nothing, where it says no more."""

    def make_identity(self) -> None:
        """Add nothing to the input, where that is added: what a block of no weights of its own starts as."""

    def adapt(self, given: dict[str, Tensor], is_sorted: bool) -> dict[tuple[int, int], Tensor]:  # noqa: ARG002
        """Bring the weights `given`, by name, to this block's kernel, and sort its mid channels unless they are.

        Returns what made smaller kernels of larger ones, by both, which `given` has no more.
        """
        return {}

    def make_up(self, given: Mapping[str, Tensor]) -> None:
        """Let parts that `given` has no weights of change nothing, where that can be."""


class ResidualChain(nn.Module, Startable):
    """Its parts one after the other, the last of them `projection`, and the input added where `residual`."""

    projection: ConvBlock
    residual: bool

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the last part's shape."""
        inner = x
        for part in self.children():
            inner = part(inner)
        return x + inner if self.residual else inner

    def make_identity(self) -> None:
        if self.residual:
            nn.init.zeros_(self.projection.norm.weight)


class SqueezeExcite(nn.Module):
    """Channel attention as in MobileNetV3: mean, 1×1 reduce, ReLU, 1×1 expand, h-sigmoid, multiplied on."""

    def __init__(self, channels: int, mid_channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, mid_channels, 1)
        self.expand = nn.Conv2d(mid_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the same."""
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(self.pool(x)))))


def sliced_conv(x: Tensor, block: ConvBlock, out_channels: int, stride: int = 1) -> Tensor:
    """A block's convolution and BatchNorm with the first of its input and output channels, `[B, C, H, W]`."""
    weight = block.conv.weight[:out_channels, : x.shape[1]]
    return sliced_batch_norm(F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2), block.norm)


def attention(x: Tensor, se: SqueezeExcite, narrow: int) -> Tensor:
    """The gate of `x` `[B, C, H, W]` by the first of a block's channels and `narrow` of its inner ones."""
    mid = x.shape[1]
    squeezed = F.conv2d(F.adaptive_avg_pool2d(x, 1), se.reduce.weight[:narrow, :mid], _part(se.reduce.bias, narrow))
    excited = F.conv2d(F.relu(squeezed), se.expand.weight[:mid, :narrow], _part(se.expand.bias, mid))
    return F.hardsigmoid(excited)


def _part(values: Tensor | None, channels: int) -> Tensor | None:
    return None if values is None else values[:channels]
