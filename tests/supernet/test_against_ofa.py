"""The same networks as the reference implementation's, to float noise, with the reference's weights.

Also what is done with them: reordering, BatchNorm calibration, and counts.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.spaces import (
    OfaMbv3Config,
    OfaProxylessConfig,
    OfaResNet50Config,
    Space,
    SpaceConfig,
    make_space,
)
from hwnas.supernet.build import build_supernet
from hwnas.supernet.calibrate import calibrate_batch_norm
from hwnas.supernet.extract import extract
from hwnas.supernet.layers.channels import importance
from hwnas.supernet.layers.mbconv import ElasticInvertedResidual
from hwnas.supernet.published import load_ofa_state_dict
from hwnas.supernet.reorder import reorder_channels
from hwnas.supernet.supernet import Supernet
from tests.supernet import ofa_oracle

pytest.importorskip("ofa", reason="the reference implementation is not installed: pip install -e '.[all,test]'")

PUBLISHED = [OfaMbv3Config(), OfaProxylessConfig(), OfaResNet50Config()]
OTHERS: list[SpaceConfig] = [
    OfaMbv3Config(width_mult=1.2, classes=10),
    OfaProxylessConfig(width_mult=1.0, classes=7),
    OfaResNet50Config(classes=3),
]
# Building the reference's networks takes longer than what is done with them: of the others, one shows another width.
CONFIGS = [*PUBLISHED, OTHERS[0], *(pytest.param(config, marks=pytest.mark.slow) for config in OTHERS[1:])]
TOLERANCE = 1e-4


def name(config: SpaceConfig) -> str:
    return f"{config.name}-{getattr(config, 'width_mult', '')}-{config.classes}"


def pair(config: SpaceConfig) -> tuple[Any, Supernet, Space]:
    """The reference's network, and ours with its weights: copies, which a test may change."""
    return copy.deepcopy(built(config))


@lru_cache
def built(config: SpaceConfig) -> tuple[Any, Supernet, Space]:
    reference = ofa_oracle.build(config.family, config.classes, getattr(config, "width_mult", 1.0))
    space = make_space(config)
    supernet = build_supernet(space).eval()
    load_ofa_state_dict(supernet, reference.state_dict())
    return reference, supernet, space


