"""Processes, shells and addresses that are written out: what is made of each, without a server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from hwnas.devices.adb import AdbTransport, attached
from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import ADB_FOLDER, SSH_FOLDER, connect
from hwnas.devices.local import LocalTransport
from hwnas.devices.process import CUT_OFF, LocalProcess, Process, ProcessError, Step, how_ended, read_lines
from hwnas.devices.profile import MACS_PER_CYCLE, DeviceProfile, load_profile
from hwnas.devices.profile_file import read_profile
from hwnas.devices.remote import RemoteTransport
from hwnas.devices.ssh import _told, parse_address
from hwnas.devices.transport import Transport
from hwnas.devices.tvm_rpc import TvmRpcTransport, parse_rpc_address
from hwnas.errors import ConfigError, ConnectionLostError, DeviceError, StorageError


class Scripted(Process):
    """Output in chunks (None: silence), then a status and last words."""

    def __init__(self, chunks: Sequence[bytes | None], status: int = 0, words: str = "") -> None:
        self.chunks, self.status, self.words = [*chunks, b""], status, words
        self.waits: list[float] = []
        self.ended = 0

    def read(self, timeout_s: float) -> bytes | None:
        self.waits.append(timeout_s)
        return self.chunks.pop(0)

    def finish(self) -> tuple[int, str]:
        return self.status, self.words

    def end(self) -> None:
        self.ended += 1


def said(process: Process, silence_s: float = 7.0) -> list[str]:
    return list(read_lines(process, "board", silence_s))


def failure(process: Process) -> ProcessError:
    with pytest.raises(ProcessError) as caught:
        said(process)
    return caught.value


RUNNING = b'{"event": "step", "doing": "running model m", "model": "m"}\n'
NOTHING = b'{"event": "step", "doing": ""}\n'


def test_lines_come_out_of_chunks() -> None:
    process = Scripted([b"one\ntw", b"o\r\n\nthr", b"ee"])
    assert said(process) == ["one", "two", "", "three"]
    assert process.ended == 1
    assert all(6.9 < wait <= 7.0 for wait in process.waits)
    assert said(Scripted([b"\xff ok\n"])) == ["\ufffd ok"]


def test_steps_are_taken_out_of_the_lines() -> None:
    assert said(Scripted([RUNNING + b"a\n" + NOTHING + b"b\n"])) == ["a", "b"]
    assert said(Scripted([b"no newline" + RUNNING + NOTHING])) == ["no newline"]
    other = b'{"event": "step", "unknown": 1}\n'
    assert said(Scripted([other])) == [other.decode().strip()]
    assert said(Scripted([b'{"event": "step", torn\n'])) == ['{"event": "step", torn']


@pytest.mark.parametrize(
    ("status", "how", "crashed"),
    [
        (1, "failed with status 1", False),
        (128, "failed with status 128", False),
        (128 + signal.SIGSEGV, "was killed by SIGSEGV", True),
        (128 + signal.SIGABRT, "was killed by SIGABRT", True),
        (128 + signal.SIGTERM, "was killed by SIGTERM", False),
        (128 + signal.SIGKILL, "was killed by SIGKILL: most likely for want of memory", False),
        (250, "failed with status 250", False),
    ],
)
def test_how_a_process_ended(status: int, how: str, crashed: bool) -> None:
    error = failure(Scripted([b"x\n"], status))
    assert str(error).startswith(f"board: the measuring process {how}")
    assert (error.status, error.crashed) == (status, crashed)
    assert how_ended(0, "it") == "it ended too early"


def test_an_end_within_a_step_is_too_early() -> None:
    error = failure(Scripted([RUNNING], 0))
    assert str(error) == "board: the measuring process ended too early while running model m"
    assert error.step.model == "m"
    assert said(Scripted([RUNNING + NOTHING], 0)) == []


def test_silence_ends_a_process() -> None:
    process = Scripted([b"x\n", None])
    error = failure(process)
    assert str(error) == (
        "board: the measuring process said nothing for 7 s and was ended: raise device.silence_s for very slow models"
    )
    assert (error.status, error.crashed, process.ended) == (None, False, 1)
    with pytest.raises(ConnectionLostError, match=r"board: the connection broke off \(gone\): reconnect"):
        said(Scripted([], CUT_OFF, "first\ngone\n"))
    assert str(failure(Scripted([], 1, "first\n" + 400 * "x"))).endswith(f"status 1 ({300 * 'x'})")


@pytest.mark.parametrize(
    ("step", "status", "remedy"),
    [
        (Step(), None, ": raise device.silence_s for very slow models"),
        (Step("importing a", "python -c 'import a'", "a"), None,
         ": see it alone with python -c 'import a' there, then install another version"
         " (pip install --force-reinstall a)"),
        (Step("importing a", "python -c 'import a'", "a"), 128 + signal.SIGILL,
         ": built for another processor than the one there: install a build for it (pip install --force-reinstall a)"),
        (Step("running m"), 128 + signal.SIGILL,
         ": built for another processor than the one there: install a build for it"),
        (Step("running m"), 128 + signal.SIGBUS, ": try another version of the runtime there, or another runtime"),
        (Step("running m"), 128 + signal.SIGKILL,
         ": most likely for want of memory: free some there, or lower profiling.chunk_models"),
        (Step("importing a", "python -c 'import a'", "a"), 128 + signal.SIGKILL,
         ": most likely for want of memory: free some there, or see it alone with python -c 'import a' there"),
        (Step(), 128 + signal.SIGSEGV, ""),
        (Step("running m"), 128 + signal.SIGTERM, ""),
        (Step("running m"), 1, ""),
    ],
)  # fmt: skip
def test_what_to_do_next(step: Step, status: int | None, remedy: str) -> None:
    assert step.remedy(status) == remedy


def test_a_process_of_this_machine() -> None:
    code = "import sys; print('out'); sys.stderr.write('e' * 3000 + 'last'); sys.exit(3)"
    process = LocalProcess([sys.executable, "-c", code])
    assert b"".join(iter(lambda: process.read(30) or b"", b"")) == b"out\n"
    status, words = process.finish()
    process.end()
    assert (status, len(words), words[-5:]) == (3, 2000, "elast")
    killed = LocalProcess(["sh", "-c", "kill -9 $$"])
    assert killed.read(30) == b""
    assert killed.finish()[0] == 128 + 9
    killed.end()
    waiting = LocalProcess(["sh", "-c", "sleep 60"])
    assert waiting.read(0.01) is None
    waiting.end()
    assert waiting._process.returncode == -signal.SIGTERM
    held = LocalProcess(["cat"], hold_input=True)
    assert held.read(0.05) is None
    held.end()
    assert LocalProcess(["cat"]).read(30) == b""
    with pytest.raises(OSError, match="no/such"):
        LocalProcess(["no/such"])


class Shell(RemoteTransport):
    """A device that is a folder of this machine, reached by a shell: counts what is asked and put."""

    def __init__(self, folder: Path, full: bool = False) -> None:
        super().__init__("shell", str(folder), sys.executable, 20.0)
        self.asked: list[str] = []
        self.sent: list[str] = []
        self.full = full

    def start(self, command: str) -> Process:
        self.asked.append(command)
        return LocalProcess(["sh", "-c", command], hold_input=True)

    def put(self, source: Path, target: str) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.sent.append(Path(target).name)
        shutil.copy(source, target)

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "models"
    folder.mkdir()
    for name, size in (("a", 10), ("b", 2048)):
        (folder / f"{name}.onnx").write_bytes(name.encode() * size)
    return {name: folder / f"{name}.onnx" for name in ("a", "b")}


def test_staging_sends_what_lacks_and_removes_what_is_not_asked_for(tmp_path: Path, models: dict[str, Path]) -> None:
    shell = Shell(tmp_path / "there it's")
    staged = shell.stage(models)
    assert len(shell.sent) == 2
    assert [Path(path).read_bytes() for path in staged.values()] == [b"a" * 10, b"b" * 2048]
    assert all(len(Path(path).stem) == 24 for path in staged.values())
    assert shell.stage(models) == staged
    assert len(shell.sent) == 2
    Path(staged["a"]).write_bytes(b"a" * 9)  # torn
    stale = [Path(staged["a"]).with_name(f"old{number}.onnx") for number in range(205)]
    for path in stale:
        path.write_bytes(b"x")
    shell.asked.clear()
    shell.stage({"a": models["a"]})
    assert Path(staged["a"]).read_bytes() == b"a" * 10
    assert [path.name for path in (tmp_path / "there it's" / "models").iterdir()] == [Path(staged["a"]).name]
    removals = [command for command in shell.asked if "rm -f" in command]
    assert len(removals) == 3  # of a hundred at most
    assert len(shell.sent) == 3


def test_an_agent_is_sent_once_and_checked(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import json, sys\nprint(json.load(open(sys.argv[1]))['word'])")
    shell = Shell(tmp_path / "there")
    assert list(shell.run(script, {"word": "one"})) == ["one"]
    assert list(shell.run(script, {"word": "two"})) == ["two"]
    assert shell.sent[1:] == ["job.json", "job.json"]
    [agent] = (tmp_path / "there").glob("agent-*.py")
    assert len(agent.stem) == len("agent-") + 24
    agent.write_text("print('evil')")
    with pytest.raises(DeviceError, match="is not the file that hwnas copied"):
        list(shell.run(script, {}))
    script.write_text("import sys; sys.exit(97)")
    with pytest.raises(DeviceError, match="is not the file that hwnas copied"):
        list(shell.run(script, {}))
    script.write_text("import sys; sys.exit(96)")
    with pytest.raises(ProcessError, match="failed with status 96"):
        list(shell.run(script, {}))
    shell._python = "/no/such/python"
    with pytest.raises(DeviceError, match="cannot start /no/such/python there; install Python 3"):
        list(shell.run(script, {}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("none 1000 5 1 1% /x", r"is full there \(1 KiB free, 2 KiB needed\)"),
        ("none 1000 5 2 1% /x", r"is full there \(2 KiB free, 2 KiB needed\)"),
        ("none 1000 5 3 1% /x", r"cannot write .* there \(No space left on device\)"),
        ("none 1000 5", "cannot write"),
        ("none 1000 5 - 1% /x", "cannot write"),
    ],
)
def test_a_file_that_does_not_fit_is_said_with_what_is_free(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, row: str, message: str
) -> None:
    shell = Shell(tmp_path / "there", full=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    told = f"Filesystem 1024-blocks Used Available Capacity Mounted\\n{row}"
    (programs / "df").write_text(f"#!/bin/sh\nprintf '{told}\\n'\n")
    (programs / "df").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(StorageError, match=message):
        shell.stage({"b": models["b"]})


ADB = """#!/bin/sh
case "$1" in
devices) cat "$ADB_SEES";;
connect) echo "failed to connect to $2"; exit 0;;
*) echo "error: device offline" >&2; exit 1;;
esac
"""


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client that sees what stands in the file."""
    folder, sees = tmp_path / "bin", tmp_path / "sees"
    folder.mkdir()
    (folder / "adb").write_text(ADB)
    (folder / "adb").chmod(0o755 | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ADB_SEES", str(sees))
    return sees


HEAD = "* daemon started successfully *\nList of devices attached\n"


def phone(serial: str | None) -> AdbTransport:
    return AdbTransport(serial, "/data/x", None, 5.0, None)


def test_phones_and_their_states(adb: Path) -> None:
    adb.write_text(f"{HEAD}R58N\tdevice\nemulator-5554   offline\nABC\tno permissions (user in plugdev)\n\n")
    assert attached() == {"R58N": "device", "emulator-5554": "offline", "ABC": "no permissions (user in plugdev)"}
    assert phone(None).where == "adb R58N"
    assert phone("R58N").where == "adb R58N"
    with pytest.raises(DeviceError, match="adb: phone emulator-5554 is offline: unplug it and plug it in again"):
        phone("emulator-5554")
    with pytest.raises(DeviceError, match=r"phone ABC is no permissions .*: allow your user"):
        phone("ABC")
    with pytest.raises(DeviceError, match="adb sees no phone 'X': attached are R58N, emulator-5554, ABC"):
        phone("X")
    with pytest.raises(DeviceError, match=r"adb connect 1\.2\.3\.4:5555: failed to connect"):
        phone("1.2.3.4:5555")
    with pytest.raises(DeviceError, match="no such file: /no/binary"):
        AdbTransport("R58N", "/data/x", None, 5.0, "/no/binary")


def test_which_phone_is_meant(adb: Path) -> None:
    adb.write_text(HEAD)
    with pytest.raises(DeviceError, match="adb sees no phone: plug one in"):
        phone(None)
    adb.write_text(f"{HEAD}A\tdevice\nB\tdevice\n")
    with pytest.raises(DeviceError, match=r"adb sees 2 phones: choose one with device\.address=A or B"):
        phone(None)
    adb.write_text(f"{HEAD}A\tunauthorized\n")
    with pytest.raises(DeviceError, match="phone A is unauthorized: unlock it"):
        phone(None)
    adb.write_text(f"{HEAD}A\tsideload\n")
    with pytest.raises(DeviceError, match="phone A is sideload: see adb devices"):
        phone(None)
    with pytest.raises(DeviceError, match="attached are A; see adb devices"):
        phone("B")


def test_what_a_phone_answers_is_not_a_lost_connection(adb: Path, tmp_path: Path) -> None:
    adb.write_text(f"{HEAD}A\tdevice\n")
    one = phone("A")
    with pytest.raises(OSError, match="adb -s A push"):
        one.put(tmp_path, "/data/x/y")
    adb.write_text(HEAD)
    with pytest.raises(DeviceError, match="error: device offline"):
        one.put(tmp_path, "/data/x/y")
    with pytest.raises(ConnectionLostError):
        list(one.run(Path(__file__), {}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.7:9090", ("10.0.0.7", 9090, None)), ("host:1", ("host", 1, None)),
        ("host:65535", ("host", 65535, None)),
        ("host:9190/my phone/2", ("host", 9190, "my phone/2")), ("[::1]:9090", ("::1", 9090, None)),
        ("host", None), ("host:0", None), ("host:65536", None), ("host:70000", None),
        ("host:9090/", None), ("host:a", None),
    ],
)  # fmt: skip
def test_addresses_of_rpc_servers(text: str, expected: tuple[str, int, str | None] | None) -> None:
    if expected is None:
        with pytest.raises(ConfigError, match="expected host:port"):
            parse_rpc_address(text)
    else:
        assert tuple(parse_rpc_address(text).values()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@b@host:22", ("a@b", "host", 22)), ("host:65535", (None, "host", 65535)), ("host:1", (None, "host", 1)),
        ("[::1]", (None, "::1", None)), ("[::1]:7", (None, "::1", 7)), ("a:b:c", (None, "a:b:c", None)),
        ("@host", (None, "host", None)), ("host:0", None), ("host:65536", None), ("host:70000", None),
        ("host:-1", None), ("[]:22", None),
    ],
)  # fmt: skip
def test_addresses_of_boards(text: str, expected: tuple[str | None, str, int | None] | None) -> None:
    if expected is None:
        with pytest.raises(ConfigError, match="expected"):
            parse_address(text)
    else:
        assert parse_address(text) == expected


