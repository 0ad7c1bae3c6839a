"""A made-up device whose latencies are known."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from hwnas.devices.transport import Transport
from hwnas.errors import DeviceError
from hwnas.profiling.agent import REFERENCE

__all__ = ["Board"]


class Board(Transport):
    """A device that takes a microsecond a byte of the model's file, and gets slower from sample to sample.

    `noise` by model: what its rounds are multiplied with in turn. A copy of the reference has a latency of its own.
    """

    def __init__(self, drift: float = 0.0, noise: Mapping[str, list[float]] | None = None, dies_on: str = "") -> None:
        self.drift, self.noise, self.dies_on = drift, noise or {}, dies_on
        self.jobs: list[Mapping[str, Any]] = []
        self.at = 0

    def stage(self, files: Mapping[str, Path]) -> dict[str, str]:
        self.staged = {name: path.stat().st_size for name, path in files.items()}
        return {name: str(path) for name, path in files.items()}

    def slowness(self) -> float:
        self.at += 1
        return 1 + self.drift * self.at

    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        assert script.name == "agent.py"
        self.jobs.append(job)
        yield json.dumps(
            {"event": "facts", "protocol": 2, "runtime": job["runtime"], "soc": "board", "runtime_version": "9"}
        )
        yield "a runtime's own words"
        yield json.dumps(["no event"])
        for model in job["models"]:
            yield json.dumps({"event": "loading", "id": model["id"]})
            if model["id"] == self.dies_on:
                raise DeviceError("died")
        copies = job["reference_copies"]
        for number in sorted({number for model in job["models"] for number in model["rounds"]}):
            turn = [model for model in job["models"] if number in model["rounds"]]
            for place, model in enumerate(turn):
                if place % job["reference_every"] == 0:
                    yield self.sample(REFERENCE, number, place % copies)
                yield self.sample(model["id"], number)
            yield self.sample(REFERENCE, number, len(turn) % copies)
        yield json.dumps({"event": "done", "elapsed_s": 1.0, "temperature_c": 50})

    def sample(self, name: str, number: int, copy: int | None = None) -> str:
        turns = self.noise.get(name, [1.0])
        ms = 1e-3 * self.staged[name] * turns[number % len(turns)] * self.slowness()
        event = {"event": "sample", "id": name, "round": number, "at": self.at, "ms": ms, "p10": 0.9 * ms,
                 "p90": 1.3 * ms, "repeats": 7, "disturbed": number == 0}  # fmt: skip
        return json.dumps(event if copy is None else {**event, "copy": copy})

    def close(self) -> None:
        """Nothing to end."""