def images(count: int = 2, size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def check_logits(config: SpaceConfig, seeds: range, batch: torch.Tensor) -> None:
    reference, supernet, space = pair(config)
    archs = [space.arch(space.extreme(largest)).to_dict() for largest in (True, False)]
    archs += [ofa_oracle.sample(reference, seed) for seed in seeds]
    start = [copy.deepcopy(network.state_dict()) for network in (reference, supernet)]
    before = torch.zeros(len(batch), config.classes)
    for arch in archs:
        genotype = space.genotype(arch)
        # Statistics move in training, and so do the logits after it. Each arch starts from the first ones: those of
        # fifty archs' batches of two make logits, and with them float noise, a hundred times as large.
        for network, state in zip((reference, supernet), start, strict=True):
            network.load_state_dict(state)
        for training in (False, True, False):
            ofa_oracle.activate(reference, arch)
            reference.train(training)
            supernet.train(training)
            subnet = extract(supernet, genotype)
            with torch.no_grad():
                expected = reference(batch)
                assert (supernet(batch, genotype) - expected).abs().max() <= TOLERANCE
                assert (subnet(batch) - expected).abs().max() <= TOLERANCE
            assert (expected - before).abs().max() > 100 * TOLERANCE
            before = expected


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_logits(config: SpaceConfig) -> None:
    check_logits(config, range(2), images())


@pytest.mark.slow
@pytest.mark.parametrize("config", PUBLISHED, ids=name)
def test_logits_of_fifty_subnets(config: SpaceConfig) -> None:
    check_logits(config, range(50), images(2, 96))


def test_kernel_transforms() -> None:
    reference, supernet, _ = pair(OTHERS[0])
    for number in (0, 7, 19):
        own, block = supernet.elastic_layers[f"block{number}"], reference.blocks[number + 1].conv.depth_conv.conv
        assert isinstance(own, ElasticInvertedResidual)
        for kernel in (3, 5, 7):
            for mid in (24, block.max_in_channels):
                expected = block.get_active_filter(mid, kernel)
                torch.testing.assert_close(own.filters(kernel, mid), expected, atol=1e-6, rtol=1e-6)
                assert kernel == 7 or (expected - block.conv.weight[:mid, :, 2:5, 2:5].mean()).abs().max() > 1e-2


def mid_order(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """Where each channel `[C, …]` of `after` came from."""
    distances = torch.cdist(after.flatten(1).double(), before.flatten(1).double())
    assert distances.min(dim=1).values.max() < 1e-6
    return distances.argmin(dim=1).tolist()


def has_ties(consumer: nn.Conv2d) -> bool:
    found = importance(consumer)
    return len(found.unique()) < len(found)


@pytest.mark.parametrize("config", PUBLISHED, ids=name)
def test_reordering_gives_the_references_weights(config: SpaceConfig) -> None:
    reference, supernet, space = pair(config)
    reference.re_organize_middle_weights(0)
    assert isinstance(config, OfaMbv3Config | OfaProxylessConfig | OfaResNet50Config)
    reorder_channels(supernet, {"e": config.expand_ratios[-1:], "w": (1.0,)})
    expected = build_supernet(space)
    load_ofa_state_dict(expected, reference.state_dict())
    if config.family != "ofa_resnet50":
        blocks = {k: one for k, one in expected.elastic_layers.items() if isinstance(one, ElasticInvertedResidual)}
        tied = {slot for slot, block in blocks.items() if has_ties(block.full.projection.conv)}
        assert len(tied) < 5  # the reference leaves open how it orders channels of one importance
        for key, value in expected.state_dict().items():
            if key.split(".")[1] not in tied:
                torch.testing.assert_close(supernet.state_dict()[key], value, atol=0, rtol=0, msg=key)
        return
    # Ours sorts residual channels too, which the reference never does: equal where all of them are used.
    for genotype in space.sample(3, np.random.default_rng(0)):
        genotype[[column for column, gene in enumerate(space.genes) if gene.kind == "w"]] = space.extreme(True)[
            18 + 5 :
        ][:6]
        with torch.no_grad():
            one, two = (network.eval()(images(), genotype) for network in (supernet, expected))
        torch.testing.assert_close(one, two, atol=TOLERANCE, rtol=TOLERANCE)


def test_reordering_at_the_second_expand_stage() -> None:
    """The reference's shift by 1e5 rounds importances, and so shuffles what it sorts apart from the first group."""
    reference, supernet, space = pair(OfaMbv3Config())
    before = copy.deepcopy(supernet)
    reference.re_organize_middle_weights(1)
    reorder_channels(supernet, {"e": (4, 6)})
    expected = build_supernet(space)
    load_ofa_state_dict(expected, reference.state_dict())
    for number in (0, 9, 19):
        slot = f"block{number}"
        weights = [
            network.get_parameter(f"layers.{slot}.full.expansion.conv.weight").detach()
            for network in (before, supernet, expected)
        ]
        ours, theirs = mid_order(weights[0], weights[1]), mid_order(weights[0], weights[2])
        narrow = len(ours) * 4 // 6
        assert sorted(ours[:narrow]) == list(range(narrow))
        assert ours[:narrow] == theirs[:narrow]
        assert set(ours[narrow:]) == set(theirs[narrow:])


@pytest.mark.parametrize("config", [PUBLISHED[0], PUBLISHED[2]], ids=name)
def test_batch_norm_calibration(config: SpaceConfig) -> None:
    ofa_oracle.networks()
    from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

    reference, supernet, space = pair(config)
    arch = ofa_oracle.sample(reference, 3)
    batches = [images(size, seed=seed) for seed, size in enumerate((4, 4, 3))]
    theirs = reference.get_active_subnet()
    set_running_statistics(theirs, [(batch, None) for batch in batches])
    ours = extract(supernet, space.genotype(arch))
    before = [value.clone() for name, value in ours.named_buffers() if name.endswith(".running_mean")]
    calibrate_batch_norm(ours, batches)
    norms = [[part for part in network.modules() if isinstance(part, nn.BatchNorm2d)] for network in (ours, theirs)]
    for own, other, old in zip(*norms, before, strict=True):
        assert torch.equal(own.bias, other.bias)
        torch.testing.assert_close(own.running_mean, other.running_mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(own.running_var, other.running_var, atol=1e-4, rtol=1e-4)
        assert (own.running_mean - old).abs().max() > 1e-2


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_counts(config: SpaceConfig) -> None:
    ofa_oracle.networks()
    from ofa.utils.pytorch_utils import count_net_flops, count_parameters

    reference, _, space = pair(config)
    for seed, resolution in enumerate((160, 192) if config in PUBLISHED else (160,)):
        arch = {**ofa_oracle.sample(reference, seed), "r": resolution}
        row, subnet = space.genotype(arch)[None], reference.get_active_subnet()
        assert space.parameters(row)[0] == count_parameters(subnet)
        # The reference adds up in float32.
        assert space.macs(row)[0] == pytest.approx(count_net_flops(subnet, (1, 3, resolution, resolution)), rel=1e-6)
