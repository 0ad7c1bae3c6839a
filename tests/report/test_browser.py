"""The page as readers open it: in a real browser, on a phone, at night, printed, without scripts, sent by mail."""

from __future__ import annotations

import base64
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pytest

from hwnas.report.html import write_report
from hwnas.report.plots import draw_all
from tests.report.browser import Browser, open_browser
from tests.report.test_predicted import pictures_of, with_predictions

pytestmark = pytest.mark.slow

ODD = [
    "<script>alert(1)</script>",
    "a<b>&amp;\"c'",
    "çà 中文",
    "שלום עולם",
    "\u202eabc",
    "{{ 7 * 7 }}",
    "$x_{$",
    "a" * 90,
]

LOOKS: list[dict[str, Any]] = [{}, {"dark": True}, {"width": 400}, {"width": 400, "dark": True}]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(result: dict[str, Any], tmp_path: Path) -> Path:
    return write(result, tmp_path / "run" / "report")


def write(result: dict[str, Any], folder: Path) -> Path:
    return write_report(result, draw_all(result, folder), folder / "report.html", folder.parent)


def assert_readable(browser: Browser, page: Path, **how: Any) -> None:
    """No text is hidden, cut, too small, too pale, or upon other text, and the page itself does not scroll sideways."""
    width = how.get("width", 1280)
    browser.open(page, **how)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    texts = browser.ask("texts()")
    assert len(texts) > 60
    print_out = how.get("media") == "print"
    assert [one["text"] for one in texts if not one["visible"] and not print_out] == []
    assert [one["text"] for one in texts if one["cut"]] == []
    assert [(one["text"], one["size"]) for one in texts if one["size"] < (10 if print_out else 12)] == []
    assert [(one["text"], one["contrast"]) for one in texts if one["contrast"] < 4.5] == []
    for one in texts:
        left, right = one["scroller"] or (0, width)
        assert left >= 0, one
        assert right <= width, one
        if print_out or one["scroller"] is None:
            assert all(box[0] >= -1 and box[2] <= width + 1 for box in one["boxes"]), one
    assert browser.ask("overlapping()") == []


def test_the_report_of_a_run_opens_whole(browser: Browser, smoke_output: tuple[Path, str]) -> None:
    page = smoke_output[0] / "report" / "report.html"
    browser.open(page)
    assert browser.console() == []
    requests = browser.requests()
    assert requests[0] == page.as_uri()
    assert {urlparse(url).scheme for url in requests[1:]} <= {"data"}
    pictures = browser.ask(
        "Array.from(document.querySelectorAll('figure img'), image => image.complete && image.naturalWidth)"
    )
    assert len(pictures) == len(list(page.parent.glob("*.png"))) >= 5
    assert min(pictures) > 500
    links = browser.ask("Array.from(document.querySelectorAll('td a.file'), link => link.href)")
    assert len(links) == 4
    assert all(Path(unquote(urlparse(link).path)).is_file() for link in links)
    for how in LOOKS:
        assert_readable(browser, page, **how)


