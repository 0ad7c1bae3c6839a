"""Exporting as an ordered list of named passes, and the passes that formats share.

A format lists its passes; each takes the state that the one before it left and returns its own.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError, ExportError, HwnasError, MissingExtraError, choices
from hwnas.export.formats import ExportRequest, ModelFormat
from hwnas.export.quiet import quiet
from hwnas.files import atomic_path

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "ExportState",
    "Pass",
    "check_request",
    "errors_of_files",
    "first_line",
    "fold_batch_norm",
    "on_cpu",
    "order_weights",
    "require",
    "run_passes",
    "to_file",
]


@dataclass(frozen=True)
class ExportState:
    """What travels through the passes: what was asked for, the module as the passes changed it, the format's model.

    `model` is whatever the format's own passes hand on; after the last pass it must be the file's bytes.
    """

    request: ExportRequest
    module: nn.Module
    model: Any = None

    @property
    def example(self) -> torch.Tensor:
        """One image `[1, C, H, W]`, on the CPU."""
        return self.request.example.detach().cpu()

    @property
    def calibration(self) -> NDArray[np.float32]:
        """The images to read ranges off, `[N, C, H, W]`. Raises ExportError where there are none."""
        if self.request.calibration is None:
            raise ExportError("int8 needs real images to calibrate on, got none")
        return self.request.calibration


MIN_CALIBRATION_IMAGES = 8

Pass = tuple[str, Callable[[ExportState], ExportState]]

SHOWN = ("schedule",)
"""Passes that print nothing of their own, and whose progress may be shown meanwhile."""


def run_passes(format_name: str, passes: Sequence[Pass], state: ExportState) -> ExportState:
    """The state after every pass, in order. Whatever a pass fails with is raised as ExportError, one line.

    What the exporters print is in the debug log of `hwnas.export.quiet`.
    """
    for name, function in passes:
        state = _run(format_name, name, function, state)
    return state


def _run(
    format_name: str, name: str, function: Callable[[ExportState], ExportState], state: ExportState
) -> ExportState:
    try:
        with nullcontext() if name in SHOWN else quiet(f"{format_name} export, {name}"):
            return function(state)
    except HwnasError:
        raise
    except Exception as cause:  # exporters raise anything, and all of it means the same here
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # not the network's fault: becomes a StorageError where the file is written
        raise ExportError(
            f"{format_name} export failed in pass {name!r}: {first_line(cause)}; expected a plain static network in"
            " eval mode (HYDRA_FULL_ERROR=1 shows the whole traceback)"
        ) from cause


def errors_of_files(
    files: Callable[[Path, Path | str, NDArray[np.float32]], dict[str, float]],
    chosen: ModelFormat,
    request: ExportRequest,
    quantised_file: Path | str,
) -> dict[str, float]:
    """What a format's `layer_errors` gives, for one that finds it in `files`: the float one, the quantised one."""
    if request.calibration is None:
        raise ExportError(f"{quantised_file}: expected images to find its most sensitive layers with, got none")
    with tempfile.TemporaryDirectory() as folder:
        exact = replace(request, precision="fp32", float_layers=(), calibration=None)
        float_file = chosen.export(exact, Path(folder) / f"float{chosen.suffix}")
        return files(float_file, quantised_file, request.calibration)


def to_file(chosen: ModelFormat, passes: Sequence[Pass], request: ExportRequest, path: Path | str) -> Path:
    """Run `passes` on the request's network and write the bytes that they end with, atomically. Returns the path.

    Raises ConfigError where the format has no such precision; ExportError where the example is no batch of one image,
    int8 is asked for without images to calibrate on, or a pass fails; StorageError where the path can't be written,
    which is found out first.
    """
    check_request(chosen, request)
    with atomic_path(path) as temporary:
        temporary.write_bytes(run_passes(chosen.name, passes, ExportState(request, request.module)).model)
    return Path(path)


def check_request(chosen: ModelFormat, request: ExportRequest) -> None:
    """Raise ConfigError or ExportError for what can't be written as `chosen`."""
    if request.precision not in chosen.precisions:
        raise ConfigError(
            f"precisions: {chosen.name} is not written in {request.precision!r};"
            f" {choices(request.precision, chosen.precisions)}"
        )
    if request.float_layers and chosen.layer_errors is None:
        raise ConfigError(f"float_layers: {chosen.name} keeps no single layer float, got {list(request.float_layers)}")
    shape = tuple(request.example.shape)
    if len(shape) != 4 or shape[0] != 1:
        raise ExportError(f"{chosen.name} export: expected an example of one image [1, C, H, W], got {shape}")
    if request.precision == "int8":
        _check_calibration(chosen, request, shape[1:])


def _check_calibration(chosen: ModelFormat, request: ExportRequest, image: tuple[int, ...]) -> None:
    """Ranges read off nothing, off blank images or off a handful of them ruin a network without a word."""
    images = request.calibration
    expected = (
        f"{chosen.name} export: int8 needs real images to calibrate on, [N, {', '.join(map(str, image))}] with N ="
        f" export.calibration_images={request.config.calibration_images}, at least {MIN_CALIBRATION_IMAGES}"
    )
    if images is None or images.shape[1:] != image or len(images) < MIN_CALIBRATION_IMAGES:
        raise ExportError(f"{expected}; got {'none' if images is None else list(images.shape)}")
    flat = images.reshape(len(images), -1)
    if not np.isfinite(flat).all():
        raise ExportError(f"{expected}; got images with values that are no numbers")
    if (flat == flat[:1]).all() or not np.ptp(flat, axis=1).any():
        raise ExportError(f"{expected}; got {len(images)} that are blank or all the same")


def on_cpu(state: ExportState) -> ExportState:
    """A copy of the module on the CPU, in eval mode: exporting leaves the caller's network as it was."""
    from copy import deepcopy

    return replace(state, module=deepcopy(state.module).cpu().eval())


def fold_batch_norm(state: ExportState) -> ExportState:
    """Batch norm folded into the convolution before it."""
    from hwnas.supernet.fold import fold_batch_norm as fold

    return replace(state, module=fold(state.module))


def order_weights(state: ExportState) -> ExportState:
    """Weights in torch's usual order. Channels-last ones make its ONNX exporter write a Reshape and a Gather at every
    pool, and are refused by ExecuTorch.
    """
    import torch

    # Documented, and missing in torch's annotations. Parameter.contiguous() would leave 1 × 1 weights as they are.
    module = state.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return replace(state, module=module)


def require(packages: Sequence[str], extra: str, purpose: str) -> None:
    """Raise MissingExtraError for the first of `packages` (import names) that is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError(package.replace("_", "-"), extra, purpose)


def first_line(cause: BaseException) -> str:
    """The first line of an exception's message that says something, or its type."""
    lines = [line.strip() for line in str(cause).splitlines()]
    return next((line for line in lines if any(map(str.isalnum, line))), type(cause).__name__)