def test_a_driver_goes_with_the_job(tmp_path: Path) -> None:
    if find_spec("tvm") is None:
        pytest.skip("needs TVM: install apache-tvm")
    script = tmp_path / "script.py"
    script.write_text("import sys; print(open(sys.argv[1]).read())")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        [line] = TvmRpcTransport(f"127.0.0.1:{port}/key", 20.0).run(script, {"seed": 1})
    assert line == f'{{"seed": 1, "driver": {{"kind": "tvm_rpc", "host": "127.0.0.1", "port": {port}, "key": "key"}}}}'
    with pytest.raises(DeviceError, match="does not answer"):
        TvmRpcTransport(f"127.0.0.1:{port}", 20.0)


def test_which_transport_reaches_a_device(adb: Path) -> None:
    profile = DeviceProfile("board", "a board", "ssh", {})
    for kind, form in (("ssh", r"\[user@\]host"), ("tvm_rpc", "host:port or host:port/key")):
        with (
            pytest.raises(DeviceError, match=f"reached by {kind}, and its profile has no address: .*{form}"),
            connect(profile, DeviceConfig(transport=kind)),
        ):
            pass
    with connect(profile, DeviceConfig(transport="local")) as here:
        assert isinstance(here, LocalTransport)
    adb.write_text(f"{HEAD}A\tdevice\nB\tdevice\n")
    with connect(profile, DeviceConfig(transport="adb", address="B")) as there:
        assert isinstance(there, AdbTransport)
        assert (there.where, str(there.folder)) == ("board (adb B)", ADB_FOLDER)
    assert (SSH_FOLDER, ADB_FOLDER) == ("~/.cache/hwnas", "/data/local/tmp/hwnas")
    assert vars(DeviceConfig()) == {
        "name": "local", "transport": None, "address": None, "folder": None, "python": None, "silence_s": 300.0,
        "key_file": None, "known_hosts": None, "benchmark_model": None,
    }  # fmt: skip
    assert DeviceConfig(folder="~/x").folder == "~/x"
    assert DeviceConfig(silence_s=1e-9).silence_s == 1e-9


