"""A step's gradients, found by several threads where asked for, each on its share of the images.

On a CPU this beats one team of threads inside each operator: threads meet once a step, not at every operator, so
small layers scale; and another process that takes a core delays a step a little, where a team's spinning barriers
nearly stand still.

It is data parallelism, as between processes: BatchNorm sees a thread's share of the batch, gradients are averaged in
a fixed order, and the first share updates the running statistics. What comes out doesn't depend on timing.
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.spaces import Genotypes
from hwnas.supernet.fake_quantise import FakeQuantiser
from hwnas.training.loss import LossRule, main_labels, subnet_losses
from hwnas.training.processes import Processes

__all__ = ["Gradients", "StepScores"]


@dataclass(frozen=True)
class StepScores:
    """Of each of a step's subnets, `[n]`: the mean loss, and the share of the batch's images that it got right.

    A mixed image is right where it is the class of its larger share.
    """

    losses: NDArray[np.float64]
    accuracies: NDArray[np.float64]


class Gradients:
    """Finds the gradients of a network's parameters, averaged over the processes.

    Each thread but the first has BatchNorm statistics of its own, and so has each process. Ranges of quantised
    activations are the same in all: those that the parts of a step saw are averaged like gradients.
    """

    def __init__(
        self,
        network: nn.Module,
        shards: int = 1,
        accumulate: int = 1,
        processes: Processes | None = None,
    ) -> None:
        self._accumulate, self._processes = accumulate, processes or Processes()
        self._parameters = list(network.parameters())
        self._replicas = [network, *(_sharing_replica(network) for _ in range(shards - 1))]
        self._quantisers = [[m for m in one.modules() if isinstance(m, FakeQuantiser)] for one in self._replicas]
        # A thread's number of intra-operator threads is its own; each gets the caller's.
        threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(shards, initializer=torch.set_num_threads, initargs=(threads,))

    def __call__(self, genotypes: Genotypes, images: Tensor, labels: Tensor, rule: LossRule) -> StepScores:
        """Set each parameter's gradient: the sum over `genotypes` `[n, G]`, the mean over the images' equal parts.

        `images` `[B, C, H, W]` and `labels` `[B]` or `[B, K]`, the process's share, are divided among the threads, and
        each one's again into the parts that it takes one after another. Parameters that don't learn have none.
        """
        learning = [parameter for parameter in self._parameters if parameter.requires_grad]
        shards = len(self._replicas)
        for first, *others in zip(*self._quantisers, strict=True):
            for other in others:
                other.ranges.copy_(first.ranges)
        shares = zip(self._replicas, images.chunk(shards), labels.chunk(shards), strict=True)
        if shards == 1:
            found = [self._share(*share, genotypes, rule, learning) for share in shares]
        else:
            work = [self._pool.submit(self._share, *share, genotypes, rule, learning) for share in shares]
            found = [future.result() for future in work]
        parts = shards * self._accumulate
        for parameter in self._parameters:
            parameter.grad = None
        for index, parameter in enumerate(learning):
            gradients = [gradient for _, summed in found if (gradient := summed[index]) is not None]
            parameter.grad = sum(gradients[1:], gradients[0]) if gradients else None
            if parameter.grad is not None and parts > 1:
                parameter.grad = parameter.grad / parts
        processes = self._processes
        processes.average([parameter.grad for parameter in self._parameters if parameter.grad is not None])
        self._advance_ranges(parts)
        scores = np.sum([scores for scores, _ in found], axis=0) / parts
        losses, accuracies = processes.sum(scores) / processes.count
        return StepScores(losses, accuracies)

    def _advance_ranges(self, parts: int) -> None:
        for same in zip(*self._quantisers, strict=True):
            seen = torch.stack([quantiser.take_seen() for quantiser in same]).sum(dim=0) / parts
            self._processes.average([seen])
            same[0].advance(seen)

    def _share(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        genotypes: Genotypes,
        rule: LossRule,
        learning: list[nn.Parameter],
    ) -> tuple[NDArray[np.float64], list[Tensor | None]]:
        """Sums over a thread's parts: losses and accuracies `[2, n]`, and the gradients."""
        network.train()
        summed: list[Tensor | None] = [None] * len(learning)
        scores = []
        parts = self._accumulate
        for part, expected in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            for loss, logits in subnet_losses(network, genotypes, part, expected, rule):
                if loss.requires_grad:  # a subnet may hold nothing that learns
                    fresh = torch.autograd.grad(loss, learning, allow_unused=True)
                    summed = [_added(sum_so_far, gradient) for sum_so_far, gradient in zip(summed, fresh, strict=True)]
                right = (logits.argmax(dim=1) == main_labels(expected)).float().mean()
                scores.append(torch.stack([loss.detach(), right]))
        values = torch.stack(scores).double().cpu().numpy().reshape(parts, len(genotypes), 2)
        return values.sum(axis=0).T, summed


def _added(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _sharing_replica(network: nn.Module) -> nn.Module:
    """A copy with the very same parameters and space, and buffers of its own."""
    shared = {id(parameter): parameter for parameter in network.parameters()}
    return copy.deepcopy(network, {**shared, id(network.space): network.space})
