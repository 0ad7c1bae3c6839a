"""`hwnas doctor`: what works here, and what to install for what does not."""

from __future__ import annotations

import shutil
import subprocess
import sys

from hwnas.cli.console import Reporter
from hwnas.devices.adb import attached
from hwnas.errors import DeviceError
from hwnas.profiling.runtimes import RUNTIMES

__all__ = ["run"]

TIME_LIMIT_S = 120
# What each part of the pipeline imports, by the extra that installs it.
PARTS = {
    "training": ("train", ("torch", "lightning_fabric", "kornia", "PIL", "sklearn")),
    "ONNX export": ("onnxruntime", ("onnx", "onnxscript")),
    "TFLite export": ("litert", ("litert_torch",)),
}
RUNTIME_MODULES = {
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai_edge_litert.interpreter",),
    "tvm": ("tvm.relax", "onnx"),
    "executorch": ("executorch.runtime", "torchao"),
}


def run() -> None:
    rows = [(name, *_answer(modules, extra)) for name, (extra, modules) in PARTS.items()]
    rows += [(f"runtime {name}", *_answer(RUNTIME_MODULES[name], runtime.extra)) for name, runtime in RUNTIMES.items()]
    rows.append(("accelerator", *_accelerator()))
    rows.append(("transport local", "yes", "this machine"))
    rows.append(("transport ssh", *_answer(("paramiko",), "ssh")))
    rows.append(("transport adb", *_adb()))
    rows.append(("transport tvm_rpc", *_answer(("tvm.rpc", "tornado", "cloudpickle", "psutil"), "tvm")))
    Reporter().table("what works here", ("part", "works", "how"), rows, left=True)


def _answer(modules: tuple[str, ...], extra: str) -> tuple[str, str]:
    # In a process of its own: a package that is broken may end it, and none of this is needed afterwards.
    failed = [module for module in modules if not _python(f"import {module}")[0]]
    if failed:
        return "no", f"{', '.join(failed)} can't be imported: pip install 'hwnas[{extra}]'"
    return "yes", ", ".join(modules)


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
    works, text = _python("import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')")
    if works and text.strip():
        return "yes", text.strip()
    return "no", "training runs on the CPU"


def _python(code: str) -> tuple[bool, str]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False, ""
    return done.returncode == 0, done.stdout
