"""What the report says and draws of a search of several supernets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hwnas.report.families import basis_of, family_line
from hwnas.report.front_plot import COLOURS, plot_front
from hwnas.report.html import write_report
from hwnas.report.plots import draw_all
from tests.report.test_plots import share_of

SETTING = {"device": "local", "runtime": "onnxruntime", "precision": "fp32", "threads": 1, "budget_ms": 0.3}


def family(*best: tuple[str, float, float], by: str = "accuracy_measured", **more: Any) -> dict[str, Any]:
    entries = [{"space": name, "value": value, "latency_ms": latency, "arch": {}} for name, value, latency in best]
    return SETTING | {"winner": best[0][0], "compared_by": by, "best": entries, "lacking": {}} | more


@pytest.fixture
def several(result: dict[str, Any]) -> dict[str, Any]:
    """The example as of two supernets, the second worse than the first."""
    fronts = [{**front, "space": "ofa"} for front in result["front"]]
    for front in result["front"]:
        lower = {key: {**front[key], "accuracy": [one - 0.1 for one in front[key]["accuracy"]]}
                 for key in ("random", "pareto")}  # fmt: skip
        fronts.append({**front, **lower, "space": "v4"})
    tables = [{**table, "space": name} for name in ("ofa", "v4") for table in result["tables"]]
    targets = [{**target, "arch": {**target["arch"], "space": "ofa"}} for target in result["targets"]]
    learnt = [
        {**result["supernet"], "space": name, "accuracy_predictor": result["accuracy_predictor"],
         "history": result["history"]}
        for name in ("ofa", "v4")
    ]  # fmt: skip
    families = [family(("ofa", 0.712, 0.29), ("v4", 0.699, 0.28))]
    return result | {
        "front": fronts, "tables": tables, "targets": targets, "supernets": learnt, "families": families,
        "supernet": {}, "accuracy_predictor": None, "history": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            family(("v4", 0.712, 0.29), ("ofa", 0.699, 0.28)),
            "v4 wins at 0.300 ms on local, onnxruntime-fp32-1t: 71.20 % against 69.90 % (ofa)",
        ),
        (
            family(("v4", 0.7, 0.21), ("ofa", 0.7, 0.28), ("plain", 0.6, 0.1)),
            "v4 wins at 0.300 ms on local, onnxruntime-fp32-1t: 70.00 % in 0.210 ms against 70.00 % in 0.280 ms (ofa)"
            " and 60.00 % in 0.100 ms (plain)",
        ),
        (
            family(("v4", 0.7, 0.21), lacking={"ofa": "no network", "plain": "none"}),
            "v4 wins at 0.300 ms on local, onnxruntime-fp32-1t: 70.00 %; ofa and plain have no network within it",
        ),
        (
            family(("v4", 1.5e6, 0.2), ("ofa", 2e6, 0.2), by="macs", precision=None, threads=None),
            "v4 wins at 0.300 ms on local, onnxruntime: 1.5e+06 macs against 2e+06 macs (ofa)",
        ),
    ],
)
def test_who_wins_is_one_line(given: dict[str, Any], line: str) -> None:
    assert family_line(given) == line


def test_what_a_comparison_rests_on_is_said() -> None:
    assert "measured on the same held-out images" in basis_of([family(("a", 0.7, 0.2))])
    assert "own predictor says" in basis_of([family(("a", 0.7, 0.2), by="accuracy_predicted")])
    assert basis_of([family(("a", 7.0, 0.2), by="macs")]) == "Compared by macs, the first of the objectives."


def test_each_supernet_has_its_plots_and_one_front_with_all(several: dict[str, Any], tmp_path: Path) -> None:
    plots = draw_all(several, tmp_path)
    assert list(plots) == [
        "front-local-onnxruntime", "front-local-litert", "latency-local-onnxruntime", "latency-local-litert",
        "latency-local-onnxruntime-2", "latency-local-litert-2", "accuracy_predictor-1", "training-1",
        "accuracy_predictor-2", "training-2",
    ]  # fmt: skip
    assert share_of(plots["latency-local-onnxruntime"], "#D55E00") > 0.0005  # its chosen nets
    assert share_of(plots["latency-local-onnxruntime-2"], "#D55E00") < 0.0002  # none was chosen of v4
    for colour in COLOURS[:2]:
        assert share_of(plots["front-local-litert"], colour) > 0.001
    alone = plot_front(several["front"][0], [], tmp_path / "alone.png")
    assert share_of(alone, COLOURS[1]) == 0
    page = write_report(several, plots, tmp_path / "report.html").read_text()
    assert "<bdi>ofa wins at 0.300 ms on local, onnxruntime-fp32-1t: 71.20 % against 69.90 % (v4)</bdi>" in page
    assert "A colour for each supernet" in page
    assert 'alt="Measured over predicted accuracy: v4"' in page
    assert "2 supernets were trained, and searched for the same budgets: ofa of" in page


def test_names_of_spaces_stay_text(several: dict[str, Any], tmp_path: Path) -> None:
    families = [family(("<b>$a$</b>", 0.7, 0.2), lacking={"<i>": "why"})]
    fronts = [{**front, "space": f"<b>${front['space']}$</b>"} for front in several["front"]]
    result = several | {"families": families, "front": fronts}
    page = write_report(result, draw_all(result, tmp_path), tmp_path / "report.html").read_text()
    assert "<b>$a$" not in page
    assert "&lt;b&gt;$a$&lt;/b&gt; wins at" in page


def test_a_result_of_one_supernet_is_shown_as_before(result: dict[str, Any], tmp_path: Path) -> None:
    page = write_report(result, {}, tmp_path / "report.html").read_text()
    assert " wins at " not in page
    assert 'class="best families"' not in page
