"""A network as a checked file: exported, compared with torch, its accuracy measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hwnas.data.image_set import LabelledImages
from hwnas.data.preprocess import Preprocessing
from hwnas.errors import ExportError
from hwnas.export.calibration import calibration_images
from hwnas.export.config import ExportConfig
from hwnas.export.formats import Runner, model_format
from hwnas.export.manifest import file_metadata
from hwnas.export.parity import Answers, check_parity, noise_images, torch_answers
from hwnas.export.quantise import export_quantised
from hwnas.export.request import ExportRequest
from hwnas.files import sha256_of_file
from hwnas.progress import Progress

__all__ = ["FLOAT_PRECISIONS", "CheckedFile", "Examples", "Subject", "export_checked", "runnable_here"]

FLOAT_PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class Examples:
    """The images that files are checked with. `held_out` None: there are none, and noise stands in.

    int8 reads ranges off `training` images, and accuracy is measured on `held_out` ones: no file is judged by the
    images that it was made with.
    """

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    training: LabelledImages | None
    held_out: LabelledImages | None

    @property
    def channels(self) -> int:
        return len(self.preprocessing.mean)

    def checking_images(self, count: int, resolution: int) -> LabelledImages:
        """The held-out images; without any, `count` of noise."""
        return noise_images(count, self.channels, resolution) if self.held_out is None else self.held_out


@dataclass(frozen=True)
class Subject:
    """The network that becomes files: with BatchNorm calibrated, and what torch answers to the held-out images."""

    module: nn.Module
    resolution: int
    arch: dict[str, Any]
    space: dict[str, Any]
    answers: Answers
    classes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        module: nn.Module,
        resolution: int,
        arch: Mapping[str, Any],
        space: Mapping[str, Any],
        examples: Examples,
        config: ExportConfig,
        progress: Progress,
    ) -> Subject:
        """The network examined by torch. Raises ExportError where it doesn't give logits, one for each class."""
        images, real = examples.checking_images(config.parity_images, resolution), examples.held_out is not None
        try:
            answers = torch_answers(module, images, resolution, examples.preprocessing, real=real, progress=progress)
        except (RuntimeError, TypeError, ValueError) as error:
            shape = [1, examples.channels, resolution, resolution]
            raise ExportError(
                f"export: the network does not take images {shape} ({' '.join(str(error).split())[:200]}): give its"
                " size as data.image_size, and data of its number of channels"
            ) from error
        classes = examples.classes or tuple(f"class {number}" for number in range(answers.logits.shape[1]))
        if len(classes) != answers.logits.shape[1]:
            raise ExportError(
                f"export: the network gives {answers.logits.shape[1]} logits, the data have {len(classes)} classes:"
                " give the data that it was trained on"
            )
        return cls(module, resolution, dict(arch), dict(space), answers, classes)


@dataclass(frozen=True)
class CheckedFile:
    """What is known of a file once it has passed; JSON-able. See `hwnas.export.manifest.Manifest`.

    `preflight` is for whoever knows the device to fill in.
    """

    format: str
    precision: str
    bytes: int
    sha256: str
    arch: dict[str, Any]
    space: dict[str, Any]
    classes: list[str]
    parity: dict[str, Any]
    accuracy: dict[str, Any]
    float_layers: list[str]
    preflight: list[Any]


def export_checked(
    subject: Subject,
    format_name: str,
    precision: str,
    path: Path,
    examples: Examples,
    config: ExportConfig,
    progress: Progress,
) -> CheckedFile:
    """Write the network as `path` and say what was found of the file.

    Float files are compared with torch, logit by logit; quantised ones by their accuracy on the held-out images. Of a
    library that TVM compiles for another processor, the same one compiled for this is checked, and stays beside it (see
    `runnable_here`). A file that differs by more than `config` allows is deleted, and ExportError raised. Raises
    MissingExtraError and StorageError too.
    """
    if precision in FLOAT_PRECISIONS:
        float_layers, accuracy = _export_float(subject, format_name, precision, path, config, progress)
        tolerance = config.fp16_tolerance if precision == "fp16" else config.parity_tolerance
    else:
        float_layers, accuracy = _export_quantised(subject, format_name, precision, path, examples, config, progress)
        tolerance = float("inf")
    try:
        checked = runnable_here(path)
        parity = check_parity(checked, subject.answers, tolerance, config)
        if accuracy is None and subject.answers.real:
            accuracy = subject.answers.accuracy_of(model_format(format_name).load_runner(checked), progress)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    torch_accuracy = subject.answers.accuracy
    return CheckedFile(
        format=format_name,
        precision=precision,
        bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
        arch=subject.arch,
        space=subject.space,
        classes=list(subject.classes),
        parity=parity.to_dict(),
        accuracy={
            "torch": torch_accuracy,
            "file": accuracy,
            "drop": None if accuracy is None or torch_accuracy is None else torch_accuracy - accuracy,
            "images": len(subject.answers.logits) if subject.answers.real else 0,
        },
        float_layers=list(float_layers),
        preflight=[],
    )


def runnable_here(path: Path) -> Path:
    """The file that stands for `path` on this machine: itself, but for a library compiled for another processor."""
    host = _host_copy(path)
    return host if host.exists() else path


def _host_copy(path: Path) -> Path:
    return path.with_name(f"{path.stem}.host{path.suffix}")


def _export_float(
    subject: Subject, format_name: str, precision: str, path: Path, config: ExportConfig, progress: Progress
) -> tuple[Sequence[str], float | None]:
    progress(0.0, f"writing {path.name}, {precision}")
    chosen = model_format(format_name)
    _host_copy(path).unlink(missing_ok=True)
    if chosen.name == "tvm" and config.tvm_target is not None:
        chosen.export(
            _request(subject, precision, None, replace(config, tvm_target=None, tuning_trials=0), progress),
            _host_copy(path),
        )
    chosen.export(_request(subject, precision, None, config, progress), path)
    return (), None


def _export_quantised(
    subject: Subject,
    format_name: str,
    precision: str,
    path: Path,
    examples: Examples,
    config: ExportConfig,
    progress: Progress,
) -> tuple[Sequence[str], float | None]:
    answers = subject.answers
    if examples.training is None or answers.accuracy is None:
        raise ExportError(
            f"export: {precision} needs real, labelled images, to calibrate on and to state the loss of accuracy; got"
            " data=none: give data=…, or precisions=[fp32]"
        )
    calibration = calibration_images(
        examples.training, config.calibration_images, subject.resolution, examples.preprocessing
    )

    def accuracy(run: Runner) -> float:
        found = answers.accuracy_of(run)
        return float("nan") if found is None else found

    request = _request(subject, precision, calibration, config, progress)
    found = export_quantised(model_format(format_name), request, path, accuracy, answers.accuracy, progress)
    return found.float_layers, found.accuracy


def _request(
    subject: Subject,
    precision: str,
    calibration: NDArray[np.float32] | None,
    config: ExportConfig,
    progress: Progress,
) -> ExportRequest:
    channels, resolution = len(subject.answers.preprocessing.mean), subject.resolution
    metadata = file_metadata(subject.arch, subject.space, subject.classes, subject.answers.preprocessing.to_dict())
    example = torch.zeros(1, channels, resolution, resolution)
    return ExportRequest(
        subject.module, example, precision, calibration, metadata,
        plain_layout=bool(subject.space), config=config, progress=progress,
    )  # fmt: skip