def test_multiply_accumulates_a_cycle() -> None:
    """From wikichip: pipes times lanes of float32; two of 128 bits are 8, two of 256 are 16, one is 4."""
    assert MACS_PER_CYCLE == {
        "Cortex-A57": 1 * 4, "Cortex-A76": 2 * 4, "Cortex-A77": 2 * 4, "Cortex-A78": 2 * 4, "Cortex-A78AE": 2 * 4,
        "Neoverse N1": 2 * 4, "Neoverse N2": 2 * 4, "Neoverse V1": 2 * 8,
    }  # fmt: skip


BOARD = """\
name: board
description: a board
transport: local
runtimes: {{onnxruntime: [fp32, int8]}}
cpu: [{{core: Neoverse V1, count: 2, ghz: {ghz}}}, {{core: small, count: {count}}}]
sources: [https://example.org]
{more}
"""


def board(folder: Path, ghz: str = "2.5", count: str = "3", more: str = "") -> DeviceProfile:
    path = folder / "board.yaml"
    path.write_text(BOARD.format(ghz=ghz, count=count, more=more))
    return load_profile(str(path))


def test_facts_follow_from_others(tmp_path: Path) -> None:
    found = board(tmp_path)
    assert (found.cores, found.peak_gmacs) == (5, 2.5 * 16)
    assert board(tmp_path, more="peak_gmacs: 7").peak_gmacs == 7
    assert board(tmp_path, count="1").cores == 3
    assert board(tmp_path, ghz="19.99").cpu[0].ghz == 19.99
    assert DeviceProfile("x", "y", "local", {}).cores is None
    for wrong in ({"ghz": "20"}, {"ghz": "0"}, {"ghz": "-1"}, {"count": "0"}, {"more": "memory_mib: 0"}):
        with pytest.raises(DeviceError, match="expected a"):
            board(tmp_path, **wrong)
    found.check_runtime("onnxruntime", "int8")
    with pytest.raises(DeviceError, match="does not run onnxruntime in 'fp16'"):
        found.check_runtime("onnxruntime", "fp16")
    assert board(tmp_path, more="delegates: [xnnpack, gpu]").delegates == ("xnnpack", "gpu")
    with pytest.raises(DeviceError, match="delegates has 'cpu'"):
        board(tmp_path, more="delegates: [cpu]")


