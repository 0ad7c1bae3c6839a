"""A runtime that crashes, exits or hangs says which step that was in: importing, loading, running; on any transport.

The runtimes are stand-in packages that come first on the device's PYTHONPATH and do what broken wheels do.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.errors import DeviceError
from hwnas.files import sha256_of_file
from hwnas.profiling import agent
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.drivers import make_driver
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.profiling.runtimes import RUNTIMES, model_writer
from hwnas.profiling.samples import Measurements
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Space
from tests.devices.servers import Sshd, adb_phone, lacking, sshd

QUICK = ProfilingConfig(networks=0, rounds=2, max_rounds=2, slice_ms=0.3, warm_up_ms=1.0, reference_copies=1, pin=False)
KILL = "import os, signal\nos.kill(os.getpid(), signal.{})\n"
VERSION = RUNTIMES["onnxruntime"].installed_version


@pytest.fixture(scope="module")
def files(space: OfaMbv3Space, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    write = model_writer(QUICK)
    return {
        name: write(space.operators_of(space.extreme(large)), folder / f"{name}.onnx", 0)
        for name, large in (("small", False), ("large", True))
    }


def python_with(folder: Path, package: str, code: str) -> str:
    """An interpreter whose module `package` is `code`."""
    module = folder / "site" / package / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text(code)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "site"} exec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return str(python)


def measure(
    device: DeviceConfig, files: dict[str, Path], folder: Path, config: ProfilingConfig = QUICK
) -> Measurements:
    with Journal(folder / "journal.jsonl", {}) as journal, connect(load_profile(device.name), device) as transport:
        return measure_models(transport, files, files["small"], config, seed=0, journal=journal, progress=no_progress)


def failure(device: DeviceConfig, files: dict[str, Path], folder: Path, config: ProfilingConfig = QUICK) -> str:
    with pytest.raises(DeviceError) as caught:
        measure(device, files, folder, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (KILL.format("SIGSEGV"), "was killed by SIGSEGV while importing onnxruntime {}"),
        (
            KILL.format("SIGKILL"),
            "was killed by SIGKILL while importing onnxruntime {}: most likely for want",
        ),
        (KILL.format("SIGABRT"), "was killed by SIGABRT while importing onnxruntime {}"),
        (KILL.format("SIGILL"), "was killed by SIGILL while importing onnxruntime {}: built for another processor"),
        ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV while importing onnxruntime {}"),
        ("import sys; sys.exit(3)", "failed with status 3 while importing onnxruntime {}"),
        ("import sys; sys.exit('no licence')", "failed with status 1 while importing onnxruntime {} (no licence)"),
        ("import sys; sys.exit()", "ended too early while importing onnxruntime {}"),
        ("import os; os._exit(0)", "ended too early while importing onnxruntime {}"),
        ("import os; os._exit(97)", "failed with status 97 while importing onnxruntime {}"),
        (
            "import ctypes; ctypes.CDLL('libnone.so.1')",
            "status 1 while importing onnxruntime {} (OSError: libnone.so.1",
        ),
        ("print('no end of line', end='')\n" + KILL.format("SIGSEGV"), "SIGSEGV while importing onnxruntime {}"),
    ],
)
def test_an_end_at_import_names_the_import(files: dict[str, Path], tmp_path: Path, code: str, how: str) -> None:
    said = failure(DeviceConfig(python=python_with(tmp_path, "onnxruntime", code)), files, tmp_path)
    assert said.startswith("local: the measuring process ")
    assert how.format(VERSION) in said
    if "SIGKILL" not in code:
        assert said.endswith("(pip install --force-reinstall onnxruntime)")
    if "SIGILL" not in code:
        assert f"see it alone with {sys.executable} -c 'import onnxruntime' there" in said


def test_an_import_error_of_an_installed_runtime_is_not_called_missing(files: dict[str, Path], tmp_path: Path) -> None:
    code = "raise ImportError('libgomp.so.1: cannot open shared object file: No such file or directory')"
    said = failure(DeviceConfig(python=python_with(tmp_path, "onnxruntime", code)), files, tmp_path)
    assert f"the device has onnxruntime {VERSION}, which can't be imported (libgomp.so.1: cannot open" in said
    assert "pip install --force-reinstall onnxruntime there" in said


def test_a_hang_at_import_names_the_import(files: dict[str, Path], tmp_path: Path) -> None:
    python = python_with(tmp_path, "onnxruntime", "import time\ntime.sleep(100)")
    said = failure(DeviceConfig(python=python, silence_s=2), files, tmp_path)
    assert f"said nothing for 2 s while importing onnxruntime {VERSION} and was ended: see it alone with" in said


def test_numpy_is_imported_under_its_own_name(files: dict[str, Path], tmp_path: Path) -> None:
    said = failure(DeviceConfig(python=python_with(tmp_path, "numpy", KILL.format("SIGILL"))), files, tmp_path)
    version = f"{np.__version__} for onnxruntime: built for another processor"
    assert f"was killed by SIGILL while importing numpy {version}" in said


@pytest.mark.parametrize(
    ("runtime", "package"), [("litert", "ai_edge_litert"), ("tvm", "tvm"), ("executorch", "torch")]
)
def test_every_runtime_is_named(files: dict[str, Path], tmp_path: Path, runtime: str, package: str) -> None:
    python = python_with(tmp_path, package, KILL.format("SIGSEGV"))
    name, ended = RUNTIMES[runtime].distribution, "was killed by SIGSEGV while importing"
    said = failure(DeviceConfig(python=python), files, tmp_path, replace(QUICK, runtime=runtime))
    assert re.search(rf"{ended} torch \S+ for {name}: " if package == "torch" else rf"{ended} {name} \S+: ", said)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Sshd]:
    if reason := lacking("ssh"):
        pytest.skip(reason)
    with sshd(tmp_path / "sshd") as server:
        yield server


STEPS = {"import": "importing", "load": "loading", "run": "running", "sample": "measuring"}


@pytest.mark.parametrize(
    ("number", "moments"),
    [
        ("SEGV", tuple(STEPS)), ("ILL", ("load",)), ("KILL", ("sample",)),
        *(pytest.param(number, tuple(STEPS), marks=pytest.mark.slow) for number in ("ILL", "KILL")),
    ],
)  # fmt: skip
def test_a_board_is_named_with_runtime_and_step(
    files: dict[str, Path], board: Sshd, tmp_path: Path, number: str, moments: tuple[str, ...]
) -> None:
    """By its profile and its address, in each step."""
    place = f"board (ssh {board.config().address}): the measuring process was killed by SIG{number} while"
    end = f"os.kill(os.getpid(), signal.SIG{number})"
    small, large = (sha256_of_file(files[name])[:24] for name in ("small", "large"))  # as files are called there
    profile = tmp_path / "board.yaml"
    profile.write_text("name: board\ndescription: a board\ntransport: ssh\nruntimes:\n  onnxruntime: [fp32]\n")
    for moment in moments:
        if moment == "import":
            what, python = "", python_with(tmp_path / moment, "onnxruntime", KILL.format(f"SIG{number}"))
        else:
            what, python = " the reference network in", fatal(tmp_path / moment, moment, small, end, large)
        said = failure(board.config(name=str(profile), python=python), files, tmp_path / STEPS[moment])
        assert said.startswith(f"{place} {STEPS[moment]}{what} onnxruntime {VERSION}")


@pytest.mark.parametrize("kind", ["ssh", "adb", "tvm_rpc"])
def test_other_transports_name_the_step_too(files: dict[str, Path], tmp_path: Path, kind: str) -> None:
    if reason := lacking(kind):
        pytest.skip(reason)
    with device_of(kind, tmp_path) as device:
        config = replace(QUICK, runtime="tvm" if kind == "tvm_rpc" else "onnxruntime")
        said = failure(device, files, tmp_path, config)
    name = "apache-tvm" if kind == "tvm_rpc" else "onnxruntime"
    assert said.startswith(f"local ({kind} {device.address}): the measuring process ")
    assert f"was killed by SIGSEGV while importing {name} " in said


@contextmanager
def device_of(kind: str, folder: Path) -> Iterator[DeviceConfig]:
    """A device of this transport whose runtime crashes when it is imported."""
    python = python_with(folder, "tvm" if kind == "tvm_rpc" else "onnxruntime", KILL.format("SIGSEGV"))
    if kind == "ssh":
        with sshd(folder / "sshd") as server:
            yield server.config(python=python)
    elif kind == "adb":
        with adb_phone(folder / "adb") as (serial,):
            there = str(folder / "adb" / "phone0" / "hwnas")
            yield DeviceConfig(transport="adb", address=serial, folder=there, python=python)
    else:
        with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
            # Here the agent runs on this machine, in its interpreter.
            patch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), str(Path(__file__).parents[2])]))
            yield DeviceConfig(transport="tvm_rpc", address=f"127.0.0.1:{server.getsockname()[1]}")


# The real runtime, whose sessions of a file end the process at a moment of their life. Last of all, `large` is loaded.
FATAL = """
import importlib, os, signal, sys
sys.path.remove(os.path.dirname(os.path.dirname(__file__)))
del sys.modules["onnxruntime"]
real = importlib.import_module("onnxruntime")
moment, victim, large, loaded = {moment!r}, {victim!r}, {large!r}, set()
class Session(real.InferenceSession):
    def __init__(self, path, *more, **named):
        self.name = os.path.basename(path).partition(".")[0]
        self.runs = 0
        if moment == "load" and self.name == victim:
            {end}
        super().__init__(path, *more, **named)
        loaded.add(self.name)
    def run_with_iobinding(self, binding):
        sampling.extend([1] * (self.name != large and large in loaded))
        if self.name == victim and (moment == "run" or (moment == "sample" and sampling)):
            {end}
        super().run_with_iobinding(binding)
