"""The Python API: what it imports, that its examples are true, and that it does what the commands do."""

from __future__ import annotations

import doctest
import inspect
import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import hwnas
from hwnas.data.config import DigitsConfig
from hwnas.files import packaged
from tests.latency.families import cell_devices

FUNCTIONS = sorted(name for name in hwnas._HOMES if name[0].islower())


def function(name: str) -> Any:
    """What a public name stands for: a room that is called as its step is, too."""
    found = getattr(hwnas, name)
    return getattr(import_module(hwnas._HOMES[name]), name) if inspect.ismodule(found) else found


@pytest.fixture
def workplace(smoke_output: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the examples expect it: a finished run, tables, and CSV files of one's own."""
    shutil.copytree(smoke_output[0], tmp_path / "runs" / "mine")
    shutil.copytree(packaged("latency_tables"), tmp_path / "latency_tables")
    frame = hwnas.LatencyTable.read(tmp_path / "runs/mine/profile/local/onnxruntime-fp32-1t.csv").to_frame()
    theirs = frame.drop(columns=["in_network_ms", "error"]).rename(columns={"median_ms": "latency_ms"})
    theirs.to_csv(tmp_path / "theirs.csv", index=False)
    genotypes, latency_ms = cell_devices(devices=6, rows=200, seed=3)
    rows = [[*map(str, g), *map(repr, ms)] for g, ms in zip(genotypes.tolist(), latency_ms.tolist(), strict=True)]
    lines = [["a", "b", "c", "d", "e", "f", *(f"dev{device}" for device in range(6))], *rows]
    (tmp_path / "latencies.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_import_is_light() -> None:
    code = (
        "import sys, time; began = time.process_time(); import hwnas; print(time.process_time() - began);"
        "print(sorted({'torch', 'numpy', 'pandas', 'onnxruntime', 'hydra', 'ai_edge_litert'} & set(sys.modules)));"
        "hwnas.LatencyTable; hwnas.TableEstimator; hwnas.search; hwnas.load_config; hwnas.TrainStep;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy, torch = done.stdout.splitlines()
    assert float(seconds) < 2  # 0.01 s here; that it is no second shows that nothing else is imported
    assert (heavy, torch) == ("[]", "False")


@pytest.mark.parametrize("name", sorted(hwnas._HOMES))
def test_every_name_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(function(name))
    assert name in dir(hwnas)


def test_an_unknown_name_is_said_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"'hwnas' has no attribute 'serach'; it has .*search"):
        _ = hwnas.serach  # type: ignore[attr-defined]


def test_rooms_are_still_packages() -> None:
    import hwnas.search.config as module

    assert module.SearchConfig is sys.modules["hwnas.search.config"].SearchConfig
    assert callable(hwnas.search)


def examples(name: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(recurse=inspect.isclass(getattr(hwnas, name))).find(
        function(name), name, module=False, globs={"hwnas": hwnas}
    )
    return [one for one in found if one.examples]


@pytest.mark.parametrize("name", [*FUNCTIONS, "LatencyTable", "TableEstimator", "RooflineEstimator"])
def test_examples_are_true(name: str, workplace: Path) -> None:
    found = examples(name)
    assert found, f"hwnas.{name} has no example"
    said: list[str] = []
    globs: dict[str, Any] = {"hwnas": hwnas}
    for one in found:
        one.globs = globs  # a method's example goes on from its class's
        doctest.DocTestRunner(verbose=False).run(one, out=said.append, clear_globs=False)
    assert not said, "".join(said)


def test_what_a_command_wrote_is_what_the_function_returns(workplace: Path) -> None:
    config = hwnas.load_config(["experiment=smoke"])
    before = (workplace / "runs/mine/search/result.json").read_bytes()
    found = hwnas.search(config, "runs/mine/search")
    assert (workplace / "runs/mine/search/result.json").read_bytes() == before
    entries = json.loads(before)["result"]["selected"]
    assert [entry.arch for entry in found.selected] == [entry["arch"] for entry in entries]
    frame = found.to_frame()
    assert frame["latency_ms"].tolist() == [entry["latency_ms"] for entry in entries]


def test_best_within_a_budget(workplace: Path) -> None:
    found = hwnas.search(hwnas.load_config(["experiment=smoke"]), "runs/mine/search")
    mine = [entry for entry in found.selected if entry.target == "local-litert"]
    slowest, fastest = max(entry.latency_ms for entry in mine), min(entry.latency_ms for entry in mine)
    assert found.best(budget_ms=slowest, target="local-litert").accuracy == max(entry.accuracy for entry in mine)
    assert found.best(budget_ms=fastest, target="local-litert").latency_ms == fastest
    with pytest.raises(hwnas.HwnasError, match="the fastest takes"):
        found.best(budget_ms=fastest / 2, target="local-litert")
    with pytest.raises(hwnas.HwnasError, match="give one of local-litert, local-onnxruntime"):
        found.best(budget_ms=slowest)
    with pytest.raises(hwnas.HwnasError, match="did you mean 'local-litert'"):
        found.best(budget_ms=slowest, target="local-liter")


def test_chosen_networks_are_modules(workplace: Path) -> None:
    import torch

    found = hwnas.search(hwnas.load_config(["experiment=smoke"]), "runs/mine/search")
    supernet = hwnas.load_supernet("runs/mine/train/supernet.safetensors")
    entry = found.selected[0]
    images = torch.zeros(2, 1, entry.arch["r"], entry.arch["r"])
    plain, calibrated = entry.module(supernet), entry.module(supernet, DigitsConfig())
    assert plain(images).shape == calibrated(images).shape == (2, 10)
    assert not torch.equal(plain(images), calibrated(images))
    assert not plain.training


def test_all_targets_of_all_runs(workplace: Path) -> None:
    shutil.copytree(workplace / "runs/mine", workplace / "runs/multirun/seed=1")
    shutil.rmtree(workplace / "runs/multirun/seed=1/validate")  # searched only
    frame = hwnas.read_runs("runs")
    assert isinstance(frame, pd.DataFrame)
    assert set(frame.index.get_level_values("run")) == {"mine", "multirun/seed=1"}
    validated, searched = frame.loc["mine"], frame.loc["multirun/seed=1"]
    assert list(validated.index) == list(searched.index)
    assert validated["predicted_ms"].tolist() == searched["predicted_ms"].tolist()
    assert validated["measured_ms"].notna().all()
    assert searched["measured_ms"].isna().all()
    assert hwnas.read_runs("runs/mine").index.get_level_values("run").unique().tolist() == ["."]
    with pytest.raises(hwnas.HwnasError, match="expected a folder with runs"):
        hwnas.read_runs(workplace / "latency_tables")


def test_an_interrupted_step_goes_on(workplace: Path) -> None:
    config = hwnas.load_config(["experiment=smoke", "evaluation.subnets=30"])

    class Interrupting(hwnas.ConsoleReporter):
        def say(self, text: str) -> None:
            if text.startswith("  done"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hwnas.evaluate(config, "runs/mine/evaluate", Interrupting())
    labels = workplace / "runs/mine/evaluate/accuracies.csv"
    measured = labels.read_text()
    assert len(measured.splitlines()) > 20
    assert not (workplace / "runs/mine/evaluate/result.json").exists()
    hwnas.evaluate(config, "runs/mine/evaluate")
    assert labels.read_text() == measured


@pytest.mark.parametrize(
    ("step", "settings", "said"),
    [
        ("train", ["space.resolution=[]"], "space.resolution"),
        ("search", ["accuracy.path=nowhere"], "no such file: nowhere; run hwnas evaluate first, or give accuracy.path"),
        ("verify_bundle", [], "which one"),
    ],
)
def test_errors_are_the_command_lines(step: str, settings: list[str], said: str, workplace: Path) -> None:
    with pytest.raises(hwnas.HwnasError, match=said) as raised:
        getattr(hwnas, step)(hwnas.load_config(["experiment=smoke", *settings]), workplace / "new" / step)
    assert "\n" not in str(raised.value)


def test_what_is_no_config_is_said(tmp_path: Path) -> None:
    said = "config: expected a TrainStep, or all settings as hwnas.load_config gives them, got list"
    with pytest.raises(hwnas.HwnasError, match=said):
        hwnas.train(["experiment=smoke"], tmp_path)  # type: ignore[arg-type]
    with pytest.raises(hwnas.HwnasError, match="data: expected data=fashion_mnist"):
        hwnas.train(hwnas.load_config(["data=none", "space=ofa_mbv3_smoke"]), tmp_path)


def test_a_step_takes_its_own_config(workplace: Path) -> None:
    everything = hwnas.load_config(["experiment=smoke"])
    own = hwnas.SearchStep(
        space=everything.space, data=everything.data, search=everything.search, profiling=everything.profiling
    )
    assert hwnas.search(own, "runs/mine/search") == hwnas.search(everything, "runs/mine/search")
    with pytest.raises(hwnas.HwnasError, match="seed: expected 0 or more"):
        hwnas.TrainStep(space=everything.space, data=everything.data, seed=-1)


def test_the_page_about_python_is_true(workplace: Path) -> None:
    """docs/python.md, its blocks one after another."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "python.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    assert len(blocks) > 4
    space: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), space)  # noqa: S102 (ours)
    assert len(space["result"].targets) == 4
    functions = set(re.findall(r"`hwnas\.(\w+)`", page))
    assert functions
    assert not [name for name in functions if not hasattr(hwnas, name)]
