"""The once-for-all ResNet50-D space: elastic depth, expand ratio and width (Cai et al., 2020; He et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError, ConfigError
from hwnas.operators import Bottleneck, Conv, GlobalPool, Linear, MaxPool, Operator, make_divisible
from hwnas.spaces.genes import Gene, Genotypes
from hwnas.spaces.mobile import check_common
from hwnas.spaces.settings import check_known
from hwnas.spaces.slots import Slot, SlotTables
from hwnas.spaces.space import Space

__all__ = ["OfaResNet50Config", "OfaResNet50Space"]


@dataclass(frozen=True)
class OfaResNet50Config:
    """What an OFA-ResNet50 space is made of.

    A stem of three 3×3 convolutions (half of `stem_width` channels; the second of them residual and elastic; then
    `stem_width`) and a max pool, then stages of `base_depths` blocks and as many more as `depths` allow. `widths` and
    the stem's are multiplied by each of `width_mults`; a block's mid channels are its output channels times a ratio of
    `expand_ratios`; `strides` are of each stage's first block. A network chooses of `resolution`.
    `in_channels` and `classes` may be 0, "as the data set has".
    """

    family: ClassVar[str] = "ofa_resnet50"

    name: str = "ofa_resnet50"
    resolution: tuple[int, ...] = (128, 144, 160, 176, 192, 208, 224)
    stem_width: int = 64
    stem_stride: int = 2
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    base_depths: tuple[int, ...] = (2, 2, 4, 2)
    depths: tuple[int, ...] = (0, 1, 2)
    expand_ratios: tuple[float, ...] = (0.2, 0.25, 0.35)
    width_mults: tuple[float, ...] = (0.65, 0.8, 1.0)
    in_channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        for key in ("strides", "base_depths"):
            if len(getattr(self, key)) != len(self.widths):
                raise ConfigError(
                    f"space.{key}: expected {len(self.widths)} entries, one for each of space.widths, got"
                    f" {len(getattr(self, key))}"
                )
        check_common(self, ("expand_ratios", "width_mults", "resolution"))
        if list(self.depths) != sorted(set(self.depths)) or not self.depths or self.depths[0] < 0:
            raise ConfigError(f"space.depths: expected rising integers of 0 and more, got {list(self.depths)}")
        if any(stride not in (1, 2) for stride in (self.stem_stride, *self.strides)):
            raise ConfigError(f"space.strides and stem_stride: expected 1 or 2, got {self.stem_stride}, {self.strides}")
        if not self.widths or min(self.stem_width, *self.widths, *self.base_depths) < 1:
            raise ConfigError(
                f"space.stem_width, widths and base_depths: expected 1 and more, got {self.stem_width},"
                f" {self.widths}, {self.base_depths}"
            )

    @property
    def stage_blocks(self) -> tuple[int, ...]:
        """The most blocks that each stage may have."""
        return tuple(base + self.depths[-1] for base in self.base_depths)

    def space(self) -> OfaResNet50Space:
        """The space of these settings. Raises ConfigError where its classes or channels are 0."""
        return OfaResNet50Space(self)


class OfaResNet50Space(Space):
    """Genes, in this order: `e` of each block; `d0`, whether the stem's residual convolution is kept (0 or the largest
    of `depths`, as published), then `d` of each stage; `w` of the stem's first part, its last, and each stage; `r`.

    A `w` gene has only the multipliers that make a difference after rounding. An arch's `w` holds indices into
    `width_mults`, as published.
    """

    def __init__(self, config: OfaResNet50Config) -> None:
        check_known(config)
        self.settings = config
        self.name = config.name
        self.in_channels, self.classes, self.resolutions = config.in_channels, config.classes, config.resolution
        self._channels: tuple[Callable[[float], int], ...] = (
            lambda mult: make_divisible(make_divisible(config.stem_width * mult) // 2),
            lambda mult: make_divisible(config.stem_width * mult),
            *((lambda mult, width=width: make_divisible(width * mult)) for width in config.widths),
        )
        stages = range(len(config.widths))
        self.genes = (
            *(Gene(f"e{b}", config.expand_ratios, f"block{b}") for b in range(sum(config.stage_blocks))),
            Gene("d0", tuple(sorted({0, config.depths[-1]})), "depth0"),
            *(Gene(f"d{stage + 1}", config.depths, f"depth{stage + 1}") for stage in stages),
            *(Gene(f"w{place}", self._width_choices(place), f"width{place}") for place in range(len(self._channels))),
            Gene("r", config.resolution, "resolution"),
        )
        self.operators, self.slots = _build_slots(self)

    def config(self) -> dict[str, Any]:
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self.settings).items()}
        return {"family": self.settings.family, **values}

    def channels(self, place: int, width_mult: float) -> int:
        """The output channels of the stem's first part (`place` 0), its last (1), or a stage (2 and on)."""
        return self._channels[place](width_mult)

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        config = self.settings
        kept = [
            np.arange(most) < base + np.asarray(config.depths)[genotypes[:, self.gene_index[f"d{stage + 1}"], None]]
            for stage, (base, most) in enumerate(zip(config.base_depths, config.stage_blocks, strict=True))
        ]
        rest = np.ones((len(genotypes), len(self.genes) - sum(config.stage_blocks)), dtype=bool)
        return np.concatenate([*kept, rest], axis=1)

    def to_published(self, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "w": [self.settings.width_mults.index(mult) for mult in values["w"]]}

    def from_published(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        given, mults = values.get("w"), self.settings.width_mults
        if not isinstance(given, (list, tuple)) or len(given) != len(self._channels):
            return values
        for place, index in enumerate(given):
            if not isinstance(index, int) or not 0 <= index < len(mults):
                raise ArchError(
                    f"arch of space {self.name}: w{place} is {index!r}, expected an index into the widths"
                    f" {', '.join(map(str, mults))}, valid: {', '.join(map(str, range(len(mults))))}"
                )
        equal = [
            {self.channels(place, mult): mult for mult in self._width_choices(place)} for place in range(len(given))
        ]
        return {**values, "w": [equal[place][self.channels(place, mults[index])] for place, index in enumerate(given)]}

    def _width_choices(self, place: int) -> tuple[float, ...]:
        first: dict[int, float] = {}
        for mult in self.settings.width_mults:
            first.setdefault(self.channels(place, mult), mult)
        return tuple(first.values())


def _build_slots(space: OfaResNet50Space) -> tuple[tuple[Operator, ...], tuple[Slot, ...]]:
    """Every distinct operator at every resolution, and the slots that hold them."""
    config, tables = space.settings, SlotTables(space.genes)
    choices = {gene.name: gene.choices for gene in space.genes}

    def widths(place: int) -> list[tuple[int, int]]:
        return [(index, space.channels(place, mult)) for index, mult in enumerate(choices[f"w{place}"])]

    for index, resolution in enumerate(config.resolution):
        size = (resolution - 1) // config.stem_stride + 1
        for w, half in widths(0):
            first = Conv(resolution, resolution, config.in_channels, half, kernel=3,
                             stride=config.stem_stride, activation="relu")  # fmt: skip
            second = Conv(size, size, half, half, kernel=3, residual=True, activation="relu")
            tables.place("stem", first, index, {"w0": w})
            tables.place("stem_residual", second, index, {"w0": w, "d0": np.array(choices["d0"]) > 0})
        for (w, half), (v, full) in product(widths(0), widths(1)):
            last = Conv(size, size, half, full, kernel=3, activation="relu")
            tables.place("stem_out", last, index, {"w0": w, "w1": v})
        for v, full in widths(1):
            pool = MaxPool(size, size, full, full, kernel=3, stride=2)
            tables.place("stem_pool", pool, index, {"w1": v})
        size, number = pool.out_height, 0
        for stage, (base, most) in enumerate(zip(config.base_depths, config.stage_blocks, strict=True)):
            for position in range(most):
                stride = config.strides[stage] if position == 0 else 1
                reached = {} if position < base else {f"d{stage + 1}": base + np.array(config.depths) > position}
                for (w, out), (e, expand) in product(widths(stage + 2), enumerate(config.expand_ratios)):
                    own = {f"e{number}": e, f"w{stage + 2}": w, **reached}
                    for v, before in widths(stage + 1) if position == 0 else [(w, out)]:
                        block = Bottleneck(size, size, before, out,
                                         mid_channels=make_divisible(round(out * expand)), kernel=3, stride=stride,
                                         residual=position > 0, activation="relu")  # fmt: skip
                        entering = {f"w{stage + 1}": v} if position == 0 else {}
                        tables.place(f"block{number}", block, index, {**own, **entering})
                size, number = block.out_height, number + 1
        for w, out in widths(len(config.widths) + 1):
            last_width = {f"w{len(config.widths) + 1}": w}
            tables.place("pool", GlobalPool(size, size, out, out), index, last_width)
            tables.place("classifier", Linear(1, 1, out, config.classes), index, last_width)
    return tables.finish()
