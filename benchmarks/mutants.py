"""Do the tests of a room bite? Random changes of its code, and whether its own tests notice them.

`make mutants ROOM=latency` draws 100 changes (an operator, a constant, a condition, a decorator) of `hwnas/latency`
with a seed, and runs `tests/latency` against each: those tests first that execute the changed line, up to the first
that fails. It prints the share that was noticed and the others as diffs. Changes that no test can notice are not drawn:
those of annotations, and those that don't compile; nor are those that any run of the line notices, such as a shift of
floats. A test that hangs has noticed.

The changes are cosmic-ray's. Its own runs start an interpreter a change, and import torch each time; here what the
tests import is imported once and each change is tried in a fork, in a copy of the sources.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import coverage
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

ARITHMETIC, SETS = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}, {"BitAnd", "BitOr", "BitXor", "Sub"}
ORDER = {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"}
LEFT_OUT = {"VariableReplacer", "VariableInserter", "ExceptionReplacer"}
Key = tuple[str, int, int, str]


def same_kind(name: str) -> bool:
    """Whether the operator puts in place of another what takes the same operands."""
    family, *ends = name.split("_")
    kinds = {"ReplaceBinaryOperator": (ARITHMETIC, SETS), "ReplaceComparisonOperator": (ORDER, {"Is", "IsNot"})}
    return name not in LEFT_OUT and (family not in kinds or any(set(ends) <= kind for kind in kinds[family]))


def spans(tree: ast.Module) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int]]]:
    """Where the annotations are, and from which to which line every statement (a compound one: its head) goes."""
    annotations, statements = [], []
    for node in ast.walk(tree):
        parts = (getattr(node, "annotation", None), getattr(node, "returns", None))
        annotations += [(it.lineno, it.col_offset, it.end_lineno, it.end_col_offset) for it in parts if it is not None]
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None) or getattr(node, "cases", None)
            last = max(node.lineno, getattr(body[0], "lineno", node.lineno + 1) - 1) if body else node.end_lineno
            statements.append((node.lineno, last or node.lineno))
    return annotations, statements


def drawn(room: Path, number: int, seed: int) -> list[tuple[Key, str, tuple[int, int]]]:
    """So many changes at different places: where, the file's changed text, and the lines of the statement."""
    rng, places = random.Random(seed), defaultdict(list)  # noqa: S311
    operators = [(name, OperatorProvider()[name]()) for name in OperatorProvider() if same_kind(name)]
    sources = {str(file): file.read_text() for file in sorted(room.rglob("*.py"))}
    found = {file: spans(ast.parse(text)) for file, text in sources.items()}
    for file, text in sources.items():
        nodes = list(ast_nodes(get_ast(text)))
        for name, operator in operators:
            kind = {"ReplaceBinaryOperator": "operator", "ReplaceComparisonOperator": "comparison"}.get(
                name.split("_")[0]
            )
            own = (node for node in nodes if kind in (None, node.type))
            starts = [start for node in own for start, _ in operator.mutation_positions(node)]
            for occurrence, (line, column) in enumerate(starts):
                if not any((a, b) <= (line, column) < (c, d) for a, b, c, d in found[file][0]):
                    places[file, line, column, name.split("_")[0]].append((operator, occurrence))
    keys = sorted(places)
    rng.shuffle(keys)
    changes: list[tuple[Key, str, tuple[int, int]]] = []
    for key in keys:
        if len(changes) == number:
            break
        text = mutate_code(sources[key[0]], *rng.choice(places[key]))
        try:
            if ast.dump(ast.parse(text)) == ast.dump(ast.parse(sources[key[0]])):
                continue
        except SyntaxError:
            continue
        around = [(first, last) for first, last in found[key[0]][1] if first <= key[1] <= last]
        changes.append((key, text, min(around, key=lambda span: span[1] - span[0], default=(key[1], key[1]))))
    return changes


class Watch:
    """A plugin of the run without changes: how long each test takes, and which lines it executes."""

    def __init__(self, room: Path) -> None:
        self.coverage = coverage.Coverage(data_file=None, config_file=False, include=[f"{room.resolve()}/*"])
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.coverage.switch_context(f"{item.nodeid.split('::')[0]}::")  # fixtures may be shared by the file's tests

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration

    def run(self, arguments: list[str], out: Path) -> int:
        self.coverage.start()
        status = int(pytest.main(arguments, plugins=[self]))
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {os.path.relpath(file): data.contexts_by_lineno(file) for file in data.measured_files()}
        out.write_text(json.dumps([self.seconds, lines, list(sys.modules)]))
        return status


