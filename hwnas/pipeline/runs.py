"""All targets of many runs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import StorageError
from hwnas.pipeline.search.result import Searched
from hwnas.pipeline.store.plain import from_plain, to_plain
from hwnas.pipeline.store.steps import read_document
from hwnas.pipeline.validate import Validated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_runs"]

_RESULT = "result.json"
SUPERSEDED = "superseded"


def read_runs(folder: Path | str) -> pd.DataFrame:
    """One row a target of every run below `folder`, sweeps among them, indexed by `run` (its folder) and target `id`.

    A run that is validated has what was predicted and measured; one that was searched only, what was predicted. Beside
    the fields of its result: `seed` and `version`. Former outputs (`superseded/`) are left out. Raises StorageError
    where there is no run, or a result that is none.

    >>> runs = hwnas.read_runs("runs")
    >>> float(runs.loc["mine"]["accuracy_exported"].max()) > 0.1
    True
    """
    import pandas as pd

    folder = Path(folder).expanduser()
    rows = [row for run in _runs(folder) for row in _targets(folder, run)]
    if not rows:
        raise StorageError(
            f"{folder}: expected a folder with runs, in which hwnas search or hwnas validate has finished"
        )
    frame: pd.DataFrame = pd.DataFrame(rows).set_index(["run", "id"])
    return frame


def _runs(folder: Path) -> Iterator[Path]:
    """Folders that hold steps, `folder` itself among them."""
    found = {
        path.parent.parent
        for step in ("search", "validate")
        for path in folder.rglob(f"{step}/{_RESULT}")
        if SUPERSEDED not in path.relative_to(folder).parts
    }
    yield from sorted(found)


def _targets(folder: Path, run: Path) -> list[dict[str, Any]]:
    validated = run / "validate" / _RESULT
    path = validated if validated.exists() else run / "search" / _RESULT
    document = read_document(path)
    facts = {"run": str(run.relative_to(folder)), "seed": document["seed"], "version": document["version"]}
    if path == validated:
        targets = [to_plain(target) for target in from_plain(Validated, document["result"], path).targets]
    else:
        entries = from_plain(Searched, document["result"], path).selected
        targets = [
            {**to_plain(entry), "predicted_ms": entry.latency_ms, "random_archs": None, "evaluated": None}
            for entry in entries
        ]
    return [facts | {key: value for key, value in target.items() if value is not None} for target in targets]
