"""The report: one HTML file that needs nothing else, no network included."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from hwnas.errors import StorageError
from hwnas.files import write_text
from hwnas.report.captions import plot_words
from hwnas.report.class_plots import CONFUSION, SIZES
from hwnas.report.families import basis_of, family_lines
from hwnas.report.formats import FILTERS
from hwnas.report.links import file_link
from hwnas.report.predicted import is_imbalanced
from hwnas.report.predicted_rows import predicted_part
from hwnas.report.shape import BUDGET_TOLERANCE, PREDICTION_TOLERANCE, Result, checked_targets
from hwnas.report.summary import story_of, summary_of, target_row

__all__ = ["write_report"]

_OPTIONAL = (
    "title", "version", "seed", "created", "elapsed_s", "data", "supernet", "search", "accuracy_predictor", "tables",
    "provenance", "plan",
)  # fmt: skip


_MOST_FAMILIES = 40


def write_report(
    result: Result,
    plots: Mapping[str, Path],
    path: Path,
    run_folder: Path | None = None,
    pictures: Mapping[str, Path] | None = None,
) -> Path:
    """Write the page for `result` (see `shape`) with `plots`, name to PNG, as `plots.draw_all` returns them, and with
    `pictures` of images by the names that its predictions give them, PNG or JPEG.

    Files that the result names are linked to where they are in `run_folder`. Raises HwnasError for a result without
    targets, StorageError for a plot or picture that can't be read or a page that can't be written.
    """
    environment = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    template = environment.get_template("report.html.jinja")
    script = _part("report.js")
    targets = [target_row(target) for target in checked_targets(result)]
    for target in targets:
        target["link"] = file_link(target["file"], path, run_folder)
    shown = {name: _plot(name, plot, result) for name, plot in plots.items()}
    predicted = predicted_part(result, targets, shown, pictures or {})
    of_classes = {name for name in shown if name == SIZES or name.startswith(CONFUSION)}
    families = result.get("families") or []
    content = template.render(
        result={key: result.get(key) for key in _OPTIONAL},
        style=_part("report.css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        folder=path.resolve().parent.name,
        targets=targets,
        summary=summary_of(result, targets),
        families=family_lines(families[:_MOST_FAMILIES]),
        more_families=len(families[_MOST_FAMILIES:]),
        basis=basis_of(families) if families else "",
        story=" ".join(story_of(result)),
        plots=[plot for name, plot in shown.items() if name not in of_classes],
        predicted=predicted,
        imbalanced=is_imbalanced((result.get("data") or {}).get("images_by_class")),
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
