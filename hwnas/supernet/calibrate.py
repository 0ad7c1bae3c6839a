"""BatchNorm statistics of one network, set anew from images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hwnas.errors import DataError

__all__ = ["calibrate_batch_norm"]


@torch.no_grad()
def calibrate_batch_norm(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set every BatchNorm's running mean and variance from `batches` of `[B, C, H, W]`; the mode stays as it was.

    Once-for-all's rule: each batch is normalised by its own statistics, and the running ones become the batches' mean
    and biased variance, averaged by sample count. Raises DataError without a batch.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    means = [torch.zeros_like(_buffer(norm.running_mean)) for norm in norms]
    variances = [torch.zeros_like(_buffer(norm.running_var)) for norm in norms]
    values: dict[nn.Module, int] = {}

    def count(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values[norm] = inputs[0].numel() // inputs[0].shape[1]

    mode, momenta = module.training, [norm.momentum for norm in norms]
    hooks = [norm.register_forward_pre_hook(count) for norm in norms]
    samples = 0
    try:
        module.eval()
        for norm in norms:
            norm.train()
            norm.momentum = 1.0  # the running statistics are then the last batch's
        for batch in batches:
            module(batch)
            samples += len(batch)
            for norm, mean, variance in zip(norms, means, variances, strict=True):
                biased = (values[norm] - 1) / values[norm]
                mean.add_(_buffer(norm.running_mean), alpha=len(batch))
                variance.add_(_buffer(norm.running_var), alpha=len(batch) * biased)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.train(mode)
    if not samples:
        raise DataError("BatchNorm calibration: expected at least one batch of images, got none")
    for norm, mean, variance in zip(norms, means, variances, strict=True):
        _buffer(norm.running_mean).copy_(mean / samples)
        _buffer(norm.running_var).copy_(variance / samples)


def _buffer(values: Tensor | None) -> Tensor:
    if values is None:
        raise TypeError("BatchNorm calibration needs layers that track running statistics")
    return values
