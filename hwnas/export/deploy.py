"""A network as a checked file: exported, compared with torch, its accuracy measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.errors import ExportError
from hwnas.export.bundle.manifest import file_metadata
from hwnas.export.calibration import calibration_images
from hwnas.export.check.parity import check_parity
from hwnas.export.config import ExportConfig
from hwnas.export.formats import LogitsRunner, model_format
from hwnas.export.quantise import export_quantised
from hwnas.export.request import ExportRequest
from hwnas.export.signature import Port, Signature
from hwnas.export.subject import Examples, Subject
from hwnas.files import sha256_of_file
from hwnas.progress import Progress

__all__ = ["FLOAT_PRECISIONS", "CheckedFile", "Examples", "Subject", "export_checked", "runnable_here"]

FLOAT_PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class CheckedFile:
    """What is known of a file once it has passed; JSON-able. See `hwnas.export.bundle.manifest.Manifest`.

    `preflight` is for whoever knows the device to fill in. `inputs` and `outputs` as `Port`s are.
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
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    logits: str | None
    notes: list[str]

    @property
    def signature(self) -> Signature:
        """What goes in and comes out."""
        return Signature(_ports(self.inputs), _ports(self.outputs), self.logits)


def _ports(described: Sequence[Mapping[str, Any]]) -> tuple[Port, ...]:
    return tuple(Port(**{**one, "shape": tuple(one["shape"])}) for one in described)


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

    Float files are compared with torch, output by output; quantised ones by their accuracy on the held-out images. Of a
    library that is compiled for another processor, the same one compiled for this is checked, and stays beside it (see
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
        if accuracy is None and subject.answers.accuracy is not None:
            run = subject.answers.logits_of(model_format(format_name).open(checked))
            accuracy = subject.answers.accuracy_of(run, progress)
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
            "images": 0 if torch_accuracy is None else len(subject.answers.labels),
        },
        float_layers=list(float_layers),
        preflight=[],
        inputs=[asdict(port) for port in subject.signature.inputs],
        outputs=[asdict(port) for port in subject.signature.outputs],
        logits=subject.signature.logits,
        notes=list(subject.notes),
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
    if chosen.compiles_for_target and config.tvm_target is not None:
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
    if not subject.signature.classifies:
        raise ExportError(
            f"export: {precision} is judged by the accuracy that it loses, which a network of one image and its logits"
            f" alone states; this one takes {_names(subject.signature.inputs)} and gives"
            f" {_names(subject.signature.outputs)}: give precisions=[fp32]"
        )
    if examples.training is None or answers.accuracy is None:
        raise ExportError(
            f"export: {precision} needs real, labelled images, to calibrate on and to state the loss of accuracy; got"
            " data=none: give data=…, or precisions=[fp32]"
        )
    calibration = calibration_images(
        examples.training, config.calibration_images, subject.resolution, examples.preprocessing
    )

    def accuracy(run: LogitsRunner) -> float:
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
    metadata = file_metadata(subject.arch, subject.space, subject.classes, subject.preprocessing.to_dict())
    example = tuple(subject.answers.feed.first()) if not subject.signature.classifies else _blank(subject.signature)
    return ExportRequest(
        subject.module, example, precision, calibration, metadata,
        signature=subject.signature, plain_layout=bool(subject.space), together=subject.answers.together,
        config=config, progress=progress,
    )  # fmt: skip


def _blank(signature: Signature) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros(port.shape) for port in signature.inputs)


def _names(ports: Sequence[Port]) -> str:
    return ", ".join(f"{port.name} {list(port.shape)}" for port in ports)
