"""What is asked for when a network becomes a file, and the state that travels through the passes that make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ExportError
from hwnas.export.config import ExportConfig
from hwnas.export.signature import IMAGE, Signature
from hwnas.progress import Progress, no_progress

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["ExportRequest", "ExportState", "Pass"]


@dataclass(frozen=True)
class ExportRequest:
    """A network that is to become a file, and how.

    `example` is one image `[1, C, H, W]`, or an input for each of `signature`, whose names the file gets; without one,
    it is an image that becomes logits. `calibration` real, prepared ones `[N, C, H, W]`, off which int8 reads the
    ranges of activations. `metadata` goes into the file, name to text. `float_layers` stay float in a quantised file:
    layers by the format's own names, as its `layer_errors` gives them. `plain_layout`: operators that only move values
    about, such as transposes, are refused; networks of our own spaces need none. `is_part`: the module is a part of a
    network, and a map that it gives has its axes in the format's own order. `together`: whether several images
    may go in at once. `progress` is of what takes long: tuning.
    """

    module: nn.Module
    example: torch.Tensor | tuple[torch.Tensor, ...]
    precision: str = "fp32"
    calibration: NDArray[np.float32] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    signature: Signature | None = None
    plain_layout: bool = True
    is_part: bool = False
    together: bool = True
    config: ExportConfig = field(default_factory=ExportConfig)
    progress: Progress = no_progress


@dataclass(frozen=True)
class ExportState:
    """What travels through the passes: what was asked for, the module as the passes changed it, the format's model.

    `model` is whatever the format's own passes hand on; after the last pass it must be the file's bytes. `ranges` are
    those of the model's activations, in the format's own terms, where int8 needs them.
    """

    request: ExportRequest
    module: nn.Module
    model: Any = None
    ranges: Any = None

    @property
    def examples(self) -> tuple[torch.Tensor, ...]:
        """An input each, on the CPU."""
        given = self.request.example
        return tuple(one.detach().cpu().contiguous() for one in (given if isinstance(given, tuple) else (given,)))

    @property
    def example(self) -> torch.Tensor:
        """The first input: one image `[1, C, H, W]`, where that is all that goes in."""
        return self.examples[0]

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Of the inputs and of the outputs."""
        known = self.request.signature
        if known is None:
            return [IMAGE], ["logits"]
        return [port.name for port in known.inputs], [port.name for port in known.outputs]

    @property
    def calibration(self) -> NDArray[np.float32]:
        """The images to read ranges off, `[N, C, H, W]`. Raises ExportError where there are none."""
        if self.request.calibration is None:
            raise ExportError("int8 needs real images to calibrate on, got none")
        return self.request.calibration

    def keeping(self, float_layers: tuple[str, ...]) -> ExportState:
        """The same with other layers that stay float."""
        return replace(self, request=replace(self.request, float_layers=float_layers))


Pass = tuple[str, Callable[[ExportState], ExportState]]