@pytest.mark.parametrize("kind", ["four", "large", "one", "bare", "odd"])
def test_every_size_of_run_is_readable(
    browser: Browser, result: dict[str, Any], large_result: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    bare = {key: result["targets"][0][key] for key in ("device", "runtime", "budget_ms", "predicted_ms", "arch")}
    shown = {
        "four": result,
        "large": large_result,
        "one": result | {"targets": result["targets"][:1]},
        "bare": {"targets": [bare | {"device": f"board {number}"} for number in range(4)]},
        "odd": odd(result),
    }[kind]
    plots = draw_all(shown, tmp_path) if kind == "one" else {}
    page = write_report(shown, plots, tmp_path / "report" / "report.html")
    for how in (*LOOKS, {"width": 700}):
        assert_readable(browser, page, **how)
        assert browser.console() == []


@pytest.mark.parametrize("names", [[f"class {number}" for number in range(1000)], ODD])
def test_predictions_are_readable(browser: Browser, result: dict[str, Any], tmp_path: Path, names: list[str]) -> None:
    shown = with_predictions(result, names, 3000)
    pictures = pictures_of(shown, tmp_path / "pictures")
    page = write_report(shown, draw_all(shown, tmp_path), tmp_path / "report" / "report.html", None, pictures)
    assert page.stat().st_size < 3_000_000
    for how in (*LOOKS, {"width": 700}, {"width": 1032, "media": "print"}):
        assert_readable(browser, page, **how)
        assert browser.console() == []
    rows = browser.ask("document.querySelectorAll('.long tbody tr').length")
    assert rows == len(names)
    assert browser.ask("Array.from(document.images).every(image => image.naturalWidth > 0)")


def test_the_first_screen_says_which_file_to_take(browser: Browser, page: Path) -> None:
    for width in (1280, 400):
        browser.open(page, width=width)
        assert browser.ask("document.querySelector('.verdict').getBoundingClientRect().bottom") < 500
    browser.open(page)
    assert browser.ask("document.querySelector('tbody tr:nth-child(4)').getBoundingClientRect().bottom") < 900


def number_in(text: str) -> float | None:
    """What a cell shows, in its base unit."""
    found = re.match(r"[-+]?[\d,.]+(e[-+]\d+)?", text)
    if found is None:
        return None
    return float(found[0].replace(",", "")) * {"KiB": 1024, "MiB": 1 << 20}.get(text.split()[-1], 1)


def test_tables_sort_by_click_and_by_keyboard(browser: Browser, large_result: dict[str, Any], tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    large_result["tables"][2] |= {"noise": None, "precision": None}
    large_result["targets"][9] |= {"accuracy_random": None, "bytes": 2_000, "drift": None}
    browser.open(write_report(large_result, {}, tmp_path / "report.html"))
    tables = browser.driver.find_elements(By.TAG_NAME, "table")
    assert len(tables) == 3
    for table in tables:
        headers = table.find_elements(By.CSS_SELECTOR, "thead tr:last-child th")
        assert {header.get_attribute("aria-sort") for header in headers} == {"none"}
        for column, header in enumerate(headers):
            numeric = "text" not in (header.get_attribute("class") or "")
            ways = (header.click, lambda header=header: header.send_keys(Keys.ENTER))
            for descending, way in enumerate(ways if column % 2 else ways[::-1]):
                way()
                sorts, cells = browser.driver.execute_script(
                    "const [table, column] = arguments, headers = Array.from(table.tHead.rows).at(-1).cells;"
                    "return [Array.from(headers, header => header.ariaSort),"
                    " Array.from(table.tBodies[0].rows, row => row.cells[column].innerText.trim())]",
                    table, column,
                )  # fmt: skip
                expected = ["none"] * len(headers)
                expected[column] = "descending" if descending else "ascending"
                assert sorts == expected
                missing = [cell in ("–", "not measured") for cell in cells]
                assert missing == sorted(missing), cells
                there = [cell for cell, none in zip(cells, missing, strict=True) if not none]
                keys: list[Any] = [number_in(cell) if numeric else natural(cell) for cell in there]
                assert keys == sorted(keys, reverse=bool(descending)), cells
    scrolled = browser.ask("scrollY")
    headers[0].send_keys(Keys.SPACE)
    assert headers[0].get_attribute("aria-sort") == "ascending"
    assert browser.ask("scrollY") == scrolled
    assert browser.console() == []


def natural(text: str) -> list[Any]:
    """As people order names: board-2 before board-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def test_tables_sort_on_a_phone(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.by import By

    browser.open(page, width=400)
    for table in browser.driver.find_elements(By.TAG_NAME, "table"):
        header = table.find_elements(By.CSS_SELECTOR, "thead tr:last-child th")[2]
        header.click()
        assert header.get_attribute("aria-sort") == "ascending"


def test_plots_suit_a_dark_page(browser: Browser, page: Path) -> None:
    for dark in (False, True):
        browser.open(page, dark=dark)
        card = tuple(browser.ask("behind(document.querySelector('figure'))"))
        for number in range(1, browser.ask("document.images.length") + 1):
            picture = browser.picture_of(f"figure:nth-child({number}) img")
            counts = Counter(map(tuple, np.asarray(picture).reshape(-1, 3).tolist()))
            back = counts.most_common(1)[0][0]
            assert max(abs(one - other) for one, other in zip(back, card, strict=True)) <= 8
            readable = sum(count for rgb, count in counts.items() if contrast(rgb, back) >= 4.5)
            assert readable > 0.01 * picture.width * picture.height
            assert max(contrast(rgb, back) for rgb in counts) > 7


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(rgb: tuple[int, ...]) -> float:
    linear = [v / 12.92 if (v := value / 255) <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for value in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_it_prints_black_on_white(browser: Browser, large_result: dict[str, Any], tmp_path: Path, dark: bool) -> None:
    page = write_report(large_result, {}, tmp_path / "report.html")
    assert_readable(browser, page, width=1032, media="print", dark=dark)  # A4 across, less its margins
    assert browser.ask("behind(document.body)") == [255, 255, 255]
    printed = base64.b64decode(browser.do("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")
    sheets = re.findall(rb"/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+)", printed)
    assert {(round(float(across)), round(float(down))) for across, down in sheets} == {(842, 595)}  # A4 across
    assert 4 <= len(sheets) <= 14


def test_without_scripts_all_of_it_is_there(browser: Browser, page: Path) -> None:
    browser.open(page)
    whole = [one["text"] for one in browser.ask("texts()")]
    for width in (1280, 400):
        assert_readable(browser, page, width=width, scripts=False)
        assert [one["text"] for one in browser.ask("texts()")] == whole
        assert browser.ask("document.querySelectorAll('[aria-sort], th[tabindex], button, details').length") == 0
        assert browser.ask("Array.from(document.images).every(image => image.naturalWidth > 0)")


def test_links_go_with_the_run_and_are_text_without_it(
    browser: Browser, result: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "my run #1 100%"
    for number, target in enumerate(result["targets"]):
        file = run / "export" / f"für {number} #?%41" / "model.onnx"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"onnx")
        target["file"] = str(file)
    result["targets"][3]["file"] = "/elsewhere/export/gone/model.onnx"
    write(result, run / "report")
    moved = tmp_path / "moved"
    shutil.move(run, moved)
    browser.open(moved / "report" / "report.html")
    links = browser.ask("Array.from(document.querySelectorAll('td a.file'), link => [link.href, link.textContent])")
    for number, (href, text) in enumerate(links):
        file = moved / "export" / f"für {number} #?%41" / "model.onnx"
        assert Path(unquote(urlparse(href).path)) == file
        assert text == file.relative_to(moved).as_posix()
    assert len(links) == 3
    mailed = tmp_path / "post" / "report.html"
    mailed.parent.mkdir()
    shutil.copy(moved / "report" / "report.html", mailed)
    browser.open(mailed)
    assert browser.ask("document.querySelectorAll('a.file').length") == 0
    shown = browser.ask("Array.from(document.querySelectorAll('td .file'), one => one.textContent)")
    assert [text for _, text in links] + ["/elsewhere/export/gone/model.onnx"] == shown[:4]
    assert all(browser.ask("Array.from(document.images, image => image.naturalWidth > 0)"))
    assert browser.console() == []
    assert len([url for url in browser.requests() if not url.startswith("data:")]) == 1


def odd(result: dict[str, Any]) -> dict[str, Any]:
    """Strings of users in every place that they reach."""
    targets = [
        result["targets"][0] | {"device": name, "budget": name, "file": f"export/{name}/model.onnx"} for name in ODD
    ]
    return result | {
        "title": ODD[0],
        "targets": targets,
        "data": result["data"] | {"name": ODD[1], "classes": ODD},
        "tables": [result["tables"][0] | {"device": name, "file": name} for name in ODD],
        "front": [result["front"][0] | {"device": name} for name in ODD],
        "provenance": {ODD[0]: dict.fromkeys(ODD, ODD)},
    }


def test_strings_of_users_stay_text(browser: Browser, result: dict[str, Any], tmp_path: Path) -> None:
    shown = odd(result)
    browser.open(write(shown, tmp_path / "run" / "report"))
    assert browser.console() == []
    assert browser.ask("document.title") == ODD[0]
    assert browser.ask("document.querySelector('h1').textContent") == ODD[0]
    assert browser.ask("document.scripts.length") == 1
    assert browser.ask("document.querySelectorAll('td b').length") == 0
    assert browser.ask("document.documentElement.scrollHeight") < 9000  # a long name leaves its neighbours room
    first = browser.ask(
        "Array.from(document.querySelectorAll('table')[1].tBodies[0].rows, row => row.cells[0].innerText)"
    )
    assert [text.strip() for text in first] == ODD
    text = browser.ask("document.body.textContent")
    assert all(text.count(name) > 8 for name in ODD)
    assert "49" not in re.findall(r"\{\{.*?\}\}", text)


class Tags(HTMLParser):
    """Every element in order, as `[depth, name]`."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.found: list[list[Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.found.append([self.depth, tag])
        self.depth += tag not in {"meta", "link", "img", "wbr"}

    def handle_endtag(self, tag: str) -> None:
        assert tag
        self.depth -= 1


def test_the_markup_means_what_it_says(browser: Browser, result: dict[str, Any], tmp_path: Path) -> None:
    """The browser moves what is nested wrongly and closes what is open: then its tree is not that of the tags."""
    page = write(odd(result), tmp_path / "run" / "report")
    browser.open(page, scripts=False)

    parser = Tags()
    parser.feed(page.read_text(encoding="utf-8"))
    assert browser.ask("document.compatMode") == "CSS1Compat"
    assert browser.ask("tree(document.documentElement)") == parser.found
