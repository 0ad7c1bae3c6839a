"""What once-for-all's spaces of inverted residual blocks share (Cai et al., ICLR 2020), at any width and input size.

A stem, a static first block, stages of elastic blocks, and a head. Lists per stage start with the first block.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError
from hwnas.operators import ACTIVATIONS, Conv, MBConv, Operator, make_divisible
from hwnas.spaces.genes import Gene, Genotypes
from hwnas.spaces.settings import check_known
from hwnas.spaces.slots import Slot, SlotTables
from hwnas.spaces.space import Space
from hwnas.spaces.words import BlockGenes

__all__ = ["BOUNDS", "MobileConfig", "MobileSpace", "check_common", "check_rising"]

BOUNDS = ("largest_kernels", "largest_expands", "largest_depths")
"""Settings that a space's description has only where they are given."""


@dataclass(frozen=True)
class MobileConfig:
    """What such a space is made of.

    `widths`: stem, first block, each elastic stage, and the head's; multiplied by `width_mult` and made divisible by
    8. `strides`: first block, then each stage. Each block chooses of `kernel_sizes` and `expand_ratios`, each stage of
    `depths` (blocks), the network of `resolution`. `in_channels` and `classes` may be 0, "as the data set has".

    `largest_kernels` and `largest_expands` (of each block) and `largest_depths` (of each stage that has a choice) bound
    these choices where they are given, so that the largest network may be any one. Empty: the last of the lists.
    """

    family: ClassVar[str]
    head_widths: ClassVar[int]
    stem_activation: ClassVar[str]

    name: str
    width_mult: float
    resolution: tuple[int, ...]
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    stem_stride: int = 2
    kernel_sizes: tuple[int, ...] = (3, 5, 7)
    expand_ratios: tuple[int | float, ...] = (3, 4, 6)
    depths: tuple[int, ...] = (2, 3, 4)
    in_channels: int = 3
    classes: int = 1000
    largest_kernels: tuple[int, ...] = ()
    largest_expands: tuple[int | float, ...] = ()
    largest_depths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.check_lengths(widths=len(self.strides) + 1 + self.head_widths)
        check_common(self, ("kernel_sizes", "expand_ratios", "depths", "resolution"))
        if any(kernel % 2 == 0 for kernel in self.kernel_sizes):
            raise ConfigError(f"space.kernel_sizes: expected odd kernels, got {list(self.kernel_sizes)}")
        if any(stride not in (1, 2) for stride in (self.stem_stride, *self.strides)):
            raise ConfigError(f"space.strides and stem_stride: expected 1 or 2, got {self.stem_stride}, {self.strides}")
        if wrong := {activation for activation, _ in self.stage_styles} - set(ACTIVATIONS):
            raise ConfigError(f"space.activations: {sorted(wrong)} unknown; valid: {', '.join(ACTIVATIONS)}")
        if self.width_mult <= 0 or min(self.widths) < 1:
            raise ConfigError(f"space.width_mult and widths must be positive, got {self.width_mult}, {self.widths}")
        self._check_largest("depths", self.elastic_stages, "stages", self.depths)
        self._check_largest("kernels", self.blocks, "blocks", self.kernel_sizes)
        self._check_largest("expands", self.blocks, "blocks", self.expand_ratios)

    def _check_largest(self, key: str, count: int, what: str, valid: Sequence[float]) -> None:
        values = getattr(self, f"largest_{key}")
        if values and (len(values) != count or not set(values) <= set(valid)):
            raise ConfigError(
                f"space.largest_{key}: expected one of {list(valid)} for each of {count} {what}, got {list(values)}"
            )

    def check_lengths(self, **expected: int) -> None:
        """Raise ConfigError for a list of another length than `strides` implies."""
        for key, length in expected.items():
            if len(getattr(self, key)) != length:
                raise ConfigError(
                    f"space.{key}: expected {length} entries for {len(self.strides) - 1} stages (space.strides has"
                    f" {len(self.strides)}), got {len(getattr(self, key))}"
                )

    @abstractmethod
    def space(self) -> MobileSpace:
        """The space of these settings. Raises ConfigError where its classes or channels are 0."""

    @property
    @abstractmethod
    def stage_styles(self) -> tuple[tuple[str, bool], ...]:
        """Activation, and whether there is squeeze-and-excitation, of the first block and each stage."""

    @property
    def scaled_widths(self) -> tuple[int, ...]:
        """`widths` × `width_mult`, each made divisible by 8."""
        return tuple(make_divisible(width * self.width_mult) for width in self.widths)

    @property
    def elastic_stages(self) -> int:
        """How many stages, the first ones, choose of `depths`."""
        return len(self.strides) - 1

    @property
    def stage_depths(self) -> tuple[tuple[int, ...], ...]:
        """The depths that each stage may have."""
        most = self.largest_depths or (self.depths[-1],) * self.elastic_stages
        return tuple(tuple(depth for depth in self.depths if depth <= largest) for largest in most)

    @property
    def block_kernels(self) -> tuple[tuple[int, ...], ...]:
        """The kernel sizes that each block may have."""
        most = self.largest_kernels or (self.kernel_sizes[-1],) * self.blocks
        return tuple(tuple(kernel for kernel in self.kernel_sizes if kernel <= largest) for largest in most)

    @property
    def block_expands(self) -> tuple[tuple[int | float, ...], ...]:
        """The expand ratios that each block may have."""
        most = self.largest_expands or (self.expand_ratios[-1],) * self.blocks
        return tuple(tuple(ratio for ratio in self.expand_ratios if ratio <= largest) for largest in most)

    @property
    def blocks(self) -> int:
        """The number of elastic blocks: each stage's largest depth, added up."""
        return sum(depths[-1] for depths in self.stage_depths)


