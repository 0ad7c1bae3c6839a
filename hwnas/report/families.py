"""Which of several supernets wins on a device at a budget, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwnas.report.formats import ms, percent, plain

__all__ = ["basis_of", "family_line", "family_lines"]

_BASIS = {
    "accuracy_measured": "Compared by accuracy measured on the same held-out images, with the supernets' weights.",
    "accuracy_predicted": "Compared by what each supernet's own predictor says, which may be off by more than they"
    " differ by: search.evaluate_top=20 measures the best of each.",
}


def family_lines(families: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each device and budget, see `family_line`."""
    return [family_line(one) for one in families]


def family_line(family: Mapping[str, Any]) -> str:
    """Of an entry of `families` (see `hwnas.report.shape`): who wins, by how much, and who has no network there.

    >>> best = [{"space": name, "value": value, "latency_ms": 0.29} for name, value in (("a", 0.712), ("b", 0.699))]
    >>> setting = {"device": "pi", "runtime": "onnxruntime", "precision": "fp32", "threads": 1}
    >>> family_line(setting | {"budget_ms": 0.3, "winner": "a", "compared_by": "accuracy_measured", "best": best})
    'a wins at 0.300 ms on pi, onnxruntime-fp32-1t: 71.20 % against 69.90 % (b)'
    """
    first, *others = family["best"]
    line = f"{family['winner']} wins at {ms(family['budget_ms'])} ms on {family['device']}, {_setting(family)}"
    by = family["compared_by"]
    equal = any(_value(other, by) == _value(first, by) for other in others)
    times = [f" in {ms(one['latency_ms'])} ms" if equal else "" for one in family["best"]]
    shown = [f"{_value(one, by)}{time}" for one, time in zip(family["best"], times, strict=True)]
    line += f": {shown[0]}"
    if others:
        rivals = [f"{value} ({one['space']})" for value, one in zip(shown[1:], others, strict=True)]
        line += f" against {_listed(rivals)}"
    if lacking := list(family.get("lacking") or ()):
        line += f"; {_listed(lacking)} {'has' if len(lacking) == 1 else 'have'} no network within it"
    return line


def basis_of(families: Sequence[Mapping[str, Any]]) -> str:
    """What the comparison rests on, a sentence."""
    by = str(families[0]["compared_by"])
    return _BASIS.get(by, f"Compared by {by}, the first of the objectives.")


def _setting(family: Mapping[str, Any]) -> str:
    threads = family.get("threads")
    parts = [family["runtime"], family.get("precision"), f"{threads}t" if threads else None]
    return "-".join(str(part) for part in parts if part)


def _value(best: Mapping[str, Any], by: str) -> str:
    is_share = by == "accuracy" or by.startswith("accuracy_")
    return percent(best["value"]) if is_share else f"{plain(best['value'])} {by}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
