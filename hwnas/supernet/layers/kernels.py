"""Depthwise filters of which a smaller kernel is the centre of the next larger one times a learned matrix.

Cai et al., 2020, section 3. Shapes: C channels, K the largest kernel, k the kernel in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["centre_crop", "kernel_transforms", "pop_transforms", "smaller_filters"]


def kernel_transforms(kernels: Sequence[int]) -> nn.ParameterDict:
    """The matrix of each step from a larger to the next smaller of rising `kernels`, by both: `7to5`. Identities."""
    return nn.ParameterDict({f"{b}to{a}": nn.Parameter(torch.eye(a**2)) for a, b in pairwise(kernels)})


def smaller_filters(
    filters: Tensor, kernel: int, kernels: Sequence[int], transforms: Mapping[str, Tensor] | nn.ParameterDict
) -> Tensor:
    """`filters` `[C, 1, K, K]` of the largest of `kernels` as those `[C, 1, k, k]` of `kernel`, step by step."""
    for smaller, larger in reversed(list(pairwise(kernels))):
        if larger <= kernel:
            break
        cropped = centre_crop(filters, smaller).flatten(1)
        filters = F.linear(cropped, transforms[f"{larger}to{smaller}"]).view(-1, 1, smaller, smaller)
    return filters


def pop_transforms(given: dict[str, Tensor]) -> dict[tuple[int, int], Tensor]:
    """Take the matrices out of a layer's weights by name, and return them by both kernels, the larger first."""
    found = {}
    for name in [name for name in given if name.startswith("transforms.")]:
        larger, smaller = name.removeprefix("transforms.").split("to")
        found[int(larger), int(smaller)] = given.pop(name)
    return found


def centre_crop(filters: Tensor, kernel: int) -> Tensor:
    """The middle `kernel` × `kernel` of `[C, 1, K, K]`."""
    start = (filters.shape[-1] - kernel) // 2
    return filters[:, :, start : start + kernel, start : start + kernel]
