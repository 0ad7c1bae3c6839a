"""A space of MobileNetV4's convolutional networks (Qin et al., 2024), Conv-Small, -Medium and -Large among them.

A stem, stages of universal inverted bottlenecks whose first blocks may be fused ones, and a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError
from hwnas.operators import UIB, Conv, FusedMBConv, GlobalPool, Linear, Operator, make_divisible
from hwnas.spaces.genes import Gene, Genotypes
from hwnas.spaces.mobile import check_common, check_rising
from hwnas.spaces.settings import check_known, described
from hwnas.spaces.slots import Slot, SlotTables
from hwnas.spaces.space import Space

__all__ = ["PUBLISHED", "MobileNetV4Config", "MobileNetV4Space", "StageConfig"]

UNIVERSAL, FUSED, FUSED_ACTIVE = 0, 1, 2
"""What the first block of a stage may be: universal, fused, or fused with an activation at its end."""


@dataclass(frozen=True)
class StageConfig:
    """One stage: the `widths` and `depths` (blocks) that it may have, the `stride` of its first block, and what that
    may be (0: universal, 1: fused, 2: fused with an activation at its end).
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    stride: int = 2
    first_blocks: tuple[int, ...] = (UNIVERSAL,)

    def __post_init__(self) -> None:
        check_rising("stages: widths", self.widths)
        check_rising("stages: depths", self.depths)
        check_rising("stages: first_blocks", self.first_blocks, UNIVERSAL)
        if self.first_blocks[-1] > FUSED_ACTIVE:
            raise ConfigError(f"space.stages: first_blocks: expected 0, 1 or 2, got {list(self.first_blocks)}")
        if self.stride not in (1, 2):
            raise ConfigError(f"space.stages: stride: expected 1 or 2, got {self.stride}")


@dataclass(frozen=True)
class MobileNetV4Config:
    """What such a space is made of.

    `stem_widths`: what the first convolution may have; `head_widths`: the channels of the 1×1 convolutions before and
    after pooling. Each block chooses two of `kernel_sizes`, where 0 leaves a depthwise convolution out, and of
    `expand_ratios`; fused ones of `fused_expand_ratios`. A network chooses of `resolution`. `in_channels` and `classes`
    may be 0, "as the data set has".
    """

    family: ClassVar[str] = "mobilenet_v4"

    name: str = "mobilenet_v4"
    resolution: tuple[int, ...] = (160, 192, 224, 256)
    stem_widths: tuple[int, ...] = (24, 32)
    stem_stride: int = 2
    stages: tuple[StageConfig, ...] = (
        StageConfig((32, 48), (1,), first_blocks=(FUSED, FUSED_ACTIVE)),
        StageConfig((64, 80, 96), (1, 2), first_blocks=(UNIVERSAL, FUSED_ACTIVE)),
        StageConfig((96, 160, 192), (6, 8, 11)),
        StageConfig((128, 256, 512), (6, 11, 13)),
    )
    kernel_sizes: tuple[int, ...] = (0, 3, 5)
    expand_ratios: tuple[int, ...] = (2, 3, 4, 6)
    fused_expand_ratios: tuple[int, ...] = (1, 3, 4)
    head_widths: tuple[int, ...] = (960, 1280)
    in_channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        if not self.stages or len(self.head_widths) != 2:
            raise ConfigError(
                f"space.stages, head_widths: expected one stage or more and two widths, got {len(self.stages)} and"
                f" {list(self.head_widths)}"
            )
        check_common(self, ("resolution", "stem_widths", "expand_ratios", "fused_expand_ratios"))
        if self.stem_stride not in (1, 2):
            raise ConfigError(f"space.stem_stride: expected 1 or 2, got {self.stem_stride}")
        kernels = self.kernel_sizes
        check_rising("kernel_sizes", kernels, 0)
        if not set(kernels) - {0} or any(kernel and kernel % 2 == 0 for kernel in kernels):
            raise ConfigError(f"space.kernel_sizes: expected odd kernels, and 0 for none, got {list(kernels)}")

    @property
    def stage_depths(self) -> tuple[tuple[int, ...], ...]:
        """The depths that each stage may have."""
        return tuple(stage.depths for stage in self.stages)

    def space(self) -> MobileNetV4Space:
        """The space of these settings. Raises ConfigError where its classes or channels are 0."""
        return MobileNetV4Space(self)


