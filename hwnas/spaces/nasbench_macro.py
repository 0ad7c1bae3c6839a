"""The space of NAS-Bench-Macro (Su et al., CVPR 2021): eight layers, each one of three operators, 6,561 networks.

Layers stand in stages of 2, 3 and 3, each of which halves the size and doubles the width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from hwnas.errors import ArchError, ConfigError
from hwnas.operators import Conv, GlobalPool, Linear, MBConv, Operator
from hwnas.spaces.arch import Arch
from hwnas.spaces.genes import Genotypes
from hwnas.spaces.mobile import check_common
from hwnas.spaces.placed import Place, PlacedSpace
from hwnas.spaces.settings import check_known, described

__all__ = ["STAGES", "NasBenchMacroConfig", "NasBenchMacroSpace"]

STAGES = (2, 3, 3)
_LAYERS = sum(STAGES)
_KEY = "layers"
_BLOCKS = {1: (3, 3), 2: (6, 5)}
"""Expansion and kernel of a layer's block; choice 0 is the identity."""


@dataclass(frozen=True)
class NasBenchMacroConfig:
    """`width` is the stem's, `head_width` that of the 1×1 convolution before pooling; accuracies are published for the
    defaults on CIFAR-10. `in_channels` and `classes` may be 0, "as the data set has".
    """

    family: ClassVar[str] = "nasbench_macro"

    name: str = "nasbench_macro"
    resolution: tuple[int, ...] = (32,)
    width: int = 32
    head_width: int = 1280
    in_channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        check_common(self, ("resolution",))
        if self.width < 1 or self.head_width < 1:
            raise ConfigError(f"space.width and head_width must be positive, got {self.width}, {self.head_width}")

    @property
    def stage_depths(self) -> tuple[tuple[int, ...], ...]:
        """None: layers have numbers of their own."""
        return ()

    def space(self) -> NasBenchMacroSpace:
        """The space of these settings. Raises ConfigError where its classes or channels are 0."""
        return NasBenchMacroSpace(self)


class NasBenchMacroSpace(PlacedSpace):
    """Genes `op0` to `op7` and `r`. An arch's key `layers` is the published string, a digit a layer: 0 identity, 1 a
    block of kernel 3 and expansion 3, 2 one of kernel 5 and expansion 6.

    The identity of a stage's first layer, which changes size and width, is a 1×1 convolution with batch norm; that of
    another is nothing. So strings that differ only in which layers of a stage are left out are the same network twice,
    as in the published table, whose accuracies are equal there.
    """

    archs_are_text = True
    settings: NasBenchMacroConfig

    def __init__(self, config: NasBenchMacroConfig) -> None:
        check_known(config)
        self.settings = config
        super().__init__(
            config.name, config.resolution, config.in_channels, config.classes, lambda size: _places(config, size)
        )

    def config(self) -> dict[str, Any]:
        return described(self.settings)

    def genotype(self, arch: Arch | Mapping[str, Any] | str) -> Genotypes:
        """See `Space.genotype`; the published string alone will do."""
        return super().genotype({_KEY: arch} if isinstance(arch, str) else arch)

    def to_published(self, values: dict[str, Any]) -> dict[str, Any]:
        return {_KEY: "".join(map(str, values["op"])), "r": values["r"]}

    def from_published(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        text = str(values.get(_KEY, ""))  # a number, where a command line or a file took it for one
        if not re.fullmatch(f"[012]{{{_LAYERS}}}", text):
            raise ArchError(
                f"arch of space {self.name}: expected {_KEY!r} as {_LAYERS} digits of 0, 1 and 2 in quotes, such as"
                f" '01220012', got {values.get(_KEY)!r}"
            )
        return {**values, "op": [int(digit) for digit in text]}


def _places(config: NasBenchMacroConfig, size: int) -> Iterator[Place]:
    width = config.width
    yield Place("stem", Conv(size, size, config.in_channels, width, kernel=3, activation="relu"))
    number = 0
    for layers in STAGES:
        for position in range(layers):
            before, stride = width, 2 if position == 0 else 1
            width *= stride

            def layer(op: int, size: int = size, before: int = before, after: int = width) -> Operator | None:
                stride = after // before
                if op not in _BLOCKS:
                    return None if stride == 1 else Conv(size, size, before, after, stride=stride)
                ratio, kernel = _BLOCKS[op]
                return MBConv(
                    size, size, before, after, mid_channels=ratio * before, kernel=kernel, stride=stride,
                    residual=stride == 1, activation="relu",
                )  # fmt: skip

            yield Place(f"layer{number}", layer, {f"op{number}": (0, *_BLOCKS)})
            size, number = (size - 1) // stride + 1, number + 1
    head = config.head_width
    yield Place("feature_mix", Conv(size, size, width, head, activation="relu"))
    yield Place("pool", GlobalPool(size, size, head, head))
    yield Place("classifier", Linear(1, 1, head, config.classes))
