"""How far two outputs are apart, and how far they may be. Without torch: bundles are verified where there is none."""

from __future__ import annotations

import numpy as np

from hwnas.export.formats import Array
from hwnas.export.signature import Port

__all__ = ["allowed", "difference"]

_LARGE = 10.0  # what tolerances are stated for: values up to this size


def difference(port: Port, given: Array, expected: Array) -> float:
    """The largest difference between two of the same shape; of integers and truth values, the share that differs."""
    if given.size == 0:
        return 0.0
    if not port.dtype.startswith("float"):
        return float((given != expected).mean())
    same = np.equal(given, expected)  # infinities are
    with np.errstate(invalid="ignore"):
        return float(np.where(same, 0.0, np.abs(given.astype(np.float64) - expected)).max())


def allowed(port: Port, expected: Array, tolerance: float, logits: bool) -> float:
    """`tolerance`; of other floats than logits, that many times more as their values are larger than 10."""
    if logits or not port.dtype.startswith("float") or not expected.size:
        return tolerance
    finite = np.abs(expected[np.isfinite(expected)])
    return tolerance * max(1.0, float(finite.max()) / _LARGE) if finite.size else tolerance