def check_common(config: Any, rising: tuple[str, ...]) -> None:
    """Raise ConfigError where one of the lists named by `rising` is not rising, or the data's numbers are negative."""
    for key in rising:
        check_rising(key, getattr(config, key))
    if config.in_channels < 0 or config.classes < 0:
        raise ConfigError("space.in_channels and space.classes: expected 0 (as the data set has) or more")


def check_rising(key: str, values: Sequence[float], least: float | None = None) -> None:
    """Raise ConfigError where `values` are not rising, or not positive (below `least`, where that is given)."""
    too_small = any(value <= 0 if least is None else value < least for value in values)
    if not values or too_small or list(values) != sorted(set(values)):
        expected = "rising positive numbers" if least is None else f"rising numbers of {least} and more"
        raise ConfigError(f"space.{key}: expected {expected}, got {list(values)}")


class MobileSpace(Space):
    """Genes, in this order: `ks` and `e` of each block, `d` of each stage that has a choice, `r`."""

    def __init__(self, config: MobileConfig) -> None:
        check_known(config)
        self.settings = config
        self.name = config.name
        self.in_channels, self.classes, self.resolutions = config.in_channels, config.classes, config.resolution
        blocks = range(config.blocks)
        elastic = range(config.elastic_stages if len(config.depths) > 1 else 0)
        self.genes = (
            *(Gene(f"ks{block}", config.block_kernels[block], f"block{block}") for block in blocks),
            *(Gene(f"e{block}", config.block_expands[block], f"block{block}") for block in blocks),
            *(Gene(f"d{stage}", config.stage_depths[stage], f"depth{stage}") for stage in elastic),
            Gene("r", config.resolution, "resolution"),
        )
        self.operators, self.slots = _build_slots(self)

    @abstractmethod
    def head(self, size: int, in_width: int) -> list[tuple[str, Operator]]:
        """What follows the stages, on `size` × `size` pixels: each slot's name and operator."""

    def config(self) -> dict[str, Any]:
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self.settings).items()}
        values = {key: value for key, value in values.items() if key not in BOUNDS or value}  # as before there were any
        return {"family": self.settings.family, **values}

    def bounds(self, genotype: Genotypes) -> dict[str, Any]:
        """Settings that make `genotype` `[G]` the largest network of the space, which then holds its parts."""
        row = self.canonical(genotype[None])[0]
        chosen = {gene.name: gene.choices[int(choice)] for gene, choice in zip(self.genes, row, strict=True)}
        depths = [int(chosen.get(f"d{stage}", options[-1])) for stage, options in enumerate(self.settings.stage_depths)]
        firsts = np.cumsum([0, *(options[-1] for options in self.settings.stage_depths)])
        blocks = [first + place for first, depth in zip(firsts, depths, strict=False) for place in range(depth)]
        return {
            "largest_kernels": tuple(chosen[f"ks{block}"] for block in blocks),
            "largest_expands": tuple(chosen[f"e{block}"] for block in blocks),
            "largest_depths": tuple(depths[: self.settings.elastic_stages]),
        }

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        gates, least = self._gates
        kept: NDArray[np.bool_] = genotypes.take(gates, axis=1) >= least
        return kept

    @cached_property
    def blocks(self) -> BlockGenes:
        settings, count = self.settings, self.settings.blocks
        deepest = tuple(depths[-1] for depths in settings.stage_depths)
        kernels, expands = len(settings.kernel_sizes), len(settings.expand_ratios)
        return BlockGenes(slice(0, count), slice(count, 2 * count), kernels, expands, deepest, len(self.genes) - 1)

    @cached_property
    def _gates(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each gene, the one that decides whether it has an effect (itself where always), and from which choice on.

        One look-up and comparison for the whole array: searches ask a dozen times a generation.
        """
        gates, least = np.arange(len(self.genes)), np.zeros(len(self.genes), dtype=np.int64)
        block = 0
        for stage, depths in enumerate(self.settings.stage_depths):
            column = self.gene_index.get(f"d{stage}")
            for place in range(depths[-1]):
                if column is not None:
                    for gene in (block, block + self.settings.blocks):
                        gates[gene], least[gene] = column, sum(depth <= place for depth in depths)
                block += 1
        return gates, least


def _build_slots(space: MobileSpace) -> tuple[tuple[Operator, ...], tuple[Slot, ...]]:
    """Every distinct operator at every resolution, and the slots that hold them."""
    config, tables = space.settings, SlotTables(space.genes)
    stem_width, first_width, *stage_widths = config.scaled_widths[: len(config.strides) + 1]
    for index, resolution in enumerate(config.resolution):
        stem = Conv(
            resolution, resolution, config.in_channels, stem_width,
            kernel=3, stride=config.stem_stride, activation=config.stem_activation,
        )  # fmt: skip
        activation, se = config.stage_styles[0]
        first = MBConv(
            stem.out_height, stem.out_width, stem_width, first_width, mid_channels=stem_width, kernel=3,
            stride=config.strides[0], residual=config.strides[0] == 1 and stem_width == first_width,
            se=se, activation=activation,
        )  # fmt: skip
        tables.place("stem", stem, index)
        tables.place("first_block", first, index)
        size, width, number = first.out_height, first_width, 0
        for stage, out_width in enumerate(stage_widths):
            activation, se = config.stage_styles[stage + 1]
            depths = config.stage_depths[stage]
            for position in range(depths[-1]):
                stride = config.strides[stage + 1] if position == 0 else 1
                reached = {f"d{stage}": np.array(depths) > position} if f"d{stage}" in space.gene_index else {}
                for (k, kernel), (e, expand) in product(
                    enumerate(config.block_kernels[number]), enumerate(config.block_expands[number])
                ):
                    block = MBConv(
                        size, size, width, out_width,
                        mid_channels=make_divisible(round(width * expand)), kernel=kernel, stride=stride,
                        residual=stride == 1 and width == out_width, se=se, activation=activation,
                    )  # fmt: skip
                    choices = {f"ks{number}": k, f"e{number}": e, **reached}
                    tables.place(f"block{number}", block, index, choices)
                size, width, number = block.out_height, out_width, number + 1
        for name, operator in space.head(size, width):
            tables.place(name, operator, index)
    return tables.finish()
