"""The report: one HTML file that needs nothing else, no network included."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from hwnas.errors import StorageError
from hwnas.files import write_text
from hwnas.report.captions import plot_words
from hwnas.report.formats import FILTERS
from hwnas.report.links import file_link
from hwnas.report.shape import BUDGET_TOLERANCE, PREDICTION_TOLERANCE, Result, checked_targets
from hwnas.report.summary import story_of, summary_of, target_row

__all__ = ["write_report"]

_OPTIONAL = (
    "title", "version", "seed", "created", "elapsed_s", "data", "supernet", "search", "accuracy_predictor", "tables",
    "provenance", "plan",
)  # fmt: skip


def write_report(result: Result, plots: Mapping[str, Path], path: Path, run_folder: Path | None = None) -> Path:
    """Write the page for `result` (see `shape`) with `plots`, name to PNG, as `plots.draw_all` returns them.

    Files that the result names are linked to where they are in `run_folder`. Raises HwnasError for a result without
    targets, StorageError for a plot that can't be read or a page that can't be written.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(FILTERS)
    template = environment.from_string(_part("report.html.jinja"))
    script = _part("report.js")
    targets = [target_row(target) for target in checked_targets(result)]
    for target in targets:
        target["link"] = file_link(target["file"], path, run_folder)
    content = template.render(
        result={key: result.get(key) for key in _OPTIONAL},
        style=_part("report.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        folder=path.resolve().parent.name,
        targets=targets,
        summary=summary_of(result, targets),
        story=" ".join(story_of(result)),
        plots=[_plot(name, plot, result) for name, plot in plots.items()],
        budget_tolerance=BUDGET_TOLERANCE,
        prediction_tolerance=PREDICTION_TOLERANCE,
    )
    return write_text(path, content)


def _part(name: str) -> str:
    return files("hwnas.report").joinpath(name).read_text(encoding="utf-8")


def _plot(name: str, path: Path, result: Result) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"report: plot {path} cannot be read ({error.strerror}); draw the plots again") from error
    words = plot_words(name, result)
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))  # as a PNG begins
    return {"png": base64.b64encode(content).decode(), "width": width, "height": height, **words}
