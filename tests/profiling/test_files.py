"""Model files measured as they are, on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.errors import DeviceError
from hwnas.export.formats import FORMATS, model_format
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.operators import Conv, GlobalPool, Linear, Operator
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.files import FileLatencies, measure_files
from hwnas.progress import no_progress

SETTINGS = ProfilingConfig(rounds=3, max_rounds=3, slice_ms=1.0, warm_up_ms=2.0)


def chain(width: int) -> list[Operator]:
    return [
        Conv(16, 16, 3, width, kernel=3, stride=1, activation="relu"),
        GlobalPool(16, 16, width, width), Linear(1, 1, width, 10),
    ]  # fmt: skip


def measured(files: dict[str, Path], runtime: str, work: Path) -> FileLatencies:
    settings = ProfilingConfig(**{**vars(SETTINGS), "runtime": runtime})
    shapes = dict.fromkeys(files, (1, 3, 16, 16))
    with connect(load_profile("local"), DeviceConfig()) as transport:
        return measure_files(files, shapes, transport, settings, work, 0, no_progress)


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_larger_networks_take_longer(name: str, tmp_path: Path) -> None:
    assert name in FORMATS
    chosen = model_format(name)
    files = {
        str(width): synthetic_writer(chosen.name)(chain(width), tmp_path / f"{width}{chosen.suffix}")
        for width in (8, 256)
    }
    found = measured(files, chosen.runtime, tmp_path / "work")
    small, large = found.latencies["8"], found.latencies["256"]
    assert 0 < small.p10_ms <= small.median_ms <= small.p90_ms
    assert large.median_ms > 2 * small.median_ms  # 32 times the work
    assert found.reference_ms > 0
    assert found.facts["runtime_version"]
    assert not (tmp_path / "work").exists()


def test_file_that_the_runtime_refuses_stands_alone(tmp_path: Path) -> None:
    good = synthetic_writer("onnx")(chain(8), tmp_path / "good.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    found = measured({"good": good, "bad": tmp_path / "bad.onnx"}, "onnxruntime", tmp_path / "work")
    assert set(found.latencies) == {"good"}
    assert set(found.rejected) == {"bad"}
    with pytest.raises(DeviceError, match="rejects every model"):
        measured({"bad": tmp_path / "bad.onnx"}, "onnxruntime", tmp_path / "work")
