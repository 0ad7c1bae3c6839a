"""The shape of a result that plots and report read: plain JSON, as `result.json` holds it under `result`.

`targets`: required, one entry a device, runtime and budget::

    {"device": "local", "runtime": "onnxruntime", "budget_ms": 0.4, "predicted_ms": 0.39, "measured_ms": 0.41,
     "drift": 1.03, "accuracy_predicted": 0.915, "accuracy_torch": 0.912, "accuracy_exported": 0.912,
     "accuracy_inherited": 0.908, "accuracy_random": 0.905, "parity_max_abs": 2e-6, "file": "export/a.onnx",
     "bytes": 812345, "macs": 4200000, "parameters": 190000,
     "arch": {"space": "…", "ks": […], "e": […], "d": […], "r": 32}}

`device`, `runtime`, `budget_ms`, `predicted_ms` and `arch` are required; what else is missing or None shows as "–".
`budget` (its name), `precision` and `threads` show where there are any.
`accuracy_predicted` is on the held-out images, the other accuracies on the test images; `accuracy_inherited` is that of
the same network before it was fine-tuned, with the supernet's weights, as the random networks have them.

The rest is optional; what is absent is left out of the page:

- `accuracy_predictor`: `{"kendall_tau": 0.8, "trained_on": 200, "measured": […], "predicted": […]}`, the lists of the
  subnets that it was not fitted on; `tested_on` may stand in for the lists.
- `tables`: a list of `{"device", "runtime", "runtime_version", "precision", "threads", "operators", "file", "noise",
  "networks": {"predicted_ms": […], "measured_ms": […]}}`; `noise` is the test–retest error as a fraction, `networks`
  whole networks measured (drift divided out) against the table's prediction.
- `front`: a list of `{"device", "runtime", "random": {"latency_ms": […], "accuracy": […]},
  "pareto": {"latency_ms": […], "accuracy": […]}}`, everything predicted; where several supernets were searched, one
  for each, with the name of its `space`, which are drawn on the same axes.
- `families`: where several supernets were searched, one entry a device, runtime and budget: `{"device", "runtime",
  "precision", "threads", "budget_ms", "winner": "mobilenet_v4_32", "compared_by": "accuracy_measured",
  "best": [{"space", "value", "accuracy", "latency_ms", "arch"}, …], "lacking": {"ofa_mbv3_32": "why"}}`, the winner's
  network first; compared by the held-out accuracy, measured or predicted, or by another objective.
- `supernets`: what was trained, where several were searched: a list of `{"space", …}` as in `supernet`, each with its
  `accuracy_predictor` and `history`. `tables` then have the name of the `space` that they are of.
- `history`: rows as training writes them, steps counted over all phases:
  `[{"event": "steps", "phase": "full", "step": 10, "loss": 1.2}, …, {"event": "phase_end", "phase": "full",
  "step": 400, "largest_accuracy": 0.88, "smallest_accuracy": 0.85}, …]`, accuracies on held-out images, of the largest
  and smallest subnet that the phase trains; either may be None.
- `data`: `{"name", "classes": […], "channels", "image_size", "images": {"train": 55000, "held_out": 5000,
  "test": 10000}, "images_by_class": {"train": […], "held_out": […], "test": […]}}`, the last in the order of labels.
- `predictions`: what files answer to the test images, a list of `{"target": 0, "image": ["test/a/1.jpg", …], "label":
  [0, …], "predicted": [0, …], "probability": [0.93, …]}`, all of the same images in the same order, `target` by its
  place in `targets`; labels by their place in `classes`, names that no two classes share.
- `supernet`: `{"space", "subnets", "parameters", "train_s", "accuracy_largest", "accuracy_smallest"}`, all optional.
- `search`: `{"evaluations", "generations", "elapsed_s"}`, all optional.
- `search_history`: one entry a device, runtime and budget, columns of equal length: `[{"id": "local-litert-tight",
  "evaluations": […], "accuracy": […] (or what else was optimised), "latency_ms": […], "elapsed_s": […],
  "hypervolume": […], "hypervolume_reference": {…}}, …]`, the best so far after so many networks.
- `plan`: rows `step`, `planned_s`, `elapsed_s`: what was forecast for each step of the run, and what it took.
- `provenance`: headings to `{name: value}`, shown as they are: machine, versions, seeds, noise.
- `title`, `elapsed_s`, `version`, `seed`, `created`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hwnas.errors import HwnasError

__all__ = [
    "BUDGET_TOLERANCE",
    "PREDICTION_TOLERANCE",
    "Result",
    "checked_targets",
    "corrected_ms",
    "is_of",
    "learnt_parts",
    "named_fronts",
    "named_settings",
    "setting",
    "slug",
]

Result = Mapping[str, Any]

BUDGET_TOLERANCE = 0.05
"""A target counts as met up to this share above its budget: what a shared machine's clock leaves uncertain."""

PREDICTION_TOLERANCE = 0.10

_REQUIRED = ("device", "runtime", "budget_ms", "predicted_ms", "arch")


def checked_targets(result: Result) -> list[Mapping[str, Any]]:
    """`result["targets"]`. Raises HwnasError where it is missing, empty, or an entry lacks a required key."""
    targets = result.get("targets")
    if not isinstance(targets, list) or not targets:
        raise HwnasError("report: the result has no 'targets'; give it the result.json of a finished run or validate")
    for number, target in enumerate(targets):
        if missing := [key for key in _REQUIRED if target.get(key) is None]:
            raise HwnasError(f"report: target {number} lacks {', '.join(missing)}; expected {', '.join(_REQUIRED)}")
    return targets


def corrected_ms(target: Mapping[str, Any]) -> float | None:
    """Measured latency with the machine's drift divided out, or None where it was not measured."""
    measured = target.get("measured_ms")
    return None if measured is None else float(measured) / float(target.get("drift") or 1.0)


def setting(entry: Mapping[str, Any]) -> tuple[str, str]:
    """What a table, front or target is of: device and runtime."""
    return str(entry["device"]), str(entry["runtime"])


def slug(*parts: str) -> str:
    """A file name or HTML id made of `parts`."""
    return "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in part) for part in parts)


def named_settings(kind: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each entry with the name of its plot, which no other has: devices `a b` and `a_b` would share one."""
    taken: set[str] = set()
    for entry in entries:
        name = plain = slug(kind, *setting(entry))
        number = 1
        while name.lower() in taken:  # as file systems that ignore case compare them
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.lower())
        yield name, entry


def named_fronts(result: Result) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """The fronts of one plot each, with its name: of each setting one, or one of each supernet, in one order."""
    of_space: dict[str | None, list[Mapping[str, Any]]] = {}
    for front in result.get("front") or []:
        of_space.setdefault(front.get("space"), []).append(front)
    first = next(iter(of_space.values()), [])
    for (name, _), fronts in zip(named_settings("front", first), zip(*of_space.values(), strict=True), strict=True):
        yield name, list(fronts)


def learnt_parts(result: Result) -> list[tuple[str, Mapping[str, Any]]]:
    """What holds `accuracy_predictor` and `history`: the result, or each of several `supernets`, after what tells the
    names of their plots apart.
    """
    several = result.get("supernets") or []
    return [(f"-{number}", one) for number, one in enumerate(several, 1)] or [("", result)]


def is_of(target: Mapping[str, Any], table: Mapping[str, Any]) -> bool:
    """Whether a target is of the table's space, where that is said."""
    return table.get("space") in (None, target["arch"].get("space"))
