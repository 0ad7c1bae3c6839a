"""The operators that networks are made of, in the fused form in which a runtime executes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

__all__ = ["ACTIVATIONS", "KINDS", "Operator", "make_divisible"]

KINDS = ("conv", "mbconv", "bottleneck", "max_pool", "pool", "linear")
ACTIVATIONS = ("none", "relu", "relu6", "h_swish")


def make_divisible(value: float, divisor: int = 8) -> int:
    """`value` rounded to the nearest multiple of `divisor` (ties up), at least `divisor`, never under 90 % of `value`.

    The rounding rule of MobileNetV2 and of once-for-all.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, order=True)
class Operator:
    """One operator at one place: what a latency table has a row for.

    Kinds: `conv` (convolution, batch norm where `norm`, activation, addition where `residual`), `mbconv` (inverted
    residual: 1×1 expansion unless `mid_channels == in_channels`, depthwise k×k, squeeze-and-excitation where `se`, 1×1
    projection, addition where `residual`), `bottleneck` (ResNet-D's: 1×1, k×k, 1×1, addition of the input where
    `residual`, else of its average pool, where strided, and 1×1; activation), `max_pool`, `pool` (global average),
    `linear` (fully connected, with bias).
    """

    kind: str
    in_height: int
    in_width: int
    in_channels: int
    out_channels: int
    mid_channels: int = 0
    kernel: int = 1
    stride: int = 1
    residual: bool = False
    se: bool = False
    activation: str = "none"
    norm: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"operator kind {self.kind!r}: expected one of {KINDS}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r}: expected one of {ACTIVATIONS}")

    @property
    def out_height(self) -> int:
        return self._out(self.in_height)

    @property
    def out_width(self) -> int:
        return self._out(self.in_width)

    def _out(self, size: int) -> int:
        # Odd kernels with padding k // 2: floor((size - 1) / stride) + 1.
        return 1 if self.kind in ("pool", "linear") else (size - 1) // self.stride + 1

    @property
    def expands(self) -> bool:
        """Whether an mbconv starts with a 1×1 expansion."""
        return self.kind == "mbconv" and self.mid_channels != self.in_channels

    @property
    def se_channels(self) -> int:
        """Width of the squeeze-and-excitation bottleneck, 0 without one (reduction 4, divisible by 8)."""
        return make_divisible(self.mid_channels // 4) if self.se else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and matrix products, for batch 1."""
        pixels_in = self.in_height * self.in_width
        pixels_out = self.out_height * self.out_width
        if self.kind == "conv":
            return pixels_out * self.in_channels * self.out_channels * self.kernel**2
        if self.kind == "linear":
            return self.in_channels * self.out_channels
        if self.kind in ("pool", "max_pool"):
            return 0
        if self.kind == "bottleneck":
            outer = self.mid_channels * self.out_channels + (
                0 if self.residual else self.in_channels * self.out_channels
            )
            inner = self.mid_channels**2 * self.kernel**2
            return pixels_in * self.in_channels * self.mid_channels + pixels_out * (inner + outer)
        expansion = pixels_in * self.in_channels * self.mid_channels if self.expands else 0
        depthwise = pixels_out * self.mid_channels * self.kernel**2
        squeeze = 2 * self.mid_channels * self.se_channels
        projection = pixels_out * self.mid_channels * self.out_channels
        return expansion + depthwise + squeeze + projection

    @property
    def peak_activations(self) -> int:
        """The most numbers held at once while it runs, for batch 1: see `Space.peak_activation_bytes`."""
        pixels_in, pixels_out = self.in_height * self.in_width, self.out_height * self.out_width
        given, result = pixels_in * self.in_channels, pixels_out * self.out_channels
        wide, narrow = pixels_in * self.mid_channels, pixels_out * self.mid_channels
        if self.kind == "mbconv":
            kept = given if self.residual else 0
            if not self.expands:
                return max(given + narrow, kept + narrow + result)
            return max(given + wide, kept + wide + narrow, kept + narrow + result)
        if self.kind == "bottleneck" and self.residual:
            return given + max(wide + narrow, narrow + result)
        if self.kind == "bottleneck":
            pooled = pixels_out * self.in_channels if self.stride > 1 else 0
            return result + max(given + pooled, given + wide, wide + narrow, narrow + result)
        return given + result

    @property
    def parameters(self) -> int:
        """Trainable parameters, batch norm's scale and shift included."""
        norm = 2 if self.norm else 0
        if self.kind == "conv":
            return self.in_channels * self.out_channels * self.kernel**2 + norm * self.out_channels
        if self.kind == "linear":
            return self.in_channels * self.out_channels + self.out_channels
        if self.kind in ("pool", "max_pool"):
            return 0
        if self.kind == "bottleneck":
            first = (self.in_channels + norm) * self.mid_channels
            second = (self.mid_channels * self.kernel**2 + norm) * self.mid_channels
            third = (self.mid_channels + norm) * self.out_channels
            shortcut = 0 if self.residual else (self.in_channels + norm) * self.out_channels
            return first + second + third + shortcut
        expansion = (self.in_channels + norm) * self.mid_channels if self.expands else 0
        depthwise = (self.kernel**2 + norm) * self.mid_channels
        squeeze = 2 * self.mid_channels * self.se_channels + self.mid_channels + self.se_channels if self.se else 0
        projection = (self.mid_channels + norm) * self.out_channels
        return expansion + depthwise + squeeze + projection

    def to_dict(self) -> dict[str, str | int | bool]:
        """Field names to values, as a latency table's row holds them."""
        return asdict(self)

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    def __str__(self) -> str:
        shape = f"{self.in_height}x{self.in_width}x{self.in_channels}->{self.out_channels}"
        parts = [self.kind, shape]
        if self.mid_channels:
            parts.append(f"mid{self.mid_channels}")
        if self.kind not in ("pool", "linear"):
            parts.append(f"k{self.kernel}s{self.stride}")
        parts += [name for name in ("residual", "se") if getattr(self, name)]
        if self.activation != "none":
            parts.append(self.activation)
        return " ".join(parts)
