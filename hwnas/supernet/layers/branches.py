"""Branches side by side that one convolution stands for, once they are trained.

BatchNorm is an affine map of each channel, a smaller filter is a larger one with zeros around it, and the input itself
is a filter with a one in its centre: so the sum of all is one filter and one bias (Ding et al., 2021).

Shapes: B images, C channels in, M channels out, H × W pixels, G groups, k × k filters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.operators import Fusible
from hwnas.supernet.batch_norm import update_running
from hwnas.supernet.layers.blocks import ConvBlock

__all__ = ["Branches"]


class Branches(nn.Module, Fusible):
    """`kernels`: `count` convolutions of the kernel, `scale` one of 1×1 where the kernel is larger, each with its
    BatchNorm; `identity`: BatchNorm of the input, of its first `identity` channels, where that is not 0. Their sum.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, count: int = 1,
        identity: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = (in_channels, out_channels)
        if identity:
            self.identity = nn.BatchNorm2d(identity)
        self.kernels = nn.ModuleList(ConvBlock(*sizes, kernel, stride, groups) for _ in range(count))
        if kernel > 1:
            self.scale = ConvBlock(*sizes, 1, stride, groups)
        self.kernel, self.stride, self.groups = kernel, stride, groups

    @property
    def equals(self) -> list[ConvBlock]:
        """Those of the kernel."""
        return [block for block in self.kernels if isinstance(block, ConvBlock)]

    @property
    def blocks(self) -> list[ConvBlock]:
        """All but the input itself."""
        return [*self.equals, *([self.scale] if hasattr(self, "scale") else [])]

    @property
    def norms(self) -> list[nn.BatchNorm2d]:
        """Of all branches."""
        return [*([self.identity] if hasattr(self, "identity") else []), *(block.norm for block in self.blocks)]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, M, …]`."""
        first, *others = self.blocks
        total: Tensor = first(x)
        for block in others:
            total = total + block(x)
        return total + self.identity(x) if hasattr(self, "identity") else total

    def fused(self) -> nn.Conv2d:
        with torch.no_grad():
            weight, bias = self.merged()
        out, inputs, *_ = weight.shape
        conv = nn.Conv2d(
            inputs * self.groups, out, self.kernel, self.stride, self.kernel // 2, groups=self.groups,
            device=weight.device, dtype=weight.dtype,
        )  # fmt: skip
        conv.weight, conv.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias)
        return conv

    def merged(self, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The filter `[M, C / G, k, k]` and the bias `[M]` that are left, through which gradients reach the branches.

        With the running statistics; in training with those of what each branch gives for `x` `[B, C, H, W]`, which the
        running ones then take in, as BatchNorm does.
        """
        weights, biases = [], []
        for block in self.blocks:
            gain, shift = _affine(block.norm, None if x is None or not block.norm.training else block.conv(x))
            padding = (self.kernel - block.conv.kernel_size[0]) // 2
            weights.append(F.pad(block.conv.weight * gain[:, None, None, None], (padding,) * 4))
            biases.append(shift)
        if hasattr(self, "identity"):
            gain, shift = _affine(self.identity, x if self.identity.training else None)
            ones = gain[:, None] if self.groups > 1 else torch.diag(gain)
            weights.append(F.pad(ones[:, :, None, None], (self.kernel // 2,) * 4))
            biases.append(shift)
        return torch.stack(weights).sum(dim=0), torch.stack(biases).sum(dim=0)


def _affine(norm: nn.BatchNorm2d, given: Tensor | None) -> tuple[Tensor, Tensor]:
    """What BatchNorm multiplies each channel with and what it adds, `[M]` each; with the statistics of `given`."""
    if given is None:
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            raise TypeError("branches are fused by running statistics: expected BatchNorm that tracks them")
    else:
        variance, mean = torch.var_mean(given, dim=(0, 2, 3), correction=0)
        count = given.numel() // given.shape[1]
        with torch.no_grad():
            update_running(norm, mean.detach(), variance.detach() * (count / max(count - 1, 1)))
    gain = norm.weight * (variance + norm.eps).rsqrt()
    return gain, norm.bias - gain * mean
