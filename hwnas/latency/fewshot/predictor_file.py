"""A few-shot predictor as files: safetensors with its arrays, and JSON beside it that says what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hwnas.errors import CheckpointError
from hwnas.files import write_bytes, write_json
from hwnas.latency.fewshot.hypotheses import COST
from hwnas.latency.fewshot.method import FewShotPredictor
from hwnas.latency.fewshot.posterior import TAIL
from hwnas.spaces import Space

__all__ = ["load_predictor_file", "save_predictor_file"]

_FORMAT = "hwnas latency predictor 3"
_BEFORE = "hwnas latency predictor 2"
_FACTS = ("device", "runtime", "precision", "threads")


def save_predictor_file(path: Path, predictor: FewShotPredictor, facts: dict[str, Any]) -> Path:
    """Write `path` (safetensors) and `path` with suffix `.json`, which holds `facts`, for people.

    `facts` name at least the device, runtime, precision and threads.
    """
    metadata = {
        "format": _FORMAT,
        "space": json.dumps(predictor.space.config()),
        **{key: json.dumps(facts[key]) for key in _FACTS},
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in predictor.arrays().items()}
    write_json(path.with_suffix(".json"), {**facts, "space": predictor.space.config(), "format": _FORMAT})
    return write_bytes(path, save(arrays, metadata))


def load_predictor_file(path: Path | str, space: Space) -> tuple[FewShotPredictor, dict[str, Any]]:
    """What `save_predictor_file` wrote, and its device, runtime, precision and threads.

    Files of the format before this one are read too. Raises CheckpointError where the file is missing, truncated,
    something else, or of another space.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"no latency predictor at {path}: make one with hwnas onboard") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is not a complete latency predictor ({error}): make it again with hwnas onboard"
        ) from error
    if metadata.get("format") not in (_FORMAT, _BEFORE):
        raise CheckpointError(f"{path} is no latency predictor: format {metadata.get('format')!r}, not {_FORMAT!r}")
    try:
        stored: dict[str, Any] = json.loads(metadata["space"])
        facts = {key: json.loads(metadata[key]) for key in _FACTS}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds no valid latency predictor ({error}): make it again") from error
    expected = space.config()
    if differing := sorted(key for key in stored.keys() | expected.keys() if stored.get(key) != expected.get(key)):
        key = differing[0]
        raise CheckpointError(
            f"{path} is a latency predictor of another space: expected {key} {expected.get(key)!r}, got"
            f" {stored.get(key)!r}; make one for this space with hwnas onboard"
        )
    try:
        if metadata["format"] == _BEFORE:
            arrays = _brought_up(arrays)
        return FewShotPredictor.from_arrays(space, arrays), facts
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds no valid latency predictor ({error}): make it again") from error


def _brought_up(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays of the format before, in which all devices taught, as a predictor of the same latencies.

    Its basis had no figures of cost; its noise was scaled by the prior's mean, and taken as normal.
    """
    devices, widths = arrays["prior.devices"], np.insert(arrays["prior.widths"], COST, 0.0, axis=1)
    lines, coefficients = np.tile(arrays["prior.mean"], (len(widths), 1)), arrays["posterior.coefficients"]
    return arrays | {
        "prior.costs": np.zeros((0, lines.shape[1])),
        "prior.widths": widths,
        "prior.alone": widths,
        "prior.alone_lines": lines,
        "prior.alone_log": np.full(len(lines), -np.log(len(lines))),
        "prior.groups": np.eye(len(devices)),
        "prior.spread": np.tile(arrays["prior.spread"], (2, 1)),
        "posterior.noise": np.asarray(arrays["posterior.noise"] / TAIL),
        "posterior.rounding": np.asarray(0.0),
        "posterior.kinds": np.array([0.0, 1.0]) if len(devices) else np.ones(1),
        "posterior.by_kind": np.tile(coefficients, (2 if len(devices) else 1, 1)),
    }
