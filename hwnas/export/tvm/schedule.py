"""Loop schedules for TVM on a CPU: one rule for whatever sums, takes a mean or a maximum, one for the rest.

TVM's own pipelines leave loops as the operators define them, unless a tuner has measured better ones. Images here are
NHWC, so the innermost axis of all that a network does is the channels, and one rule serves convolutions of any kernel,
depthwise ones, matrix products and pooling: a tile of some pixels × some vectors of channels is accumulated in
registers, over the whole sum, and whatever follows (bias, activation, residual) happens as the tile is written. It is
the blocking of matrix products by Goto and van de Geijn (2008), without packing: the weights of these networks fit into
the caches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Tile", "VectorUnit", "candidate_tiles", "schedule"]

UNROLLED_SUM = 7
PARALLEL_ELEMENTS = 4096


@dataclass(frozen=True)
class VectorUnit:
    """How many float32 a vector register holds, and how many registers there are."""

    lanes: int
    registers: int


@dataclass(frozen=True)
class Tile:
    """What is accumulated at once: `rows` × `columns` of an image, `vectors` of `lanes` channels each."""

    rows: int
    columns: int
    vectors: int
    lanes: int


def schedule(function: Any, unit: VectorUnit, tile: Tile | None = None) -> Any:
    """The TIR function with its loops tiled, unrolled, vectorised and shared among threads.

    `tile` None: the first of `candidate_tiles`. Functions of several sums stay as they are beyond their fused
    elementwise parts. Raises TVM's ScheduleError, TypeError or ValueError for a function that the rules don't know.
    """
    plan = _Plan(function)
    for block in plan.elementwise:
        _schedule_elementwise(plan.schedule, block, unit)
    if plan.reduction is not None:
        _schedule_reduction(plan, tile or next(_tiles(plan, unit)))
    return plan.schedule.mod["main"].with_attr("tirx.is_scheduled", True)


def candidate_tiles(function: Any, unit: VectorUnit) -> list[Tile]:
    """The tiles that fit into the registers, the one expected to be best first; none for a function without a sum."""
    plan = _Plan(function)
    return [] if plan.reduction is None else list(_tiles(plan, unit))


class _Plan:
    """A function's schedule with elementwise blocks merged into the one after them, and the blocks that are left.

    `reduction` is the only sum (or mean, or maximum), or None; `elementwise` stand alone, such as zero padding.
    """

    def __init__(self, function: Any) -> None:
        from tvm import s_tir

        self.schedule = s_tir.Schedule(function)
        root = self.schedule.get_sblock("root")
        while any(self._inlined(block) for block in self.schedule.get_child_blocks(root)):
            pass
        blocks = self.schedule.get_child_blocks(root)
        sums = [block for block in blocks if self.sums(block)]
        self.reduction = sums[0] if len(sums) == 1 else None
        ends = [block for block in sums[:1] for block in self.schedule.get_consumers(block)]
        kept = {str(self.schedule.get(block).name_hint) for block in (*sums, *(ends if self.reduction else ()))}
        self.elementwise = [block for block in blocks if str(self.schedule.get(block).name_hint) not in kept]

    def sums(self, block: Any) -> bool:
        from tvm.tirx import IterVar

        return any(variable.iter_type == IterVar.CommReduce for variable in self.schedule.get(block).iter_vars)

    def loops(self, block: Any) -> tuple[list[Any], list[Any]]:
        """The loops over the output, and those over what is summed."""
        from tvm.tirx import IterVar

        pairs = zip(self.schedule.get_loops(block), self.schedule.get(block).iter_vars, strict=True)
        split: tuple[list[Any], list[Any]] = ([], [])
        for loop, variable in pairs:
            split[variable.iter_type == IterVar.CommReduce].append(loop)
        return split

    def extent(self, loop: Any) -> int:
        return int(self.schedule.get(loop).extent)

    def _inlined(self, block: Any) -> bool:
        # Padding asks where it is at every element: as a pass of its own it costs less than inside a sum.
        if self.sums(block) or not self.schedule.get_consumers(block) or _branches(self.schedule.get(block)):
            return False
        self.schedule.compute_inline(block)
        return True


def _branches(block: Any) -> bool:
    from tvm.ir import Call
    from tvm.tirx import stmt_functor

    found: list[bool] = []
    stmt_functor.post_order_visit(
        block.body, lambda node: found.append(isinstance(node, Call) and "if_then_else" in str(node.op))
    )
    return any(found)


def _tiles(plan: _Plan, unit: VectorUnit) -> Iterator[Tile]:
    """Larger tiles load less for each product, as long as sums, weights and one input stay in registers."""
    output, summed = plan.loops(plan.reduction)
    sizes = [1, 1, *map(plan.extent, output)][-3:]
    height, width, channels = sizes
    lanes = unit.lanes
    while channels % lanes:
        lanes //= 2
    shapes = [(1, columns) for columns in _divisors(width)] + [(rows, width) for rows in _divisors(height)[1:]]
    # Depthwise ones share no input among their channels: more pixels are what reuses loaded values.
    channelwise = math.prod(map(plan.extent, summed)) <= 64 and plan.extent(summed[-1]) == 1
    tiles = [
        Tile(rows, columns, vectors, lanes)
        for rows, columns in shapes
        for vectors in _divisors(channels // lanes)
        if rows * columns * vectors + vectors < unit.registers
    ]

    def loads(tile: Tile) -> tuple[float, int]:
        pixels = tile.rows * tile.columns
        sums = pixels * tile.vectors
        if channelwise:
            return abs(math.log(pixels / 4)) + 0.5 * math.log(tile.vectors), 0
        return (pixels + tile.vectors) / sums + 1 / min(sums, 8), sums

    yield from sorted(tiles, key=loads)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _schedule_elementwise(schedule: Any, block: Any, unit: VectorUnit) -> None:
    *outer, inner = schedule.get_loops(block)
    lanes = math.gcd(int(schedule.get(inner).extent), unit.lanes)
    rest, vector = schedule.split(inner, [None, lanes])
    loop = schedule.fuse(*outer, rest)
    if lanes > 1:
        schedule.vectorize(vector)
    if int(schedule.get(loop).extent) * lanes >= PARALLEL_ELEMENTS:
        schedule.parallel(loop)


def _schedule_reduction(plan: _Plan, tile: Tile) -> None:
    schedule, block = plan.schedule, plan.reduction
    consumers = schedule.get_consumers(block)
    end = consumers[0] if consumers else schedule.cache_write(block, 0, "global")
    output, summed = plan.loops(block)
    while len(output) < 3:
        output.insert(0, schedule.add_unit_loop(output[0]))
    *batch, rows, columns, channels = output
    row, row_in = schedule.split(rows, [None, tile.rows])
    column, column_in = schedule.split(columns, [None, tile.columns])
    group, vector, lane = schedule.split(channels, [None, tile.vectors, tile.lanes])
    # Weights of one group of channels stay in the caches while the image passes by; where each pixel is looked at
    # k² times, the image's neighbourhood does.
    pointwise = all(plan.extent(loop) == 1 for loop in summed[:-1])
    outer = [group, *batch, row, column] if pointwise else [*batch, row, column, group]
    inner = [row_in, column_in, vector, lane]
    schedule.reorder(*outer, *summed, *inner)
    tiles = schedule.fuse(*outer)
    schedule.reverse_compute_at(end, tiles)
    *written, channel = schedule.get_loops(end)[1:]
    vector_out, lane_out = schedule.split(channel, [None, tile.lanes])
    for loop in (row_in, column_in, vector, *written, vector_out):
        plan.extent(loop)  # fails where a tile's last part would be smaller than the others
        schedule.unroll(loop)
    for loop in (lane, lane_out):
        schedule.vectorize(loop)
    if plan.extent(tiles) > 1:
        schedule.parallel(tiles)
    schedule.decompose_reduction(block, summed[0])
    inmost = next((loop for loop in reversed(summed) if plan.extent(loop) > 1), summed[-1])
    if plan.extent(inmost) <= UNROLLED_SUM:
        schedule.unroll(inmost)
