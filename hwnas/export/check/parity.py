"""Whether an exported file computes what the torch network does, in all of its outputs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ExportError
from hwnas.export.check.answers import Answers, batch_size
from hwnas.export.check.compare import allowed, difference
from hwnas.export.config import ExportConfig
from hwnas.export.formats import format_of_file
from hwnas.export.signature import Port

__all__ = ["Parity", "check_parity"]


@dataclass(frozen=True)
class Parity:
    """File against torch on `images` images: the largest difference of an output, and the share of equal classes.

    `real`: whether these were real images, or noise for want of any. `outputs`: the largest difference of each. Of
    integers, it is the share that differs. `top1_agreement` is None where there are no logits.
    """

    images: int
    real: bool
    max_abs: float
    top1_agreement: float | None
    outputs: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_parity(
    path: Path | str, answers: Answers, tolerance: float, config: ExportConfig, threads: int = 1
) -> Parity:
    """The file run in its runtime against torch, on the images of `answers.outputs`, `config.parity_images` at most.

    Raises ExportError where an output differs by more than is `allowed`, or is no number. `tolerance` may be infinite.
    """
    run, signature = format_of_file(path).open(path, threads), answers.signature
    count = min(config.parity_images, answers.compared)
    found, agreeing, seen = [0.0] * len(signature.outputs), 0, 0
    for inputs, _ in answers.feed.batches(batch_size(signature), count):
        given = run([values.numpy() for values in inputs])
        if len(given) != len(signature.outputs):
            raise ExportError(f"{path}: expected {len(signature.outputs)} outputs, got {len(given)}")
        expected = [values[seen : seen + len(inputs[0])] for values in answers.outputs]
        for place, (port, own, theirs) in enumerate(zip(signature.outputs, given, expected, strict=True)):
            if own.shape != theirs.shape:
                raise ExportError(f"{path}: expected {port.name} {theirs.shape[1:]} an image, got {own.shape[1:]}")
            found[place] = float(np.maximum(found[place], difference(port, own, theirs)))  # which keeps NaN
        if (logits := signature.logits_place) is not None:
            agreeing += int((given[logits][:, 0].argmax(1) == expected[logits][:, 0].argmax(1)).sum())
        seen += len(inputs[0])
    for port, one, values in zip(signature.outputs, found, answers.outputs, strict=True):
        most = allowed(port, values, tolerance, port.name == signature.logits)
        # So put that a file which gives no numbers can't pass.
        if not one <= most:
            raise ExportError(
                f"{path} differs from torch by {one:.3g} in {_where(port, signature.logits)}, expected at most"
                f" {most:.3g}; don't deploy it; if float rounding explains it, raise export.parity_tolerance (fp16:"
                " export.fp16_tolerance)"
            )
    agreement = None if signature.logits is None else agreeing / seen
    by_name = {port.name: one for port, one in zip(signature.outputs, found, strict=True)}
    return Parity(seen, answers.real, max(found), agreement, by_name)


def _where(port: Port, logits: str | None) -> str:
    return "a logit" if port.name == logits else f"the output {port.name!r}"
