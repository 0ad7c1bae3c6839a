"""Exporting as an ordered list of named passes, and the passes that formats share.

A format lists its passes; each takes the state that the one before it left and returns its own.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from hwnas.errors import ExportError, HwnasError, MissingExtraError
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportRequest, ExportState, Pass

__all__ = [
    "check_calibration",
    "first_line",
    "fold_batch_norm",
    "on_cpu",
    "order_weights",
    "require",
    "run_passes",
]


MIN_CALIBRATION_IMAGES = 8

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


def check_calibration(format_name: str, request: ExportRequest, image: tuple[int, ...]) -> None:
    """Raise ExportError for images `image` `[C, H, W]` that no ranges can be read off.

    Ranges read off nothing, off blank images or off a handful of them ruin a network without a word.
    """
    images = request.calibration
    expected = (
        f"{format_name} export: int8 needs real images to calibrate on, [N, {', '.join(map(str, image))}] with N ="
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
    from hwnas.export.module.copies import copied

    return replace(state, module=copied(state.module))


def fold_batch_norm(state: ExportState) -> ExportState:
    """Batch norm folded into the convolution before it, and branches fused."""
    from hwnas.operators import Fusible
    from hwnas.supernet.fold import fold_batch_norm as fold
    from hwnas.supernet.layers.blocks import ConvBlock

    # Others' batch norm is folded by the exporters, where a convolution is before it; and not all can be copied.
    own = any(isinstance(part, ConvBlock | Fusible) for part in state.module.modules())
    return replace(state, module=fold(state.module)) if own else state


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
