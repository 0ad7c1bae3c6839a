"""What of a step's folder a tracker gets, and what it has already."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import ConfigError
from hwnas.pipeline.tracking.config import TrackingConfig
from hwnas.pipeline.tracking.content import Part, flat_settings
from hwnas.pipeline.tracking.sent import Sent, SentPart
from tests.pipeline.tracking import runs


@pytest.fixture
def part(tmp_path: Path) -> Part:
    runs.train(tmp_path / "train")
    return Part("train", tmp_path / "train")


def test_settings_are_flat() -> None:
    settings = {"a": {"b": {"c": 1.5}, "d": {}}, "e": [1, {"f": None}], "g": None, "h": "text", "i": True}
    assert flat_settings(settings) == {
        "a.b.c": "1.5", "a.d": "{}", "e": '[1, {"f": null}]', "g": "null", "h": "text", "i": "true",
    }  # fmt: skip


def test_figures_are_the_numbers_of_the_result(part: Part) -> None:
    assert part.figures() == {
        "train.largest.accuracy": 0.5, "train.largest.held_out_accuracy": 0.25,
        "train.targets.a-1.5ms.measured_ms": 1.25, "train.elapsed_s": 3.5,
    }  # fmt: skip
    columns, rows = part.tables()["train.targets"]
    assert dict(zip(columns, rows[0], strict=True)) == {"id": "a-1.5ms", "measured_ms": 1.25, "file": "a.onnx"}


def test_files_to_go_on_with_are_left_out(part: Part) -> None:
    (part.folder / ".lock").touch()
    (part.folder / "train.log").touch()
    runs.train(part.folder / "own")  # a step below it has files of its own
    assert sorted(part.files()) == ["inputs.json", "result.json", "supernet.safetensors", "training.csv"]


def test_half_a_row_waits_for_its_rest(part: Part) -> None:
    table = part.folder / "training.csv"
    whole = table.read_text()
    table.write_text(whole + runs.row(3, loss=1.25)[:-4])
    assert [(step, values["loss"]) for _, (step, values) in part.rows()] == [(1, 2.0), (2, 1.5)]
    table.write_text(whole + runs.row(3, loss="nan"))
    assert part.rows()[-1] == ("steps all", (3, {"learning_rate": 0.1}))
    table.unlink()
    assert part.rows() == []


def test_rows_that_are_written_again_are_sent_once() -> None:
    rows = [("steps all", (step, {"loss": 1.0})) for step in (1, 2, 3)]
    sent = SentPart().with_rows(rows[:2])
    assert sent.after(rows) == rows[2:]
    ended = [*rows, ("phase_end all", (3, {"accuracy": 0.5}))]
    assert sent.with_rows(rows[2:]).after(ended) == ended[3:]
    assert sent.with_rows(rows[2:]).with_rows(ended[3:]).after(ended) == []
    assert sent.with_rows([]) is sent


def test_what_was_sent_is_of_one_place(tmp_path: Path) -> None:
    here, there = TrackingConfig("mlflow"), TrackingConfig("mlflow", uri="http://127.0.0.1:1")
    sent = Sent("one").with_part("train", SentPart("x", step=3), tmp_path, here)
    assert Sent.read(tmp_path, here) == sent
    assert Sent.read(tmp_path, there) == Sent(uri=there.uri)
    # Another process of the same run sent something meanwhile.
    Sent("one").with_part("profile", SentPart("y"), tmp_path, here)
    assert set(sent.with_part("evaluate", SentPart("z"), tmp_path, here).parts) == {"train", "profile", "evaluate"}
    Sent.path(tmp_path, here).write_text("{")
    assert Sent.read(tmp_path, here) == Sent()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tracker": "mlfow"}, "did you mean 'mlflow'"),
        ({"mode": "on"}, "valid: auto, online, offline"),
        ({"project": "a/b"}, "a name without slashes"),
        ({"timeout_s": 0.0}, "seconds above 0"),
        ({"timeout_s": float("nan")}, "seconds above 0"),
        ({"tracker": "mlflow", "uri": "htp://host"}, "which begins with http://, https://, file://, sqlite://"),
        ({"tracker": "mlflow", "uri": "host:5000"}, "an address such as http://127.0.0.1:5000"),
        ({"tracker": "mlflow", "uri": ""}, "an address such as http://127.0.0.1:5000"),
        ({"tracker": "wandb", "uri": "/srv/runs"}, "which begins with http://, https://"),
    ],
)
def test_what_is_no_tracker_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        TrackingConfig(**settings)  # type: ignore[arg-type]
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("uri", ["runs/all", "/srv/runs", "sqlite:////srv/runs.db", "https://host", "databricks"])
def test_places_of_mlflow(uri: str) -> None:
    assert TrackingConfig("mlflow", uri=uri).uri == uri
