"""Measures model files on a device, interleaved with a reference model, and keeps every sample."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from hwnas.devices.process import ProcessError
from hwnas.devices.transport import Transport
from hwnas.errors import ConnectionLostError, DeviceError
from hwnas.profiling.agent import PROTOCOL, REFERENCE
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.runtimes import runtime_named
from hwnas.profiling.samples import Measurements, evaluate_samples
from hwnas.progress import Progress

__all__ = ["evaluate_journal", "measure_models", "probe", "rounds_left"]

AGENT = Path(__file__).with_name("agent.py")
_MODEL_CRASHES = 20
_MORE_ROUNDS = 5


def measure_models(
    transport: Transport,
    models: Mapping[str, Path],
    reference: Path,
    config: ProfilingConfig,
    *,
    seed: int,
    journal: Journal,
    progress: Progress,
    reference_ms: float | None = None,
    shapes: Mapping[str, Sequence[Any]] | None = None,
) -> Measurements:
    """The latency of each model file, drift-corrected.

    What `journal` holds already is not measured again. A model that the runtime rejects, or that crashes it, stands
    in `rejected`, and the rest goes on. `reference_ms`: see `evaluate_samples`. `shapes`: the models' inputs, by name,
    for runtimes whose files don't say them (TVM). Raises DeviceError where the device does not answer, lacks the
    runtime, or rejects the reference or every model.
    """
    if REFERENCE in models:
        raise ValueError(f"no model may be named {REFERENCE!r}")
    rounds = dict.fromkeys(models, config.rounds)
    _measure_rounds(transport, models, reference, config, seed, journal, progress, rounds, shapes or {})
    # A few rounds more for what is not sure enough yet, never for one model alone: candidates have to take turns.
    for limit in range(config.rounds + _MORE_ROUNDS, config.max_rounds + 1, _MORE_ROUNDS):
        found = evaluate_journal(journal, models, config, reference_ms)
        unsure = [name for name, one in found.latencies.items() if one.interval > config.interval]
        if not unsure:
            break
        rounds.update(dict.fromkeys(unsure, limit))
        _measure_rounds(transport, models, reference, config, seed, journal, progress, rounds, shapes or {})
    return evaluate_journal(journal, models, config, reference_ms)


def probe(transport: Transport, config: ProfilingConfig) -> dict[str, Any]:
    """What the device tells of itself and of the configured runtime, in seconds; nothing is measured.

    Raises DeviceError where it does not answer, or lacks the runtime.
    """
    job = _job(config, 0, {REFERENCE: ""}, {}, {})
    with closing(transport.run(AGENT, job)) as lines:
        for line in lines:
            event = _event(line, config.runtime)
            if event is not None and event["event"] == "facts":
                return event
    raise DeviceError(f"the measuring agent ended without a word about {config.runtime}; see hwnas doctor")


def evaluate_journal(
    journal: Journal, models: Mapping[str, Path], config: ProfilingConfig, reference_ms: float | None = None
) -> Measurements:
    """What `measure_models` returns, of what `journal` holds so far. Raises DeviceError as that does."""
    rejected = {event["id"]: event["error"] for event in journal.events if event["event"] == "rejected"}
    if REFERENCE in rejected:
        raise DeviceError(f"{config.runtime} rejects the reference network: {rejected[REFERENCE]}")
    if rejected and set(rejected) >= set(models):
        name, reason = next(iter(rejected.items()))
        raise DeviceError(f"{config.runtime} rejects every model, such as {models[name]}: {reason}")
    told: dict[str, Any] = next((event for event in reversed(journal.events) if event["event"] == "facts"), {})
    facts = {key: value for key, value in told.items() if key not in ("event", "protocol")}
    ends = [event for event in journal.events if event["event"] == "done"]
    facts["at_end"] = {key: value for key, value in (ends[-1] if ends else {}).items() if key not in ("event",)}
    samples = [event for event in journal.events if event["event"] == "sample"]
    return evaluate_samples(samples, facts, rejected, reference_ms)


def _measure_rounds(
    transport: Transport,
    models: Mapping[str, Path],
    reference: Path,
    config: ProfilingConfig,
    seed: int,
    journal: Journal,
    progress: Progress,
    rounds: Mapping[str, int],
    shapes: Mapping[str, Sequence[Any]],
) -> None:
    """Measures each model in as many rounds as `rounds` asks, group after group, unless the journal holds them."""
    total = sum(rounds.values())
    for group in _groups(models, config):
        crashes = 0
        while todo := rounds_left({name: rounds[name] for name in group}, journal.events):
            files = {**{name: models[name] for name in group}, REFERENCE: reference}
            staged = transport.stage(files)
            job = _job(config, seed, staged, todo, shapes)
            left = sum(map(len, rounds_left(rounds, journal.events).values()))
            try:
                _run(transport, job, journal, left, total, progress)
            except ConnectionLostError:
                raise
            except DeviceError as error:
                culprit = _culprit(journal.events, error)
                crashes += 1
                if culprit is None or culprit == REFERENCE or crashes > _MODEL_CRASHES:
                    raise
                journal.append({"event": "rejected", "id": culprit, "error": f"crashed the runtime: {error}"})


def _groups(models: Mapping[str, Path], config: ProfilingConfig) -> Iterator[list[str]]:
    """Names in groups of at most `chunk_models`, whose files have at most `chunk_mib` together (or one each)."""
    group: list[str] = []
    size = 0.0
    for name, path in models.items():
        mib = path.stat().st_size / 2**20
        if group and (len(group) == config.chunk_models or size + mib > config.chunk_mib):
            yield group
            group, size = [], 0.0
        group.append(name)
        size += mib
    if group:
        yield group


def rounds_left(rounds: Mapping[str, int], events: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """The rounds of each model that are not measured yet, models without any left out."""
    done = {(event["id"], event["round"]) for event in events if event["event"] == "sample"}
    rejected = {event["id"] for event in events if event["event"] == "rejected"}
    if REFERENCE in rejected:
        return {}
    left = {
        identity: [number for number in range(count) if (identity, number) not in done]
        for identity, count in rounds.items()
        if identity not in rejected
    }
    return {identity: numbers for identity, numbers in left.items() if numbers}


def _job(
    config: ProfilingConfig,
    seed: int,
    staged: Mapping[str, str],
    todo: Mapping[str, list[int]],
    shapes: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    def shape(name: str) -> list[Any] | None:
        return list(shapes[name]) if name in shapes else None

    return {
        "runtime": config.runtime,
        "threads": config.threads,
        "pin": config.pin,
        "seed": seed,
        "slice_ms": config.slice_ms,
        "min_repeats": config.min_repeats,
        "max_retries": config.max_retries,
        "reference_every": config.reference_every,
        "reference_copies": config.reference_copies,
        "warm_up_ms": config.warm_up_ms,
        "reference": staged[REFERENCE],
        "reference_shape": shape(REFERENCE),
        "models": [
            {"id": model, "file": staged[model], "shape": shape(model), "rounds": rounds}
            for model, rounds in todo.items()
        ],
    }


def _run(
    transport: Transport, job: dict[str, Any], journal: Journal, left: int, total: int, progress: Progress
) -> None:
    """One run of the agent, into the journal. `left`: samples of `total` that are to be taken, in later groups too."""
    loaded = 0
    shown = 0.0
    with closing(transport.run(AGENT, job)) as lines:
        for line in lines:
            event = _event(line, job["runtime"])
            if event is None:
                continue
            journal.append(event)
            if event["event"] == "sample" and event["id"] != REFERENCE:
                left -= 1
            loaded += event["event"] == "loading"
            # The bar's drawing takes time from the measurement on a small machine.
            if time.monotonic() - shown > 1.0:
                shown = time.monotonic()
                measuring = event["event"] == "sample"
                progress(1 - left / total, "measuring" if measuring else f"loading {loaded}/{len(job['models']) + 1}")


def _missing(event: Mapping[str, Any], name: str) -> str:
    """What is wrong with a runtime that the agent could not import, and what to do."""
    runtime, version = runtime_named(name), event.get("version")
    install = f"install --force-reinstall {runtime.distribution}" if version else f"install {runtime.distribution}"
    found = f"has {runtime.name} {version}, which can't be imported" if version else f"has no {runtime.name}"
    return (
        f"the device {found} ({event['error']}): pip {install} there, on this machine pip install"
        f" 'hwnas[{runtime.extra}]'"
    )


def _event(line: str, runtime_name: str) -> dict[str, Any] | None:
    """A line of the agent as an event; None for what a runtime prints in between. DeviceError without the runtime."""
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(event, dict) or "event" not in event:
        return None
    if event["event"] == "facts" and event.get("protocol") != PROTOCOL:
        raise DeviceError(f"the measuring agent speaks protocol {event.get('protocol')}, expected {PROTOCOL}")
    if event["event"] == "missing":
        raise DeviceError(_missing(event, runtime_name))
    return event


def _culprit(events: Sequence[Mapping[str, Any]], error: DeviceError) -> str | None:
    """The model that ended the agent: while it was loaded, whatever the end; while it ran, by a crash."""
    last = events[-1] if events else {}
    loading = str(last["id"]) if last.get("event") == "loading" else None
    if not isinstance(error, ProcessError) or not error.step.model:
        return loading
    return error.step.model if error.crashed or error.step.model == loading else None
