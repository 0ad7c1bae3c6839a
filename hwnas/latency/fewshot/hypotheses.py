"""What may be true of a new device: that others teach what it costs, that some do, or that none does.

A hypothesis is a line that relative latency is expected to follow, and the widths of the priors around it. Their
average goes by the evidence that measurements give each of them (Bayesian model averaging; Hoeting et al., Statistical
Science 14(4), 1999), so that a few measurements decide whom to believe:

- `alone`: no device teaches. One operator count, or the costs, carries most of latency, and it is not known which: on
  each of the published devices one group of totals is a hundred times as wide as the others are.
- `all`: the device is about the mean of those known, and differs from it as they do from each other.
- `like g`: it is about what one group of devices that are alike is, and owes the others nothing.

Shapes: E rows, F features, K parts of the coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces.space import Floats

__all__ = [
    "ALL", "ALONE", "COST", "DEVICES", "GROUPS", "KINDS", "LIKE", "Hypotheses", "assumed_widths", "hypotheses",
]  # fmt: skip

COST, DEVICES, GROUPS = 3, 4, 5
"""Parts of the coefficients: mean, constant and stretch before, figures of cost, devices, and one part each group."""

ALONE, ALL, LIKE = 0, 1, 2
"""Kinds of hypotheses; `LIKE` and above: one a group of devices."""

KINDS = ("no_device", "all_devices", "some_devices")
"""Who teaches: what hypotheses are called, those from `LIKE` on together."""

_DOMINANT, _EVEN = 0.07, (0.0025, 0.01, 0.04)
_EVEN_WEIGHTS = (0.08, 0.5)  # of all rows where no device teaches: where costs are known, and where they are not
_OTHERS = (5e-6, 5e-5, 5e-4, 5e-3)
_WEIGHTS = (0.25, 0.5, 0.25)  # of each kind before measuring, whatever the number of its rows
_CONSTANT, _COST, _DOMINANT_COST = 0.1, 0.05, 0.5
_FACTORS = np.array([1 / 16, 1 / 4, 1.0, 4.0])  # of what devices teach of groups' widths


@dataclass(frozen=True)
class Hypotheses:
    """`lines` `[E, 1 + F]`, `widths` `[E, K]`, `kind` `[E]` and the logarithm of the prior weight `[E]` of each row."""

    lines: Floats
    widths: Floats
    kind: NDArray[np.int64]
    log_prior: Floats


def assumed_widths(names: Sequence[str], costs: Floats) -> tuple[Floats, Floats, Floats]:
    """Widths `[A, K]`, lines `[A, 1 + F]` and log weights `[A]` where no device teaches, for groups with these names.

    In each row one group of totals carries most, or the costs do (half of a typical network's latency then rises with
    them); in the last ones, none stands out.
    """
    totals = [number for number, name in enumerate(names) if not ("pair" in name or " by " in f" {name}")]
    flat = np.zeros(costs.shape[1])
    flat[0] = 1.0
    half = 0.5 * flat + 0.5 * costs.mean(axis=0) if len(costs) else flat
    rows, lines = [], []
    for others in _OTHERS:
        base = np.r_[0.0, _CONSTANT, 0.0, _COST if len(costs) else 0.0, 0.0, np.full(len(names), others)]
        for number in (*totals, *([COST - GROUPS] if len(costs) else [])):
            row = base.copy()
            row[GROUPS + number] = _DOMINANT if number >= 0 else _DOMINANT_COST
            rows.append(row)
            lines.append(flat if number >= 0 else half)
    even = [np.r_[rows[0][:COST], _COST if len(costs) else 0.0, 0.0, np.full(len(names), each)] for each in _EVEN]
    share = _EVEN_WEIGHTS[0 if len(costs) else 1]
    weights = np.r_[np.full(len(rows), (1 - share) / len(rows)), np.full(len(even), share / len(even))]
    return np.stack([*rows, *even]), np.stack([*lines, *[flat] * len(even)]), np.log(weights)


def hypotheses(
    alone: Floats,
    alone_lines: Floats,
    alone_log: Floats,
    widths: Floats | None = None,
    mean: Floats | None = None,
    like: Floats | None = None,
) -> Hypotheses:
    """The rows of all hypotheses, kind by kind."""
    if widths is None or mean is None or like is None:
        kind = np.zeros(len(alone), dtype=np.int64)
        return Hypotheses(alone_lines, alone, kind, alone_log)
    factors = len(_FACTORS)
    kind = np.r_[np.full(len(widths), ALL), LIKE + np.arange(len(like))]
    lines = np.concatenate([np.tile(mean, (len(widths), 1)), like])
    taught = np.repeat(np.concatenate([widths, np.tile(widths[0], (len(like), 1))]), factors, axis=0)
    taught[:, GROUPS:] *= np.tile(_FACTORS, len(kind))[:, None]
    log_factor = -0.5 * np.log(_FACTORS) ** 2
    log_factor -= np.log(np.exp(log_factor).sum())
    each = np.log(np.array(_WEIGHTS) / [1, len(widths), len(like)])
    log_prior = each[np.minimum(kind, LIKE)][:, None] + log_factor
    return Hypotheses(
        np.concatenate([alone_lines, np.repeat(lines, factors, axis=0)]),
        np.concatenate([alone, taught]),
        np.r_[np.full(len(alone), ALONE), np.repeat(kind, factors)],
        np.r_[each[ALONE] + alone_log, log_prior.ravel()],
    )
