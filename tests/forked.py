"""A process that has imported the libraries, and forks one that runs `hwnas` or a program for each line that it reads.

Importing torch takes longer than most of what the tests ask of a command. What is forked is a process of its own, with
its own environment, folder, streams and exit status; it imports hwnas anew.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import sys
from typing import Any

# None of them starts a thread when it is imported: a fork would be without it. (onnxruntime does.)
LIBRARIES = (
    "hydra", "numpy", "pandas", "scipy.stats", "scipy.optimize", "sklearn.ensemble", "torch", "torch._dynamo",
    "torch.onnx", "torch.utils.tensorboard", "kornia", "lightning_fabric", "onnx", "onnxscript",
)  # fmt: skip


def serve() -> dict[str, Any] | None:
    """Fork at every line of stdin. None at its end; in the forked process, what the line asks for."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            asked: dict[str, Any] = json.loads(line)
            return asked
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()
    return None


def become(asked: dict[str, Any]) -> None:
    """Run `hwnas` as `python -m` does, or a program as `python -c` does."""
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY), (1, asked["stdout"], os.O_WRONLY | os.O_APPEND),
        (2, asked["stderr"], os.O_WRONLY | os.O_APPEND),
    ):  # fmt: skip
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["cwd"])
    sys.path[0] = asked["cwd"]
    sys.argv[1:] = asked["arguments"]
    if asked["code"] is not None:
        sys.argv[0] = "-c"
        exec(compile(asked["code"], "<string>", "exec", dont_inherit=True), {"__name__": "__main__"})  # noqa: S102
        return
    runpy.run_module("hwnas.cli.main", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # else what is forked goes through all of it, and so copies it, when it ends
    if request := serve():
        become(request)
