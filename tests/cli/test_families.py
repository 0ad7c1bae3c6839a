"""Two families searched together on real runtimes, from two runs to verified files of whichever won."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hwnas.export.bundle.verify import verify_files
from tests.cli.test_pipeline import error_line, result_of
from tests.running import run_hwnas

OFA, V4 = "ofa_mbv3_smoke", "mobilenet_v4_smoke"
SETTINGS = ("experiment=smoke", "runtime=onnxruntime", "search.confidence=0.5")


def fastest_ms(*arguments: str) -> float:
    message = error_line(run_hwnas("search", *SETTINGS, "search.budgets=[1e-9]", *arguments))
    return float(re.findall(r"the fastest takes (\S+) ms", message)[0])


def step(command: str, folder: Path, *arguments: str) -> dict[str, Any]:
    done = run_hwnas(command, *SETTINGS, *arguments, f"hydra.run.dir={folder / command}")
    assert done.returncode == 0, done.stderr
    return result_of(folder / command)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_families_end_with_verified_files_of_the_winners(smoke: Path, tmp_path: Path) -> None:
    runs, both = {OFA: smoke, V4: tmp_path / "v4"}, tmp_path / "both"
    for command in ("train", "evaluate", "profile"):
        step(
            command,
            runs[V4],
            f"space={V4}",
            "training=bignas_all_32",
            *(["profiling.networks=10"][: command == "profile"]),
        )
    given = {name: f"runs=[{run}]" for name, run in runs.items()}
    least = {name: fastest_ms(given[name], f"hydra.run.dir={tmp_path / name}") for name in runs}
    faster, slower = sorted(least, key=lambda name: least[name])
    budgets = f"search.budgets=[{sum(least.values()) / 2},{4 * least[slower]}]"
    asked = (f"runs=[{runs[OFA]},{runs[V4]}]", budgets, "search.evaluate_top=2", "evaluation.measure.images=0")
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
    for command in ("search", "finetune", "export", "validate", "report"):
        more = asked if command == "search" else ()
        again = run_hwnas(command, *SETTINGS, *more, f"hydra.run.dir={both / command}")
        assert "up to date" in again.stdout, again.stdout + again.stderr
    moved = run_hwnas("export", *SETTINGS, "checkpoint=x", f"hydra.run.dir={both / 'export'}")
    assert "leave checkpoint out" in error_line(moved)
    tables = run_hwnas("validate", *SETTINGS, "latency.path=x", f"hydra.run.dir={both / 'validate'}")
    assert "each with tables in its run: leave it out" in error_line(tables)
    assert json.loads((both / "validate" / "result.json").read_text())["result"]["targets"] == targets
