"""The measuring agent: one stand-alone file, run as `python agent.py job.json` on the device that is measured.

It needs Python 3.8, numpy and the runtime, nothing of hwnas: a transport copies it as it is. Results go to standard
output, one JSON object a line and flushed, so that a killed run loses one slice. Events: `facts` (about the device,
first) or `missing` (the runtime), `loading` and `rejected` (a model; after a crash the last `loading` names the
culprit), `sample`, `done` (last, with what heat did to the clock). Before whatever may crash or hang stands a `step`,
which tells in words what is about to be done.

A sample is a slice: one model invoked again and again for some milliseconds, each invocation timed, timer overhead
subtracted. Models take turns in an order shuffled every round, and the reference model is measured before every few
of them and after the last: the drift of a shared or throttling machine is read off the reference samples around.
It is loaded several times, and its copies take turns.

For devices that run no Python, hwnas runs this file itself, with a `driver` in its job that measures there.
"""

from __future__ import annotations

import functools
import gc
import itertools
import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

PROTOCOL = 2
REFERENCE = "reference"
RETAKEN = 4


def emit(event: str, flush: bool = True, **values: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    if flush:
        sys.stdout.flush()


def announce(doing: str, **more: Any) -> None:
    """Says what comes next, for the error that tells of a crash in it; "" after the last."""
    emit("step", doing=doing, **more)


def announce_import(distribution: str, module: str, runtime: str = "") -> None:
    """`announce` for an import, with the version that is installed, the import alone, and what installs it anew.

    `runtime`: what it is imported for, where it is no runtime itself.
    """
    what = f"{distribution} {installed_version(distribution)}".strip()
    announce(
        f"importing {what} for {runtime}" if runtime else f"importing {what}",
        alone=f"{sys.executable} -c 'import {module}'",
        install=distribution,
    )


def installed_version(distribution: str) -> str:
    """From the package's metadata, "" where there are none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution) or ""
    except PackageNotFoundError:
        return ""


def announce_model(verb: str, identity: str, runtime: str) -> None:
    what = "the reference network" if identity == REFERENCE else f"model {identity}"
    announce(f"{verb} {what} in {runtime}", model=identity)


if __name__ == "__main__":
    announce_import("numpy", "numpy", json.loads(Path(sys.argv[1]).read_text())["runtime"])
import numpy as np  # noqa: E402 - a wheel of it for another processor dies here


class OnnxRuntime:
    """ONNX Runtime on the CPU, inputs and outputs bound once."""

    distribution = "onnxruntime"

    def __init__(self, threads: int) -> None:
        announce_import("onnxruntime", "onnxruntime")
        import onnxruntime

        announce("starting onnxruntime")
        self.onnxruntime = onnxruntime
        self.version = onnxruntime.__version__
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.log_severity_level = 3
        # Many models are loaded at once. Without this, the threads of those that ran just before spin on, on the CPUs
        # of the one that is measured: three times its latency on two cores.
        self.options.add_session_config_entry("session.force_spinning_stop", "1")

    def load(self, entry: dict[str, Any], rng: np.random.Generator) -> Callable[[], None]:
        """A function of no arguments that runs the model once."""
        session = self.onnxruntime.InferenceSession(entry["file"], self.options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for put, high in zip(session.get_inputs(), ranges(entry["shape"])):  # noqa: B905 - Python 3.8 has no strict
            dtype = {"tensor(float)": "float32", "tensor(float16)": "float16"}.get(put.type, put.type[7:-1])
            sizes = [size if isinstance(size, int) else 1 for size in put.shape]
            value = self.onnxruntime.OrtValue.ortvalue_from_numpy(make_input(sizes, dtype, rng, high))
            binding.bind_ortvalue_input(put.name, value)
        for put in session.get_outputs():
            binding.bind_output(put.name)
        announce_model("running", entry["id"], f"onnxruntime {self.version}")
        session.run_with_iobinding(binding)
        # The first run's outputs are bound as buffers: later runs allocate nothing.
        for put, value in zip(session.get_outputs(), binding.get_outputs()):  # noqa: B905 - Python 3.8 has no strict
            binding.bind_ortvalue_output(put.name, value)

        def invoke() -> None:
            session.run_with_iobinding(binding)

        return invoke


class LiteRt:
    """LiteRT (TensorFlow Lite) with its default delegate, XNNPACK."""

    distribution = "ai-edge-litert"

    def __init__(self, threads: int) -> None:
        announce_import("ai-edge-litert", "ai_edge_litert.interpreter")
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter
        self.version = installed_version("ai-edge-litert")
        self.threads = threads

    def load(self, entry: dict[str, Any], rng: np.random.Generator) -> Callable[[], None]:
        """A function of no arguments that runs the model once."""
        interpreter = self.interpreter(model_path=entry["file"], num_threads=self.threads)
        interpreter.allocate_tensors()
        puts = interpreter.get_input_details()
        for put, high in zip(puts, ranges(entry["shape"])):  # noqa: B905 - Python 3.8 has no strict
            value = make_input(put["shape"], np.dtype(put["dtype"]).name, rng, high)
            interpreter.set_tensor(put["index"], value)
        invoke: Callable[[], None] = interpreter.invoke
        return invoke


class Tvm:
    """A library that TVM compiled, run by its Relax virtual machine."""

    distribution = "apache-tvm"

    def __init__(self, threads: int) -> None:
        os.environ["TVM_NUM_THREADS"] = str(threads)
        announce_import("apache-tvm", "tvm")
        import tvm
        from tvm import relax

        announce("starting tvm")
        self.tvm = tvm
        self.machine = relax.VirtualMachine
        self.version = tvm.__version__

    def load(self, entry: dict[str, Any], rng: np.random.Generator) -> Callable[[], None]:
        """A function of no arguments that runs the model once."""
        machine = self.machine(self.tvm.runtime.load_module(entry["file"]), self.tvm.cpu())
        machine.set_input("main", *map(self.tvm.runtime.tensor, make_inputs(entry["shape"], rng)))
        run = machine.module["invoke_stateful"]

        def invoke() -> None:
            run("main")

        return invoke


class ExecuTorch:
    """An ExecuTorch program in the runtime for Python, with what it was delegated to."""

    distribution = "executorch"

    def __init__(self, threads: int) -> None:
        announce_import("torch", "torch", "executorch")
        import torch

        announce_import("executorch", "executorch.runtime")
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        announce("starting executorch")
        self.version = installed_version("executorch")
        self.torch = torch
        self.runtime = Runtime.get()
        if portable_lib._threadpool_get_thread_count() != threads:
            portable_lib._unsafe_reset_threadpool(threads)

    def load(self, entry: dict[str, Any], rng: np.random.Generator) -> Callable[[], None]:
        """A function of no arguments that runs the model once."""
        program = self.runtime.load_program(entry["file"])
        inputs = [self.torch.from_numpy(value) for value in make_inputs(entry["shape"], rng)]
        forward = program.load_method("forward")

        def invoke(_: Any = program) -> None:  # its methods live as long as the program
            forward.execute(inputs)

        return invoke


RUNTIMES: dict[str, Any] = {"onnxruntime": OnnxRuntime, "litert": LiteRt, "tvm": Tvm, "executorch": ExecuTorch}


def make_inputs(shape: Sequence[Any] | None, rng: np.random.Generator) -> list[Any]:
    """A value for each input. `shape`: the one float input's, or mappings with `shape`, `dtype` and `high`."""
    entries: Any = [{"shape": shape}] if not shape or isinstance(shape[0], int) else shape
    return [make_input(entry["shape"], entry.get("dtype", "float32"), rng, entry.get("high")) for entry in entries]


def ranges(shape: Sequence[Any] | None) -> Iterator[int | None]:
    """One above the largest integer that goes into each input, where that is said; without end."""
    known = [] if not shape or isinstance(shape[0], int) else [entry.get("high") for entry in shape]
    return itertools.chain(known, itertools.repeat(None))


def make_input(shape: Sequence[int], dtype: str, rng: np.random.Generator, high: int | None = None) -> Any:
    """Standard normal floats; integers from 0 to below `high`, or over the range of types of 8 bits up to 127."""
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if high is not None or np.dtype(dtype).itemsize > 1:  # indices, which a model may look up
        return rng.integers(0, high or 2, shape).astype(dtype)
    low = -128 if np.dtype(dtype).kind == "i" else 0
    return rng.integers(low, 128, shape).astype(dtype)


# ---- the device ---------------------------------------------------------------------------------------------------


def read_text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def read_number(path: str, scale: float) -> float | None:
    try:
        return float(read_text(path) or "") * scale
    except ValueError:
        return None


def cpu_model() -> str:
    text = read_text("/proc/cpuinfo") or ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    for key in ("model name", "Hardware", "Model", "Processor"):
        if fields.get(key):
            return fields[key]
    return platform.processor() or platform.machine()


def pin(threads: int) -> list[int] | None:
    """The CPUs that the process is bound to: the fastest ones, the last of equals; None where the OS has no say."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    maximum = "/sys/devices/system/cpu/cpu{}/cpufreq/cpuinfo_max_freq"
    cpus = sorted(os.sched_getaffinity(0), key=lambda cpu: (read_number(maximum.format(cpu), 1) or 0, cpu))
    chosen = cpus[-threads:]
    try:
        os.sched_setaffinity(0, chosen)
    except OSError:
        return None
    return chosen


def raise_priority() -> bool:
    """Whether the scheduler was told to prefer this process, which takes privileges."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
        group = Path("/proc/self/autogroup")
        # Where Linux groups tasks by session, priorities count within a session only; this one may be ours alone.
        if group.exists() and os.getsid(0) == os.getpid():
            group.write_text("-10")
    except (AttributeError, OSError):
        return False
    return True


def device_facts(cpus: list[int] | None) -> dict[str, Any]:
    first = cpus[0] if cpus else 0
    scaling = f"/sys/devices/system/cpu/cpu{first}/cpufreq/"
    zones = Path("/sys/class/thermal").glob("thermal_zone*/temp")
    temperatures = [value for value in (read_number(str(zone), 1e-3) for zone in zones) if value is not None]
    return {
        "soc": cpu_model(),
        "machine": platform.machine(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "pinned_cpus": cpus,
        "governor": read_text(scaling + "scaling_governor"),
        "frequency_mhz": read_number(scaling + "scaling_cur_freq", 1e-3),
        "temperature_c": max(temperatures) if temperatures else None,
    }


def steal_ticks(cpus: list[int] | None) -> int:
    """Clock ticks in which the hypervisor ran something else on `cpus`, 0 where it is not told."""
    wanted = {f"cpu{cpu}" for cpu in cpus} if cpus else {"cpu"}
    total = 0
    for line in (read_text("/proc/stat") or "").splitlines():
        fields = line.split()
        if not fields[0].startswith("cpu"):
            break
        if fields[0] in wanted and len(fields) > 8:
            total += int(fields[8])
    return total


# ---- measuring ----------------------------------------------------------------------------------------------------


def timer_overhead_ns(count: int = 2000) -> int:
    clock = time.perf_counter_ns
    gaps = []
    for _ in range(count):
        start = clock()
        gaps.append(clock() - start)
    return int(np.median(gaps))


class Model:
    """A loaded model, warmed up until two batches of invocations take the same time, or for `limit_ms`.

    `take` gives the sample of so many invocations: `ms`, `p10`, `p90`, `repeats`, and what disturbed it.
    """

    def __init__(
        self, identity: str, take: Callable[[int], dict[str, Any]], rounds: list[int], limit_ms: float
    ) -> None:
        self.identity = identity
        self.take = take
        self.rounds = rounds
        end = time.monotonic() + limit_ms / 1e3
        before, stable = math.inf, False
        while not stable:
            now = take(3)["ms"]
            stable = abs(now - before) <= 0.03 * now or time.monotonic() > end
            before = min(before, now)
        self.expected_ms = before


class Stopwatch:
    """Times invocations in this process: wall time, CPU time and the hypervisor's steal."""

    def __init__(self, threads: int, cpus: list[int] | None) -> None:
        self.cpus = cpus
        # With more threads than one, the measuring thread may sleep while the others work.
        self.least_cpu_share = 0.9 if threads == 1 else 0.6
        self.overhead_ns = timer_overhead_ns()

    def take(self, invoke: Callable[[], None], repeats: int) -> dict[str, Any]:
        clock, cpu_clock = time.perf_counter_ns, time.thread_time_ns
        times = [0] * repeats
        invoke()  # brings the weights back into the caches, where a network that is run again and again has them
        steal = steal_ticks(self.cpus)
        cpu_start, wall_start = cpu_clock(), clock()
        for index in range(repeats):
            start = clock()
            invoke()
            times[index] = clock() - start
        wall, cpu = clock() - wall_start, cpu_clock() - cpu_start
        steal = steal_ticks(self.cpus) - steal
        p10, median, p90 = (np.percentile(times, (10, 50, 90)) - self.overhead_ns) / 1e6
        share = cpu / max(wall, 1)
        return {
            "ms": max(float(median), 1e-6),
            "p10": max(float(p10), 1e-6),
            "p90": max(float(p90), 1e-6),
            "repeats": repeats,
            "cpu_share": round(share, 4),
            "disturbed": bool(share < self.least_cpu_share or steal > 0),
        }


class Slices:
    """Takes samples, and takes disturbed ones again, as long as that is no more than one in `RETAKEN` of all."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.slice_ms = job["slice_ms"]
        self.least = job["min_repeats"]
        self.retries = job["max_retries"]
        self.disturbed = 0
        self.allowance = 10.0

    def take(self, model: Model) -> dict[str, Any]:
        """The sample's values: of `max_retries` + 1 disturbed slices the one that was disturbed least."""
        best = self.once(model)
        self.allowance += 1 / RETAKEN
        for _ in range(self.retries):
            # On a machine that is always busy, taking all samples again gains nothing: medians must do.
            if not best["disturbed"] or self.allowance < 1:
                break
            self.disturbed += 1
            self.allowance -= 1
            again = self.once(model)
            if not again["disturbed"] or again["cpu_share"] > best["cpu_share"]:
                best = again
        return best

    def once(self, model: Model) -> dict[str, Any]:
        repeats = int(min(5000, max(self.least, math.ceil(self.slice_ms / max(model.expected_ms, 1e-4)))))
        start = time.time()
        sample = model.take(repeats)
        # A driver does not see what disturbs the device.
        return {"disturbed": False, "cpu_share": 1.0, **sample, "at": (start + time.time()) / 2}


def load(runtime: Any, entry: dict[str, Any], job: dict[str, Any]) -> Model | None:
    """The loaded model, or None after reporting that the runtime rejects it."""
    emit("loading", flush=False, id=entry["id"])
    announce_model("loading", entry["id"], job["runtime"])
    try:
        take = runtime(entry, np.random.default_rng(job["seed"]))
        announce_model("running", entry["id"], job["runtime"])
        return Model(entry["id"], take, entry.get("rounds", []), job["warm_up_ms"])
    except Exception as error:  # noqa: BLE001 - each runtime raises types of its own, and the rest must go on
        emit("rejected", id=entry["id"], error=" ".join(str(error).split())[:300] or type(error).__name__)
        return None


def measure(
    models: list[Model],
    references: Iterator[tuple[int, Model]],
    slices: Slices,
    job: dict[str, Any],
    order: random.Random,
) -> None:
    def sample(model: Model, **values: Any) -> None:
        # One write with the sample before: whoever reads wakes up once.
        announce_model("measuring", model.identity, job["runtime"])
        emit("sample", flush=False, id=model.identity, **values, **slices.take(model))

    def measure_reference(number: int) -> None:
        copy, reference = next(references)
        sample(reference, copy=copy, round=number)

    for number in sorted({number for model in models for number in model.rounds}):
        turn = [model for model in models if number in model.rounds]
        order.shuffle(turn)
        for place, model in enumerate(turn):
            if place % job["reference_every"] == 0:
                measure_reference(number)
            sample(model, round=number)
        measure_reference(number)


def open_runtime(job: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What loads a model, given its entry in the job, and the facts about device and runtime. Raises ImportError."""
    if job.get("driver"):
        from hwnas.profiling.drivers import make_driver

        driver = make_driver(job)
        return driver.load, {**driver.facts, "runtime_version": driver.version}
    cpus = pin(job["threads"]) if job["pin"] else None
    preferred = raise_priority()
    runtime = RUNTIMES[job["runtime"]](job["threads"])
    announce("reading the facts of the device")
    watch = Stopwatch(job["threads"], cpus)

    def load_here(entry: dict[str, Any], rng: np.random.Generator) -> Callable[[int], dict[str, Any]]:
        return functools.partial(watch.take, runtime.load(entry, rng))

    facts = {"preferred": preferred, "timer_overhead_ns": watch.overhead_ns, "runtime_version": runtime.version}
    return load_here, {**device_facts(cpus), **facts}


def main(path: str) -> None:
    job = json.loads(Path(path).read_text())
    start = time.time()
    try:
        runtime, facts = open_runtime(job)
    except ImportError as error:
        reason = " ".join(str(error).split())
        absent = job.get("driver") or reason.startswith("No module named")
        version = "" if absent else installed_version(RUNTIMES[job["runtime"]].distribution)
        emit("missing", error=reason, version=version)
        announce("")
        return
    emit("facts", protocol=PROTOCOL, runtime=job["runtime"], **facts)
    job["runtime"] = f"{job['runtime']} {facts['runtime_version']}".strip()  # as steps name it
    slices = Slices(job)
    # How memory happens to be laid out when a model is loaded moves its latency by a per cent or two, for good.
    reference = {"id": REFERENCE, "file": job["reference"], "shape": job["reference_shape"]}
    copies = [load(runtime, reference, job) for _ in range(job["reference_copies"])]
    loaded_copies = [copy for copy in copies if copy is not None]
    if loaded_copies:
        references = itertools.cycle(enumerate(loaded_copies))
        gc.disable()
        order = random.Random(job["seed"])  # noqa: S311 - an order, not a secret
        loaded = [load(runtime, entry, job) for entry in job["models"]]
        measure([model for model in loaded if model], references, slices, job, order)
    after = {key: facts[key] for key in ("frequency_mhz", "temperature_c") if key in facts}
    if after:
        now = device_facts(facts.get("pinned_cpus"))
        after = {key: now[key] for key in after}
    emit("done", elapsed_s=time.time() - start, disturbed_slices=slices.disturbed, **after)
    announce("")


if __name__ == "__main__":
    main(sys.argv[1])
