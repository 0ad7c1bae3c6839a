"""Every kind of operators, and one that the package does not have, against the contract."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwnas.errors import ConfigError
from hwnas.operators import (
    UIB,
    AvgPool,
    Bottleneck,
    Conv,
    FactorizedReduce,
    FusedMBConv,
    GlobalPool,
    Identity,
    Linear,
    MaxPool,
    MBConv,
    NormAct,
    Operator,
    ReluConv,
    RepConv,
    SepConv,
    operator_kind,
)
from hwnas.operators.registry import kind_named, kind_names
from hwnas.operators.strided import Strided
from hwnas.supernet.layers.choices import Choices
from hwnas.supernet.layers.elastic import ElasticLayer
from hwnas.supernet.layers.kinds import layer_of, static_layer
from hwnas.testing import OperatorContract

ROOT = Path(__file__).resolve().parents[2]


class TestConv(OperatorContract):
    operators = (
        Conv(9, 7, 8, 16, kernel=3, stride=2, activation="relu"),
        Conv(9, 7, 16, 24, kernel=3, stride=2, activation="relu"),
    )


class TestMBConv(OperatorContract):
    operators = tuple(
        MBConv(9, 7, 16, 16, mid_channels=mid, kernel=kernel, residual=True, se=True, activation="h_swish")
        for mid, kernel in ((48, 3), (64, 5), (96, 7))
    )


class TestBottleneck(OperatorContract):
    operators = tuple(
        Bottleneck(9, 7, 16, out, mid_channels=mid, kernel=3, stride=2, activation="relu")
        for mid, out in ((8, 24), (16, 32))
    )


class TestReluConv(OperatorContract):
    operators = (ReluConv(8, 6, 16, 16, kernel=1), ReluConv(8, 6, 16, 16, kernel=3))


class TestIdentity(OperatorContract):
    operators = (Identity(8, 6, 8, 8), Identity(8, 6, 16, 16))


class TestAvgPool(OperatorContract):
    operators = (AvgPool(9, 7, 16, 16, kernel=2, stride=2), AvgPool(9, 7, 16, 16, kernel=3, stride=2))


class TestAvgPoolOfEvenKernel(OperatorContract):
    operators = (AvgPool(8, 6, 16, 16, kernel=4, stride=4), AvgPool(9, 7, 16, 16, kernel=2, stride=2))


class TestNormAct(OperatorContract):
    operators = (NormAct(8, 6, 16, 16, activation="relu6"), NormAct(8, 6, 16, 16))


class TestSepConv(OperatorContract):
    operators = (
        SepConv(8, 6, 16, 16, kernel=5, stride=2, dilation=2, repeats=1),
        SepConv(8, 6, 16, 16, kernel=3, stride=2),
    )


class TestFactorizedReduce(OperatorContract):
    operators = (FactorizedReduce(8, 6, 16, 16), FactorizedReduce(8, 6, 16, 32))


class TestUIB(OperatorContract):
    """The four forms in one place."""

    operators = tuple(
        UIB(9, 7, 16, 16, kernel=kernel, start_kernel=start, mid_channels=mid, residual=True)
        for kernel, start, mid in ((0, 0, 32), (0, 3, 48), (3, 0, 48), (3, 5, 64), (5, 5, 64))
    )


class TestStridedUIB(OperatorContract):
    operators = tuple(
        UIB(9, 7, 16, out, kernel=kernel, stride=2, start_kernel=start, mid_channels=48)
        for kernel, start, out in ((0, 3, 24), (3, 0, 24), (5, 3, 32))
    )


class TestFusedMBConv(OperatorContract):
    operators = tuple(
        FusedMBConv(9, 7, 16, out, kernel=3, stride=2, mid_channels=mid, ends_active=ends)
        for out, mid, ends in ((16, 32, True), (24, 64, False))
    )


class TestResidualFusedMBConv(OperatorContract):
    operators = tuple(
        FusedMBConv(9, 7, 16, 16, kernel=3, mid_channels=mid, residual=True, ends_active=True) for mid in (32, 64)
    )


class TestRepConv(OperatorContract):
    """Of these two, the input is a branch of the first alone."""

    operators = tuple(
        RepConv(9, 7, 16, out, kernel=kernel, branches=2, activation="relu") for out, kernel in ((16, 3), (24, 5))
    )


class TestStridedRepConv(OperatorContract):
    operators = tuple(RepConv(9, 7, wide, wide, kernel=3, stride=2, activation="h_swish") for wide in (16, 24))


class TestDepthwiseRepConv(OperatorContract):
    operators = tuple(
        RepConv(9, 7, wide, wide, kernel=kernel, depthwise=True, branches=3, activation="relu6")
        for wide, kernel in ((16, 1), (16, 3), (24, 5))
    )


class TestRepConvsOfTheirOwn(OperatorContract):
    """Weights are shared by those of one form only."""

    operators = (
        *(RepConv(9, 7, 16, 16, kernel=kernel, depthwise=True) for kernel in (3, 5)),
        RepConv(9, 7, 16, 16, kernel=3),
    )


class TestMaxPool(OperatorContract):
    operators = (MaxPool(9, 7, 8, 8, kernel=3, stride=2), MaxPool(9, 7, 16, 16, kernel=3, stride=2))


class TestGlobalPool(OperatorContract):
    operators = (GlobalPool(9, 7, 8, 8), GlobalPool(9, 7, 16, 16))


class TestLinear(OperatorContract):
    operators = (Linear(1, 1, 8, 10), Linear(1, 1, 16, 10))


class GhostModule(nn.Module):
    """Half of the channels by a 1×1 convolution, the others from these by a depthwise one (Han et al., 2020)."""

    def __init__(self, operator: Ghost) -> None:
        super().__init__()
        half = operator.out_channels // 2
        self.primary = nn.Sequential(
            nn.Conv2d(operator.in_channels, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU()
        )
        self.cheap = nn.Sequential(
            nn.Conv2d(half, half, operator.kernel, padding=operator.kernel // 2, groups=half, bias=False),
            nn.BatchNorm2d(half), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        half = self.primary(x)
        return torch.cat([half, self.cheap(half)], dim=1)


@operator_kind("ghost_of_tests")
class Ghost(Operator):
    """No more than fields and a layer: all else is derived."""

    kernel: int = 3
    name: str = "plain"

    def layer(self) -> nn.Module:
        return GhostModule(self)


class TestGhost(OperatorContract):
    operators = (Ghost(8, 6, 16, 16), Ghost(8, 6, 16, 16, kernel=5))


def test_what_is_derived_is_what_one_counts_by_hand() -> None:
    ghost = Ghost(8, 6, 16, 24, kernel=3)
    assert (ghost.out_height, ghost.out_width) == (8, 6)
    assert ghost.macs == 48 * (16 * 12 + 12 * 9)
    assert ghost.parameters == 16 * 12 + 12 * 9 + 4 * 12
    assert ghost.norm_channels == 24
    assert ghost.peak_activations == 48 * (12 + 12 + 24)  # both halves, and what they become
    assert ghost.traits["kernel"] == 3
    assert ghost.traits["name"] == "plain"
    assert ghost.traits["stride"] == 1
    assert "in_channels" not in ghost.traits


def test_choices_of_two_kinds_have_weights_of_their_own() -> None:
    ghosts = [Ghost(1, 1, 16, 16, kernel=kernel) for kernel in (3, 5)]
    blocks = [MBConv(1, 1, 16, 16, mid_channels=mid, kernel=3, activation="relu") for mid in (32, 48)]
    layer = layer_of([*ghosts, *blocks])
    assert isinstance(layer, Choices)
    counted = {sum(one.numel() for one in part.parameters()) for part in layer.layers}
    assert len(layer.layers) == 2
    images = torch.randn(2, 16, 6, 6)
    for operator in (*ghosts, *blocks):
        assert layer(images, operator).shape == (2, 16, 6, 6)
    assert sum(counted) == sum(one.numel() for one in layer.parameters())


def test_no_other_file_asks_for_a_kinds_name() -> None:
    """Names that are words of their own stand nowhere else; of the others, nobody compares a kind with them."""
    names = [name for name in kind_names() if kind_named(name).__module__.startswith("hwnas.operators.")]
    assert len(names) >= 8
    compared = rf"""kind\w* *(==|!=|in|not in) *[(\[]?["']({"|".join(names)})\b"""
    spelt = re.compile(rf"""["'](mbconv|fused_mbconv|uib|bottleneck|max_pool)["']|{compared}""")
    own = {ROOT / "hwnas" / room / f"{name}.py" for name in names for room in ("operators", "supernet/layers")}
    asking = [
        f"{path}: {line}"
        for path in (ROOT / "hwnas").rglob("*.py")
        if path not in own
        for line in path.read_text(encoding="utf-8").splitlines()
        if spelt.search(line)
    ]
    assert not asking


def _named(name: str) -> type[Operator]:
    @operator_kind(name)
    class Another(Strided):
        pass

    return Another


def test_two_kinds_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"two operator kinds are called 'conv': hwnas\.operators\.conv\.Conv and"):
        _named("conv")
    assert kind_named("conv") is Conv


def test_a_field_that_no_table_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="'listed': field sizes is Sequence, which no table can hold"):

        @operator_kind("listed")
        class Listed(Operator):
            sizes: Sequence[int] = ()

    assert "listed" not in kind_names()


class _Wrong(nn.Module):
    def __init__(self, result: Any) -> None:
        super().__init__()
        self._result = result

    def forward(self, x: Tensor) -> Any:
        return self._result(x)


@operator_kind("wrong_of_tests")
class Wrong(Operator):
    how: str = "channels"

    def layer(self) -> nn.Module:
        results = {
            "channels": lambda x: torch.cat([x, x], dim=1), "two": lambda x: (x, x), "flat": lambda x: x.mean((2, 3)),
            "raises": lambda x: x.view(3, 3),
        }  # fmt: skip
        return _Wrong(results[self.how])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("channels", "operator wrong_of_tests 4x4x8->8: its layer gives 16 channels, but out_channels is 8"),
        ("two", "how=two: expected its layer to give one tensor .B, C, H, W., got tuple"),
        ("flat", "how=flat: expected its layer to give one tensor .B, C, H, W., got .1, 8."),
        ("raises", "how=raises: its layer does not take .1, 8, 4, 4.: "),
    ],
)
def test_a_layer_that_is_not_as_it_says_is_named(how: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _ = Wrong(4, 4, 8, 8, how=how).macs


def test_a_kind_without_a_layer_says_what_to_do() -> None:
    @operator_kind("bare_of_tests")
    class Bare(Operator):
        pass

    with pytest.raises(ConfigError, match=r"operator kind 'bare_of_tests' has no layer: give its class a method"):
        static_layer(Bare(4, 4, 8, 8))


class _Centred(ElasticLayer[Operator]):
    """A 3×3 convolution, and as a 1×1 one its centre."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        super().__init__()
        first = operators[0]
        self.full = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, operator: Operator) -> Tensor:
        kernel = operator.traits["kernel"]
        return nn.functional.conv2d(x, self.state_of(operator)["weight"], padding=int(kernel) // 2)

    def state_of(self, operator: Operator) -> dict[str, Tensor]:
        is_part = operator.traits["kernel"] == 1
        return {"weight": self.full.weight[:, :, 1:2, 1:2] if is_part else self.full.weight}


@operator_kind("point_of_tests")
class Point(Strided):
    def layer(self) -> nn.Module:
        return nn.Conv2d(self.in_channels, self.out_channels, 1, bias=False)


@operator_kind("square_of_tests")
class Square(Strided):
    holds = (Point,)

    def layer(self) -> nn.Module:
        return nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1, bias=False)

    @classmethod
    def elastic_layer(cls, operators: Sequence[Operator]) -> nn.Module:
        return _Centred(operators)


def test_a_kind_that_is_part_of_another_shares_its_weights() -> None:
    point, square, other = Point(1, 1, 4, 4), Square(1, 1, 4, 4, kernel=3), Conv(1, 1, 4, 4)
    for operators in ([point, square], [square, point]):
        layer = layer_of(operators)
        assert isinstance(layer, _Centred)
        assert sum(one.numel() for one in layer.parameters()) == square.parameters
        x = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
        for operator in operators:
            static = static_layer(operator)
            static.load_state_dict(layer.state_of(operator))
            torch.testing.assert_close(layer(x, operator), static(x))
    mixed = layer_of([point, other, square])
    assert isinstance(mixed, Choices)
    assert sum(one.numel() for one in mixed.parameters()) == square.parameters + other.parameters
    assert isinstance(layer_of([point, other]), Choices)
