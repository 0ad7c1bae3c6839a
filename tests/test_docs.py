"""The site: it builds without a warning and without torch, its links lead somewhere, and nothing public is left out."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import griffe
import pytest
from mkdocs.exceptions import PluginError
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

import hwnas
from docs.hooks import benchmarks, commonmark, docstrings, repository
from hwnas.export.bundle.manifest import Manifest
from hwnas.pipeline.config import PipelineConfig

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BUILD = """
import sys
from mkdocs.__main__ import cli
try:
    cli(["build", "--strict", "--site-dir", sys.argv[1]])
finally:
    print(sorted({"torch", "onnxruntime", "ai_edge_litert", "hydra"} & set(sys.modules)))
"""
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
API = re.compile(r"^::: (\S+)$", re.MULTILINE)


class Page(HTMLParser):
    """What a page links to, what it loads, and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        self.links += [given["href"]] if tag == "a" and "href" in given else []
        self.loads += [given[LOADING[tag]]] if LOADING.get(tag) in given else []


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    folder = tmp_path_factory.mktemp("site")
    environment = {"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


@pytest.fixture(scope="module")
def pages(built: tuple[Path, str, str]) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(built[0].rglob("*.html"))}


def test_it_builds_without_a_warning_and_without_torch(built: tuple[Path, str, str]) -> None:
    _, said, log = built
    assert said.splitlines()[-1] == "[]"
    # With --quiet, mkdocs doesn't count warnings.
    assert re.search(
        r"^\t\$\(BIN\)/mkdocs build --strict --clean$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    assert [line for line in log.splitlines() if not line.startswith("INFO")] == []


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    assert len(pages) > 30
    dead = []
    for path, page in pages.items():
        for link in page.links:
            target, anchor = urldefrag(link)
            if re.match(r"[a-z]+:", link) or path.name == "404.html":
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            if there.is_dir():
                there /= "index.html"
            known = pages[there].anchors if there in pages else set()
            if not there.exists() or (anchor and unquote(anchor) not in known | {"__top"}):
                dead.append(f"{path.name}: {link}")
    assert not dead


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page], built: tuple[Path, str, str]) -> None:
    elsewhere = re.compile(r"(?:[a-z]+:)?//")
    assert {load for page in pages.values() for load in page.loads if elsewhere.match(load)} == set()
    styles = [path.read_text(encoding="utf-8") for path in built[0].rglob("*.css")]
    assert styles
    assert not [
        found for text in styles for found in re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^)]*)", text)
    ]


NAMED = re.compile(
    r"(?<![\w/.@-])((?:hwnas|benchmarks|conf|tests|docs|device_profiles|latency_tables|examples)/[\w./-]*\w)"
)


# Recipes for contributors name files that are to be written.
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if path.parent.name != "contributing"]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    for name in NAMED.findall(page.read_text("utf-8")):
        assert (ROOT / name).exists(), name


def documented() -> list[str]:
    return [name for path in sorted((DOCS / "api").glob("*.md")) for name in API.findall(path.read_text("utf-8"))]


@pytest.mark.parametrize("name", sorted(hwnas._HOMES))
def test_every_public_name_is_on_one_page_of_the_api(name: str) -> None:
    assert documented().count(f"{hwnas._HOMES[name]}.{name}") == 1


def test_nothing_is_documented_twice() -> None:
    names = documented()
    assert len(names) == len(set(names))


