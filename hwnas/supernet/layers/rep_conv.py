"""Layers of `hwnas.operators.rep_conv`: branches that become one convolution, and ones whose kernel and widths vary.

Shapes: B images, C channels in, M channels out, H × W pixels, K the largest kernel, k the kernel in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.operators import RepConv
from hwnas.supernet.batch_norm import ACTIVATION_FUNCTIONS, sliced_batch_norm
from hwnas.supernet.depthwise import depthwise_conv
from hwnas.supernet.layers.blocks import ConvBlock, Startable, activation
from hwnas.supernet.layers.branches import Branches
from hwnas.supernet.layers.choices import Choices
from hwnas.supernet.layers.elastic import ElasticLayer, SharedLayer
from hwnas.supernet.layers.kernels import centre_crop, kernel_transforms, pop_transforms, smaller_filters

__all__ = ["ElasticRepConv", "RepConvBlock", "elastic"]

_SCALE = "branches.scale."


class RepConvBlock(nn.Sequential, Startable):
    """`branches`, and `act` unless there is none.

    `identity`: how many channels the branch of the input has; None: as the operator says.
    """

    branches: Branches

    def __init__(self, operator: RepConv, identity: int | None = None) -> None:
        super().__init__()
        if identity is None:
            identity = operator.in_channels if operator.identity else 0
        self.branches = Branches(
            operator.in_channels, operator.out_channels, operator.kernel, operator.stride,
            operator.in_channels if operator.depthwise else 1, operator.branches, identity,
        )  # fmt: skip
        if operator.activation != "none":
            self.act = activation(operator.activation)

    def make_identity(self) -> None:
        """Leave the branch of the input alone, where there is one."""
        if hasattr(self.branches, "identity"):
            for block in self.branches.blocks:
                nn.init.zeros_(block.norm.weight)

    def adapt(self, given: dict[str, Tensor], is_sorted: bool) -> dict[tuple[int, int], Tensor]:  # noqa: ARG002
        transforms, largest = pop_transforms(given), self.branches.kernel
        for name, weight in given.items():
            if name.endswith(".conv.weight") and not name.startswith(_SCALE):
                given[name] = _of_kernel(weight, largest, transforms)
        return transforms

    def make_up(self, given: Mapping[str, Tensor]) -> None:
        for name, module in self.branches.named_modules():
            if isinstance(module, nn.BatchNorm2d) and f"branches.{name}.weight" not in given:
                nn.init.zeros_(module.weight)


class ElasticRepConv(SharedLayer[RepConv]):
    """Each branch by the first of its channels; a smaller kernel is made of a larger one as in
    `hwnas.supernet.layers.kernels`, by the same matrices in all branches.

    The input is a branch of those operators that have it. Where only some do, channels stay in their order.
    """

    full: RepConvBlock

    def __init__(self, operators: Sequence[RepConv]) -> None:
        tied = [operator.in_channels for operator in operators if operator.identity]
        super().__init__(operators, partial(RepConvBlock, identity=max(tied, default=0)))
        self.kernel_sizes = sorted({operator.kernel for operator in operators})
        self.transforms = kernel_transforms(self.kernel_sizes)
        self._mixed = not self.operator.depthwise and 0 < len(tied) < len(operators)

    def forward(self, x: Tensor, operator: RepConv) -> Tensor:
        branches = self.full.branches
        # A kernel of 1 has no branch of 1×1 beside it.
        first, *others = branches.blocks if operator.kernel > 1 else branches.equals
        total = self._branch(x, first, operator)
        for block in others:
            total = total + self._branch(x, block, operator)
        if operator.identity:
            total = total + sliced_batch_norm(x, branches.identity)
        return total if operator.activation == "none" else ACTIVATION_FUNCTIONS[operator.activation](total)

    def weights_of(self, operator: RepConv) -> dict[str, Tensor]:
        return {
            f"branches.kernels.{number}.conv.weight": self._filters(block, operator)
            for number, block in enumerate(self.full.branches.equals)
        }

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear] | None:
        if self._mixed:
            return None
        return [] if self.operator.depthwise else [block.conv for block in self.full.branches.blocks]

    @property
    def producers(self) -> list[ConvBlock | nn.BatchNorm2d] | None:
        branches = self.full.branches
        if self._mixed:
            return None
        return [*branches.blocks, *([branches.identity] if hasattr(branches, "identity") else [])]

    def adapt(self, given: dict[str, Tensor], is_sorted: bool) -> dict[tuple[int, int], Tensor]:
        """Loads the matrices too, and leaves those that it took in `given`."""
        transforms = self.full.adapt(given, is_sorted)
        for smaller, larger in pairwise(self.kernel_sizes):
            step = next((step for step in transforms if step[1] == smaller), None)
            if step is not None:
                self.transforms[f"{larger}to{smaller}"].copy_(transforms[step])
                given[f"transforms.{larger}to{smaller}"] = transforms[step]
        return transforms

    def _branch(self, x: Tensor, block: ConvBlock, operator: RepConv) -> Tensor:
        filters = self._filters(block, operator)
        if operator.depthwise:
            given = depthwise_conv(x, filters, operator.stride)
        else:
            given = F.conv2d(x, filters, stride=operator.stride, padding=filters.shape[-1] // 2)
        return sliced_batch_norm(given, block.norm)

    def _filters(self, block: ConvBlock, operator: RepConv) -> Tensor:
        """`[M, C, k, k]`, or `[C, 1, k, k]` of a depthwise one."""
        weight = block.conv.weight[: operator.out_channels, : 1 if operator.depthwise else operator.in_channels]
        if weight.shape[-1] <= operator.kernel:
            return weight
        each = weight.reshape(-1, 1, *weight.shape[2:])
        made = smaller_filters(each, operator.kernel, self.kernel_sizes, self.transforms)
        return made.view(*weight.shape[:2], *made.shape[2:])


def elastic(operators: Sequence[RepConv]) -> ElasticLayer[RepConv] | Choices:
    """Shared weights for operators of the same stride, form and number of branches; others have their own."""
    groups: dict[tuple[object, ...], list[RepConv]] = {}
    for operator in operators:
        form = operator.depthwise, operator.stride, operator.branches, operator.activation
        groups.setdefault(form, []).append(operator)
    if len(groups) == 1:
        return ElasticRepConv(operators)
    return Choices([(own, ElasticRepConv(own) if len(own) > 1 else RepConvBlock(own[0])) for own in groups.values()])


def _of_kernel(weight: Tensor, kernel: int, transforms: Mapping[tuple[int, int], Tensor]) -> Tensor:
    """Filters `[M, C, K, K]` as those of `kernel`: made smaller by `transforms`, or with zeros around them."""
    for (_, smaller), matrix in sorted(transforms.items(), reverse=True):
        if kernel <= smaller < weight.shape[-1]:
            cropped = centre_crop(weight, smaller)
            weight = (cropped.flatten(2) @ matrix.t()).view(cropped.shape)
    if weight.shape[-1] > kernel:
        return centre_crop(weight, kernel)
    return F.pad(weight, ((kernel - weight.shape[-1]) // 2,) * 4)
