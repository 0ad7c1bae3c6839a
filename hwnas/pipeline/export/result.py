"""What an export wrote, as `result.json` and later steps have it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hwnas.pipeline.store.plain import to_plain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Exported", "ExportedFile"]


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """A model file in its bundle; `path` is below the step's folder.

    `parity_max_abs`: against torch on `parity_images` images, `real_images` or noise; `top1_agreement`: how often both
    name the same class. Accuracies, fractions of held-out images, are None where there are no labelled images. Latency
    is None where it was not measured, for `latency_reason`. `float_layers`: of a quantised file, those that stayed
    float. `preflight`: what the device will not run well; `inputs`
    and `outputs` as the manifest has them.
    """

    id: str
    device: str
    runtime: str
    budget: str | None
    format: str
    precision: str
    path: str
    bytes: int
    sha256: str
    parity_max_abs: float
    top1_agreement: float | None
    parity_images: int
    real_images: bool
    accuracy: float | None
    accuracy_torch: float | None
    accuracy_drop: float | None
    float_layers: tuple[str, ...] = ()
    latency_ms: float | None
    latency_p10_ms: float | None
    latency_p90_ms: float | None
    latency_reason: str | None
    preflight: tuple[dict[str, Any], ...] = ()
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """The files, and what of formats times precisions was `left_out` because a format is not written so."""

    files: tuple[ExportedFile, ...]
    left_out: tuple[str, ...] = field(default=())

    def to_frame(self) -> pd.DataFrame:
        """One row a file."""
        import pandas as pd

        return pd.DataFrame([to_plain(file) for file in self.files])
