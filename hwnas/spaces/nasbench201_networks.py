"""NAS-Bench-201's cells (Dong and Yang, ICLR 2020) in networks to be trained, of any width, depth and size of images.

The published skeleton: a 3×3 convolution, stages of equal cells with a residual block of stride 2 between them, batch
norm and ReLU, the mean, a classifier. Shapes: N architectures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError, ConfigError
from hwnas.operators import AvgPool, Conv, GlobalPool, Identity, Linear, NormAct, Operator, ReluConv
from hwnas.spaces.arch import Arch
from hwnas.spaces.genes import Gene, Genotypes
from hwnas.spaces.mobile import check_common
from hwnas.spaces.nasbench201_cells import EDGES, OUTPUT, flow, row_of, text_of
from hwnas.spaces.settings import check_known, described
from hwnas.spaces.slots import SlotTables
from hwnas.spaces.space import Space

__all__ = ["NasBench201Config", "NasBench201NetworkSpace"]


@dataclass(frozen=True)
class NasBench201Config:
    """What such networks are made of: `cells` in each stage, of `widths` channels. A network chooses of `resolution`.
    `in_channels` and `classes` may be 0, "as the data set has".
    """

    family: ClassVar[str] = "nasbench201"

    name: str = "nasbench201"
    resolution: tuple[int, ...] = (32,)
    widths: tuple[int, ...] = (16, 32, 64)
    cells: int = 5
    in_channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        check_common(self, ("resolution",))
        if not self.widths or min(self.widths) < 1 or self.cells < 1:
            raise ConfigError(
                f"space.widths and cells: expected positive numbers, got {list(self.widths)} and {self.cells}"
            )

    @property
    def stage_depths(self) -> tuple[tuple[int, ...], ...]:
        """None: every stage has all of its cells."""
        return ()

    def space(self) -> NasBench201NetworkSpace:
        """The space of these settings. Raises ConfigError where its classes or channels are 0."""
        return NasBench201NetworkSpace(self)


class NasBench201NetworkSpace(Space):
    """Genes `edge0` to `edge5`, choices 0 to 4 as in `edge_operators`, and `r`; an arch has a cell's string as `cell`.

    An edge that leads nowhere has no effect, and is `none`. A cell in which no way leads from its input to its output
    passes its input on; the published networks of such cells give the same for every image.
    """

    edge_operators = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
    """By what they cost, so that the last choices are the largest network."""

    def __init__(self, config: NasBench201Config) -> None:
        check_known(config)
        self.settings = config
        self.name = config.name
        self.in_channels, self.classes, self.resolutions = config.in_channels, config.classes, config.resolution
        choices = tuple(range(len(self.edge_operators)))
        edges = (Gene(f"edge{number}", choices, f"edge{number}") for number in range(len(EDGES)))
        self.genes = (*edges, Gene("r", config.resolution, "resolution"))
        tables = SlotTables(self.genes)
        for index, resolution in enumerate(config.resolution):
            self._place(tables, index, resolution)
        self.operators, self.slots = tables.finish()

    def config(self) -> dict[str, Any]:
        return described(self.settings)

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        return np.concatenate([self.live(genotypes[:, :-1]), np.ones((len(genotypes), 1), dtype=bool)], axis=1)

    def arch(self, genotype: Genotypes) -> Arch:
        return Arch(
            self.name, {"cell": text_of(genotype[:-1], self.edge_operators), "r": self.resolutions[int(genotype[-1])]}
        )

    def genotype(self, arch: Arch | Mapping[str, Any] | str) -> Genotypes:
        """Of an arch, or of a cell's string alone; at the largest resolution if it names none."""
        values: Any = arch.to_dict() if isinstance(arch, Arch) else arch
        resolution = values.get("r", self.resolutions[-1]) if isinstance(values, Mapping) else self.resolutions[-1]
        if resolution not in self.resolutions:
            valid = ", ".join(map(str, self.resolutions))
            raise ArchError(f"arch of space {self.name}: r is {resolution!r}, valid: {valid}")
        row = np.append(row_of(values, self.edge_operators, self.name), self.resolutions.index(resolution))
        return np.asarray(self.canonical(row[None])[0])

    @staticmethod
    def live(genotypes: Genotypes) -> NDArray[np.bool_]:
        """Which edges are on a way from the cell's input to its output, `[N, 6]`."""
        joined, needed, reached = flow(genotypes)
        ways = [reached[:, source] & needed[:, target] for source, target in EDGES]
        return np.asarray(joined & np.stack(ways, axis=1))

    def _place(self, tables: SlotTables, index: int, size: int) -> None:
        """The slots of one resolution, by its index."""
        config, before, narrow = self.settings, "stem", self.settings.widths[0]
        tables.place("stem", Conv(size, size, config.in_channels, narrow, kernel=3), index)
        for stage, width in enumerate(config.widths):
            if stage:
                before = _reduce(tables, index, f"reduce{stage}", before, (size, narrow, width))
                size = (size + 1) // 2
            for cell in range(config.cells):
                before = self._cell(tables, index, f"stage{stage}cell{cell}", before, (size, width))
            narrow = width
        tables.place("norm", NormAct(size, size, narrow, narrow), index)
        tables.place("pool", GlobalPool(size, size, narrow, narrow), index)
        tables.place("classifier", Linear(1, 1, narrow, config.classes), index)

    def _cell(self, tables: SlotTables, index: int, name: str, before: str, shape: tuple[int, int]) -> str:
        """A cell that reads `before`, of pixels and channels `shape`: the slot of its output."""
        size, width = shape
        square = (size, size, width, width)
        held: dict[str, Operator] = {
            "skip_connect": Identity(*square), "avg_pool_3x3": AvgPool(*square, kernel=3),
            "nor_conv_1x1": ReluConv(*square), "nor_conv_3x3": ReluConv(*square, kernel=3),
        }  # fmt: skip
        nodes = [before]
        for target in range(1, OUTPUT + 1):
            into = [(edge, source) for edge, (source, end) in enumerate(EDGES) if end == target]
            for edge, source in into:
                slot = f"{name}edge{edge}"
                tables.wire(slot, [nodes[source]], is_edge=True)
                for choice, operator in held.items():
                    tables.place(slot, operator, index, {f"edge{edge}": self.edge_operators.index(choice)})
            nodes.append(f"{name}node{target}")
            edges = [f"{name}edge{edge}" for edge, _ in into]
            tables.wire(nodes[-1], edges, otherwise=before if target == OUTPUT else "")
        return nodes[-1]


def _reduce(tables: SlotTables, index: int, name: str, before: str, shape: tuple[int, int, int]) -> str:
    """The residual block between stages, of pixels and channels before and after: two 3×3 convolutions, and a 1×1 one
    beside them after pooling. The slot of its output.
    """
    size, narrow, width = shape
    half = (size + 1) // 2
    tables.wire(f"{name}a", [before])
    tables.place(f"{name}a", ReluConv(size, size, narrow, width, kernel=3, stride=2), index)
    tables.place(f"{name}b", ReluConv(half, half, width, width, kernel=3), index)
    tables.wire(f"{name}pool", [before])
    tables.place(f"{name}pool", AvgPool(size, size, narrow, narrow, kernel=2, stride=2), index)
    tables.place(f"{name}point", Conv(half, half, narrow, width, norm=False), index)
    tables.wire(name, [f"{name}b", f"{name}point"])
    return name
