"""The page: everything in it, nothing needed from outside, nothing of the data taken for markup."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import HwnasError, StorageError
from hwnas.report.html import write_report
from hwnas.report.plots import draw_all

VOID = {"meta", "img", "wbr", "link"}


class Page(HTMLParser):
    """Collects rows of the table of all figures, all text, and every attribute; fails on tags that don't pair."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.figures = False
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.figures = ("aria-labelledby", "figures") in attrs
        if tag == "tr" and self.figures:
            self.rows.append([])
        if tag in ("td", "th") and self.figures:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self.open):
            return
        self.text += data
        if {"td", "th"} & set(self.open) and self.figures:
            self.rows[-1][-1] += data.strip()


def page(result: dict[str, Any], folder: Path, plots: dict[str, Path] | None = None) -> Page:
    return Page(write_report(result, plots or {}, folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_needs_nothing_from_outside(result: dict[str, Any], tmp_path: Path) -> None:
    plots = draw_all(result, tmp_path / "plots")
    written = page(result, tmp_path, plots)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(|<script[^>]*src", source)
    assert [value for tag, name, value in written.attributes if tag == "link" and name == "href"] == ["data:,"]
    images = [value for tag, name, value in written.attributes if (tag, name) == ("img", "src")]
    assert [base64.b64decode(image.removeprefix("data:image/png;base64,")) for image in images] == [
        path.read_bytes() for path in plots.values()
    ]
    assert len(source) < 3_000_000


def test_the_table_of_targets(result: dict[str, Any], tmp_path: Path) -> None:
    result["targets"][0] |= {
        "budget_ms": 0.4, "predicted_ms": 0.39, "measured_ms": 0.44, "drift": 1.1, "accuracy_torch": 0.9123,
        "accuracy_exported": 0.9122, "accuracy_inherited": 0.905, "accuracy_random": 0.9, "parity_max_abs": 2.4e-6,
        "bytes": 512 * 1024, "file": "export/a.onnx",
    }  # fmt: skip
    result["targets"][1] |= {"budget_ms": 0.5, "measured_ms": 0.54, "drift": 1.0}
    rows = page(result, tmp_path).rows
    assert rows[2] == [
        "local", "onnxruntime", "0.400", "0.390", "0.440", "1.100", "0.400", "100 % ✓",
        "91.23 %", "91.22 %", "90.50 %", "90.00 %", "2e-06", "512 KiB",
    ]  # fmt: skip
    assert rows[3][7] == "108 % ✗"
    assert len(rows[1]) == 14


@pytest.mark.parametrize(("measured", "shown"), [(0.42, "✓"), (0.4201, "✗")])
def test_a_budget_is_met_up_to_five_percent_above(
    result: dict[str, Any], tmp_path: Path, measured: float, shown: str
) -> None:
    result["targets"] = [result["targets"][0] | {"budget_ms": 0.4, "measured_ms": measured, "drift": 1.0}]
    written = page(result, tmp_path)
    assert written.rows[2][7] == f"105 % {shown}"
    assert f"{int(shown == '✓')} of 1" in written.text


def test_archs_are_readable(result: dict[str, Any], tmp_path: Path) -> None:
    arch = {"space": "s", "ks": [3, 5, 7, 3], "e": [6, 4, 3, 3], "d": [2, 1], "r": 24}
    result["targets"] = [result["targets"][0] | {"arch": arch}]
    text = " ".join(page(result, tmp_path).text.split())
    assert "stage 1k3 e6k5 e4 stage 2k7 e3–" in text
    assert "input 24×24" in text
    other = {"space": "nasbench201", "ops": ["skip", "none"]}
    result["targets"][0]["arch"] = other
    assert json.dumps(other) in page(result, tmp_path).text


def test_what_is_missing_is_a_dash_not_an_error(result: dict[str, Any], tmp_path: Path) -> None:
    keys = ("device", "runtime", "budget_ms", "predicted_ms", "arch")
    bare = {"targets": [{key: target[key] for key in keys} for target in result["targets"]]}
    written = page(bare, tmp_path)
    assert written.rows[2][4:] == ["–", "–", "–", "not measured", "–", "–", "–", "–", "–", "–"]
    assert "0 of 4" in written.text
    assert "4 not measured" in written.text
    assert "None" not in written.text
    for part in ("front", "tables", "history", "data", "supernet", "search", "provenance", "accuracy_predictor"):
        assert "None" not in page({key: value for key, value in result.items() if key != part}, tmp_path).text


def test_provenance_and_story_are_told(result: dict[str, Any], tmp_path: Path) -> None:
    text = page(result, tmp_path).text
    for part in (
        "55,000 images",
        "240 evaluated subnets",
        "3.2 billion subnets",
        "8 min 32 s",
        "17 min 43 s",
        "2.13.0",
    ):
        assert part in text


def test_markup_in_the_data_stays_text(result: dict[str, Any], tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script>'
    result["targets"][0]["device"] = hostile
    result["targets"][0]["arch"] = {"space": hostile}
    result["provenance"] = {hostile: {hostile: [hostile]}}
    result["title"] = hostile
    written = page(result, tmp_path)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert source.count("<script") == source.count("<script>") == 1  # the page's own
    assert "alert(" not in re.findall(r"<script>(.*?)</script>", source, re.DOTALL)[0]
    assert hostile in written.text


def test_bad_results_are_refused(result: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="the result has no 'targets'"):
        write_report({}, {}, tmp_path / "report.html")
    del result["targets"][1]["budget_ms"]
    with pytest.raises(HwnasError, match="target 1 lacks budget_ms"):
        write_report(result, {}, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_plot_that_is_gone_is_named(result: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"plot .*gone\.png cannot be read"):
        write_report(result, {"front": tmp_path / "gone.png"}, tmp_path / "report.html")


def test_what_search_and_fine_tuning_brought_is_said_apart(result: dict[str, Any], tmp_path: Path) -> None:
    for target in result["targets"]:
        target |= {"accuracy_torch": 0.92, "accuracy_inherited": 0.91, "accuracy_random": 0.895, "finetuned": True}
    text = page(result, tmp_path).text
    assert "the search brought 1.5 points on average over random nets of equal latency, fine-tuning 1.0" in text
    assert "4 of 4 were trained on alone" in text
    for target in result["targets"]:
        target |= {"accuracy_torch": 0.91, "finetuned": False}
    text = page(result, tmp_path).text
    assert "fine-tuning 0" not in text
    assert "trained on alone" not in text
