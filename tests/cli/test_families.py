"""Two families searched together on real runtimes, from two runs to verified files of whichever won."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hwnas.export.bundle.verify import verify_files
from tests.cli.test_pipeline import error_line, result_of
from tests.running import run_hwnas

OFA, V4 = "ofa_mbv3_smoke", "mobilenet_v4_smoke"
LITTLE = {
    "train": ["training=bignas_all_32"],
    "evaluate": [],
    "profile": ["runtime=onnxruntime", "profiling.networks=10"],
    "search": ["runtime=onnxruntime", "search.confidence=0.5"],
    "finetune": [],
    "export": [],
    "validate": ["runtime=onnxruntime"],
    "report": [],
}
"""What each step is asked for, so that it takes little time."""


def command(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_hwnas(name, "experiment=smoke", *LITTLE[name], *arguments, f"hydra.run.dir={folder / name}")


def step(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    done = command(name, folder, *arguments)
    assert done.returncode == 0, done.stderr
    return result_of(folder / name)


def fastest_ms(run: Path, folder: Path) -> float:
    message = error_line(command("search", folder, f"runs=[{run}]", "search.budgets=[1e-9]"))
    return float(re.findall(r"the fastest takes (\S+) ms", message)[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_families_end_with_verified_files_of_the_winners(smoke: Path, tmp_path: Path) -> None:
    runs, both = {OFA: smoke, V4: tmp_path / "v4"}, tmp_path / "both"
    for name in ("train", "evaluate", "profile"):
        step(name, runs[V4], f"space={V4}")
    least = {name: fastest_ms(run, tmp_path / name) for name, run in runs.items()}
    faster, slower = sorted(least, key=lambda name: least[name])
    budgets = f"search.budgets=[{sum(least.values()) / 2},{4 * least[slower]}]"
    asked = (f"runs=[{runs[OFA]},{runs[V4]}]", budgets, "search.evaluate_top=2")
    searched = step("search", both, *asked)
    tight, loose = searched["families"]
    assert (tight["winner"], list(tight["lacking"])) == (faster, [slower])
    assert {one["space"] for one in loose["best"]} == {OFA, V4}
    measured = {one["space"]: one["accuracy"] for one in loose["best"]}
    assert loose["winner"] == max(measured, key=lambda name: measured[name])
    winners = [tight["winner"], loose["winner"]]

    tuned = step("finetune", both)["selected"]
    assert [entry["supernet"]["name"] for entry in tuned] == winners
    exported = step("export", both)["files"]
    for file, winner in zip(exported, winners, strict=True):
        manifest = verify_files((both / "export" / file["path"]).parent)
        assert manifest.space["name"] == manifest.arch["space"] == winner
        assert file["latency_ms"] > 0
    targets = step("validate", both)["targets"]
    for target, entry in zip(targets, searched["selected"], strict=True):
        assert target["arch"] == entry["arch"]
        assert target["accuracy_exported"] == pytest.approx(target["accuracy_torch"], abs=0.004)
        assert 0.3 < target["drift"] < 3
        assert target["predicted_ms"] <= target["budget_ms"]
    step("report", both)
    page = (both / "report" / "report.html").read_text()
    for winner in winners:
        assert f"<bdi>{winner} wins at " in page
    assert f"{slower} has no network within it" in page
    assert (both / "report" / "front-local-onnxruntime.png").is_file()
    for name in ("search", "finetune", "export", "validate", "report"):
        again = command(name, both, *(asked if name == "search" else ()))
        assert "up to date" in again.stdout, again.stdout + again.stderr
    assert "leave checkpoint out" in error_line(command("export", both, "checkpoint=x"))
    assert "each with tables in its run: leave it out" in error_line(command("validate", both, "latency.path=x"))
    assert result_of(both / "validate")["targets"] == targets
