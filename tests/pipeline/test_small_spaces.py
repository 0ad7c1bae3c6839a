"""The whole way where there is little or nothing to choose from: one network, few, or all of equal accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.errors import DataError
from hwnas.pipeline import evaluate
from tests.running import run_hwnas

SHORT = ("experiment=smoke", "formats=[onnx]", "runtime=[onnxruntime]", "profiling.rounds=2")
FEW = (
    "space.depths=[1]", "space.kernel_sizes=[3]", "space.expand_ratios=[3]",
    "training.phases=[{name:full,epochs:2,learning_rate:0.1,warmup_epochs:1}]",
)  # fmt: skip


def whole(folder: Path, *settings: str) -> tuple[dict[str, Any], str]:
    """The result of `hwnas run`, and what it said."""
    done = run_hwnas("run", *SHORT, *settings, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "report" / "report.html").is_file()
    for file in folder.rglob("*.json"):
        assert "NaN" not in file.read_text(), file
    return json.loads((folder / "result.json").read_text())["result"], done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("resolutions", ["16", "16,24"])
def test_a_space_of_few_networks_goes_the_whole_way(tmp_path: Path, resolutions: str) -> None:
    result, said = whole(tmp_path, *FEW, f"space.resolution=[{resolutions}]", "search.confidence=0.9")
    assert ("one subnet, of accuracy" if resolutions == "16" else "the space has 2 networks, all measured") in said
    score = result["accuracy_predictor"]
    assert score["kendall_tau"] is score["spearman"] is score["mae"] is None
    assert result["targets"]
    assert all(target["measured_ms"] > 0 for target in result["targets"])


@pytest.mark.slow
def test_an_easy_data_set_is_answered_by_the_fastest_network(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(40):
            pixels = np.array(colour) + rng.integers(-25, 25, (24, 24, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / name / f"{number}.png")
    data = ("data=image_folder", f"data.root={tmp_path / 'images'}", "data.held_out=16", "training.batch_size=16")
    result, said = whole(tmp_path / "run", *data, "profiling.networks=10", "evaluation.subnets=20")
    assert said.count("all 20 subnets have the same accuracy, 1.0000: among equals the fastest is chosen") == 2
    assert result["accuracy_predictor"]["kendall_tau"] is None
    table = json.loads((tmp_path / "run" / "search" / "result.json").read_text())["result"]
    fastest = min(table["front"][0]["random"]["latency_ms"])
    assert len({entry["latency_ms"] for entry in table["selected"]}) == 1
    assert table["selected"][0]["latency_ms"] <= fastest + 1e-6


def test_equal_accuracies_of_chance_are_no_answer() -> None:
    """Nothing was learnt: choosing the fastest of such networks would hide that."""

    class Data:
        class held_out:  # noqa: N801
            labels = torch.tensor([0] * 6 + [1] * 4)

    evaluate._check_learnt(0.7, 20, Data())  # type: ignore[arg-type]
    for chance in (0.6, 0.4, 0.0):
        with pytest.raises(
            DataError, match=r"same accuracy 0.*naming one class always has 0\.6.*train the supernet lon"
        ):
            evaluate._check_learnt(chance, 20, Data())  # type: ignore[arg-type]