sampling = []
real.InferenceSession = Session
"""


def fatal(
    folder: Path,
    moment: str,
    victim: str = "large",
    end: str = "os.kill(os.getpid(), signal.SIGSEGV)",
    large: str = "large",
) -> str:
    code = FATAL.format(moment=moment, victim=victim, end=end, large=large)
    return python_with(folder, "onnxruntime", code)


@pytest.mark.parametrize(("moment", "verb"), [("load", "loading"), ("run", "running"), ("sample", "measuring")])
def test_a_model_that_crashes_is_left_out_with_the_step(
    files: dict[str, Path], tmp_path: Path, moment: str, verb: str
) -> None:
    found = measure(DeviceConfig(python=fatal(tmp_path, moment)), files, tmp_path)
    assert set(found.latencies) == {"small"}
    step = f"{verb} model large in onnxruntime {VERSION}"
    assert f"killed by SIGSEGV while {step}: try another version of the runtime" in found.rejected["large"]


@pytest.mark.parametrize(("moment", "verb"), [("load", "loading"), ("run", "running")])
def test_a_reference_that_crashes_is_an_error_with_the_step(
    files: dict[str, Path], tmp_path: Path, moment: str, verb: str
) -> None:
    said = failure(DeviceConfig(python=fatal(tmp_path, moment, "small")), files, tmp_path)
    assert f"was killed by SIGSEGV while {verb} the reference network in onnxruntime {VERSION}: " in said


def test_a_process_that_is_ended_by_hand_while_it_measures_blames_no_model(
    files: dict[str, Path], tmp_path: Path
) -> None:
    python = fatal(tmp_path, "sample", end="os.kill(os.getpid(), signal.SIGTERM)")
    said = failure(DeviceConfig(python=python), files, tmp_path)
    assert f"was killed by SIGTERM while measuring model large in onnxruntime {VERSION}" in said
    assert '"rejected"' not in (tmp_path / "journal.jsonl").read_text()


def test_an_exit_while_a_model_is_loaded_is_said_and_the_rest_goes_on(files: dict[str, Path], tmp_path: Path) -> None:
    found = measure(DeviceConfig(python=fatal(tmp_path, "load", end="os._exit(0)")), files, tmp_path)
    assert set(found.latencies) == {"small"}
    assert f"ended too early while loading model large in onnxruntime {VERSION}" in found.rejected["large"]


def test_a_journal_of_steps_is_none(files: dict[str, Path], tmp_path: Path) -> None:
    """The journal holds what it held before steps were announced."""
    measure(DeviceConfig(), files, tmp_path)
    events = {line.split('"event": "')[1].split('"')[0] for line in (tmp_path / "journal.jsonl").open().readlines()[1:]}
    assert events == {"facts", "loading", "sample", "done"}


@pytest.mark.parametrize(
    ("number", "hint"), [("ILL", "built for another processor"), ("SEGV", "try another version of the runtime")]
)
def test_a_benchmark_model_that_crashes_tells_the_signal(tmp_path: Path, number: str, hint: str) -> None:
    binary = tmp_path / "benchmark_model"
    binary.write_text(f"#!/bin/sh\nkill -{number} $$\n")
    binary.chmod(0o755)
    driver = {"kind": "benchmark_model", "command": ["sh", "-c"], "binary": str(binary)}
    opened = make_driver({"runtime": "litert", "threads": 1, "driver": driver}, agent)
    with pytest.raises(RuntimeError, match=f"benchmark_model was killed by SIG{number}: {hint}"):
        opened.load({"file": "m.tflite"}, np.random.default_rng(0))
