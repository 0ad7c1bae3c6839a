"""Plots: which are drawn, that they are PNGs with something on them, and that the data decides what."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from hwnas.errors import HwnasError, StorageError
from hwnas.report.plots import draw_all, plot_accuracy_predictor, plot_front, plot_latency, plot_training

POINT = "#4095C5"  # blue, three quarters opaque on white


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def share_of(path: Path, colour: str) -> float:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return float((np.abs(pixels(path) - rgb).max(axis=-1) < 24).mean())


def test_all_plots_of_a_whole_result(result: dict[str, Any], tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    plots = draw_all(result, tmp_path)
    assert list(plots) == [
        "front-local-onnxruntime", "front-local-litert", "latency-local-onnxruntime", "latency-local-litert",
        "accuracy_predictor", "training",
    ]  # fmt: skip
    sizes = {Image.open(path).size for path in plots.values()}
    assert len(sizes) == 1
    assert min(*sizes.pop()) > 700
    for path in plots.values():
        assert Image.open(path).format == "PNG"
        assert 0.02 < (pixels(path).sum(axis=-1) < 700).mean() < 0.6
    assert dict(mpl.rcParams) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.png" for name in plots)


def test_only_what_there_is_data_for(result: dict[str, Any], tmp_path: Path) -> None:
    bare = {"targets": result["targets"], "tables": [{**result["tables"][0], "networks": None}], "history": []}
    assert draw_all(bare, tmp_path) == {}


def test_the_front_shows_chosen_nets_and_budgets(result: dict[str, Any], tmp_path: Path) -> None:
    front, targets = result["front"][0], result["targets"][:2]
    without = plot_front(front, [], tmp_path / "without.png")
    assert share_of(without, "#D55E00") == 0
    assert share_of(plot_front(front, targets, tmp_path / "with.png"), "#D55E00") > 0.002
    bare = [{key: targets[0][key] for key in ("device", "runtime", "budget_ms", "predicted_ms", "arch")}]
    assert share_of(plot_front(front, bare, tmp_path / "bare.png"), "#D55E00") > 0


def test_latency_shows_points_and_chosen_nets(result: dict[str, Any], tmp_path: Path) -> None:
    table, targets = result["tables"][0], result["targets"][:2]
    drawn = plot_latency(table, targets, tmp_path / "a.png")
    assert share_of(drawn, "#D55E00") > 0
    unmeasured = [{**target, "measured_ms": None} for target in targets]
    assert share_of(plot_latency(table, unmeasured, tmp_path / "b.png"), "#D55E00") == 0
    single = {**table, "networks": {"predicted_ms": [0.4], "measured_ms": [0.4]}}
    assert plot_latency(single, [], tmp_path / "c.png").is_file()


def test_accuracy_predictor_without_a_stated_tau(tmp_path: Path) -> None:
    predictor = {"predicted": [0.9, 0.91, 0.92], "measured": [0.9, 0.92, 0.91]}
    assert share_of(plot_accuracy_predictor(predictor, tmp_path / "a.png"), POINT) > 0
    constant = {"predicted": [0.9, 0.9], "measured": [0.9, 0.9], "kendall_tau": None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot_accuracy_predictor(constant, tmp_path / "b.png").is_file()


def test_training_with_one_phase_and_no_evaluation(tmp_path: Path) -> None:
    rows = [{"event": "steps", "phase": "full", "step": 0, "loss": 2.3}]
    assert plot_training(rows, tmp_path / "one.png").is_file()
    rows += [{"event": "steps", "phase": "full", "step": 10, "loss": 1.3}]
    end = {"event": "phase_end", "phase": "full", "step": 10, "largest_accuracy": 0.7}
    partly = plot_training([*rows, {**end, "smallest_accuracy": None}], tmp_path / "two.png")
    assert share_of(partly, "#E69F00") == 0  # no curve for what was not evaluated
    wholly = plot_training([*rows, {**end, "smallest_accuracy": 0.6}], tmp_path / "three.png")
    assert share_of(wholly, "#E69F00") > 0


def test_a_result_without_targets_is_refused(tmp_path: Path) -> None:
    contents: list[dict[str, Any]] = [{}, {"targets": []}, {"targets": None}]
    for content in contents:
        with pytest.raises(HwnasError, match="the result has no 'targets'"):
            draw_all(content, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(result: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file"):
        draw_all(result, tmp_path / "file")
