"""What onboarding measures together is written by an executor's workers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import hwnas
from hwnas.devices.profile import load_profile
from hwnas.executors.config import ExecutorConfig
from hwnas.executors.local import LocalExecutor
from hwnas.latency.config import OnboardConfig
from hwnas.pipeline.config import OnboardStep
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.onboard import Onboarded, onboard
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Space
from tests.profiling.board import Board

CONFIG = ProfilingConfig(networks=10, rounds=4, max_rounds=4, folds=2)


class Counted(LocalExecutor):
    """Two processes, and how many files each call handed to them."""

    def __init__(self) -> None:
        super().__init__(ExecutorConfig(workers=2))
        self.handed: list[int] = []

    def each(self, title: str, make: Any, items: Any, *more: Any, **named: Any) -> Any:
        assert title == "writing models"
        self.handed.append(len(items))
        return super().each(title, make, items, *more, **named)


def test_networks_that_are_measured_together_are_written_by_workers(space: OfaMbv3Space, tmp_path: Path) -> None:
    def onboarded(folder: Path, executor: Counted | None) -> Onboarded:
        return onboard(
            space, load_profile("local"), Board(), CONFIG, OnboardConfig(candidates=40, check_networks=6), 3, folder, 0,
            no_progress, lambda _: None, executor,
        )  # fmt: skip

    alone = onboarded(tmp_path / "alone", None)
    with closing(Counted()) as executor:
        shared = onboarded(tmp_path / "shared", executor)
        assert executor.handed == [6]  # those that are chosen one after another are written here
        again = onboarded(tmp_path / "shared", executor)
        assert executor.handed == [6, 0]  # what a killed run wrote stays
    for found in (shared, again):
        assert found.check_ms.tolist() == alone.check_ms.tolist()
        assert found.latency_ms.tolist() == alone.latency_ms.tolist()
    files = [sorted(path.name for path in (tmp_path / name).rglob("*.onnx")) for name in ("alone", "shared")]
    assert files[0] == files[1]
    assert len(files[0]) == 10


def test_the_command_takes_an_executor() -> None:
    config = hwnas.load_config(["experiment=smoke", "executor.workers=2"]).part(OnboardStep)
    assert config.executor == ExecutorConfig(workers=2)
    assert "executor" not in config.settings()
