"""What an operator is: the one thing that spaces, supernets, latency tables and exporters share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from hwnas.errors import ConfigError
from hwnas.operators.derived import derived

if TYPE_CHECKING:
    from torch import nn

    from hwnas.operators.graph import GraphBuilder, Weights

__all__ = ["ACTIVATIONS", "Field", "Operator", "check_activation"]

ACTIVATIONS = ("none", "relu", "relu6", "h_swish")

Field = str | int | float | bool
"""What a field of an operator may hold: what a cell of a CSV file can say."""

_SIZES = ("height", "width", "channels")
_COMMON: dict[str, Field] = {
    "kernel": 1, "stride": 1, "se": False, "activation": "none", "residual": False, "expands": False,
}  # fmt: skip
"""Traits that every operator has, with those of one that has no such field."""


@dataclass(frozen=True)
class Operator:
    """One operator at one place, in the fused form in which a runtime executes it: what a latency table has a row for.

    A kind is a subclass with `operator_kind`, whose own fields say what else there is to choose. What it takes is
    `[B, in_channels, in_height, in_width]`, what it gives `[B, out_channels, out_height, out_width]`. A kind must bring
    `layer` (those of the package have theirs in `hwnas.supernet.layers`). All else is derived from that layer; a kind
    says itself what it knows faster.
    """

    kind: ClassVar[str]
    takes_flat: ClassVar[bool] = False
    """Whether it takes `[B, in_channels]`: what is given to it is flattened, and dropout comes before it."""
    is_free: ClassVar[bool] = False
    """Whether nothing is computed: it has no file, and takes no time by itself."""
    holds: ClassVar[tuple[type[Operator], ...]] = ()
    """Other kinds, whose operators are parts of this one's: where both may stand, `elastic_layer` is given both."""
    keeps_channels: ClassVar[bool] = False
    """Whether each channel that it gives is of the same one that it takes, whatever the others hold."""

    in_height: int
    in_width: int
    in_channels: int
    out_channels: int

    # ---- what a kind may bring ----------------------------------------------------------------------------------

    def layer(self) -> nn.Module:
        """The torch module, with fresh weights. Raises ConfigError where the kind brings none."""
        raise ConfigError(f"operator kind {self.kind!r} has no layer: give its class a method layer(self) -> nn.Module")

    @classmethod
    def elastic_layer(cls, operators: Sequence[Any]) -> nn.Module | None:  # noqa: ARG003
        """An `ElasticLayer` (`hwnas.supernet.layers`) for all `operators`, of this kind and those that it `holds`.

        None: each of them has weights of its own.
        """
        return None

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        """Append it to `graph`, from `value` on, and return its output: the fast way to files to be measured.

        `flat`: whether what follows `takes_flat`. A kind without it has its files written by the exporters.
        """
        raise NotImplementedError(f"operator kind {self.kind!r} has no fast writer")

    @classmethod
    def has_fast_writer(cls) -> bool:
        """Whether the kind brings `append`."""
        return cls.append is not Operator.append

    @property
    def out_height(self) -> int:
        """Pixels."""
        return derived(self).out_height

    @property
    def out_width(self) -> int:
        """Pixels."""
        return derived(self).out_width

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products, for batch 1."""
        return derived(self).macs

    @property
    def parameters(self) -> int:
        """Trainable parameters, batch norm's scale and shift included."""
        return derived(self).parameters

    @property
    def norm_channels(self) -> int:
        """How many channels have a batch norm: of its scale and shift, one bias is left once it is folded."""
        return derived(self).norm_channels

    @property
    def peak_activations(self) -> int:
        """The most numbers held at once while it runs, for batch 1: see `Space.peak_activation_bytes`."""
        return derived(self).peak_activations

    @property
    def ties_channels(self) -> bool:
        """Whether the channels that it gives stand in the order of those that it takes, as an addition has it."""
        return self.keeps_channels or bool(self.traits["residual"])

    @property
    def kernels(self) -> Sequence[tuple[int, int]]:
        """Multiply-accumulates, and numbers read and written, of each kernel that it runs as, for batch 1.

        The arithmetic adds up to `macs`; activations are part of the kernel before them.
        """
        read = self.in_height * self.in_width * self.in_channels
        written = self.out_height * self.out_width * self.out_channels
        return ((self.macs, read + written + self.parameters),)

    @property
    def traits(self) -> dict[str, Field]:
        """By what operators resemble each other, beside their sizes: fields that are no size, for predictors to learn.

        Those that several kinds share are there for every operator.
        """
        own = {key: value for key, value in self.own_fields().items() if not key.endswith(_SIZES)}
        return {**_COMMON, **own}

    # ---- what follows -------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`[1, C, H, W]` of what it takes."""
        return 1, self.in_channels, self.in_height, self.in_width

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Of all fields, in their order."""
        return tuple(field.name for field in fields(cls))

    def own_fields(self) -> dict[str, Field]:
        """The fields that the kind adds to those of every operator, and their values."""
        return {name: getattr(self, name) for name in self.field_names()[len(Operator.field_names()) :]}

    def to_dict(self) -> dict[str, Field]:
        """The kind, then field names to values, as a latency table's row holds them."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in self.field_names()}}

    def __str__(self) -> str:
        parts = [self.kind, f"{self.in_height}x{self.in_width}x{self.in_channels}->{self.out_channels}"]
        own = self.own_fields()
        if mid := own.pop("mid_channels", 0):
            parts.append(f"mid{mid}")
        if "kernel" in own:
            parts.append(f"k{own.pop('kernel')}s{own.pop('stride', 1)}")
        off = {field.name for field in fields(self) if field.default is False}
        ends = own.pop("activation", "none")
        parts += [
            name if name in off else f"{name}={value}" for name, value in own.items() if value != _default(self, name)
        ]
        return " ".join(parts if ends == "none" else [*parts, str(ends)])


def _default(operator: Operator, name: str) -> object:
    return next(field.default for field in fields(operator) if field.name == name)


def check_activation(operator: Operator, activation: str) -> None:
    """Raise ValueError where `activation` is none of `ACTIVATIONS`."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r} of {operator.kind}: expected one of {ACTIVATIONS}")
