"""Which executor does the work that splits. Imports no Ray."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from hwnas.errors import ConfigError, choices

__all__ = ["KINDS", "ExecutorConfig", "cores"]

KINDS = ("local", "ray")


@dataclass(frozen=True)
class ExecutorConfig:
    """Who does the work that splits: files to write, subnets to evaluate.

    `kind`: `local`, processes of this machine, or `ray`. `workers` work at once (0: one a core, on a cluster all of
    its). `address`, `HOST:PORT` of a running Ray cluster as `ray start --head` prints it; None starts a Ray on this
    machine, which ends with the work. Results don't depend on any of these.
    """

    kind: str = "local"
    workers: int = 0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"executor.kind: {choices(self.kind, KINDS)}; got {self.kind!r}")
        if self.workers < 0:
            raise ConfigError(f"executor.workers: expected 0 (one a core) or more, got {self.workers}")
        if self.address is None:
            return
        if self.kind != "ray":
            raise ConfigError(f"executor.address: only executor=ray has one, got {self.address!r} with {self.kind}")
        host, _, port = self.address.rpartition(":")
        if not host or "/" in host or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
            raise ConfigError(
                f"executor.address: expected HOST:PORT as ray start --head prints it, such as 10.0.0.1:6379, got"
                f" {self.address!r}"
            )

    @property
    def is_asked(self) -> bool:
        """Whether workers are asked for, by kind or number, where threads of this process would do as well."""
        return self.kind != "local" or self.workers > 0

    @property
    def is_this_process(self) -> bool:
        """Whether another process would only do what this one can do itself."""
        return self.kind == "local" and self.workers == 1

    def limited(self, most: int) -> ExecutorConfig:
        """These settings with at most `most` workers, and one at least."""
        workers = self.workers or (most if self.address else cores())
        return replace(self, workers=max(1, min(workers, most)))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
