"""The page's structure, for those who hear it or steer it by keys, and its links; no browser needed."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hwnas.report.formats import count, duration, ms, percent, size
from hwnas.report.html import write_report
from hwnas.report.links import file_link
from hwnas.report.plots import draw_all


class Elements(HTMLParser):
    """All elements, as name and attributes."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str]]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, {name: value or "" for name, value in attrs}))

    def of(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.all if tag in tags]


@pytest.fixture
def elements(result: dict[str, Any], tmp_path: Path) -> Elements:
    return Elements(write_report(result, draw_all(result, tmp_path), tmp_path / "report.html"))


def test_headings_landmarks_and_names(elements: Elements) -> None:
    assert elements.of("html")[0]["lang"] == "en"
    assert "width=device-width" in str(elements.of("meta"))
    for once in ("title", "h1", "main", "header", "footer", "nav"):
        assert len(elements.of(once)) == 1
    levels = [int(tag[1]) for tag, _ in elements.all if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in elements.all if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes["aria-labelledby"] for _, attributes in elements.all if "aria-labelledby" in attributes]
    led = [link["href"][1:] for link in elements.of("a") if link["href"].startswith("#")]
    assert set(named) | set(led) <= set(ids)
    assert len(led) == 7
    assert {header["scope"] for header in elements.of("th")} == {"col", "colgroup"}


def test_pictures_say_what_they_show_and_how_large_they_are(elements: Elements) -> None:
    pictures = elements.of("img")
    assert len({picture["alt"] for picture in pictures}) == len(pictures) == 6
    assert pictures[0]["alt"] == "Accuracy over latency: onnxruntime on local"
    assert all((picture["width"], picture["height"]) == ("924", "902") for picture in pictures)


def test_only_its_own_script_may_run(result: dict[str, Any], tmp_path: Path) -> None:
    source = write_report(result, {}, tmp_path / "report.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in source


def test_devices_whose_names_differ_in_a_sign_have_their_own_plots(result: dict[str, Any], tmp_path: Path) -> None:
    names = ["a b", "a_b", "A_B"]
    shown = result | {
        "targets": [result["targets"][0] | {"device": name} for name in names],
        "front": [result["front"][0] | {"device": name} for name in names],
        "tables": [],
    }
    plots = draw_all(shown, tmp_path)
    assert list(plots)[:3] == ["front-a_b-onnxruntime", "front-a_b-onnxruntime-2", "front-A_B-onnxruntime-3"]
    alts = [picture["alt"] for picture in Elements(write_report(shown, plots, tmp_path / "report.html")).of("img")]
    assert alts[:3] == [f"Accuracy over latency: onnxruntime on {name}" for name in names]


def test_a_file_is_linked_where_the_run_has_it_now(tmp_path: Path) -> None:
    run, page = tmp_path / "moved", tmp_path / "moved" / "report" / "report.html"
    file = run / "export" / "a b" / "x#1.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    linked = {"text": "export/a b/x#1.onnx", "href": "../export/a%20b/x%231.onnx"}
    assert file_link("/before/run/export/a b/x#1.onnx", page, run) == linked
    assert file_link("export/a b/x#1.onnx", page, run) == linked
    gone = "/before/run/export/gone/x#1.onnx"
    assert file_link(gone, page, run) == {"text": gone, "href": None}
    assert file_link(str(file), page, None) == {"text": str(file), "href": "../export/a%20b/x%231.onnx"}
    assert file_link("javascript:alert(1)/x", page, run) == {"text": "javascript:alert(1)/x", "href": None}
    assert file_link("../../etc/passwd", page, run) == {"text": "../../etc/passwd", "href": None}
    assert file_link(None, page, run) is None


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (ms(0.0182), "0.0182"), (ms(0.00756), "0.00756"), (ms(0.4), "0.400"), (ms(1.5), "1.50"), (ms(12.25), "12.25"),
        (ms(1234.5), "1,234"), (ms(0), "0.00"), (ms(None), "–"), (percent(0.9123), "91.23 %"),
        (size(512 * 1024), "512 KiB"), (size(3 << 20), "3.00 MiB"), (count(3.2e9), "3.2 billion"),
        (duration(3700), "1 h 1 min"), (duration(0.5), "0.5 s"),
    ],
)  # fmt: skip
def test_numbers_are_shown_in_three_digits(shown: str, expected: str) -> None:
    assert shown == expected


def test_the_verdict_names_what_is_over_its_budget(large_result: dict[str, Any], tmp_path: Path) -> None:
    source = write_report(large_result, {}, tmp_path / "report.html").read_text(encoding="utf-8")
    verdict = " ".join(re.sub("<[^>]+>", "", source[source.index('class="verdict">') + 16 :]).split()[:250])
    assert verdict.startswith("48 of 50 files hold their latency budget; 1 not measured.")
    assert "Over it: onnxruntime on board-2, 2.00 ms for 0.360 ms." in verdict
    assert "The most accurate that holds its budget" not in verdict
    best = re.findall(r"(board-\d+): (\S+), ([\d.]+) % of the test images, ([\d.]+) of its ([\d.]+) ms", verdict)
    assert [device for device, *_ in best] == [f"board-{number}" for number in range(1, 11)]
    assert {file for _, file, *_ in best} == {"export/onnxruntime-0.55ms.onnx"}
    assert all(float(latency) <= 1.05 * float(budget) for *_, latency, budget in best)


def test_a_device_without_a_file_that_holds_is_named(large_result: dict[str, Any], tmp_path: Path) -> None:
    for target in large_result["targets"][5:10]:
        target["measured_ms"] = 9.0
    source = write_report(large_result, {}, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<li>None: <strong><bdi>board-2</bdi></strong></li>" in source
    one = large_result | {"targets": large_result["targets"][:1]}
    source = write_report(one, {}, tmp_path / "one.html").read_text(encoding="utf-8")
    assert "The most accurate that holds its budget" in source
    assert 'class="best"' not in source


def test_figures_that_are_not_finite_count_as_missing(result: dict[str, Any], tmp_path: Path) -> None:
    broken = {"measured_ms": float("nan"), "accuracy_torch": float("inf"), "accuracy_exported": None}
    result["targets"] = [result["targets"][0] | broken]
    source = write_report(result, {}, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "0 of 1" in source
    assert ">nan" not in source
    assert "inf %" not in source
