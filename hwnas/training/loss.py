"""What a step's subnets learn from. B images, K classes. Labels are classes `[B]`, or shares of them `[B, K]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.spaces import Genotypes

__all__ = ["LossRule", "distilled_loss", "main_labels", "subnet_losses"]


@dataclass(frozen=True)
class LossRule:
    """`soften` gives a frozen teacher's class probabilities `[B, K]` of images; `in_place`: see `subnet_losses`.

    `autocast` makes the context of forward passes, for mixed precision; losses are in full precision.
    """

    label_smoothing: float = 0.0
    weight: float = 1.0
    soften: Callable[[Tensor], Tensor] | None = None
    in_place: bool = False
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext


def subnet_losses(
    network: nn.Module, genotypes: Genotypes, images: Tensor, labels: Tensor, rule: LossRule
) -> Iterator[tuple[Tensor, Tensor]]:
    """The loss and the logits `[B, K]` of each of `genotypes` `[n, G]`, one after another on the same images.

    A subnet's graph is only alive until the next is asked for: run its backward pass first.

    `in_place` (BigNAS, Yu et al., 2020): the first subnet, the largest, learns from the labels; the others learn from
    its class probabilities of this very step, detached, and from nothing else. Dropout then acts on the largest alone.
    """
    soft_labels = None
    if rule.soften is not None:
        with rule.autocast():
            soft_labels = rule.soften(images)
    for position, genotype in enumerate(genotypes):
        if rule.in_place:
            _set_dropout(network, position == 0)
        with rule.autocast():
            logits = network(images, genotype)
        logits = logits.float()
        if rule.in_place and soft_labels is not None:
            loss = rule.weight * F.cross_entropy(logits, soft_labels)
        else:
            loss = distilled_loss(logits, labels, soft_labels, rule.label_smoothing, rule.weight)
        yield loss, logits.detach()
        if rule.in_place and position == 0:
            soft_labels = logits.detach().softmax(dim=1)


def distilled_loss(
    logits: Tensor, labels: Tensor, soft_labels: Tensor | None, label_smoothing: float, weight: float
) -> Tensor:
    """Cross-entropy of logits `[B, K]`, plus `weight` × the cross-entropy against the teacher's probabilities."""
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if soft_labels is None:
        return loss
    return loss + weight * F.cross_entropy(logits, soft_labels)


def main_labels(labels: Tensor) -> Tensor:
    """The class of each image `[B]`; where images are mixed, that of the larger share."""
    return labels if labels.ndim == 1 else labels.argmax(dim=1)


def _set_dropout(network: nn.Module, on: bool) -> None:
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.train(on)
