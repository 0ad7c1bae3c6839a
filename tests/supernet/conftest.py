"""A small space and a supernet whose weights are nowhere at their initial values."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from hwnas.spaces import OfaMbv3Config, OfaMbv3Space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.supernet import Supernet
from tests.supernet.randomised import randomised


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make tiny networks many times slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def space() -> OfaMbv3Space:
    config = OfaMbv3Config(
        name="small", resolution=(16, 24), widths=(8, 8, 16, 24, 32, 40), stem_stride=2, strides=(1, 2, 1),
        activations=("relu", "relu", "h_swish"), se=(False, True, True), kernel_sizes=(3, 5, 7),
        expand_ratios=(2, 3, 4), depths=(1, 2), in_channels=2, classes=5,
    )  # fmt: skip
    return OfaMbv3Space(config)


@pytest.fixture
def supernet(space: OfaMbv3Space) -> Supernet:
    generator = torch.Generator().manual_seed(0)
    return randomised(build_supernet(space, generator=generator), generator)


@pytest.fixture
def genotypes(space: OfaMbv3Space) -> np.ndarray:
    drawn = space.sample(12, np.random.default_rng(0))
    return np.concatenate([drawn, space.extreme(True)[None], space.extreme(False)[None]])


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 2, 24, 24, generator=torch.Generator().manual_seed(1))