class Chosen:
    """A plugin of a changed run: the tests that execute the changed lines, quick files first, `limit_s` of them."""

    def __init__(self, seconds: dict[str, float], limit_s: float, covering: set[str], out: Path) -> None:
        self.seconds, self.limit_s, self.covering, self.out = seconds, limit_s, covering, out
        self.cost = defaultdict[str, float](float)
        for test, taken in seconds.items():
            self.cost[test.split("::")[0]] += taken

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.covering:
            items[:] = [item for item in items if self.covering & {item.nodeid, f"{item.nodeid.split('::')[0]}::"}]
        items.sort(key=lambda item: self.cost[item.nodeid.split("::")[0]])

        # What is left out would cost more than it tells: the quick tests are those of parts, and notice more.
        ends = itertools.accumulate(self.seconds.get(item.nodeid, 0.0) for item in items)
        items[:] = [item for item, end in zip(items, list(ends), strict=True) if end <= self.limit_s] or items[:1]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.out.write_text(report.nodeid)


def forked(work: Callable[[], int], limit_s: float, silent: bool = True) -> int:
    """What the work returned, in a process of its own; -1: it was killed, having taken longer than the limit."""
    if not (child := os.fork()):
        os.setsid()
        for descriptor in (0, 1, 2) if silent else (0,):
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        try:
            os._exit(work())
        finally:
            os._exit(99)
    end = time.monotonic() + limit_s
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
        time.sleep(0.02)
    if ended[0]:
        return os.waitstatus_to_exitcode(ended[1])
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def main() -> None:
    parser = argparse.ArgumentParser(description="Random changes of a room's code, held against its own tests.")
    parser.add_argument("room", help="the folder inside hwnas/, such as latency or export/check")
    parser.add_argument("--mutants", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60, help="of tests for a change, as they take without it")
    asked, top = parser.parse_args(), Path(__file__).parents[1]
    os.environ.setdefault("HWNAS_REFERENCE_DATA", str(top.parent / "shared" / "reference"))
    with tempfile.TemporaryDirectory() as folder:
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.check_output(listed, cwd=top, text=True).split("\0"):
            if (top / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(top / name, Path(folder) / name)
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
        sys.path[0] = folder
        held_against_tests(Path("hwnas") / asked.room, asked.mutants, asked.seed, asked.seconds)


def held_against_tests(room: Path, number: int, seed: int, most_s: float) -> None:
    """Draw, run and print."""
    here = Path("tests") / room.relative_to("hwnas")
    tests = next(path for path in (here, *here.parents) if path.is_dir())
    usual = ["-q", "-m", "not slow", "-p", "no:cacheprovider"]
    began = time.monotonic()
    if forked(lambda: Watch(room).run([*usual, str(tests)], Path("watched.json")), 3600, silent=False):
        sys.exit(f"{tests} fails without any change: mend that first")
    limit_s = 60 + 3 * (time.monotonic() - began)
    seconds, lines, modules = json.loads(Path("watched.json").read_text())
    # Compiled files of the run without changes serve where the time of a source is still that of its original.
    os.environ["PYTHONDONTWRITEBYTECODE"], sys.dont_write_bytecode = "1", True
    for name in modules:
        if name.split(".")[0] not in ("hwnas", "tests", "conftest", "__main__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    usual += ["-x", "-o", f"timeout={20 + 5 * max(seconds.values()):.0f}"]
    changes, noticed = drawn(room, number, seed), 0
    for (file, line, _, family), text, (first, last) in changes:
        executed = {int(at): {test for test in tests_of if test} for at, tests_of in lines.get(file, {}).items()}
        itself = set().union(*(executed.get(at, ()) for at in range(first, last + 1)))
        # What is executed at import is used, if at all, by the functions beneath it.
        covering = itself or set().union(*executed.values())
        arguments = [*usual, *(sorted({test.split("::")[0] for test in covering}) or [str(tests)])]
        original, before = Path(file).read_text(), Path(file).stat()
        Path(file).write_text(text)
        began = time.monotonic()
        (by := Path("noticed_by")).write_text("their import")
        chosen = Chosen(seconds, most_s, covering, by.resolve())
        status = forked(lambda: int(pytest.main(arguments, plugins=[chosen])), limit_s)  # noqa: B023
        Path(file).write_text(original)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        if status == 99:
            sys.exit(f"{file}:{line}: the changed run broke off")
        took = f"({time.monotonic() - began:.1f} s)"
        if status not in (0, 5):
            noticed += 1
            how = "that it takes too long" if status == -1 else by.read_text()
            print(f"{file}:{line} {family}: noticed {took} by {how}", flush=True)
            continue
        print(f"{file}:{line} {family}: SURVIVED {took}{'' if itself else ', no test executes it itself'}", flush=True)
        rows = list(difflib.unified_diff(original.splitlines(), text.splitlines(), lineterm="", n=0))
        print("\n".join(row for row in rows[2:] if not row.startswith("@@")), flush=True)
    print(f"{room}: {noticed} of {len(changes)} changes noticed by {tests} (seed {seed})")


if __name__ == "__main__":
    main()