@dataclass(frozen=True)
class _Block:
    """A block's place, and the genes of it by name; those of a universal block's kernels are missing where it is none.

    `firsts`: what it may be.
    """

    number: int
    stage: int
    position: int
    firsts: tuple[int, ...]
    kernels: tuple[str, str] | None
    strided: bool

    @property
    def form(self) -> str | None:
        """The gene that says which kind it is of, where there is a choice."""
        return f"f{self.stage}" if self.position == 0 and len(self.firsts) > 1 else None


class MobileNetV4Space(Space):
    """Genes, in this order: two `ks` of each universal block, for its first and its second depthwise convolution; `e`
    of each block; `f` of stages whose first block has a choice; `d` and `w` of each stage that has one, after the
    stem's `w`; `r`.
    """

    def __init__(self, config: MobileNetV4Config) -> None:
        check_known(config)
        self.settings = config
        self.name = config.name
        self.in_channels, self.classes, self.resolutions = config.in_channels, config.classes, config.resolution
        self.blocks_placed = tuple(_blocks(config))
        widths = _widths(config)
        self.genes = (
            *(
                Gene(name, self._kernels(block, place), f"block{block.number}")
                for block in self.blocks_placed
                if block.kernels
                for place, name in enumerate(block.kernels)
            ),
            *(Gene(f"e{block.number}", self._ratios(block), f"block{block.number}") for block in self.blocks_placed),
            *(Gene(block.form, block.firsts, f"block{block.number}") for block in self.blocks_placed if block.form),
            *(Gene(f"d{s}", own, f"depth{s}") for s, own in enumerate(config.stage_depths) if len(own) > 1),
            *(Gene(f"w{place}", own, f"width{place}") for place, own in enumerate(widths) if len(own) > 1),
            Gene("r", config.resolution, "resolution"),
        )
        self.operators, self.slots = _build_slots(self)

    def config(self) -> dict[str, Any]:
        return described(self.settings)

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        found = np.ones(genotypes.shape, dtype=bool)
        for block in self.blocks_placed:
            kept = np.ones(len(genotypes), dtype=bool)
            depth = self.gene_index.get(f"d{block.stage}")
            if depth is not None:
                kept = np.asarray(self.settings.stages[block.stage].depths)[genotypes[:, depth]] > block.position
            found[:, self.gene_index[f"e{block.number}"]] = kept
            if block.kernels:
                form = kept
                if block.form:
                    form = kept & (np.asarray(block.firsts)[genotypes[:, self.gene_index[block.form]]] == UNIVERSAL)
                for name in block.kernels:
                    found[:, self.gene_index[name]] = form
        return found

    def choices_of(self, name: str, fixed: Sequence[int]) -> list[tuple[dict[str, int], int]]:
        """Each choice of a gene as its index by the gene's name, and its value; where there is no gene, the one value.

        `fixed`: the value where there is no such gene, alone.
        """
        column = self.gene_index.get(name)
        if column is None:
            return [({}, int(fixed[0]))]
        return [({name: index}, int(value)) for index, value in enumerate(self.genes[column].choices)]

    def _kernels(self, block: _Block, place: int) -> tuple[int, ...]:
        kernels = self.settings.kernel_sizes
        return tuple(kernel for kernel in kernels if kernel) if place and block.strided else kernels

    def _ratios(self, block: _Block) -> tuple[int, ...]:
        settings = self.settings
        fused = settings.fused_expand_ratios if set(block.firsts) & {FUSED, FUSED_ACTIVE} else ()
        universal = settings.expand_ratios if UNIVERSAL in block.firsts else ()
        return tuple(sorted({*fused, *universal}))


def _widths(config: MobileNetV4Config) -> tuple[tuple[int, ...], ...]:
    """What the stem and each stage may have."""
    return config.stem_widths, *(stage.widths for stage in config.stages)


def _blocks(config: MobileNetV4Config) -> list[_Block]:
    found: list[_Block] = []
    kernels = 0
    for stage, own in enumerate(config.stages):
        for position in range(own.depths[-1]):
            firsts = own.first_blocks if position == 0 else (UNIVERSAL,)
            names = (f"ks{kernels}", f"ks{kernels + 1}") if UNIVERSAL in firsts else None
            kernels += 2 if names else 0
            strided = position == 0 and own.stride > 1
            found.append(_Block(len(found), stage, position, firsts, names, strided))
    return found


