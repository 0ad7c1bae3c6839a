"""Tiny images of three classes, a tiny space for them, and a schedule of a few steps."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from hwnas.data.config import AugmentConfig
from hwnas.data.load import ImageData, ImageSet
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space
from hwnas.training.config import PhaseConfig, TrainingConfig


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make tiny networks many times slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_images(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 120, (count, 1, 12, 12), generator=generator)
    for label in range(3):
        images[labels == label, :, 4 * label : 4 * label + 4] += 100
    return ImageSet(images.to(torch.uint8), labels)


@pytest.fixture(scope="session")
def data() -> ImageData:
    parts = (make_images(90, 0), make_images(60, 1), make_images(60, 2))
    return ImageData("tiny", *parts, ("a", "b", "c"), (0.4,), (0.2,), AugmentConfig(flip=True, crop_padding=1))


@pytest.fixture(scope="session")
def space() -> OfaMbv3Space:
    config = OfaMbv3Config(
        name="tiny", resolution=(8, 12), widths=(8, 8, 8, 16, 16, 16), stem_stride=1, strides=(2, 1, 2),
        activations=("relu", "relu", "h_swish"), se=(False, False, True), kernel_sizes=(3, 5), expand_ratios=(2, 3),
        depths=(1, 2), in_channels=1, classes=3,
    )  # fmt: skip
    return OfaMbv3Space(config)


@pytest.fixture(scope="session")
def config() -> TrainingConfig:
    kernels, depths, ratios = (3, 5), (1, 2), (2, 3)
    phases = (
        PhaseConfig("full", 2, 0.05, warmup_epochs=0.5),
        PhaseConfig("kernel", 1, 0.03, kernel_sizes=kernels),
        PhaseConfig("depth", 1, 0.03, subnets_per_step=2, kernel_sizes=kernels, depths=depths),
        PhaseConfig(
            "expand", 2, 0.03, 0, 2, sampler="sandwich", kernel_sizes=kernels, depths=depths, expand_ratios=ratios
        ),
    )
    return TrainingConfig(
        phases,
        batch_size=30,
        accelerator="cpu",
        calibration_images=60,
        log_every=2,
        dropout=0.1,
        random_subnets=3,
        tensorboard=False,
    )


@pytest.fixture(scope="session")
def one_phase(config: TrainingConfig) -> TrainingConfig:
    return replace(config, phases=config.phases[:1])
