"""Steps that are done once: skipped while their inputs are unchanged, gone on with where they were killed.

A step's folder holds `inputs.json` (written when it starts), its artefacts, and `result.json` (written when it is
done). What was made of other inputs is moved to `superseded/`, never overwritten: what was finished is not lost. A
folder is written by one process at a time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from hwnas.errors import ConfigError, StorageError
from hwnas.files import LOCK_NAME, locked, read_json, sha256_of_file, write_json
from hwnas.pipeline.config import Step
from hwnas.pipeline.store.folders import MULTIRUN
from hwnas.pipeline.store.plain import from_plain, to_plain
from hwnas.pipeline.tracking.follow import tracked
from hwnas.pipeline.tracking.tracker import FOLDER as TRACKING
from hwnas.progress import SILENT
from hwnas.training.torchrun import is_first_process
from hwnas.version import __version__

__all__ = [
    "changed_keys",
    "files_digest",
    "held",
    "read_document",
    "read_or_none",
    "read_result",
    "read_result_as",
    "run_step",
    "step_of",
    "write_result",
]

T = TypeVar("T")
S = TypeVar("S", bound=Step)
P = ParamSpec("P")
_Own = Callable[Concatenate[S, Path, P], T]
_Asked = Callable[Concatenate[Step, Path | str, P], T]


def step_of(kind: type[S]) -> Callable[[_Own[S, P, T]], _Asked[P, T]]:
    """For a function of its own config and a folder: takes all settings in its config's place, and a folder as text.

    What it writes is followed where its settings say so (see `hwnas.pipeline.tracking`).
    """
    command = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__.removesuffix("Step")).lower()

    def decorate(step: _Own[S, P, T]) -> _Asked[P, T]:
        def asked(config: Step, folder: Path | str, *args: P.args, **kwargs: P.kwargs) -> T:
            if not isinstance(config, Step):
                raise ConfigError(
                    f"config: expected a {kind.__name__}, or all settings as hwnas.load_config gives them, got"
                    f" {type(config).__name__}"
                )
            own, place = config.part(kind), Path(folder).expanduser()
            reporter: Any = kwargs.get("reporter", args[0] if args else SILENT)
            follows = tracked(own.tracking, command, place, own.settings(), reporter.say)
            with follows if is_first_process() else nullcontext():
                return step(own, place, *args, **kwargs)

        return update_wrapper(cast("_Asked[P, T]", asked), step)

    return decorate


def held(folder: Path) -> AbstractContextManager[None]:
    """Holds a step's folder against other processes (see `hwnas.files.locked`)."""
    return locked(folder / LOCK_NAME)


def run_step(
    command: str,
    folder: Path,
    inputs: Mapping[str, Any],
    seed: int,
    kind: type[T],
    work: Callable[[], T],
    say: Callable[[str], None],
) -> T:
    """The step's result, a dataclass: read where `folder` has one for equal `inputs`, else made by `work` and written.

    `inputs` is JSON-able and names all that the result depends on: configuration, and digests of the files read.
    Raises StorageError where another process is at the step.
    """
    with held(folder):
        inputs = {"version": __version__, "seed": seed, **inputs}
        inputs_path, result_path = folder / "inputs.json", folder / "result.json"
        if inputs_path.exists():
            changed = changed_keys(read_or_none(inputs_path), inputs)
            if changed:
                kept = _supersede(command, folder)
                say(f"{command}: {', '.join(changed[:4])} changed; the former output is kept in {kept}")
            elif result_path.exists():
                say(f"{command}: up to date ({result_path})")
                return read_result_as(kind, result_path)
        write_json(inputs_path, inputs)
        started = time.monotonic()
        result = work()
        write_result(folder, command, seed, time.monotonic() - started, result)
        return result


def write_result(folder: Path, command: str, seed: int, elapsed_s: float, result: Any) -> Path:
    """Write a step's `result`, a dataclass, as `result.json` in the form that all have."""
    document = {
        "command": command,
        "version": __version__,
        "seed": seed,
        "elapsed_s": round(elapsed_s, 3),
        "result": to_plain(result),
    }
    return write_json(folder / "result.json", document)


def read_document(path: Path) -> dict[str, Any]:
    """A `result.json`: `command`, `version`, `seed`, `elapsed_s` and `result`. Raises StorageError where it is none."""
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("result"), dict):
        raise StorageError(f"{path} is not a result of hwnas: expected a JSON object with the key 'result'")
    return document


def read_result(path: Path) -> dict[str, Any]:
    """The `result` of a `result.json`. Raises StorageError where the file is none."""
    result: dict[str, Any] = read_document(path)["result"]
    return result


def read_result_as(kind: type[T], path: Path) -> T:
    """The `result` of a `result.json` as what its step returns. Raises StorageError where it is none of those."""
    return from_plain(kind, read_result(path), path)


def files_digest(paths: Mapping[str, Path]) -> dict[str, str]:
    """Role to SHA-256 of each file. Raises StorageError naming the one that is missing and its role."""
    digests = {}
    for role, path in paths.items():
        if not path.is_file():
            raise StorageError(f"{role}: no such file: {path}")
        digests[role] = sha256_of_file(path)
    return digests


def changed_keys(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Dotted names of what differs between two JSON-able values."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = list(dict.fromkeys([*before, *after]))
        return [name for key in keys for name in changed_keys(before.get(key), after.get(key), f"{prefix}{key}.")]
    # Compared as JSON holds them: tuples are lists there.
    plain = [list(value) if isinstance(value, tuple) else value for value in (before, after)]
    return [] if plain[0] == plain[1] else [prefix.rstrip(".") or "inputs"]


def read_or_none(path: Path) -> Any:
    """The content of a JSON file; None where there is none, or half of one."""
    try:
        return read_json(path)
    except StorageError:
        return None


def _supersede(command: str, folder: Path) -> Path:
    """Where the former output is now. Lock, log and settings, which are those of the running command, stay."""
    archive = folder.parent / "superseded"
    number = 1
    while (target := archive / f"{folder.name}-{number}").exists():
        number += 1
    target.mkdir(parents=True)
    own = {LOCK_NAME, ".hydra", f"{command}.log", MULTIRUN, TRACKING}
    # The inputs go last: where this is killed, what is left is moved by the next run.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "inputs.json"):
        if path.name not in own:
            path.rename(target / path.name)
    return target
