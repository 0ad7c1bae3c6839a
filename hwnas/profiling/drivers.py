"""Runtimes that the measuring agent drives from here, on devices that run no agent of their own.

A driver loads a model there and gives its times as the device's own timer took them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from hwnas.devices.process import Step, how_ended

__all__ = ["BenchmarkModel", "TvmRpc", "make_driver"]

_SESSION_S = 600
_TIME_LIMIT_S = 600
_SPREAD = 1.2816  # the 90th percentile of a standard normal


class Agent(Protocol):
    """What drivers need of the measuring agent, in whose process they are."""

    def announce(self, doing: str) -> None: ...
    def announce_import(self, distribution: str, module: str) -> None: ...
    def make_inputs(self, shape: Any, rng: np.random.Generator) -> list[Any]: ...


class TvmRpc:
    """TVM's RPC server, directly or through a tracker. Raises ImportError without tvm."""

    runtime = "tvm"
    refusal = "a TVM RPC server runs TVM alone, not {}"
    facts: dict[str, Any]

    def __init__(self, job: dict[str, Any], agent: Agent) -> None:
        agent.announce_import("apache-tvm", "tvm")
        import tvm
        from tvm import relax, rpc

        server = job["driver"]
        agent.announce(f"opening a session of TVM RPC at {server['host']}:{server['port']}")
        self.version = tvm.__version__
        self._make_inputs = agent.make_inputs
        self._machine = relax.VirtualMachine
        self._tensor = tvm.runtime.tensor
        if server["key"]:
            tracker = rpc.connect_tracker(server["host"], server["port"])
            self._session = tracker.request(server["key"], session_timeout=_SESSION_S)
        else:
            self._session = rpc.connect(server["host"], server["port"], session_timeout=0)
        self._device = self._session.cpu(0)
        self._session.get_function("runtime.config_threadpool")(1, job["threads"])
        self.facts = {"soc": None, "machine": None, "pinned_cpus": None, "driver": "tvm_rpc"}

    def load(self, entry: dict[str, Any], rng: np.random.Generator) -> Callable[[int], dict[str, Any]]:
        """Loads a library there; the function returns the sample of `repeats` runs."""
        path = Path(entry["file"])
        self._session.upload(str(path))
        machine = self._machine(self._session.load_module(path.name), self._device)
        self._session.remove(path.name)
        values = self._make_inputs(entry["shape"], rng)
        machine.set_input("main", *(self._tensor(value, self._device) for value in values))
        timers: dict[int, Any] = {}

        def sample(repeats: int) -> dict[str, Any]:
            if repeats not in timers:
                timers[repeats] = machine.time_evaluator("invoke_stateful", self._device, number=1, repeat=repeats)
            return _percentiles([1e3 * seconds for seconds in timers[repeats]("main").results])

        return sample


class BenchmarkModel:
    """TensorFlow Lite's `benchmark_model`, one process a sample. Raises ImportError where it does not run."""

    runtime = "litert"
    refusal = "benchmark_model runs LiteRT alone, not {}; give device.python there"

    def __init__(self, job: dict[str, Any], agent: Agent) -> None:
        agent.announce("asking the phone for its properties")
        self._command: Sequence[str] = job["driver"]["command"]
        self._binary = job["driver"]["binary"]
        self._threads = job["threads"]
        self.version = "benchmark_model"
        names = {key: self._say(f"getprop {key} 2>/dev/null; true") for key in ("ro.soc.model", "ro.product.model")}
        self.facts = {
            "soc": names["ro.soc.model"] or None,
            "product": names["ro.product.model"] or None,
            "machine": self._say("uname -m; true"),
            "pinned_cpus": None,
            "driver": "benchmark_model",
        }

    def load(self, entry: dict[str, Any], _: np.random.Generator) -> Callable[[int], dict[str, Any]]:
        """Checks that the model runs; the function returns the sample of `repeats` runs."""

        def sample(repeats: int) -> dict[str, Any]:
            said = self._say(
                f"{shlex.quote(self._binary)} --graph={shlex.quote(entry['file'])} --num_threads={self._threads}"
                f" --num_runs={repeats} --min_secs=0 --max_secs=60 --warmup_runs=2 --warmup_min_secs=0 2>&1"
            )
            return parse_benchmark(said)

        sample(1)
        return sample

    def _say(self, command: str) -> str:
        done = subprocess.run(
            [*self._command, command], capture_output=True, text=True, errors="replace", timeout=_TIME_LIMIT_S,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines()
            status = 128 - done.returncode if done.returncode < 0 else done.returncode
            if status > 128:
                ended = f"{how_ended(status, Path(self._binary).name)}{Step('running it').remedy(status)}"
                raise RuntimeError(f"{ended} ({lines[-1]})" if lines else ended)
            raise RuntimeError(lines[-1] if lines else f"status {status}")
        return done.stdout.strip()


_DRIVERS: dict[str, Any] = {"tvm_rpc": TvmRpc, "benchmark_model": BenchmarkModel}


def make_driver(job: dict[str, Any], agent: Agent | None = None) -> Any:
    """The driver that the transport asks for in `job["driver"]`; a `version`, `facts`, and `load` as runtimes have.

    `agent`: by default the program that runs here. Raises ImportError where the driver does not run the job's runtime.
    """
    driver = _DRIVERS[job["driver"]["kind"]]
    if job["runtime"] != driver.runtime:
        raise ImportError(driver.refusal.format(job["runtime"]))
    return driver(job, cast(Agent, sys.modules["__main__"]) if agent is None else agent)


def parse_benchmark(text: str) -> dict[str, Any]:
    """A sample from what `benchmark_model` prints: `count=… min=… max=… avg=… std=…` of its runs, in µs.

    Newer versions tell the median, `p5` and `p95`; of older ones the mean is taken, and percentiles are those of a
    normal distribution within the least and the greatest. Raises RuntimeError where there is no such line.
    """
    runs = re.findall(r"^.*\bcount=\d+.*$", text, flags=re.MULTILINE)
    if not runs:
        lines = text.strip().splitlines()
        raise RuntimeError(f"benchmark_model gave no times: {lines[-1] if lines else 'it said nothing'}")
    values = {key: float(value) for key, value in re.findall(r"\b(\w+)=([\d.eE+-]+)", runs[-1])}
    middle, spread = values.get("median", values["avg"]), _SPREAD * values.get("std", 0.0)
    return {
        "ms": middle / 1e3,
        "p10": max(values["min"], middle - spread) / 1e3,
        "p90": min(values["max"], middle + spread) / 1e3,
        "repeats": int(values["count"]),
    }


def _percentiles(times_ms: Sequence[float]) -> dict[str, Any]:
    p10, median, p90 = (float(value) for value in np.percentile(times_ms, (10, 50, 90)))
    return {"ms": median, "p10": p10, "p90": p90, "repeats": len(times_ms)}
