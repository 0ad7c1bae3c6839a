"""Supernet, extraction and reordering: the same function, seen three ways."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.errors import ArchError, ConfigError
from hwnas.spaces import Genotypes, OfaMbv3Config, OfaMbv3Space
from hwnas.supernet.build import build_subnet, build_supernet
from hwnas.supernet.extract import extract
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layers.mbconv import ElasticInvertedResidual
from hwnas.supernet.reorder import reorder_channels
from hwnas.supernet.supernet import Supernet


def counted_macs(network: nn.Module, image: torch.Tensor) -> int:
    total = 0

    def count(module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0, 0].numel() * module.weight.numel()
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    network.eval()(image)
    return total


@pytest.mark.parametrize("training", [False, True])
def test_an_extracted_subnet_computes_what_the_supernet_does(
    supernet: Supernet, genotypes: Genotypes, images: Tensor, training: bool
) -> None:
    supernet.train(training)
    for genotype in genotypes:
        subnet = extract(supernet, genotype)  # before the supernet's forward moves its running statistics
        assert subnet.training is training
        assert not any(isinstance(module, ElasticInvertedResidual) for module in subnet.modules())
        with torch.no_grad():
            torch.testing.assert_close(subnet(images), supernet(images, genotype), atol=1e-5, rtol=1e-5)


def test_different_genotypes_give_different_logits(supernet: Supernet, space: OfaMbv3Space, images: Tensor) -> None:
    rows = space.unique(space.sample(20, np.random.default_rng(3))[:, :])
    rows = space.unique(np.column_stack([rows[:, :-1], np.zeros(len(rows), dtype=np.int64)]))
    with torch.no_grad():
        logits = torch.stack([supernet(images, row) for row in rows])
    distances = torch.cdist(logits.flatten(1), logits.flatten(1)) + torch.eye(len(rows))
    assert distances.min() > 1e-4


def test_extraction_leaves_the_supernet_alone(supernet: Supernet, genotypes: Genotypes, images: Tensor) -> None:
    before = copy.deepcopy(supernet.state_dict())
    subnet = extract(supernet, genotypes[0]).train()
    subnet(images).sum().backward()
    with torch.no_grad():
        for parameter in subnet.parameters():
            parameter.add_(1)
    for name, value in supernet.state_dict().items():
        assert torch.equal(value, before[name]), name
    with pytest.raises(ArchError):
        extract(supernet, genotypes[0][:-1])


def test_counts_equal_those_of_built_networks(space: OfaMbv3Space, supernet: Supernet, genotypes: Genotypes) -> None:
    for genotype in genotypes:
        resolution = space.genes[-1].choices[genotype[-1]]
        image = torch.zeros(1, 2, resolution, resolution)
        for network in (build_subnet(space, genotype), extract(supernet, genotype)):
            assert sum(p.numel() for p in network.parameters()) == space.parameters(genotype[None])[0]
            assert counted_macs(network, image) == space.macs(genotype[None])[0]


def test_counts_of_the_published_space() -> None:
    space = OfaMbv3Space(OfaMbv3Config())
    supernet = build_supernet(space).eval()
    genotype = space.sample(1, np.random.default_rng(0))[0]
    subnet = extract(supernet, genotype)
    image = torch.zeros(1, 3, *[space.genes[-1].choices[genotype[-1]]] * 2)
    assert sum(p.numel() for p in subnet.parameters()) == space.parameters(genotype[None])[0]
    assert counted_macs(subnet, image) == space.macs(genotype[None])[0]


def test_identity_transforms_give_centre_crops(space: OfaMbv3Space) -> None:
    block = build_supernet(space).layers["block0"]
    assert isinstance(block, ElasticInvertedResidual)
    full = block.full.depthwise.conv.weight
    assert torch.equal(block.filters(7, 16), full[:16])
    assert torch.equal(block.filters(5, 16), full[:16, :, 1:6, 1:6])
    assert torch.equal(block.filters(3, 32), full[:32, :, 2:5, 2:5])


def test_a_smaller_kernel_is_a_transform_of_the_transformed_larger_one(supernet: Supernet) -> None:
    block = supernet.layers["block0"]
    assert isinstance(block, ElasticInvertedResidual)
    five = F.linear(block.full.depthwise.conv.weight[:8, 0, 1:6, 1:6].flatten(1), block.transforms["7to5"]).view(
        8, 5, 5
    )
    three = F.linear(five[:, 1:4, 1:4].flatten(1), block.transforms["5to3"]).view(8, 1, 3, 3)
    torch.testing.assert_close(block.filters(3, 8), three)


@pytest.mark.parametrize("kernels", [(3,), (5,), (3, 7), (1, 3, 5, 9)])
def test_any_rising_odd_kernels(space: OfaMbv3Space, images: Tensor, kernels: tuple[int, ...]) -> None:
    other = OfaMbv3Space(replace(space.settings, kernel_sizes=kernels))
    network = build_supernet(other).eval()
    for genotype in other.sample(3, np.random.default_rng(0)):
        with torch.no_grad():
            torch.testing.assert_close(
                extract(network, genotype)(images), network(images, genotype), atol=1e-5, rtol=1e-5
            )


def test_an_expand_ratio_of_one_is_refused(space: OfaMbv3Space) -> None:
    with pytest.raises(ConfigError, match="expand_ratios"):
        Supernet(OfaMbv3Space(replace(space.settings, expand_ratios=(1, 2))))


def test_reordering_preserves_the_largest_network_and_sorts(
    supernet: Supernet, space: OfaMbv3Space, images: Tensor
) -> None:
    largest = space.extreme(True)
    with torch.no_grad():
        before = supernet(images, largest)
        smaller = supernet(images, space.extreme(False))
        reorder_channels(supernet, {"e": [4]})
        torch.testing.assert_close(supernet(images, largest), before, atol=1e-5, rtol=1e-5)
        assert (supernet(images, space.extreme(False)) - smaller).abs().max() > 1e-3
    for block in supernet.elastic_layers.values():
        assert isinstance(block, ElasticInvertedResidual)
        importance = block.full.projection.conv.weight.abs().sum(dim=(0, 2, 3))
        assert torch.all(importance[:-1] >= importance[1:])


def test_reordering_keeps_subnets_of_settled_expand_ratios(
    supernet: Supernet, space: OfaMbv3Space, genotypes: Genotypes, images: Tensor
) -> None:
    blocks = space.settings.blocks
    settled = genotypes.copy()
    settled[:, blocks : 2 * blocks] = np.maximum(settled[:, blocks : 2 * blocks], 1)  # expand 3 or 4
    settled = space.canonical(settled)
    with torch.no_grad():
        before = [supernet(images, genotype) for genotype in settled]
        reorder_channels(supernet, {"e": [3, 4]})
        for genotype, logits in zip(settled, before, strict=True):
            torch.testing.assert_close(supernet(images, genotype), logits, atol=1e-5, rtol=1e-5)


def test_folding_keeps_the_logits(supernet: Supernet, genotypes: Genotypes, images: Tensor) -> None:
    subnet = extract(supernet, genotypes[0])
    folded = fold_batch_norm(subnet)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(images), subnet(images), atol=1e-4, rtol=1e-4)
    assert any(isinstance(module, nn.BatchNorm2d) for module in subnet.modules())


def test_fresh_weights_come_from_the_generator_alone(space: OfaMbv3Space) -> None:
    first, second = (build_supernet(space, generator=torch.Generator().manual_seed(5)).state_dict() for _ in range(2))
    other = build_supernet(space, generator=torch.Generator().manual_seed(6)).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(first["layers.stem.conv.weight"], other["layers.stem.conv.weight"])
