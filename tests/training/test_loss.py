"""What subnets learn from, written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas.spaces import Genotypes, OfaMbv3Space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.single import TrainedNetwork
from hwnas.supernet.supernet import Supernet
from hwnas.training.config import PhaseConfig, TrainingConfig
from hwnas.training.gradients import Gradients
from hwnas.training.loss import LossRule, subnet_losses
from hwnas.training.optimiser import make_optimiser

IN_PLACE = LossRule(label_smoothing=0.1, weight=0.5, in_place=True)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3


def network_of(space: OfaMbv3Space, dropout: float = 0.0) -> Supernet:
    return build_supernet(space, dropout, torch.Generator().manual_seed(0)).train()


def in_place_gradients(
    network: TrainedNetwork, genotypes: Genotypes, images: Tensor, labels: Tensor
) -> tuple[list[float], tuple[Tensor | None, ...]]:
    """By hand: the largest from smoothed labels, the others from its probabilities alone."""
    largest, *others = genotypes
    logits = network(images, largest)
    loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
    soft = logits.detach().softmax(1)
    losses = [loss]
    for genotype in others:
        log = network(images, genotype).log_softmax(1)
        losses.append(0.5 * -(soft * log).sum(1).mean())
    return [float(loss.detach()) for loss in losses], torch.autograd.grad(
        torch.stack(losses).sum(), list(network.parameters()), allow_unused=True
    )


@pytest.mark.parametrize("shards", [1, 2])
def test_in_place_distillation(shards: int, space: OfaMbv3Space, batch: tuple[Tensor, Tensor]) -> None:
    genotypes = np.stack([space.extreme(True), space.extreme(False)])
    network, by_hand = network_of(space), network_of(space)
    found = Gradients(network, shards)(genotypes, *batch, IN_PLACE)
    # In a shard the teacher is the largest network on the shard's own images.
    parts = [
        in_place_gradients(by_hand, genotypes, images, labels)
        for images, labels in zip(batch[0].chunk(shards), batch[1].chunk(shards), strict=True)
    ]
    assert found.losses == pytest.approx(np.mean([losses for losses, _ in parts], axis=0), rel=1e-5)
    for index, parameter in enumerate(network.parameters()):
        found_by_hand = [gradients[index] for _, gradients in parts]
        if found_by_hand[0] is None:  # no subnet uses it
            assert parameter.grad is None
        else:
            mean = torch.stack([one for one in found_by_hand if one is not None]).mean(0)
            torch.testing.assert_close(parameter.grad, mean, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shards", [1, 2])
def test_mixed_labels(shards: int, space: OfaMbv3Space, batch: tuple[Tensor, Tensor]) -> None:
    """Shares of classes as labels, smoothed: the loss is the shares' mean of the losses of both classes."""
    images, labels = batch
    others, weights = labels.roll(1), torch.linspace(0.55, 1, 8)
    shares = weights[:, None] * F.one_hot(labels, 3) + (1 - weights[:, None]) * F.one_hot(others, 3)
    network, by_hand, genotypes = network_of(space), network_of(space), space.extreme(True)[None]
    found = Gradients(network, shards)(genotypes, images, shares, LossRule(0.1))
    total, right = 0.0, 0
    for part in torch.arange(8).chunk(shards):
        logits = by_hand(images[part], genotypes[0])
        both = [
            F.cross_entropy(logits, classes[part], label_smoothing=0.1, reduction="none")
            for classes in (labels, others)
        ]
        loss = (weights[part] * both[0] + (1 - weights[part]) * both[1]).mean() / shards
        loss.backward()
        total += float(loss.detach())
        right += int((logits.argmax(1) == labels[part]).sum())
    assert found.losses[0] == pytest.approx(total, rel=1e-5)
    assert found.accuracies[0] == right / 8  # the class that is most of the image
    for ours, theirs in zip(network.parameters(), by_hand.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-4)


def test_mixed_labels_are_those_of_whole_images_where_shares_are_whole(
    space: OfaMbv3Space, batch: tuple[Tensor, Tensor]
) -> None:
    genotypes = np.stack([space.extreme(True), space.extreme(False)])
    network = network_of(space)
    for rule in (LossRule(0.1), IN_PLACE, LossRule(0.1, 0.5, lambda images: torch.full((len(images), 3), 1 / 3))):
        whole = Gradients(network)(genotypes, *batch, rule)
        shares = Gradients(network)(genotypes, batch[0], F.one_hot(batch[1], 3).float(), rule)
        assert shares.losses == pytest.approx(whole.losses, rel=1e-5)
        assert shares.accuracies.tolist() == whole.accuracies.tolist()


def test_parts_one_after_another_are_averaged(space: OfaMbv3Space, batch: tuple[Tensor, Tensor]) -> None:
    genotypes = space.extreme(True)[None]
    network, by_hand = network_of(space), network_of(space)
    Gradients(network, accumulate=2)(genotypes, *batch, LossRule())
    for images, labels in zip(batch[0].chunk(2), batch[1].chunk(2), strict=True):
        (F.cross_entropy(by_hand(images, genotypes[0]), labels) / 2).backward()
    for ours, theirs in zip(network.parameters(), by_hand.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-4)


def test_dropout_regularises_the_largest_alone(space: OfaMbv3Space, batch: tuple[Tensor, Tensor]) -> None:
    network = network_of(space, dropout=0.5)
    largest = space.extreme(True)
    rule = replace(IN_PLACE, in_place=True)

    def logits() -> list[Tensor]:
        return [found for _, found in subnet_losses(network, np.stack([largest, largest]), *batch, rule)]

    (first, second), (again, once_more) = logits(), logits()
    assert not torch.equal(first, again)
    torch.testing.assert_close(second, once_more)


def test_only_what_the_largest_uses_is_decayed_in_place(space: OfaMbv3Space) -> None:
    network = network_of(space)
    phase = PhaseConfig("p", 1, 0.1, subnets_per_step=2, sampler="sandwich", teacher="in_place")
    for config in (TrainingConfig(), TrainingConfig(optimiser="adamw")):
        decayed, spared = make_optimiser(network, config, phase).param_groups
        logits = network(torch.randn(4, 1, 12, 12), space.extreme(True))
        used = torch.autograd.grad(logits.sum(), decayed["params"], allow_unused=True)
        assert all(gradient is not None for gradient in used)
        assert spared["weight_decay"] == 0
        unused = torch.autograd.grad(
            network(torch.randn(4, 1, 12, 12), space.extreme(True)).sum(), spared["params"], allow_unused=True
        )
        assert any(gradient is None for gradient in unused)
