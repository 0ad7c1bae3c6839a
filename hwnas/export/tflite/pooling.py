"""Average pooling in a form that keeps TFLite's layout.

litert-torch writes a mean over the pixels inside of the image alone (`count_include_pad=False`) between transpositions.
Here it is a mean over padded windows, times a constant for each pixel, as it writes windows that the border cuts off.
The constant is a buffer, as exporters know those of modules best.

Shapes: B images, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AverageInside", "count_no_padding"]


class AverageInside(nn.Module):
    """`pool`, whose windows are padded, of images of `size` pixels (H, W), with the padding's share undone."""

    factors: Tensor

    def __init__(self, pool: nn.AvgPool2d, size: tuple[int, int]) -> None:
        super().__init__()
        self.windows = tuple(map(_pair, (pool.kernel_size, pool.stride, pool.padding)))
        shares = [
            torch.tensor([k / (min(at + k, pixels) - max(at, 0)) for at in range(-p, pixels + p - k + 1, s)])
            for pixels, k, s, p in zip(size, *self.windows, strict=True)
        ]
        self.register_buffer("factors", torch.outer(*shares)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the pooling's shape."""
        kernel, stride, padding = self.windows
        return F.avg_pool2d(x, kernel, stride, padding) * self.factors


@torch.no_grad()
def count_no_padding(module: nn.Module, examples: Sequence[Tensor]) -> nn.Module:
    """`module`, which takes `examples`, with such poolings in that form: in place, or the form of one itself.

    One that is given images of several sizes stays as it is.
    """
    found = {name: one for name, one in module.named_modules() if isinstance(one, nn.AvgPool2d) and _is_cut_off(one)}
    sizes: dict[str, set[tuple[int, int]]] = {name: set() for name in found}

    def note(name: str, _: nn.Module, given: tuple[Any, ...]) -> None:
        sizes[name].add((given[0].shape[-2], given[0].shape[-1]))

    hooks = [one.register_forward_pre_hook(partial(note, name)) for name, one in found.items()]
    if found:
        module(*examples)
    for hook in hooks:
        hook.remove()
    for name, pool in found.items():
        if len(sizes[name]) != 1:
            continue
        inside = AverageInside(pool, next(iter(sizes[name]))).eval()
        if not name:
            return inside
        above, _, last = name.rpartition(".")
        setattr(module.get_submodule(above), last, inside)
    return module


def _is_cut_off(pool: nn.AvgPool2d) -> bool:
    """Whether its windows hold padding that it does not count."""
    return (
        any(_pair(pool.padding)) and not pool.count_include_pad and not pool.ceil_mode and pool.divisor_override is None
    )


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
