"""What a run writes down: the same rows in each form, each once, whatever happened in between."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hwnas.data.load import ImageData
from hwnas.errors import CheckpointError
from hwnas.progress import Progress, no_progress
from hwnas.spaces import OfaMbv3Space
from hwnas.training.engine import TrainResult, train
from hwnas.training.state import CheckpointFolder
from tests.training import tiny


class StopError(Exception):
    pass


def stop_at(share: float) -> Progress:
    def progress(done: float, status: str) -> None:
        if done >= share:
            raise StopError

    return progress


@pytest.fixture(scope="module")
def recorded(
    space: OfaMbv3Space, data: ImageData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainResult]:
    """A run that was interrupted once, one step after its last checkpoint."""
    config = replace(tiny.bignas(), tensorboard=True, checkpoint_every=4, log_every=1, evaluate_every_epochs=2)
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.raises(StopError):
        train(config, space, data, folder, 0, stop_at(6.5 / 15))
    return folder, train(config, space, data, folder, 0, no_progress)


def test_the_table_has_every_row_once(recorded: tuple[Path, TrainResult]) -> None:
    folder, result = recorded
    with (folder / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["event"], int(row["step"])) for row in rows] == [(row["event"], row["step"]) for row in result.history]
    steps = [row for row in rows if row["event"] == "steps"]
    assert [int(row["step"]) for row in steps] == list(range(1, 16))
    for row in steps:
        for name in ("largest", "smallest", "random"):
            assert float(row[f"{name}_loss"]) > 0
            assert 0 <= float(row[f"{name}_batch_accuracy"]) <= 1
        assert float(row["images_per_s"]) > 0
    assert [float(row["left_s"]) for row in steps][-1] == 0
    elapsed = [float(row["elapsed_s"]) for row in rows]
    assert elapsed == sorted(elapsed)
    judged = [(row["event"], int(row["step"])) for row in rows if row["largest_accuracy"]]
    assert judged == [("evaluation", 6), ("evaluation", 12), ("phase_end", 15)]


def test_tensorboard_has_every_step_once(recorded: tuple[Path, TrainResult]) -> None:
    folder, result = recorded
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    tags = board.Tags()["scalars"]
    assert {"loss", "learning_rate", "images_per_s"} <= set(tags)
    assert {f"{score}/{name}" for name in ("largest", "smallest", "random") for score in ("loss", "accuracy")} <= set(
        tags
    )
    found = [(event.step, event.value) for event in board.Scalars("loss/smallest")]
    rows = [row for row in result.history if row["event"] == "steps"]
    assert found == [(row["step"], pytest.approx(row["smallest_loss"], rel=1e-6)) for row in rows]


def test_evaluations_change_nothing_but_the_record(
    recorded: tuple[Path, TrainResult], space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    _, result = recorded
    plain = train(tiny.bignas(), space, data, tmp_path, 0, no_progress)
    state = plain.supernet.state_dict()
    assert all(value.equal(state[name]) for name, value in result.supernet.state_dict().items())


def test_a_folder_of_an_earlier_version(recorded: tuple[Path, TrainResult]) -> None:
    folder, _ = recorded
    (newest,) = {max((folder / "checkpoints").iterdir())}
    from hwnas.training.checkpoint import read_checkpoint, write_checkpoint

    tensors, metadata = read_checkpoint(newest)
    now = metadata["identity"]
    # As the first version wrote it: no arch, shards instead of parts, and fewer settings.
    training = {key: now["training"][key] for key in ("momentum", "weight_decay", "dropout", "batch_size", "precision")}
    phase = {
        key: value for key, value in now["training"]["phases"][0].items() if key not in ("resolutions", "decay_epochs")
    }
    old = {key: value for key, value in now.items() if key != "arch"} | {
        "training": {**now["training"], **training, "phases": [phase], "shards": 2}
    }
    for key in ("parts", "network", "start"):
        del old["training"][key]
    later = ("rand_operations", "rand_magnitude", "mixup", "cutmix")
    old["augment"] = {key: value for key, value in now["augment"].items() if key not in later}
    write_checkpoint(newest, tensors, {**metadata, "identity": old})
    latest = CheckpointFolder(folder / "checkpoints", now).latest()
    assert latest is not None
    assert latest.step == metadata["step"]
    old["training"]["shards"] = 4
    write_checkpoint(newest, tensors, {**metadata, "identity": old})
    with pytest.raises(CheckpointError, match=r"run\.training\.parts: expected 2, found 4; go back"):
        CheckpointFolder(folder / "checkpoints", now).latest()
