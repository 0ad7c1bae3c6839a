"""The once-for-all MobileNetV3 space (Cai et al., ICLR 2020), at any width, input size and choice of choices.

The published space is the default; a small one for 32×32 images differs only in its config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError, ConfigError
from hwnas.spaces.arch import Arch
from hwnas.spaces.operators import ACTIVATIONS, Operator, make_divisible
from hwnas.spaces.space import Gene, Genotypes, Slot, Space

__all__ = ["OfaMbv3Config", "OfaMbv3Space"]


@dataclass(frozen=True)
class OfaMbv3Config:
    """What an OFA-MobileNetV3 space is made of. Lists per stage start with the static first block.

    `widths`: stem, first block, each elastic stage, the 1×1 convolution before pooling, the one after it;
    multiplied by `width_mult` and made divisible by 8. `strides`, `activations`, `se`: first block, then each stage.
    `in_channels` and `classes` may be 0, "as the data set has".
    """

    name: str = "ofa_mbv3"
    width_mult: float = 1.0
    resolution: tuple[int, ...] = (160, 176, 192, 208, 224)
    widths: tuple[int, ...] = (16, 16, 24, 40, 80, 112, 160, 960, 1280)
    stem_stride: int = 2
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2)
    activations: tuple[str, ...] = ("relu", "relu", "relu", "h_swish", "h_swish", "h_swish")
    se: tuple[bool, ...] = (False, False, True, False, True, True)
    kernel_sizes: tuple[int, ...] = (3, 5, 7)
    expand_ratios: tuple[int, ...] = (3, 4, 6)
    depths: tuple[int, ...] = (2, 3, 4)
    in_channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        stages = len(self.strides) - 1
        for key, expected in (("activations", stages + 1), ("se", stages + 1), ("widths", stages + 4)):
            if len(getattr(self, key)) != expected:
                raise ConfigError(
                    f"space.{key}: expected {expected} entries for {stages} stages (space.strides has"
                    f" {stages + 1}), got {len(getattr(self, key))}"
                )
        for key in ("kernel_sizes", "expand_ratios", "depths", "resolution"):
            values = getattr(self, key)
            if not values or any(value < 1 for value in values) or list(values) != sorted(set(values)):
                raise ConfigError(f"space.{key}: expected rising positive integers, got {list(values)}")
        if any(kernel % 2 == 0 for kernel in self.kernel_sizes):
            raise ConfigError(f"space.kernel_sizes: expected odd kernels, got {list(self.kernel_sizes)}")
        if any(stride not in (1, 2) for stride in (self.stem_stride, *self.strides)):
            raise ConfigError(f"space.strides and stem_stride: expected 1 or 2, got {self.stem_stride}, {self.strides}")
        if wrong := set(self.activations) - set(ACTIVATIONS):
            raise ConfigError(f"space.activations: {sorted(wrong)} unknown; valid: {', '.join(ACTIVATIONS)}")
        if self.width_mult <= 0 or min(self.widths) < 1:
            raise ConfigError(f"space.width_mult and widths must be positive, got {self.width_mult}, {self.widths}")
        if self.in_channels < 0 or self.classes < 0:
            raise ConfigError("space.in_channels and space.classes: expected 0 (as the data set has) or more")

    @property
    def scaled_widths(self) -> tuple[int, ...]:
        """`widths` × `width_mult`, each made divisible by 8."""
        return tuple(make_divisible(width * self.width_mult) for width in self.widths)

    @property
    def stages(self) -> int:
        return len(self.strides) - 1

    @property
    def blocks(self) -> int:
        """The number of elastic blocks: stages × the largest depth."""
        return self.stages * self.depths[-1]


class OfaMbv3Space(Space):
    """Genes, in this order: `ks` and `e` of each block, `d` of each stage, `r`."""

    def __init__(self, config: OfaMbv3Config) -> None:
        if not config.in_channels or not config.classes:
            raise ConfigError("space.in_channels and space.classes: expected the data set's numbers, got 0")
        self.settings = config
        self.name = config.name
        blocks, stages = range(config.blocks), range(config.stages)
        self.genes = (
            *(Gene(f"ks{block}", config.kernel_sizes, f"block{block}") for block in blocks),
            *(Gene(f"e{block}", config.expand_ratios, f"block{block}") for block in blocks),
            *(Gene(f"d{stage}", config.depths, f"depth{stage}") for stage in stages),
            Gene("r", config.resolution, "resolution"),
        )
        self.operators, self.slots = _build_slots(config)

    def config(self) -> dict[str, Any]:
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self.settings).items()}

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        blocks, deepest = self.settings.blocks, self.settings.depths[-1]
        depth_choice = genotypes[:, 2 * blocks : 2 * blocks + self.settings.stages]
        depth = np.array(self.settings.depths)[depth_choice]
        kept = np.tile(np.arange(deepest), self.settings.stages) < np.repeat(depth, deepest, axis=1)
        rest = np.ones((len(genotypes), self.settings.stages + 1), dtype=bool)
        return np.concatenate([kept, kept, rest], axis=1)

    def arch(self, genotype: Genotypes) -> Arch:
        values = [gene.choices[int(choice)] for gene, choice in zip(self.genes, genotype, strict=True)]
        blocks, stages = self.settings.blocks, self.settings.stages
        return Arch(
            self.name,
            {
                "ks": values[:blocks],
                "e": values[blocks : 2 * blocks],
                "d": values[2 * blocks : 2 * blocks + stages],
                "r": values[-1],
            },
        )

    def genotype(self, arch: Arch | Mapping[str, Any]) -> Genotypes:
        values: Any = arch.to_dict() if isinstance(arch, Arch) else arch
        if not isinstance(values, Mapping):
            raise ArchError(f"arch of space {self.name}: expected a mapping with ks, e, d and r, got {values!r}")
        if "space" in values and values["space"] != self.name:
            raise ArchError(f"arch is of space {values['space']!r}, expected {self.name!r}")
        blocks, stages = self.settings.blocks, self.settings.stages
        resolution = values.get("r", self.settings.resolution[-1])
        if isinstance(resolution, Sequence) and len(resolution) == 1:
            resolution = resolution[0]  # the published code writes [224]
        chosen: list[Any] = []
        for key, length in (("ks", blocks), ("e", blocks), ("d", stages)):
            entries = values.get(key)
            if not isinstance(entries, Sequence) or len(entries) != length:
                raise ArchError(f"arch of space {self.name}: expected {key!r} as a list of {length}, got {entries!r}")
            chosen += entries
        chosen.append(resolution)
        row = np.zeros(len(self.genes), dtype=np.int64)
        for column, (gene, value) in enumerate(zip(self.genes, chosen, strict=True)):
            if value in gene.choices:
                row[column] = gene.choices.index(value)
            elif column >= 2 * blocks or self._kept(column % blocks, chosen):
                raise ArchError(
                    f"arch of space {self.name}: {gene.name} is {value!r}, valid: {', '.join(map(str, gene.choices))}"
                )
        return np.asarray(self.canonical(row[None])[0])

    def _kept(self, block: int, chosen: list[Any]) -> bool:
        # Published archs hold arbitrary values (often 0) for blocks past a stage's depth.
        stage, position = divmod(block, self.settings.depths[-1])
        depth = chosen[2 * self.settings.blocks + stage]
        return not isinstance(depth, int) or position < depth


def _build_slots(config: OfaMbv3Config) -> tuple[tuple[Operator, ...], tuple[Slot, ...]]:
    """Every distinct operator at every resolution, and the slots that hold them."""
    found: dict[Operator, int] = {}

    def position(operator: Operator) -> int:
        return found.setdefault(operator, len(found))

    widths = config.scaled_widths
    stem_width, first_width = widths[:2]
    stage_widths, expand_width, mix_width = widths[2:-2], widths[-2], widths[-1]
    resolution_gene = 2 * config.blocks + config.stages
    names = ["stem", "first_block", *(f"block{block}" for block in range(config.blocks))]
    names += ["final_expand", "pool", "feature_mix", "classifier"]
    deepest = config.depths[-1]
    block_shape = (len(config.kernel_sizes), len(config.expand_ratios), len(config.depths), len(config.resolution))
    fixed = {name: np.zeros(len(config.resolution), dtype=np.int64) for name in names if "block" not in name}
    fixed["first_block"] = np.zeros(len(config.resolution), dtype=np.int64)
    elastic = [np.full(block_shape, -1, dtype=np.int64) for _ in range(config.blocks)]

    for index, resolution in enumerate(config.resolution):
        stem = Operator(
            "conv", resolution, resolution, config.in_channels, stem_width,
            kernel=3, stride=config.stem_stride, activation="h_swish",
        )  # fmt: skip
        first = Operator(
            "mbconv", stem.out_height, stem.out_width, stem_width, first_width, mid_channels=stem_width, kernel=3,
            stride=config.strides[0], residual=config.strides[0] == 1 and stem_width == first_width,
            se=config.se[0], activation=config.activations[0],
        )  # fmt: skip
        fixed["stem"][index], fixed["first_block"][index] = position(stem), position(first)
        size, width = first.out_height, first_width
        for stage, out_width in enumerate(stage_widths):
            for place in range(deepest):
                stride = config.strides[stage + 1] if place == 0 else 1
                in_width = width if place == 0 else out_width
                reached = np.array(config.depths) > place
                for k, kernel in enumerate(config.kernel_sizes):
                    for e, expand in enumerate(config.expand_ratios):
                        block = Operator(
                            "mbconv", size, size, in_width, out_width,
                            mid_channels=make_divisible(round(in_width * expand)), kernel=kernel, stride=stride,
                            residual=stride == 1 and in_width == out_width,
                            se=config.se[stage + 1], activation=config.activations[stage + 1],
                        )  # fmt: skip
                        elastic[stage * deepest + place][k, e, reached, index] = position(block)
                if place == 0:
                    size = block.out_height
            width = out_width
        expand_conv = Operator("conv", size, size, width, expand_width, activation="h_swish")
        mix = Operator("conv", 1, 1, expand_width, mix_width, activation="h_swish", norm=False)
        fixed["final_expand"][index] = position(expand_conv)
        fixed["pool"][index] = position(Operator("pool", size, size, expand_width, expand_width))
        fixed["feature_mix"][index] = position(mix)
        fixed["classifier"][index] = position(Operator("linear", 1, 1, mix_width, config.classes))

    slots = []
    for name in names:
        if name in fixed:
            slots.append(Slot(name, (resolution_gene,), fixed[name]))
        else:
            block_number = int(name.removeprefix("block"))
            depth_gene = 2 * config.blocks + block_number // deepest
            columns = (block_number, config.blocks + block_number, depth_gene, resolution_gene)
            slots.append(Slot(name, columns, elastic[block_number]))
    return tuple(found), tuple(slots)


def config_from_dict(values: dict[str, Any]) -> OfaMbv3Config:
    """The config that `OfaMbv3Space.config` wrote. Raises ConfigError on unknown or missing keys."""
    names = {field.name for field in fields(OfaMbv3Config)}
    if set(values) != names:
        raise ConfigError(f"space config: missing {sorted(names - set(values))}, unknown {sorted(set(values) - names)}")
    frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return OfaMbv3Config(**cast(dict[str, Any], frozen))
