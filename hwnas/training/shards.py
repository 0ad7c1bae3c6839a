"""A step's gradients found by several threads, each on its share of the images.

On a CPU this beats one team of threads inside each operator: threads meet once a step, not at every operator, so
small layers scale; and another process that takes a core delays a step a little, where a team's spinning barriers
nearly stand still.

It is data parallelism, as between processes: BatchNorm sees a thread's share of the batch, gradients are averaged in
a fixed order, and the first share updates the running statistics. What comes out doesn't depend on timing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from hwnas.spaces import Genotypes
from hwnas.supernet.supernet import Supernet

__all__ = ["ShardedGradients"]

ShardLoss = Callable[[Supernet, Genotypes, Tensor, Tensor, Tensor | None], Tensor]
"""The loss of a subnet on a shard: network, genotype `[G]`, images, labels, soft labels."""


class ShardedGradients:
    """Threads that share a supernet's parameters; each but the first has BatchNorm statistics of its own."""

    def __init__(self, supernet: Supernet, shards: int, loss: ShardLoss) -> None:
        self._loss = loss
        self._parameters = list(supernet.parameters())
        self._replicas = [supernet, *(_sharing_replica(supernet) for _ in range(shards - 1))]
        # A thread's number of intra-operator threads is its own; each gets the caller's.
        threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(shards, initializer=torch.set_num_threads, initargs=(threads,))

    def __call__(
        self,
        genotypes: Genotypes,
        images: Tensor,
        labels: Tensor,
        soften: Callable[[Tensor], Tensor] | None,
    ) -> float:
        """Set each parameter's gradient: the sum over `genotypes` `[n, G]`, the mean over the shards.

        `images` `[B, C, H, W]` and `labels` `[B]` are divided evenly; `soften` gives the teacher's soft labels.
        Returns the mean loss.
        """
        shards = len(self._replicas)
        size = len(labels) // shards
        parts = [slice(index * size, (index + 1) * size) for index in range(shards)]
        work = [
            self._pool.submit(self._shard, replica, genotypes, images[part], labels[part], soften)
            for replica, part in zip(self._replicas, parts, strict=True)
        ]
        found = [future.result() for future in work]
        for index, parameter in enumerate(self._parameters):
            gradients = [gradient for _, shard in found if (gradient := shard[index]) is not None]
            parameter.grad = sum(gradients[1:], gradients[0]).div_(shards) if gradients else None
        return sum(loss for loss, _ in found) / (shards * len(genotypes))

    def _shard(
        self,
        network: Supernet,
        genotypes: Genotypes,
        images: Tensor,
        labels: Tensor,
        soften: Callable[[Tensor], Tensor] | None,
    ) -> tuple[float, list[Tensor | None]]:
        network.train()
        soft_labels = soften(images) if soften is not None else None
        total = 0.0
        summed: list[Tensor | None] = [None] * len(self._parameters)
        for genotype in genotypes:
            loss = self._loss(network, genotype, images, labels, soft_labels)
            total += float(loss.detach())
            fresh = torch.autograd.grad(loss, self._parameters, allow_unused=True)
            summed = [_added(sum_so_far, gradient) for sum_so_far, gradient in zip(summed, fresh, strict=True)]
        return total, summed


def _added(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _sharing_replica(supernet: Supernet) -> Supernet:
    """A copy with the very same parameters and space, and buffers of its own."""
    shared = {id(parameter): parameter for parameter in supernet.parameters()}
    return copy.deepcopy(supernet, {**shared, id(supernet.space): supernet.space})