def test_ten_levels_are_read_and_eleven_are_not(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("[" * 10 + "x" + "]" * 10)
    found = read_profile(path, ())
    for _ in range(10):
        [found] = found
    assert found == "x"
    path.write_text("a: 1\nb:\n  " + "[" * 11 + "x" + "]" * 11)
    with pytest.raises(DeviceError, match="line 3: nested more than 10 deep"):
        read_profile(path, ())


def test_numbers_are_numbers_where_they_belong_alone(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_text("count: 1_0\nghz: 1.5e1\nname: 10\nlist: [~, 2]\nsigned: -3\nquoted: '4'\n")
    assert read_profile(path, ("count", "ghz", "signed", "quoted")) == {
        "count": 10, "ghz": 15.0, "name": "10", "list": [None, "2"], "signed": -3, "quoted": "4",
    }  # fmt: skip
    path.write_bytes(b"a: 1\nb: 2\nc: \xff")
    with pytest.raises(DeviceError, match=r"byte 0xff in line 3"):
        read_profile(path, ())
    path.write_text("a: 1\nb: {c: 1,\n  c: 2}\n")
    with pytest.raises(DeviceError, match="line 3: the key 'c' stands there twice"):
        read_profile(path, ())


def test_an_interrupted_reader_ends_the_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)")
    lines = LocalTransport(None, 20.0).run(script, {})
    pid = int(next(lines))
    lines.close()
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_a_transport_has_to_do() -> None:
    assert Transport.__abstractmethods__ == {"stage", "run", "close"}
    assert RemoteTransport.__abstractmethods__ == {"start", "put", "close"}
    assert Process.__abstractmethods__ == {"read", "finish", "end"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [(OSError("gone"), ConnectionLostError), (EOFError(), ConnectionLostError), (DeviceError("no"), DeviceError)],
)
def test_what_ssh_raises_is_a_lost_connection_unless_it_is_told_already(error: Exception, kind: type) -> None:
    with pytest.raises(DeviceError) as caught, _told("ssh board"):
        raise error
    assert type(caught.value) is kind
    with pytest.raises(KeyboardInterrupt), _told("ssh board"):
        raise KeyboardInterrupt
