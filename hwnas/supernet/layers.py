"""The static layers that subnets are made of, and what the supernet shares with them.

Shapes: B images, C channels, H × W pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.spaces import Operator
from hwnas.supernet.batch_norm import conv_norm_act, norm_act
from hwnas.supernet.depthwise import depthwise_conv

__all__ = [
    "Bottleneck",
    "ConvBlock",
    "InvertedResidual",
    "ResidualConvBlock",
    "SqueezeExcite",
    "activation",
    "set_norm_eps",
    "static_layer",
]

_ACTIVATION_MODULES: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "h_swish": nn.Hardswish,
}


def static_layer(operator: Operator) -> nn.Module:
    """The plain module of an operator, its weights as the constructors leave them."""
    if operator.kind == "mbconv":
        return InvertedResidual(operator)
    if operator.kind == "bottleneck":
        return Bottleneck(operator)
    if operator.kind == "pool":
        return nn.AdaptiveAvgPool2d(1)
    if operator.kind == "max_pool":
        return nn.MaxPool2d(operator.kernel, operator.stride, operator.kernel // 2)
    if operator.kind == "linear":
        return nn.Linear(operator.in_channels, operator.out_channels)
    sizes = operator.in_channels, operator.out_channels, operator.kernel, operator.stride
    block = ResidualConvBlock if operator.residual else ConvBlock
    return block(*sizes, act=operator.activation, norm=operator.norm)


def set_norm_eps(network: nn.Module, eps: float) -> None:
    """Set what every BatchNorm adds to the variance (`Space.norm_eps`)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps


def activation(name: str) -> nn.Module:
    """The module of an activation of `hwnas.spaces.operators.ACTIVATIONS`."""
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


class ResidualConvBlock(ConvBlock):
    """A `ConvBlock` whose input is added to its output."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the same."""
        return x + super().forward(x)


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


class InvertedResidual(nn.Module):
    """The static form of an `mbconv` operator: `expansion`, `depthwise`, `se`, `projection` (Sandler et al., 2018).

    A part that the operator lacks is left out.
    """

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        mid, act = operator.mid_channels, operator.activation
        if operator.expands:
            self.expansion = ConvBlock(operator.in_channels, mid, act=act)
        self.depthwise = ConvBlock(mid, mid, operator.kernel, operator.stride, groups=mid, act=act)
        if operator.se:
            self.se = SqueezeExcite(mid, operator.se_channels)
        self.projection = ConvBlock(mid, operator.out_channels)
        self.residual = operator.residual

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the operator's output shape."""
        inner = x
        for part in self.children():
            inner = part(inner)
        return x + inner if self.residual else inner


class PooledProjection(nn.Sequential):
    """A bottleneck's shortcut where shapes change: average `pool`, where strided, and `project`, 1×1 with BatchNorm."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        if operator.stride > 1:
            self.pool = nn.AvgPool2d(operator.stride, ceil_mode=True)
        self.project = ConvBlock(operator.in_channels, operator.out_channels)


class Bottleneck(nn.Module):
    """The static form of a `bottleneck` operator: `conv1` to `conv3`, and `downsample` where the shortcut has weights.

    As ResNet-D has it (He et al., 2019): the stride is in `conv2`, and in an average pool before the shortcut's 1×1.
    """

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        mid, act = operator.mid_channels, operator.activation
        self.conv1 = ConvBlock(operator.in_channels, mid, act=act)
        self.conv2 = ConvBlock(mid, mid, operator.kernel, operator.stride, act=act)
        self.conv3 = ConvBlock(mid, operator.out_channels)
        if not operator.residual:
            self.downsample = PooledProjection(operator)
        self.residual = operator.residual
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the operator's output shape."""
        shortcut = x if self.residual else self.downsample(x)
        result: Tensor = self.act(self.conv3(self.conv2(self.conv1(x))) + shortcut)
        return result
