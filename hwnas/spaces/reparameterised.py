"""Spaces of re-parameterised convolutions: MobileOne (Vasu et al., 2023) and RepVGG (Ding et al., 2021).

A stem, stages of blocks, pooling and a classifier. In training each convolution is several branches; all that is
measured, searched and exported is the one that they become.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hwnas.errors import ConfigError
from hwnas.operators import ACTIVATIONS, GlobalPool, Linear, Operator, RepConv
from hwnas.spaces.genes import Gene
from hwnas.spaces.mobile import check_common, check_rising
from hwnas.spaces.placed import Place, PlacedSpace
from hwnas.spaces.settings import check_known, described

__all__ = ["PUBLISHED", "RepStageConfig", "ReparameterisedConfig", "ReparameterisedSpace"]


@dataclass(frozen=True)
class RepStageConfig:
    """One stage: the `widths` and `depths` (blocks) that it may have, and the `stride` of its first block.

    A block is a depthwise and a 1×1 convolution, as MobileOne's; where `dense`, one convolution of all channels, as
    RepVGG's.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    stride: int = 2
    dense: bool = False

    def __post_init__(self) -> None:
        check_rising("stages: widths", self.widths)
        check_rising("stages: depths", self.depths)
        if self.stride not in (1, 2):
            raise ConfigError(f"space.stages: stride: expected 1 or 2, got {self.stride}")


@dataclass(frozen=True)
class ReparameterisedConfig:
    """What such a space is made of.

    `stem_widths`: what the first convolution may have. Each block chooses of `kernel_sizes`, a network of `resolution`.
    `branches`: how many convolutions of the same kernel are trained side by side in each of the blocks'; a network that
    is deployed has one of them, whatever their number. `in_channels` and `classes` may be 0, "as the data set has".
    """

    family: ClassVar[str] = "reparameterised"

    name: str = "mobileone"
    resolution: tuple[int, ...] = (160, 192, 224)
    stem_widths: tuple[int, ...] = (48, 64)
    stem_stride: int = 2
    stages: tuple[RepStageConfig, ...] = (
        RepStageConfig((48, 96, 128), (2,)),
        RepStageConfig((128, 192, 256, 320), (4, 6, 8)),
        RepStageConfig((256, 512, 640, 768), (6, 8, 10)),
        RepStageConfig((1024, 1280, 2048), (1,)),
    )
    kernel_sizes: tuple[int, ...] = (3, 5)
    activation: str = "relu"
    branches: int = 1
    in_channels: int = 3
    classes: int = 1000

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("space.stages: expected one stage or more, got none")
        check_common(self, ("resolution", "stem_widths", "kernel_sizes"))
        if any(kernel % 2 == 0 for kernel in self.kernel_sizes):
            raise ConfigError(f"space.kernel_sizes: expected odd kernels, got {list(self.kernel_sizes)}")
        if self.stem_stride not in (1, 2):
            raise ConfigError(f"space.stem_stride: expected 1 or 2, got {self.stem_stride}")
        if self.activation not in ACTIVATIONS:
            raise ConfigError(f"space.activation: {self.activation!r} unknown; valid: {', '.join(ACTIVATIONS)}")
        if self.branches < 1:
            raise ConfigError(f"space.branches: expected 1 or more, got {self.branches}")

    @property
    def stage_depths(self) -> tuple[tuple[int, ...], ...]:
        """None: the slots' names say their stage and place."""
        return ()

    def space(self) -> ReparameterisedSpace:
        """The space of these settings. Raises ConfigError where its classes or channels are 0."""
        return ReparameterisedSpace(self)


class ReparameterisedSpace(PlacedSpace):
    """Genes: `w` of the stem and each stage, `ks` of each block, `d` of each stage, those that have a choice; `r`."""

    settings: ReparameterisedConfig

    def __init__(self, config: ReparameterisedConfig) -> None:
        check_known(config)
        self.settings = config
        super().__init__(
            config.name, config.resolution, config.in_channels, config.classes, lambda size: _places(config, size)
        )

    def config(self) -> dict[str, Any]:
        return described(self.settings)


Values = Mapping[str, int]
"""What genes have chosen, by their names."""


