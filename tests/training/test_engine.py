"""Training runs: what they leave, how they resume, and how they fail."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwnas.data.load import ImageData
from hwnas.errors import CheckpointError, ConfigError, TrainingError
from hwnas.progress import Progress, no_progress
from hwnas.spaces import OfaMbv3Space
from hwnas.training import loss
from hwnas.training.checkpoint import load_supernet
from hwnas.training.config import TrainingConfig
from hwnas.training.engine import TrainResult, train
from hwnas.training.state import read_history
from tests.running import Forked
from tests.training import tiny


class StopError(Exception):
    pass


def stop_at(share: float) -> Progress:
    def progress(done: float, status: str) -> None:
        if done >= share:
            raise StopError

    return progress


def equal_weights(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def test_a_run_learns_and_records(config: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path) -> None:
    longer = replace(config, phases=(replace(config.phases[0], epochs=12), *config.phases[1:]))
    result = train(longer, space, data, tmp_path, 0, no_progress)
    ends = [row for row in result.history if row["event"] == "phase_end"]
    assert [row["phase"] for row in ends] == ["full", "kernel", "depth", "expand"]
    assert ends[-1]["largest_accuracy"] > 0.75
    assert ends[-1]["smallest_accuracy"] > 0.5
    losses = [row["loss"] for row in result.history if row["event"] == "steps" and row["phase"] == "full"]
    assert losses[-1] < losses[0]
    assert read_history(tmp_path / "history.json") == result.history
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    loaded, metadata = load_supernet(result.path, space.config())
    assert equal_weights(loaded, result.supernet)
    assert metadata["classes"] == ["a", "b", "c"]
    assert metadata["preprocessing"] == data.preprocessing.to_dict()


OFTEN: dict[str, Any] = {"checkpoint_every": 2, "log_every": 1}


@pytest.fixture(scope="module")
def whole(
    space: OfaMbv3Space, data: ImageData, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], TrainResult]:
    """Of each method, a run that nothing interrupts, made when first asked for."""
    made: dict[str, TrainResult] = {}

    def of(method: str) -> TrainResult:
        if method not in made:
            config = replace(tiny.METHODS[method](), **OFTEN)
            made[method] = train(config, space, data, tmp_path_factory.mktemp(method), 3, no_progress)
        return made[method]

    return of


@pytest.mark.parametrize(
    ("method", "share"),
    [*(("progressive_shrinking", share) for share in (0.05, 0.25, 0.3, 0.95)), ("bignas", 0.5), ("shifted", 0.6)],
)
def test_an_interrupted_run_ends_with_the_same_weights(
    method: str, share: float, whole: Callable[[str], TrainResult], space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    config = replace(tiny.METHODS[method](), **OFTEN)
    with pytest.raises(StopError):
        train(config, space, data, tmp_path, 3, stop_at(share))
    resumed = train(config, space, data, tmp_path, 3, no_progress)
    assert equal_weights(whole(method).supernet, resumed.supernet)
    rows = [[(row["step"], row.get("loss")) for row in result.history] for result in (whole(method), resumed)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("method", [pytest.param("progressive_shrinking", marks=pytest.mark.slow), "bignas"])
def test_a_killed_process_resumes(
    method: str, whole: Callable[[str], TrainResult], space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    # SIGKILL in the middle, in a process of its own; then the same call here.
    code = "import sys; from tests.training.tiny import main; main(*sys.argv[1:])"
    with Forked(code, [tmp_path, method, json.dumps(OFTEN), "0.05"], cwd=Path(tiny.__file__).parents[2]) as process:
        deadline = time.monotonic() + 120
        while not any(float(line) > 0.5 for line in process.printed().split("\n")[:-1]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        assert process.finish().returncode == -signal.SIGKILL
    assert not (tmp_path / "supernet.safetensors").exists()
    config = replace(tiny.METHODS[method](), **OFTEN)
    resumed = train(config, space, data, tmp_path, 3, no_progress)
    assert equal_weights(whole(method).supernet, resumed.supernet)


def test_a_finished_run_is_not_trained_again(
    one_phase: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    first = train(one_phase, space, data, tmp_path, 0, no_progress)
    second = train(one_phase, space, data, tmp_path, 0, stop_at(0))
    assert equal_weights(first.supernet, second.supernet)


def test_an_epoch_of_few_images_repeats_them(
    one_phase: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    (phase,) = one_phase.phases
    steps = [
        train(replace(one_phase, epoch_images=images), space, data, tmp_path / str(images), 0, no_progress).history[-1]
        for images in (0, 80, 3 * len(data.train))
    ]
    assert [row["epoch"] for row in steps] == [phase.epochs] * 3
    assert [row["step"] / steps[0]["step"] for row in steps] == [1, 1, 3]


def test_seeds_differ(one_phase: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path) -> None:
    first, second = (train(one_phase, space, data, tmp_path / str(seed), seed, no_progress) for seed in (0, 1))
    assert not equal_weights(first.supernet, second.supernet)


def test_checkpoints_of_another_run_are_refused(
    one_phase: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    train(one_phase, space, data, tmp_path, 0, no_progress)
    with pytest.raises(CheckpointError, match=r"run\.training\.momentum: expected 0\.8, found 0\.9"):
        train(replace(one_phase, momentum=0.8), space, data, tmp_path, 0, no_progress)
    with pytest.raises(CheckpointError, match=r"run\.seed: expected 1, found 0"):
        train(one_phase, space, data, tmp_path, 1, no_progress)
    other = type(space)(replace(space.settings, depths=(1, 3)))
    with pytest.raises(CheckpointError, match=r"run\.space\.depths"):
        train(one_phase, other, data, tmp_path, 0, no_progress)
    # How often a run saves and logs doesn't change what comes out.
    train(replace(one_phase, log_every=7, checkpoint_every=3), space, data, tmp_path, 0, no_progress)


def test_a_truncated_checkpoint_falls_back_to_the_one_before(
    one_phase: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    often = replace(one_phase, checkpoint_every=2)
    whole = train(often, space, data, tmp_path, 0, no_progress)
    older, newest = sorted((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    assert equal_weights(train(often, space, data, tmp_path, 0, no_progress).supernet, whole.supernet)
    assert older.exists()
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"\x10\x00")
    with pytest.raises(CheckpointError, match="truncated"):
        train(often, space, data, tmp_path, 0, no_progress)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(
    one_phase: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    wild = replace(one_phase, phases=(replace(one_phase.phases[0], learning_rate=1e30),), checkpoint_every=1)
    with pytest.raises(TrainingError, match=r"phase 'full', step \d+, learning rate .*last good checkpoint"):
        train(wild, space, data, tmp_path, 0, no_progress)
    kept = list((tmp_path / "checkpoints").iterdir())
    assert kept
    assert json.loads((tmp_path / "history.json").read_text())["rows"] is not None


def test_a_batch_larger_than_the_data_is_all_of_them(
    one_phase: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    settings = replace(one_phase, dropout=0.0, shards=2)
    whole, larger = (
        train(replace(settings, batch_size=size), space, data, tmp_path / str(size), 0, no_progress)
        for size in (90, 128)
    )
    assert equal_weights(whole.supernet, larger.supernet)
    eleven = replace(data, train=data.train.first(11))
    train(settings, space, eleven, tmp_path / "odd", 0, no_progress)  # 10 a batch
    with pytest.raises(ConfigError, match=r"at least 4 training images, 2 for each of 1 processes × 2 shards.*, got 3"):
        train(settings, space, replace(data, train=data.train.first(3)), tmp_path / "few", 0, no_progress)


def test_a_note_beside_the_images_is_no_other_run(
    one_phase: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    train(one_phase, space, data, tmp_path, 0, no_progress)
    train(one_phase, space, replace(data, left_out={".txt": 1}), tmp_path, 0, stop_at(0))


def test_what_does_not_fit(one_phase: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="10 classes"):
        train(one_phase, type(space)(replace(space.settings, classes=10)), data, tmp_path, 0, no_progress)
    for key, values, gene, valid in (("kernel_sizes", (3, 7), "ks", "3, 5"), ("resolutions", (8, 7), "r", "8, 12")):
        foreign = replace(one_phase, phases=(replace(one_phase.phases[0], **{key: values}),))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=rf"phase 'full': \[7\] is no choice of gene '{gene}'.*valid: {valid}"):
            train(foreign, space, data, tmp_path, 0, no_progress)
    assert not list(tmp_path.iterdir())


def test_the_largest_network_is_the_teacher(
    config: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor | None] = []
    real = loss.distilled_loss

    def spy(logits: Tensor, labels: Tensor, soft_labels: Tensor | None, *rest: float) -> Tensor:
        seen.append(soft_labels)
        return real(logits, labels, soft_labels, *rest)

    monkeypatch.setattr(loss, "distilled_loss", spy)
    train(replace(config, phases=config.phases[:2]), space, data, tmp_path, 0, no_progress)
    assert all(soft is None for soft in seen[:6])
    assert all(soft is not None and torch.allclose(soft.sum(1), torch.ones(30)) for soft in seen[6:])
    assert load_supernet(tmp_path / "teacher.safetensors")[1]["kind"] == "supernet"
