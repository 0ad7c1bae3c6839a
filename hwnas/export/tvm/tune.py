"""Schedules of a TVM module chosen by timing them: for each function, tiles other than the rule's first choice.

What is tried are the tiles that fit into the registers, those that the rule expects to be good first. Functions take
turns by the time that they cost, and the rule's choice is timed beside every other, in turns with it: a tile is kept
where it is clearly faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.export.tvm.build import Toolchain
from hwnas.export.tvm.schedule import Tile, candidate_tiles, schedule
from hwnas.progress import Progress, no_progress

__all__ = ["tune"]

ROUNDS = 9
ROUND_S = 1e-3
GAIN = 0.97
SEARCHED = 16


@dataclass
class _Task:
    """A function, what is left to try of it, and its time in s so far: of the rule's tile, and of the best."""

    name: str
    function: Any
    calls: int
    tiles: list[Tile]
    first: Callable[[], None]
    first_s: float
    best_s: float
    best: Tile | None = None

    @property
    def cost_s(self) -> float:
        return self.calls * self.best_s


def tune(module: Any, tools: Toolchain, trials: int, seed: int, progress: Progress = no_progress) -> dict[str, Tile]:
    """The tiles that were faster on this machine than the rule's own choice, by the functions' names.

    `module` is fused, and compiled for this machine; `trials` tiles are timed in all, on one thread, with inputs
    drawn from `seed`.
    """
    tasks = _tasks(module, tools, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    start = time.monotonic()
    for trial in range(trials):
        open_tasks = [task for task in tasks if task.tiles]
        if not open_tasks:
            break
        task = max(open_tasks, key=lambda one: one.cost_s / (1 + SEARCHED - min(SEARCHED, len(one.tiles))))
        tile = task.tiles.pop(0)
        run = _compiled(task.function, tools, tile, rng)
        first_s, other_s = _times([task.first, run])
        relative_s = task.first_s * other_s / first_s
        if relative_s < GAIN * task.best_s:
            task.best_s, task.best = relative_s, tile
        left_s = (time.monotonic() - start) / (trial + 1) * (trials - trial - 1)
        progress((trial + 1) / trials, f"{trial + 1} of {trials} tiles, {left_s:.0f} s left")
    return {task.name: task.best for task in tasks if task.best is not None}


def _tasks(module: Any, tools: Toolchain, rng: np.random.Generator) -> list[_Task]:
    from tvm.tirx import PrimFunc

    calls = _calls(module)
    tasks = []
    for variable, function in module.functions_items():
        name = str(variable.name_hint)
        if not isinstance(function, PrimFunc) or not calls.get(name):
            continue
        tiles = candidate_tiles(function, tools.unit)[: SEARCHED + 1]
        if len(tiles) < 2:
            continue
        first = _compiled(function, tools, tiles[0], rng)
        (first_s,) = _times([first])
        tasks.append(_Task(name, function, calls[name], tiles[1:], first, first_s, first_s))
    return tasks


def _calls(module: Any) -> dict[str, int]:
    """How often each function is called."""
    from tvm import relax

    found: dict[str, int] = {}

    def visit(expression: Any) -> None:
        if isinstance(expression, relax.Call) and expression.op == call_tir:
            name = str(expression.args[0].name_hint)
            found[name] = found.get(name, 0) + 1

    import tvm

    call_tir = tvm.ir.Op.get("relax.call_tir")
    relax.analysis.post_order_visit(module["main"], visit)
    return found


def _compiled(function: Any, tools: Toolchain, tile: Tile, rng: np.random.Generator) -> Callable[[], None]:
    """The function, compiled with that tile, over random values."""
    import tvm

    scheduled = schedule(function, tools.unit, tile).with_attr("global_symbol", "main")
    main = tvm.compile(tvm.IRModule({"main": scheduled}), tools.target)["main"]
    tensors = [
        tvm.runtime.tensor(rng.standard_normal(list(map(int, value.ty.shape)), dtype=np.float32))
        for value in function.params
    ]
    return lambda: main(*tensors)


def _times(runs: Sequence[Callable[[], None]]) -> list[float]:
    """Least time of each in s, taken in turns: what disturbs only adds."""
    least = [float("inf")] * len(runs)
    repeats = 1
    for round_number in range(ROUNDS + 1):
        for place, run in enumerate(runs):
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            spent = (time.perf_counter() - start) / repeats
            if round_number:  # the first warms up, and says how often to repeat
                least[place] = min(least[place], spent)
            elif place == len(runs) - 1:
                repeats = int(np.clip(ROUND_S / max(spent, 1e-7), 1, 1000))
    return least
