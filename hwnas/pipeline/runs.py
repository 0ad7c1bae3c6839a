"""All targets of many runs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import StorageError
from hwnas.pipeline.search.result import Searched
from hwnas.pipeline.store.folders import MULTIRUN, SEPARATOR
from hwnas.pipeline.store.plain import from_plain, to_plain
from hwnas.pipeline.store.steps import read_document
from hwnas.pipeline.tracking.tracker import FOLDER as TRACKING
from hwnas.pipeline.train import Trained
from hwnas.pipeline.validate import Validated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_runs"]

_RESULT = "result.json"
_NOT_RUNS = {"superseded", TRACKING}


def read_runs(folder: Path | str) -> pd.DataFrame:
    """One row a target of every run below `folder`, sweeps among them, indexed by `run` (its folder) and target `id`.

    A run that is validated has what was predicted and measured; one that was searched only, what was predicted. Of one
    that was trained only, the networks that were scored (`largest`, `smallest`, `subnet`) are its rows, with their
    accuracies. Beside the fields of its result: `seed`, `version`, and of a run of a sweep what was swept, as text, by
    its key. Former outputs (`superseded/`) are left out. Raises StorageError where there is no run, or a result that
    is none.

    >>> runs = hwnas.read_runs("runs")
    >>> float(runs.loc["mine"]["accuracy_exported"].max()) > 0.1
    True
    """
    import pandas as pd

    folder = Path(folder).expanduser()
    rows = [row for run in _runs(folder) for row in _targets(folder, run)]
    if not rows:
        raise StorageError(
            f"{folder}: expected a folder with runs, in which hwnas train, search or validate has finished"
        )
    frame: pd.DataFrame = pd.DataFrame(rows).set_index(["run", "id"])
    return frame


def _runs(folder: Path) -> Iterator[Path]:
    """Folders that hold steps, `folder` itself among them."""
    found = {
        path.parent.parent
        for step in ("train", "search", "validate")
        for path in folder.rglob(f"{step}/{_RESULT}")
        if _NOT_RUNS.isdisjoint(path.relative_to(folder).parts)
    }
    yield from sorted(found)


def _targets(folder: Path, run: Path) -> list[dict[str, Any]]:
    steps = [step for step in ("validate", "search", "train") if (run / step / _RESULT).exists()]
    path = run / steps[0] / _RESULT
    document = read_document(path)
    facts = {
        **_swept(run),
        "run": str(run.relative_to(folder)), "seed": document["seed"], "version": document["version"],
    }  # fmt: skip
    if steps[0] == "validate":
        targets = [to_plain(target) for target in from_plain(Validated, document["result"], path).targets]
    elif steps[0] == "train":
        targets = _scored(from_plain(Trained, document["result"], path))
    else:
        entries = from_plain(Searched, document["result"], path).selected
        targets = [{**entry.row(), "predicted_ms": entry.latency_ms} for entry in entries]
    return [facts | {key: value for key, value in target.items() if value is not None} for target in targets]


def _scored(trained: Trained) -> list[dict[str, Any]]:
    networks = {"largest": trained.largest, "smallest": trained.smallest, "subnet": trained.subnet}
    return [
        {"id": name, "accuracy_test": one.accuracy, "accuracy_held_out": one.held_out_accuracy}
        for name, one in networks.items()
        if one is not None
    ]


def _swept(run: Path) -> dict[str, str]:
    """What a run of a sweep was given, by its folder's name."""
    run = run.absolute()
    if run.parent.name != MULTIRUN:
        return {}
    pairs = [pair.partition("=") for pair in run.name.split(SEPARATOR)]
    return {key: value for key, found, value in pairs if found}
