"""Tensor layout and batching."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["batches_of", "channels_last"]

_Network = TypeVar("_Network", bound=nn.Module)


def channels_last(network: _Network) -> _Network:
    """`network` with the weights of its convolutions laid out channels last, in place.

    Depthwise convolutions are two to six times faster so on a CPU.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def batches_of(images: Tensor, size: int) -> list[Tensor]:
    """`images` `[N, …]` in views of up to `size`. One left over joins the last: batch norm has no variance of one."""
    starts = range(0, len(images) - (len(images) > size > 1 and len(images) % size == 1), size)
    return [images[start : start + size] for start in starts[:-1]] + [images[start:] for start in starts[-1:]]
