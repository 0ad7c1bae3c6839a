"""`hwnas doctor`: what works here, and what to install for what does not. Each row is printed once it is known."""

from __future__ import annotations

import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.cli.installed import Package, compares_versions, look
from hwnas.devices.adb import attached
from hwnas.errors import DeviceError
from hwnas.profiling.runtimes import RUNTIMES
from hwnas.version import __version__

__all__ = ["run"]

TIME_LIMIT_S = 120
_COLUMNS = ("part", "works", "how")

_LOAD_TORCH = (
    "import ctypes, importlib.util, pathlib\n"
    "folder = pathlib.Path(importlib.util.find_spec('torch').origin).parent / 'lib'\n"
    "ctypes.CDLL(str(folder / 'libtorch_python.so'))\n"
)


@dataclass(frozen=True)
class Part:
    """What a part of the pipeline needs: packages of an extra, and an import that shows whether they run here.

    A shared library that is broken, lacks another or is built for another processor is only seen when it is loaded.
    `light` does that with the least around it; where it fails, `statement` decides.
    """

    extra: str
    packages: tuple[Package, ...]
    statement: str | None = None
    light: str | None = None


_TORCH = Package("torch", "torch")
_ONNX = (Package("onnx", "onnx"), Package("onnxscript", "onnxscript"))
PARTS = {
    "training": Part(
        "train",
        (
            _TORCH,
            Package("lightning-fabric", "lightning_fabric"),
            Package("kornia", "kornia"),
            Package("pillow", "PIL"),
            Package("scikit-learn", "sklearn"),
            Package("tensorboard", "tensorboard"),
        ),
        "import torch",
        _LOAD_TORCH,
    ),
    "ONNX export": Part("onnxruntime", _ONNX),
    "TFLite export": Part(
        "litert", (Package("litert-torch", "litert_torch"), Package("ai-edge-quantizer", "ai_edge_quantizer"))
    ),
}
# The packages beside each runtime's own, and how it is imported.
_TVM = "import tvm.relax"
RUNTIME_MODULES = {
    "onnxruntime": ((), "import onnxruntime", None),
    "litert": ((), "from ai_edge_litert.interpreter import Interpreter", None),
    # TVM imports torch, for tensors of its, where it finds one.
    "tvm": (_ONNX, _TVM, f"import sys\nsys.modules['torch'] = None\n{_TVM}"),
    "executorch": (
        (_TORCH, Package("torchao", "torchao")),
        "import executorch.runtime",
        f"{_LOAD_TORCH}import executorch.extension.pybindings._C",
    ),
}
_RPC = Part(
    "tvm",
    (
        Package("apache-tvm", "tvm"),
        Package("tornado", "tornado"),
        Package("cloudpickle", "cloudpickle"),
        Package("psutil", "psutil"),
    ),
    RUNTIME_MODULES["tvm"][1],
    RUNTIME_MODULES["tvm"][2],
)


def run() -> None:
    rows: dict[str, Callable[[], tuple[str, str]]] = {"hwnas": _itself}
    for name, part in PARTS.items():
        rows[name] = lambda part=part: _answer(part)  # type: ignore[misc]
    for name in RUNTIMES:
        rows[f"runtime {name}"] = lambda name=name: _answer(_runtime(name))  # type: ignore[misc]
    rows["accelerator"] = _accelerator
    rows["transport local"] = lambda: ("yes", "this machine")
    rows["transport ssh"] = lambda: _answer(Part("ssh", (Package("paramiko", "paramiko"),)))
    rows["transport adb"] = _adb
    rows["transport tvm_rpc"] = lambda: _answer(_RPC)
    with ConsoleReporter().rows("what works here", _COLUMNS, (max(map(len, rows)), len("works"))) as add:
        for name, answer in rows.items():
            add(name, *answer())


def _itself() -> tuple[str, str]:
    versions = f"{__version__}, Python {platform.python_version()}"
    return "yes", versions if compares_versions() else (
        f"{versions}; its metadata (pip install hwnas) or the package packaging are missing:"
        " whether the versions below are new enough is not known"
    )


def _runtime(name: str) -> Part:
    beside, statement, light = RUNTIME_MODULES[name]
    runtime = RUNTIMES[name]
    own = Package(runtime.distribution, runtime.module, namespace=runtime.is_namespace)
    return Part(runtime.extra, (own, *beside), statement, light)


def _answer(part: Part) -> tuple[str, str]:
    found = [look(package, part.extra) for package in part.packages]
    told = ", ".join(one.told for one in found)
    faults = [one.fault for one in found if one.fault]
    if faults:
        return "no", "; ".join(faults)
    if part.statement and (failure := _failure(part.statement, part.light)):
        return "no", f"{told}: {failure}: pip install --force-reinstall 'hwnas[{part.extra}]'"
    return "yes", "; ".join([told, *(one.note for one in found if one.note)])


def _adb() -> tuple[str, str]:
    if shutil.which("adb") is None:
        return "no", "no adb here: install the Android platform tools (Debian: apt-get install adb)"
    try:
        phones = attached()
    except DeviceError as error:
        return "no", str(error)
    listed = ", ".join(f"{serial} ({state})" for serial, state in phones.items())
    return "yes", f"phones: {listed or 'none attached'}"


def _accelerator() -> tuple[str, str]:
    found = look(_TORCH, "train")
    if found.fault:
        return "no", found.fault
    if sys.platform != "darwin" and _built_for_cpus():
        return "no", f"{found.told} is built without any: training runs on the CPU"
    code = (
        "import torch\n"
        "cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()\n"
        "print(torch.cuda.get_device_name() if cuda else 'Metal (mps)' if mps else '')"
    )
    status, words = _python(code)
    lines = words.strip().splitlines()
    if status == 0 and lines:
        return "yes", lines[-1]
    return "no", f"{found.told} sees none: training runs on the CPU"


def _built_for_cpus() -> bool:
    """Whether torch's own version file says that it was built for no accelerator; False where it says nothing."""
    spec = find_spec("torch")
    try:
        text = (Path(spec.origin).parent / "version.py").read_text() if spec and spec.origin else ""
    except OSError:
        return False
    built = dict(re.findall(r"^(cuda|hip|xpu)\b[^=\n]*=\s*(.+?)\s*$", text, flags=re.MULTILINE))
    return "cuda" in built and set(built.values()) == {"None"}


@cache
def _failure(statement: str, light: str | None) -> str | None:
    """How an import fails in a process of its own, which it may end; None where it works."""
    if light and _python(light)[0] == 0:
        return None
    status, words = _python(statement)
    if status == 0:
        return None
    if status is None:
        return f"{statement!r} does not end within {TIME_LIMIT_S} s"
    if status < 0:
        hint = " (it is built for another processor)" if -status == signal.SIGILL else ""
        return f"{statement!r} is killed by {signal.Signals(-status).name}{hint}"
    lines = words.strip().splitlines()
    return f"{statement!r} fails with {lines[-1][:300] if lines else f'status {status}'}"


def _python(code: str) -> tuple[int | None, str]:
    """The exit status of `code` in a new process, None after the time limit, and what it said."""
    # The same path as here: `python -c` would put the current folder first.
    command: Sequence[str] = [sys.executable, "-c", f"import sys\nsys.path[:] = {sys.path!r}\n{code}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr or done.stdout
