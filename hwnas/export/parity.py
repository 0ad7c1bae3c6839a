"""Whether an exported file computes what the torch network does, and how accurate the file itself is.

Shapes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.data.image_set import ImageSet, LabelledImages
from hwnas.data.inputs import network_inputs
from hwnas.data.preprocess import Preprocessing
from hwnas.errors import ExportError
from hwnas.export.config import ExportConfig
from hwnas.export.formats import Runner, format_of_file
from hwnas.progress import Progress, no_progress

__all__ = ["Answers", "Parity", "accuracy_of", "check_parity", "noise_images", "torch_answers"]

BATCH = 256


@dataclass(frozen=True)
class Parity:
    """File against torch on `images` images: the largest difference of a logit, and the share of equal answers.

    `real`: whether these were real images, or noise for want of any.
    """

    images: int
    real: bool
    max_abs: float
    top1_agreement: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Answers:
    """What torch answers to images: what every file of the same network is held against.

    `logits` `[N, K]` of `images`, prepared at `resolution`. Where the images are not `real`, their labels mean nothing.
    """

    images: LabelledImages
    resolution: int
    preprocessing: Preprocessing
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    real: bool = True

    @property
    def accuracy(self) -> float | None:
        """Torch's top-1 accuracy on the images; None on noise."""
        return _accuracy(self.logits, self.labels) if self.real else None

    def batches(self, count: int | None = None) -> Iterator[Tensor]:
        """The prepared images `[B, C, r, r]`, all of them or the first `count`, in order."""
        images = self.images if count is None else self.images.first(count)
        for inputs, _ in network_inputs(images, self.resolution, self.preprocessing, BATCH):
            yield inputs

    def accuracy_of(self, run: Runner, progress: Progress = no_progress) -> float | None:
        """The top-1 accuracy of what `run` answers to the same images; None on noise."""
        return accuracy_of(run, self.images, self.resolution, self.preprocessing, progress) if self.real else None


@torch.no_grad()
def torch_answers(
    module: nn.Module,
    images: LabelledImages,
    resolution: int,
    preprocessing: Preprocessing,
    *,
    real: bool = True,
    progress: Progress = no_progress,
) -> Answers:
    """A copy of `module`, in eval mode on the CPU, on all of `images`.

    Raises ExportError where there is none, or where the network gives anything but `[N, K]` finite logits; DataError
    where the images don't fit the preprocessing.
    """
    module = deepcopy(module).cpu().eval()
    logits, labels = [], []
    seen = 0
    for inputs, right in network_inputs(images, resolution, preprocessing, BATCH):
        given = _answer(module, inputs)
        logits.append(given)
        labels.append(right.numpy())
        seen += len(given)
        progress(seen / len(images), f"torch, {seen} of {len(images)} images")
    if not seen:
        raise ExportError("export: expected at least one image to compare files with torch on, got none")
    return Answers(images, resolution, preprocessing, np.concatenate(logits), np.concatenate(labels), real)


def check_parity(
    path: Path | str, answers: Answers, tolerance: float, config: ExportConfig, threads: int = 1
) -> Parity:
    """The file run in its runtime against torch, on the first `config.parity_images` images.

    Raises ExportError where a logit differs by more than `tolerance`, or is no number. `tolerance` may be infinite.
    """
    expected = answers.logits[: config.parity_images]
    given = _run_file(path, answers.batches(config.parity_images), threads)
    if expected.shape != given.shape:
        raise ExportError(f"{path}: expected outputs {expected.shape[1:]} an image, got {given.shape[1:]}")
    # max keeps NaN, so that a file that gives no numbers can't pass.
    difference = float(np.abs(expected - given).max())
    if not difference <= tolerance:
        raise ExportError(
            f"{path} differs from torch by {difference:.3g} in a logit, expected at most {tolerance:g};"
            " don't deploy it; if float rounding explains it, raise export.parity_tolerance (fp16:"
            " export.fp16_tolerance)"
        )
    agreeing = float((expected.argmax(1) == given.argmax(1)).mean())
    return Parity(images=len(expected), real=answers.real, max_abs=difference, top1_agreement=agreeing)


def accuracy_of(
    run: Runner,
    images: LabelledImages,
    resolution: int,
    preprocessing: Preprocessing,
    progress: Progress = no_progress,
) -> float:
    """Top-1 accuracy, in [0, 1], of what `run` answers to all of `images`.

    Ties go to the lower class. Raises ExportError for no images.
    """
    right = seen = 0
    for inputs, labels in network_inputs(images, resolution, preprocessing, BATCH):
        right += int((run(inputs.numpy()).argmax(1) == labels.numpy()).sum())
        seen += len(labels)
        progress(seen / len(images), f"accuracy {right / seen:.3f}")
    if not seen:
        raise ExportError("expected images to measure accuracy on, got none")
    return right / seen


def noise_images(count: int, channels: int, size: int) -> ImageSet:
    """`count` images of evenly distributed random pixels, always the same: for parity where there are no real ones."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64))


def _answer(module: nn.Module, inputs: Tensor) -> NDArray[np.float32]:
    given = module(inputs)
    if not isinstance(given, Tensor) or given.ndim != 2 or len(given) != len(inputs):
        found = list(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise ExportError(f"export: expected a network that gives logits [{len(inputs)}, classes], got {found}")
    if not torch.isfinite(given).all():
        raise ExportError("export: the network gives logits that are no numbers; mend its weights, or train it again")
    logits: NDArray[np.float32] = given.float().numpy()
    return logits


def _run_file(path: Path | str, batches: Iterator[Tensor], threads: int) -> NDArray[np.float32]:
    run = format_of_file(path).load_runner(path, threads)
    return np.concatenate([run(inputs.numpy()) for inputs in batches])


def _accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    return float((logits.argmax(1) == labels).mean())
