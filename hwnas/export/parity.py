"""Whether an exported file computes what the torch network does, and how accurate the file itself is."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hwnas.data.image_set import LabelledImages
from hwnas.data.inputs import network_inputs
from hwnas.data.preprocess import Preprocessing
from hwnas.errors import ExportError
from hwnas.export.config import ExportConfig
from hwnas.export.formats import format_of_file
from hwnas.progress import Progress, no_progress

__all__ = ["Parity", "accuracy_of_file", "check_parity"]

BATCH = 256


@dataclass(frozen=True)
class Parity:
    """File against torch on `images` images: the largest difference of a logit, and the share of equal answers."""

    images: int
    max_abs: float
    top1_agreement: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def check_parity(
    path: Path | str,
    module: nn.Module,
    images: LabelledImages,
    resolution: int,
    preprocessing: Preprocessing,
    config: ExportConfig,
    threads: int = 1,
) -> Parity:
    """The file run in its runtime against a copy of `module` in eval mode on the CPU.

    The first `config.parity_images` of `images` are used. Raises ExportError where a logit differs by more than
    `config.parity_tolerance` or is no number, DataError where the images don't fit the preprocessing.
    """
    run = format_of_file(path).load_runner(path, threads)
    module = deepcopy(module).cpu().eval()
    difference, agreeing, seen = 0.0, 0, 0
    for inputs, _ in network_inputs(images.first(config.parity_images), resolution, preprocessing, BATCH):
        expected = module(inputs).numpy()
        given = run(inputs.numpy())
        if expected.shape != given.shape:
            raise ExportError(f"{path}: expected outputs {expected.shape[1:]} an image, got {given.shape[1:]}")
        # np.max keeps NaN, so that a file that gives no numbers can't pass.
        difference = float(np.max([difference, np.abs(expected - given).max()]))
        agreeing += int((expected.argmax(1) == given.argmax(1)).sum())
        seen += len(inputs)
    if not seen:
        raise ExportError(f"{path}: expected at least one image to compare with torch on, got none")
    if not difference <= config.parity_tolerance:
        raise ExportError(
            f"{path} differs from torch by {difference:.3g} in a logit, expected at most {config.parity_tolerance:g};"
            " don't deploy it; if float rounding explains it, raise export.parity_tolerance"
        )
    return Parity(images=seen, max_abs=difference, top1_agreement=agreeing / seen)


def accuracy_of_file(
    path: Path | str,
    images: LabelledImages,
    resolution: int,
    preprocessing: Preprocessing,
    threads: int = 1,
    progress: Progress = no_progress,
) -> float:
    """Top-1 accuracy, in [0, 1], of the file run in its runtime on all of `images`.

    Ties go to the lower class. Raises ExportError for a file that the runtime refuses, and for no images.
    """
    run = format_of_file(path).load_runner(path, threads)
    right = seen = 0
    for inputs, labels in network_inputs(images, resolution, preprocessing, BATCH):
        right += int((run(inputs.numpy()).argmax(1) == labels.numpy()).sum())
        seen += len(labels)
        progress(seen / len(images), f"{Path(path).name} {right / seen:.3f}")
    if not seen:
        raise ExportError(f"{path}: expected images to measure accuracy on, got none")
    return right / seen
