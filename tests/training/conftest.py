"""Fixtures of `tests.training.tiny`."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from hwnas.data.load import ImageData
from hwnas.spaces import OfaMbv3Space
from hwnas.training.config import TrainingConfig
from tests.training import tiny


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make tiny networks many times slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data() -> ImageData:
    return tiny.make_data()


@pytest.fixture(scope="session")
def space() -> OfaMbv3Space:
    return tiny.make_space()


@pytest.fixture(scope="session")
def config() -> TrainingConfig:
    return tiny.progressive_shrinking()


@pytest.fixture(scope="session")
def one_phase(config: TrainingConfig) -> TrainingConfig:
    return replace(config, phases=config.phases[:1])
