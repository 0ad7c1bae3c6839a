"""Spaces to hold the properties against: the published one, a small one for 32×32 images, and a tiny one that can
be enumerated."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.spaces import (
    DartsConfig,
    MobileNetV4Config,
    NasBench201Config,
    NasBenchMacroConfig,
    OfaMbv3Config,
    OfaMbv3Space,
    OfaProxylessConfig,
    OfaResNet50Config,
    ReparameterisedConfig,
    RepStageConfig,
    Space,
    SpaceConfig,
    StageConfig,
    make_space,
)

SMALL = OfaMbv3Config(
    resolution=(24, 32),
    widths=(16, 16, 24, 32, 48, 96, 128),
    stem_stride=1,
    strides=(1, 2, 2, 1),
    activations=("relu", "relu", "h_swish", "h_swish"),
    se=(False, False, True, True),
    kernel_sizes=(3, 5, 7),
    expand_ratios=(2, 3, 4),
    depths=(1, 2, 3),
    in_channels=1,
    classes=10,
)
TINY = OfaMbv3Config(
    resolution=(16, 24),
    widths=(8, 8, 16, 24, 32, 40),
    strides=(1, 2, 1),
    activations=("relu", "relu", "h_swish"),
    se=(False, True, False),
    kernel_sizes=(3, 5),
    expand_ratios=(2, 4),
    depths=(1, 2),
    classes=4,
)

BOUNDED = OfaProxylessConfig(
    resolution=(64, 96),
    widths=(16, 8, 16, 24, 32, 64),
    strides=(1, 2, 2, 2),
    depths=(1, 2, 3),
    largest_kernels=(5, 3, 7, 3, 5, 7),
    largest_expands=(3, 3, 6, 3, 4, 6),
    largest_depths=(2, 3),
    in_channels=3,
    classes=7,
)


SPACES = [
    OfaMbv3Config(),
    OfaMbv3Config(width_mult=1.2, classes=100),
    SMALL,
    TINY,
    OfaProxylessConfig(),
    MobileNetV4Config(resolution=(192, 256)),
    MobileNetV4Config(
        stem_widths=(16,),
        stem_stride=1,
        kernel_sizes=(0, 3),
        resolution=(16, 24),
        classes=5,
        stages=(StageConfig((16,), (1,), 1, (1, 2)), StageConfig((24, 32), (1, 2), 2, (0, 2))),
    ),
    NasBench201Config(resolution=(16, 24), widths=(4, 8), cells=1),
    DartsConfig(resolution=(16,), width=4, cells=3),
    ReparameterisedConfig(resolution=(64, 96)),
    ReparameterisedConfig(
        name="rep_small",
        resolution=(16, 24),
        stem_widths=(8,),
        stages=(RepStageConfig((16, 24), (1, 2), 1, dense=True), RepStageConfig((24, 32), (1, 2))),
        branches=2,
        classes=5,
    ),
    NasBenchMacroConfig(width=8, head_width=64, resolution=(16, 24)),
    BOUNDED,
    OfaResNet50Config(resolution=(128, 224)),
    OfaResNet50Config(widths=(32, 48), strides=(1, 2), base_depths=(1, 1), depths=(0, 1), resolution=(32,), classes=5),
]


@pytest.fixture(scope="session")
def full_space() -> OfaMbv3Space:
    return make_space(OfaMbv3Config())


@pytest.fixture(scope="session")
def tiny_space() -> OfaMbv3Space:
    return make_space(TINY)


@pytest.fixture(scope="session", params=SPACES, ids=lambda config: f"{config.name}-{config.classes}")
def space(request: pytest.FixtureRequest) -> Space:
    config: SpaceConfig = request.param
    return make_space(config)


@pytest.fixture(scope="session")
def every_tiny_genotype(tiny_space: OfaMbv3Space) -> np.ndarray:
    """Every distinct network of the tiny space, canonical."""
    grid = np.stack(np.meshgrid(*(np.arange(size) for size in tiny_space.cardinalities), indexing="ij"), axis=-1)
    return tiny_space.unique(grid.reshape(-1, len(tiny_space.genes)))
