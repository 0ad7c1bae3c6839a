"""Tiny images of three classes, a tiny space for them, and schedules of a few steps; as a script, one training run."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hwnas.data.config import AugmentConfig
from hwnas.data.load import ImageData, ImageSet
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space
from hwnas.training.config import PhaseConfig, TrainingConfig

KERNELS, DEPTHS, RATIOS = (3, 5), (1, 2), (2, 3)
ALL: dict[str, Any] = {"kernel_sizes": KERNELS, "depths": DEPTHS, "expand_ratios": RATIOS}


def make_images(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 120, (count, 1, 12, 12), generator=generator)
    for label in range(3):
        images[labels == label, :, 4 * label : 4 * label + 4] += 100
    return ImageSet(images.to(torch.uint8), labels)


def make_data() -> ImageData:
    parts = (make_images(90, 0), make_images(60, 1), make_images(60, 2))
    return ImageData("tiny", *parts, ("a", "b", "c"), (0.4,), (0.2,), AugmentConfig(flip=True, crop_padding=1))


def make_space() -> OfaMbv3Space:
    config = OfaMbv3Config(
        name="tiny", resolution=(8, 12), widths=(8, 8, 8, 16, 16, 16), stem_stride=1, strides=(2, 1, 2),
        activations=("relu", "relu", "h_swish"), se=(False, False, True), kernel_sizes=KERNELS, expand_ratios=RATIOS,
        depths=DEPTHS, in_channels=1, classes=3,
    )  # fmt: skip
    return OfaMbv3Space(config)


def progressive_shrinking() -> TrainingConfig:
    phases = (
        PhaseConfig("full", 2, 0.05, warmup_epochs=0.5),
        PhaseConfig("kernel", 1, 0.03, kernel_sizes=KERNELS),
        PhaseConfig("depth", 1, 0.03, subnets_per_step=2, kernel_sizes=KERNELS, depths=DEPTHS),
        PhaseConfig("expand", 2, 0.03, 0, 2, sampler="sandwich", **ALL),
    )
    return TrainingConfig(
        phases, batch_size=30, accelerator="cpu", calibration_images=60, log_every=2, dropout=0.1, random_subnets=3,
        tensorboard=False,
    )  # fmt: skip


def bignas() -> TrainingConfig:
    """With all that has a state between steps: AdamW, an average of the weights, parts one after another."""
    phase = PhaseConfig(
        "bignas", 5, 0.01, warmup_epochs=0.5, subnets_per_step=3, sampler="sandwich", teacher="in_place",
        schedule="exponential", ending=0.05, **ALL,
    )  # fmt: skip
    return replace(
        progressive_shrinking(), phases=(phase,), batch_size=24, accumulate=2, optimiser="adamw", ema_decay=0.9,
        gradient_clip=1.0, weight_decay=0.01,
    )  # fmt: skip


def shifted() -> TrainingConfig:
    phase = PhaseConfig("shifted", 5, 0.05, subnets_per_step=2, sampler="shifted", teacher="none", **ALL)
    return replace(progressive_shrinking(), phases=(phase,))


METHODS = {"progressive_shrinking": progressive_shrinking, "bignas": bignas, "shifted": shifted}


def main(folder: str, method: str, changes: str, pause_s: str) -> None:
    """Train into `folder`, saying after each step how far it is."""
    from hwnas.training.engine import train

    torch.set_num_threads(1)

    def progress(done: float, status: str) -> None:
        print(done, flush=True)  # noqa: T201
        time.sleep(float(pause_s))

    config = replace(METHODS[method](), **json.loads(changes))
    train(config, make_space(), make_data(), Path(folder), 3, progress, say=print)


if __name__ == "__main__":
    main(*sys.argv[1:])
