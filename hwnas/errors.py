"""What a user can cause. Each message says what was expected, what came, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

__all__ = [
    "ArchError",
    "CheckpointError",
    "ConfigError",
    "ConnectionLostError",
    "CoverageError",
    "DataError",
    "DeviceError",
    "ExecutorError",
    "ExportError",
    "HwnasError",
    "InfeasibleBudgetError",
    "MissingExtraError",
    "ProcessLostError",
    "StorageError",
    "TableError",
    "TrainingError",
    "choices",
    "listed",
]


class HwnasError(Exception):
    """Base of every error that input, files or hardware can cause. The message is one line."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are copied to other processes by a call with their message; some of these take other arguments.
        return _again, (type(self), self.args), vars(self)


class ConfigError(HwnasError):
    """A configuration key or value is not valid."""


def _again(kind: type[HwnasError], arguments: tuple[Any, ...]) -> HwnasError:
    error = kind.__new__(kind)
    error.args = arguments
    return error


class ArchError(HwnasError):
    """An architecture or genotype does not belong to the space."""


class DataError(HwnasError):
    """A data set is missing, incomplete or unreadable."""


class CheckpointError(HwnasError):
    """A checkpoint is truncated, or belongs to another space or data set."""


class TrainingError(HwnasError):
    """Training can't go on, for instance after a loss that is not a number."""


class ProcessLostError(TrainingError):
    """Another of the processes that share a training ended or does not answer: restarted, the training goes on."""


class TableError(HwnasError):
    """A latency table is truncated, malformed or contradicts itself."""


class CoverageError(TableError):
    """A latency table lacks operators that are asked for."""


class InfeasibleBudgetError(HwnasError):
    """No architecture of the space meets the constraint."""


class ExportError(HwnasError):
    """A network could not be written, or the written file differs from it."""


class ExecutorError(HwnasError):
    """A worker died, or a cluster of workers does not answer or can't do the work."""


class DeviceError(HwnasError):
    """A device, transport or runtime does not answer as needed."""


class ConnectionLostError(DeviceError):
    """A device went away while it was used: what was measured is kept, and the same command goes on."""


class StorageError(HwnasError):
    """A file could not be written: full disk, missing permission, busy lock."""


class MissingExtraError(HwnasError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'hwnas[{extra}]'")


def choices(given: object, valid: Iterable[object]) -> str:
    """The end of a message about a wrong choice: the nearest valid one, if any is near, and all of them."""
    names = [str(choice) for choice in valid]
    near = get_close_matches(str(given), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}valid: {listed(names) or '(none)'}"


def listed(names: Sequence[str], most: int = 40) -> str:
    """Names for a message, the first `most` of them where there are more: a line that holds a thousand is not read."""
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more} more"