def parts(hint: Any) -> Iterator[type]:
    """The dataclasses of hwnas in a type."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint.__module__.startswith("hwnas."):
        yield hint
    for one in typing.get_args(hint):
        yield from parts(one)


def with_fields(kind: type) -> set[type]:
    """A dataclass, and those that its fields hold."""
    found, waiting = set(), [kind]
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            hints = typing.get_type_hints(one, localns={"Manifest": Manifest})
            waiting += [part for field in dataclasses.fields(one) for part in parts(hints[field.name])]
    return found


def test_all_settings_and_results_are_documented() -> None:
    homes = [getattr(import_module(home), name) for name, home in hwnas._HOMES.items()]
    steps = [one for one in homes if hasattr(one, "__wrapped__")]  # by `step_of`
    returned = [typing.get_type_hints(one)["return"] for one in steps]
    settings = [getattr(hwnas, name) for name in hwnas._HOMES if name.endswith("Step")]
    roots = {PipelineConfig, *settings, *(part for hint in returned for part in parts(hint))}
    assert len(roots) > 25
    expected = {f"{one.__module__}.{one.__name__}" for kind in roots for one in with_fields(kind)}
    assert expected - set(documented()) == set()


def test_links_to_the_repository() -> None:
    text = (
        "[a](../benchmarks/results/mutation.md#x) [b](../conf) `[c](../conf)` [d](devices.md) [e](../nothing.md)\n"
        "```\n[f](../conf)\n```\n[g](../conf/config.yaml) [h](https://x.org/../conf)\n[i]: ../LICENSE\n"
    )
    paths = ["benchmarks/results/mutation.md", "conf", "conf/config.yaml", "LICENSE"]
    assert repository.linked(text, "docs/page.md") == paths
    assert repository.relinked(text, "docs/page.md", lambda path: f"<{path}>").splitlines()[0] == (
        "[a](<benchmarks/results/mutation.md>#x) [b](<conf>) `[c](../conf)` [d](devices.md) [e](../nothing.md)"
    )
    assert repository.linked("[a](docs/devices.md) [b](conf/)", "README.md") == ["docs/devices.md", "conf"]
    assert repository.site_path("docs/devices.md") == "devices.md"
    assert repository.site_path("conf/config.yaml") == "repository/conf/config.yaml.md"
    assert repository.named([{"A": "a.md"}, {"B": [{"C": "repository/README.md"}, "d.md"]}]) == [
        "a.md", "repository/README.md", "d.md",
    ]  # fmt: skip
    assert repository.site_path("latency_tables") == "repository/latency_tables/README.md"


def test_notebooks_are_shown_as_their_cells() -> None:
    drawn = {"output_type": "display_data", "data": {"text/plain": ["<Figure>"], "image/png": "iVBO\n"}}
    printed = {"output_type": "stream", "name": "stdout", "text": ["1\n", "2\n"]}
    found = repository.cells(
        {
            "cells": [
                {"cell_type": "markdown", "source": ["# Title\n", "[a](../docs/start.md)"]},
                {"cell_type": "code", "source": ["f()"], "outputs": [printed, drawn]},
                {"cell_type": "code", "source": "g()", "outputs": []},
            ]
        }
    )
    assert found == (
        "# Title\n[a](../docs/start.md)\n\n``````python\nf()\n``````\n\n``````text\n1\n2\n``````\n\n"
        "![What the cell draws](data:image/png;base64,iVBO)\n\n``````python\ng()\n``````\n"
    )


def test_every_result_is_in_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = benchmarks.table()
    for path in benchmarks.RESULTS.iterdir():
        assert path.suffix not in (".md", ".json") or f"({path.stem}" in shown or f"/{path.name})" in shown
    shutil.copytree(benchmarks.RESULTS, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(benchmarks, "RESULTS", tmp_path)
    (tmp_path / "fresh.md").write_text("# Fresh | *figures*\n\n2027-01-02; A processor, 4 cores; more\n")
    quoted = (tmp_path / "search_tabular.md").read_text("utf-8").replace("| islands | 47 of 50", "| islands | 50 of 50")
    (tmp_path / "search_tabular.md").write_text(quoted, "utf-8")
    again = benchmarks.table()
    assert r"| [Fresh \| *figures*](../benchmarks/results/fresh.md) |  | 2027-01-02, A processor, 4 cores |  |" in again
    assert "islands 47 of 50 runs" in shown
    assert "islands 50 of 50 runs" in again
    (tmp_path / "search_tabular.md").write_text(quoted.replace("| islands |", "| isles |"), "utf-8")
    with pytest.raises(PluginError, match=r"search_tabular.md: expected a row 'islands'"):
        benchmarks.table()


def test_examples_in_docstrings_are_code_and_errors_are_links() -> None:
    source = '''
def made():
    """Makes it. Raises DataError, not `DataError`.

    >>> made()
    'DataError'

    More.
    """
'''
    with griffe.temporary_visited_package(
        "made", {"__init__.py": source}, extensions=griffe.load_extensions(docstrings.Docstrings)
    ) as package:
        found = package["made"].docstring.value
    assert found == (
        "Makes it. Raises [DataError][hwnas.errors.DataError], not `DataError`.\n\n"
        "```pycon\n>>> made()\n'DataError'\n```\n\nMore."
    )


NESTED = "1. a\n\n    ```sh\n    x \\\n        y\n    - z\n    ```\n\n    b\n2. c"


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("text:\n- a\n  b\n- c\n  - d\n- e", "text:\n\n- a\n    b\n- c\n    - d\n- e"),
        ("1. a\n\n   ```sh\n   x \\\n       y\n   - z\n   ```\n\n   b\n2. c", NESTED),
        ("- a\nlazy\n\npara - no\n\n    code", "- a\nlazy\n\npara - no\n\n    code"),
        ("a\n```\n- no\n```\n| - | 1. |", "a\n```\n- no\n```\n| - | 1. |"),
    ],
)
def test_lists_are_as_on_code_hosts(written: str, made: str) -> None:
    assert commonmark.with_wide_lists(written) == made


@pytest.mark.slow
@pytest.mark.parametrize("page", ["architecture.html", "benchmarks.html", "api/steps.html"])
def test_it_reads_well_in_a_browser(built: tuple[Path, str, str], browser: Chrome, page: str) -> None:
    """From the disk: no error, nothing asked of elsewhere, nothing wider than a telephone, and the search finds."""
    browser.get((built[0] / page).as_uri())
    wait = WebDriverWait(browser, 20)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    browser.execute_script("document.querySelector('#__search').click()")
    browser.find_element(By.CSS_SELECTOR, "input.md-search__input").send_keys("InfeasibleBudgetError")
    found = wait.until(lambda here: here.find_elements(By.CSS_SELECTOR, ".md-search-result__link"))
    assert "api/errors.html" in str(found[0].get_attribute("href"))
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 5
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for one in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=500,900"):
        options.add_argument(one)
    made = Chrome(options, Service(driver))
    made.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    yield made
    made.quit()