def _build_slots(space: MobileNetV4Space) -> tuple[tuple[Operator, ...], tuple[Slot, ...]]:
    """Every distinct operator at every resolution, and the slots that hold them."""
    config, tables = space.settings, SlotTables(space.genes)
    widths = _widths(config)
    for index, resolution in enumerate(config.resolution):
        for w, width in space.choices_of("w0", widths[0]):
            stem = Conv(resolution, resolution, config.in_channels, width, kernel=3, stride=config.stem_stride,
                        activation="relu")  # fmt: skip
            tables.place("stem", stem, index, w)
        size = stem.out_height
        for block in space.blocks_placed:
            stride = config.stages[block.stage].stride if block.position == 0 else 1
            for choices, operator in _operators(space, block, size, stride, widths):
                tables.place(f"block{block.number}", operator, index, choices)
            size = operator.out_height
        expand, mix = config.head_widths
        for w, width in space.choices_of(f"w{len(config.stages)}", widths[-1]):
            tables.place("final_expand", Conv(size, size, width, expand, activation="relu"), index, w)
        tables.place("pool", GlobalPool(size, size, expand, expand), index)
        tables.place("feature_mix", Conv(1, 1, expand, mix, activation="relu"), index)
        tables.place("classifier", Linear(1, 1, mix, config.classes), index)
    return tables.finish()


def _operators(
    space: MobileNetV4Space, block: _Block, size: int, stride: int, widths: Sequence[Sequence[int]]
) -> list[tuple[dict[str, Any], Operator]]:
    """What may stand in a block's place, and by which choices: of all of its genes, so that every call names them."""
    stage = block.stage + 1
    entering = stage if block.position else stage - 1
    depths, reached = space.settings.stages[block.stage].depths, dict[str, Any]()
    if f"d{block.stage}" in space.gene_index and block.position >= min(depths):
        reached = {f"d{block.stage}": np.array(depths) > block.position}
    forms = space.choices_of(block.form or "", block.firsts)
    found: list[tuple[dict[str, Any], Operator]] = []
    for (f, form), (e, ratio), (v, before), (w, width) in product(
        forms, space.choices_of(f"e{block.number}", (0,)),
        space.choices_of(f"w{entering}", widths[entering]), space.choices_of(f"w{stage}", widths[stage]),
    ):  # fmt: skip
        if block.position and before != width:
            continue
        residual, mid = block.position > 0, make_divisible(before * ratio)
        kernels = [space.choices_of(name, (0,)) for name in block.kernels or ()]
        for chosen in product(*kernels):
            choices: dict[str, Any] = {**f, **e, **v, **w, **reached}
            for index, _ in chosen:
                choices |= index
            if form == UNIVERSAL:
                first, second = (kernel for _, kernel in chosen)
                operator: Operator = UIB(
                    size, size, before, width, kernel=second, stride=stride, mid_channels=mid, start_kernel=first,
                    residual=residual,
                )  # fmt: skip
            else:
                operator = FusedMBConv(
                    size, size, before, width, kernel=3, stride=stride, mid_channels=mid, residual=residual,
                    ends_active=form == FUSED_ACTIVE,
                )  # fmt: skip
            found.append((choices, operator))
    return found


def _published(widths: Sequence[int], forms: Sequence[int], stages: Sequence[str]) -> dict[str, Any]:
    """An arch from each stage's blocks, each its two kernels and its ratio; `-` fills up to the deepest."""
    blocks = [block for stage in stages for block in stage.split()]
    filled = [(3, 3, 2) if block == "-" else tuple(map(int, block)) for block in blocks]
    return {
        "ks": [kernel for block in filled[1:] for kernel in block[:2]],
        "e": [block[2] for block in filled],
        "f": list(forms),
        "d": [sum(block != "-" for block in stage.split()) for stage in stages[1:]],
        "w": list(widths),
    }


PUBLISHED: dict[str, dict[str, Any]] = {
    "conv_small": _published(
        (32, 32, 64, 96, 128), (2, 2),
        ("001", "003 -", "553 032 032 032 032 304 - - - - -", "336 554 054 053 034 034 - - - - - - -"),
    ),
    "conv_medium": _published(
        (32, 48, 80, 160, 256), (1, 0),
        (
            "004", "354 332", "356 334 334 354 334 304 002 304 - - -",
            "556 554 354 354 004 304 352 554 004 004 502 - -",
        ),
    ),
    "conv_large": _published(
        (24, 48, 96, 192, 512), (1, 0),
        (
            "004", "354 334", "354 334 334 334 354 534 534 534 534 534 304",
            "554 554 554 554 504 534 504 504 534 554 504 504 504",
        ),
    ),
}  # fmt: skip
"""The published convolutional networks as archs of the default space, without their resolution."""
