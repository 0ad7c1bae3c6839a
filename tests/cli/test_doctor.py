"""`hwnas doctor`: quick, row by row, and right about packages that are old, half there or broken."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwnas.cli.commands import doctor
from hwnas.devices.config import TRANSPORTS
from hwnas.profiling.runtimes import RUNTIMES


def test_doctor_answers_for_every_runtime_and_transport_in_seconds() -> None:
    """In one table, whose rows come as they are known."""
    assert doctor.RUNTIME_MODULES.keys() == RUNTIMES.keys()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "hwnas.cli.main", "doctor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [(line.rstrip("\n"), time.monotonic() - started) for line in process.stdout]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0
    # 28 s with every package imported, 2 s now; a busy machine may take twice as long.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 6
    said = "\n".join(line for line, _ in lines)
    for part in (*(f"runtime {name}" for name in RUNTIMES), *(f"transport {name}" for name in TRANSPORTS)):
        (line,) = (line for line, _ in lines if f"│ {part} " in line)
        assert "│ yes" in line or "pip install" in said or "apt-get install" in said
    assert len({len(line) for line, _ in lines[1:]}) == 1  # though printed in pieces
    came = [moment for line, moment in lines if line.startswith("│ ")]
    assert came[0] < 0.5 * came[-1]
    assert len({round(moment, 1) for moment in came}) > 3


def answer(folder: Path, part: str) -> tuple[str, str]:
    """The row of `part` with `folder` first on the path."""
    code = (
        "from hwnas.cli.commands import doctor; import sys;"
        "rows = {**doctor.PARTS, **{n: doctor._runtime(n) for n in doctor.RUNTIMES}};"
        "name = sys.argv[1];"
        "print(*(doctor._accelerator() if name == 'accelerator' else doctor._answer(rows[name])), sep='|')"
    )
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, part],
        env={**os.environ, "PYTHONPATH": path}, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    works, _, how = done.stdout.strip().partition("|")
    return works, how


def install(folder: Path, name: str, version: str | None, code: str | None = "", needs: tuple[str, ...] = ()) -> None:
    """A distribution as pip leaves it: metadata unless `version` is None, a module unless `code` is None."""
    if version is not None:
        metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            f"Version: {version}",
            *(f"Requires-Dist: {n}" for n in needs),
        ]
        metadata.write_text("\n".join(lines) + "\n")
    if code is not None:
        module = folder / name.replace("-", "_") / "__init__.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(code)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "is killed by SIGSEGV: pip install"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL (it is built for another processor): pip"),
        ("import ctypes; ctypes.CDLL('libmissing.so.9')", "OSError: libmissing.so.9: cannot open shared object file"),
        ("import missing_dependency", "ModuleNotFoundError: No module named 'missing_dependency'"),
        ("raise SystemExit(3)", "fails with status 3"),
        ("raise SystemExit('no GPU')", "fails with no GPU"),
    ],
)
def test_a_runtime_that_breaks_when_it_is_imported(tmp_path: Path, code: str, said: str) -> None:
    install(tmp_path, "onnxruntime", "1.31.1", code)
    works, how = answer(tmp_path, "onnxruntime")
    assert works == "no"
    assert how.startswith("onnxruntime 1.31.1: 'import onnxruntime' ")
    assert said in how
    assert how.endswith("pip install --force-reinstall 'hwnas[onnxruntime]'")


def test_a_version_that_is_too_old_is_said_with_the_one_that_is_needed(tmp_path: Path) -> None:
    install(tmp_path, "onnxruntime", "1.9.0", "raise AssertionError('imported, though its version answers')")
    install(tmp_path, "onnx", "1.2")
    assert answer(tmp_path, "onnxruntime") == (
        "no", "onnxruntime 1.9.0 is installed, needs >= 1.20: pip install --upgrade 'hwnas[onnxruntime]'",
    )  # fmt: skip
    works, how = answer(tmp_path, "ONNX export")
    assert (works, how) == ("no", "onnx 1.2 is installed, needs >= 1.17: pip install --upgrade 'hwnas[onnxruntime]'")


def test_what_is_half_there_is_said(tmp_path: Path) -> None:
    install(tmp_path / "a", "onnxruntime", "1.30.0", code="")
    install(tmp_path / "a", "onnxruntime", "1.31.1", code=None)
    works, how = answer(tmp_path / "a", "onnxruntime")
    assert works == "yes"
    assert "1.30.0" in how
    assert "1.31.1" in how
    assert "several versions of onnxruntime are listed: pip install --force-reinstall onnxruntime" in how
    install(tmp_path / "b", "onnxruntime", "1.30.0", code="")
    install(tmp_path / "b", "onnxruntime", "1.3.0", code=None)
    assert answer(tmp_path / "b", "onnxruntime")[0] == "no"  # nobody knows which of the two it is
    install(tmp_path / "c", "onnxruntime", "1.31.1", needs=("no-such-thing>=2", "absent; extra == 'cuda'"))
    works, how = answer(tmp_path / "c", "onnxruntime")
    assert (works, "needs no-such-thing, which is not installed: pip" in how) == ("no", True)


def test_packages_that_are_not_there_as_their_metadata_say(tmp_path: Path) -> None:
    """Looked at in an environment of its own, so that this one's packages don't answer."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from hwnas.cli.installed import Package, look\n"
        "for name in sys.argv[2:]: print(look(Package(*name.split('/')), 'ssh'))"
    )
    install(tmp_path, "listed", "2.0", code=None)
    install(tmp_path, "bare", None)
    install(tmp_path, "thing-gpu", "3.1", code=None)
    (tmp_path / "thing_gpu-3.1.dist-info" / "top_level.txt").write_text("thing\n")
    install(tmp_path, "thing", None)
    (tmp_path / "leftover").mkdir()  # what a removed package may leave: a folder without modules
    names = ["listed/listed", "bare/bare", "thing/thing", "leftover/leftover", "absent/absent"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *names],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    listed, bare, other, leftover, absent = done.stdout.splitlines()
    assert "listed 2.0 is listed as installed, and its module listed is not there" in listed
    assert "told='bare of unknown version', fault=None" in bare
    assert "told='thing-gpu 3.1', fault=None, note='in place of thing'" in other
    assert "leftover is not installed: pip install 'hwnas[ssh]'" in leftover
    assert "absent is not installed: pip install 'hwnas[ssh]'" in absent


