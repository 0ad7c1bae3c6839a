"""Layers of `hwnas.operators.mbconv`: the inverted residual block, and one of elastic kernel and expand ratio.

Shapes: B images, C channels, H × W pixels, M mid channels in use, K the largest kernel, k the kernel in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.errors import ConfigError
from hwnas.operators import MBConv
from hwnas.supernet.batch_norm import conv_norm_act, norm_act
from hwnas.supernet.depthwise import depthwise_conv
from hwnas.supernet.layers.blocks import ConvBlock, ResidualChain, SqueezeExcite, attention, sliced_conv
from hwnas.supernet.layers.channels import sort_bottleneck, sort_channels
from hwnas.supernet.layers.elastic import SharedLayer
from hwnas.supernet.layers.kernels import centre_crop, kernel_transforms, pop_transforms, smaller_filters

__all__ = ["ElasticInvertedResidual", "InvertedResidual"]

_OPEN = 2.0
"""What a fresh squeeze-and-excitation, which lets one half through, is made up for with."""


class InvertedResidual(ResidualChain):
    """The static form of an `mbconv` operator: `expansion`, `depthwise`, `se`, `projection` (Sandler et al., 2018).

    A part that the operator lacks is left out.
    """

    def __init__(self, operator: MBConv) -> None:
        super().__init__()
        mid, act = operator.mid_channels, operator.activation
        if operator.expands:
            self.expansion = ConvBlock(operator.in_channels, mid, act=act)
        self.depthwise = ConvBlock(mid, mid, operator.kernel, operator.stride, groups=mid, act=act)
        if operator.se:
            self.se = SqueezeExcite(mid, operator.se_channels)
        self.projection = ConvBlock(mid, operator.out_channels)
        self.residual = operator.residual

    def adapt(self, given: dict[str, Tensor], is_sorted: bool) -> dict[tuple[int, int], Tensor]:
        weight, largest = given["depthwise.conv.weight"], self.depthwise.conv.kernel_size[0]
        transforms = pop_transforms(given)
        for (_, smaller), matrix in sorted(transforms.items(), reverse=True):
            if smaller >= largest:
                flat = centre_crop(weight, smaller).flatten(1)
                weight = (flat @ matrix.t()).view(-1, 1, smaller, smaller)
        if weight.shape[-1] > largest:
            weight = centre_crop(weight, largest)
        padding = (largest - weight.shape[-1]) // 2
        given["depthwise.conv.weight"] = F.pad(weight, (padding,) * 4)
        if "expansion.conv.weight" in given and not is_sorted:
            _sort_mid(given)
        return transforms

    def make_up(self, given: Mapping[str, Tensor]) -> None:
        if hasattr(self, "se") and "se.reduce.weight" not in given:
            self.se.expand.weight.zero_()
            self.projection.conv.weight.mul_(_OPEN)


class ElasticInvertedResidual(SharedLayer[MBConv]):
    """An inverted residual block with elastic kernel and expand ratio (Cai et al., 2020, section 3).

    A smaller kernel is the centre of the next larger one times a learned matrix, `transforms["7to5"]` and so on; a
    smaller expand ratio is the first M channels.
    """

    full: InvertedResidual

    def __init__(self, operators: Sequence[MBConv]) -> None:
        if not all(operator.expands for operator in operators):
            ratios = sorted({operator.mid_channels / operator.in_channels for operator in operators})
            raise ConfigError(
                f"space.expand_ratios: a block of {operators[0].in_channels} channels has a mid width of the same size,"
                f" which would drop its expansion; expected ratios of 2 and more, got {ratios}"
            )
        super().__init__(operators, InvertedResidual)
        self.kernel_sizes = sorted({operator.kernel for operator in operators})
        self.transforms = kernel_transforms(self.kernel_sizes)

    def forward(self, x: Tensor, operator: MBConv) -> Tensor:
        activation, mid = operator.activation, operator.mid_channels
        inner = conv_norm_act(x, self.full.expansion.conv.weight[:mid], self.full.expansion.norm, activation)
        inner = depthwise_conv(inner, self.filters(operator.kernel, mid), operator.stride)
        inner = norm_act(inner, self.full.depthwise.norm, activation)
        if operator.se:
            inner = inner * attention(inner, self.full.se, operator.se_channels)
        inner = sliced_conv(inner, self.full.projection, operator.out_channels)
        return x + inner if operator.residual else inner

    def weights_of(self, operator: MBConv) -> dict[str, Tensor]:
        return {"depthwise.conv.weight": self.filters(operator.kernel, operator.mid_channels)}

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        return [self.full.expansion.conv]

    @property
    def producers(self) -> list[ConvBlock]:
        return [self.full.projection]

    def sort_inside(self, used: Sequence[MBConv]) -> None:
        widths = {operator.mid_channels for operator in used}
        order = sort_channels([self.full.expansion, self.full.depthwise], self.full.projection.conv, widths)
        if self.operator.se:
            sort_bottleneck(self.full.se, order, {operator.se_channels for operator in used})

    def adapt(self, given: dict[str, Tensor], is_sorted: bool) -> dict[tuple[int, int], Tensor]:
        """Loads the matrices too, and leaves those that it took in `given`."""
        transforms = self.full.adapt(given, is_sorted)
        for smaller, larger in pairwise(self.kernel_sizes):
            # The target's step down to a kernel is the source's, whichever larger kernel that starts from.
            step = next((step for step in transforms if step[1] == smaller), None)
            if step is not None:
                self.transforms[f"{larger}to{smaller}"].copy_(transforms[step])
                given[f"transforms.{larger}to{smaller}"] = transforms[step]
        return transforms

    def filters(self, kernel: int, mid: int) -> Tensor:
        """The depthwise filters `[M, 1, k, k]`."""
        return smaller_filters(self.full.depthwise.conv.weight[:mid], kernel, self.kernel_sizes, self.transforms)


def _sort_mid(given: dict[str, Tensor]) -> None:
    """Sort the mid channels by importance, for smaller expansions to have the first of: what they compute stays."""
    order = given["projection.conv.weight"].abs().sum(dim=(0, 2, 3)).argsort(descending=True, stable=True)
    for name, value in given.items():
        if name.startswith(("expansion.", "depthwise.")) or name in ("se.expand.weight", "se.expand.bias"):
            given[name] = value[order]
        elif name in ("projection.conv.weight", "se.reduce.weight"):
            given[name] = value[:, order]
