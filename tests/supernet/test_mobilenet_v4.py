"""MobileNetV4's space against timm's definitions, with copied weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision_operators import declare_torchvision_operators

from hwnas.operators import UIB, Conv, FusedMBConv, GlobalPool, Operator
from hwnas.spaces import Genotypes, MobileNetV4Config, Space, StageConfig, make_space
from hwnas.spaces.mobilenet_v4 import PUBLISHED
from hwnas.supernet.build import build_subnet, build_supernet
from hwnas.supernet.extract import extract
from hwnas.supernet.reorder import reorder_channels
from hwnas.supernet.supernet import Supernet
from tests.supernet.randomised import randomised

SMALL = MobileNetV4Config(
    resolution=(32, 48), stem_widths=(16, 24), head_widths=(64, 80), classes=10,
    stages=(
        StageConfig((16, 24), (1,), 1, (1, 2)), StageConfig((24, 32), (1, 2), 2, (0, 2)),
        StageConfig((40, 56), (2, 3), 2),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def timm() -> Any:
    declare_torchvision_operators()
    return pytest.importorskip("timm", reason="install hwnas[test]")


@pytest.fixture(scope="module")
def published() -> Space:
    return make_space(MobileNetV4Config())


@pytest.fixture(scope="module")
def small() -> Space:
    return make_space(SMALL)


@pytest.mark.parametrize(
    "name", ["conv_small", *(pytest.param(one, marks=pytest.mark.slow) for one in ("conv_medium", "conv_large"))]
)
def test_published_networks_compute_what_timms_compute(timm: Any, published: Space, name: str) -> None:
    theirs = randomised(timm.create_model(f"mobilenetv4_{name}"), torch.Generator().manual_seed(0))
    check_equal(theirs, published, published.genotype({**PUBLISHED[name], "r": 256}), 96)


@pytest.mark.slow
@pytest.mark.usefixtures("timm")
def test_any_network_computes_what_timms_blocks_compute(published: Space) -> None:
    for genotype in published.sample(50, np.random.default_rng(0)):
        check_equal(of_blocks(published.operators_of(genotype)), published, genotype, 64)


@pytest.mark.usefixtures("timm")
def test_small_networks_compute_what_timms_blocks_compute(small: Space) -> None:
    for genotype in small.sample(10, np.random.default_rng(0)):
        check_equal(of_blocks(small.operators_of(genotype)), small, genotype, 32)


def check_equal(theirs: nn.Module, space: Space, genotype: Genotypes, size: int) -> None:
    """With weights copied by their order, which is that of the layers in both."""
    ours = build_subnet(space, genotype).eval()
    given, taken = list(theirs.state_dict().values()), ours.state_dict()
    assert [tuple(one.shape) for one in given] == [tuple(one.shape) for one in taken.values()]
    ours.load_state_dict(dict(zip(taken, given, strict=True)))
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def of_blocks(operators: Sequence[Operator]) -> nn.Module:
    """These operators as timm's blocks."""
    return randomised(nn.Sequential(*blocks(operators)), torch.Generator().manual_seed(0))


def blocks(operators: Sequence[Operator]) -> Iterator[nn.Module]:
    from timm.models._efficientnet_blocks import ConvBnAct, EdgeResidual, UniversalInvertedResidual

    for one in operators:
        if isinstance(one, Conv):
            yield ConvBnAct(one.in_channels, one.out_channels, one.kernel, stride=one.stride)
        elif isinstance(one, UIB):
            yield UniversalInvertedResidual(
                one.in_channels, one.out_channels, one.start_kernel, one.kernel, stride=one.stride,
                noskip=not one.residual, exp_ratio=one.mid_channels / one.in_channels, layer_scale_init_value=None,
            )  # fmt: skip
        elif isinstance(one, FusedMBConv) and one.ends_active:
            yield ConvBnAct(one.in_channels, one.mid_channels, one.kernel, stride=one.stride)
            yield ConvBnAct(one.mid_channels, one.out_channels, 1)
        elif isinstance(one, FusedMBConv):
            yield EdgeResidual(
                one.in_channels, one.out_channels, one.kernel, stride=one.stride, noskip=True,
                exp_ratio=one.mid_channels / one.in_channels,
            )  # fmt: skip
        elif isinstance(one, GlobalPool):
            yield nn.AdaptiveAvgPool2d(1)
        else:
            yield nn.Flatten()
            yield nn.Linear(one.in_channels, one.out_channels)


def supernet_of(space: Space) -> Supernet:
    return randomised(build_supernet(space), torch.Generator().manual_seed(0))


def test_a_supernet_computes_what_its_subnets_compute(small: Space) -> None:
    supernet = supernet_of(small)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    ends = np.stack([small.extreme(True), small.extreme(False)])
    for genotype in np.concatenate([small.sample(20, np.random.default_rng(0)), ends]):
        with torch.no_grad():
            expected = supernet(images, genotype)
            torch.testing.assert_close(extract(supernet, genotype)(images), expected, rtol=1e-5, atol=1e-5)


def test_sorting_channels_changes_nothing_that_is_in_use(small: Space) -> None:
    """What is in use are the largest widths and ratios, with any kernels, forms and depths."""
    supernet = supernet_of(small)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    rows = small.sample(8, np.random.default_rng(0))
    wide = [column for column, gene in enumerate(small.genes) if gene.kind in ("e", "w")]
    rows[:, wide] = small.extreme(True)[wide]
    largest = {kind: [max(c for g in small.genes if g.kind == kind for c in g.choices)] for kind in ("e", "w")}
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    with torch.no_grad():
        expected = [supernet(images, row) for row in small.canonical(rows)]
        reorder_channels(supernet, largest)
        for row, one in zip(small.canonical(rows), expected, strict=True):
            torch.testing.assert_close(supernet(images, row), one, rtol=1e-4, atol=1e-4)
    moved = {name for name, value in supernet.state_dict().items() if not torch.equal(value, before[name])}
    assert any(".start." in name for name in moved)
    assert any(".depthwise." in name for name in moved)