def test_whether_torch_has_an_accelerator_is_read_where_its_build_says_so(tmp_path: Path) -> None:
    fails = "raise AssertionError('imported')"
    install(tmp_path, "torch", "2.13.0+cpu", fails)
    version = tmp_path / "torch" / "version.py"
    version.write_text("cuda: Optional[str] = None\ngit_version = 'abc'\nhip: Optional[str] = None\n")
    if sys.platform != "darwin":
        works, how = answer(tmp_path, "accelerator")
        assert (works, how) == ("no", "torch 2.13.0+cpu is built without any: training runs on the CPU")
    stand_in = (
        "class cuda:\n"
        "    is_available = staticmethod(lambda: True)\n"
        "    get_device_name = staticmethod(lambda: 'Some GPU')\n"
        "class backends:\n    class mps:\n        is_available = staticmethod(lambda: False)\n"
    )
    for text in ("cuda = '12.8'\nhip = None\n", "cuda = None\nhip: Optional[str] = '6.4'\n", ""):
        version.write_text(text)
        (tmp_path / "torch" / "__init__.py").write_text(stand_in)
        assert answer(tmp_path, "accelerator") == ("yes", "Some GPU")


def test_no_adb_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert doctor._adb() == ("no", "no adb here: install the Android platform tools (Debian: apt-get install adb)")