@dataclass(frozen=True)
class _Block:
    """A block's place: its running number, its stage and its position in that, both from 0 on, and its input's size."""

    config: ReparameterisedConfig
    number: int
    stage: int
    position: int
    size: int

    @property
    def stride(self) -> int:
        return self.config.stages[self.stage].stride if self.position == 0 else 1

    @property
    def out_size(self) -> int:
        return (self.size - 1) // self.stride + 1

    @property
    def before(self) -> str:
        """The gene of the width that goes in; `w0` is the stem's."""
        return f"w{self.stage}" if self.position == 0 else self.after

    @property
    def after(self) -> str:
        return f"w{self.stage + 1}"

    def places(self) -> Iterator[Place]:
        config, own = self.config, self.config.stages[self.stage]
        widths = [config.stem_widths, *(stage.widths for stage in config.stages)]
        entering, leaving = ({name: widths[int(name[1:])]} for name in (self.before, self.after))
        kernel = {f"ks{self.number}": config.kernel_sizes}
        depth = {f"d{self.stage}": own.depths} if self.position >= own.depths[0] else {}
        name = f"stage{self.stage + 1}_{self.position + 1}"
        if own.dense:
            yield _place(name, {**kernel, **entering, **leaving, **depth}, self._dense)
            return
        yield _place(f"{name}_depthwise", {**kernel, **entering, **depth}, self._depthwise)
        yield _place(f"{name}_pointwise", {**entering, **leaving, **depth}, self._pointwise)

    def _dense(self, values: Values) -> Operator | None:
        return self._conv(values, self.size, self.after, values[f"ks{self.number}"], self.stride)

    def _depthwise(self, values: Values) -> Operator | None:
        return self._conv(values, self.size, self.before, values[f"ks{self.number}"], self.stride, depthwise=True)

    def _pointwise(self, values: Values) -> Operator | None:
        return self._conv(values, self.out_size, self.after, 1, 1)

    def _conv(
        self, values: Values, size: int, after: str, kernel: int, stride: int, depthwise: bool = False
    ) -> Operator | None:
        if values.get(f"d{self.stage}", self.position + 1) <= self.position:
            return None
        return RepConv(
            size, size, values[self.before], values[after], kernel=kernel, stride=stride, depthwise=depthwise,
            activation=self.config.activation, branches=self.config.branches,
        )  # fmt: skip


def _places(config: ReparameterisedConfig, size: int) -> Iterator[Place]:
    def stem(values: Values) -> Operator:
        return RepConv(
            size, size, config.in_channels, values["w0"], kernel=3, stride=config.stem_stride,
            activation=config.activation,
        )  # fmt: skip

    yield _place("stem", {"w0": config.stem_widths}, stem)
    left, number = (size - 1) // config.stem_stride + 1, 0
    for stage, own in enumerate(config.stages):
        for position in range(own.depths[-1]):
            block = _Block(config, number, stage, position, left)
            yield from block.places()
            left, number = block.out_size, number + 1
    last = f"w{len(config.stages)}"
    width = {last: config.stages[-1].widths}
    yield _place("pool", width, lambda values: GlobalPool(left, left, values[last], values[last]))
    yield _place("classifier", width, lambda values: Linear(1, 1, values[last], config.classes))


def _place(name: str, genes: Mapping[str, Sequence[int]], make: Callable[[Values], Operator | None]) -> Place:
    """Genes of one choice are none; `make` has their values all the same."""
    fixed = {gene: choices[0] for gene, choices in genes.items() if len(choices) == 1}
    chosen = {gene: choices for gene, choices in genes.items() if gene not in fixed}

    def operator(**given: int) -> Operator | None:
        values = {gene: given[gene] if gene in given else given[Gene(gene, (), "").kind] for gene in chosen}
        return make({**fixed, **values})

    return Place(name, operator, chosen)


def _published(widths: Sequence[int]) -> dict[str, Any]:
    return {"w": list(widths), "ks": [3] * 21, "d": [8, 10]}


PUBLISHED: dict[str, dict[str, Any]] = {
    "s0": _published((48, 48, 128, 256, 1024)),
    "s1": _published((64, 96, 192, 512, 1280)),
    "s2": _published((64, 96, 256, 640, 2048)),
    "s3": _published((64, 128, 320, 768, 2048)),
}
"""MobileOne-S0 to -S3 as archs of the default space, without their resolution. S0 was trained with 4 branches."""
