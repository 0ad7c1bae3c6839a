"""Operators, and sums over them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.operators import Bottleneck, Conv, Linear, MBConv, Operator, make_divisible
from hwnas.spaces import OfaMbv3Space, Space

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@few
@given(seed=seeds)
def test_counts_and_sums_equal_the_list_of_operators(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = space.sample(10, rng)
    values = rng.random(len(space.operators))
    counts, sums = space.operator_counts(rows), space.sum_over_operators(rows, values)
    macs, parameters = space.macs(rows), space.parameters(rows)
    for position, row in enumerate(rows):
        operators = space.operators_of(row)
        listed = Counter(operators)
        assert {space.operators[o]: n for o, n in enumerate(counts[position]) if n} == dict(listed)
        assert sums[position] == pytest.approx(sum(values[space.operator_index[o]] for o in operators))
        assert macs[position] == sum(operator.macs for operator in operators)
        assert parameters[position] == sum(operator.parameters for operator in operators)
    assert macs.dtype == np.int64


@few
@given(seed=seeds)
def test_operators_follow_on_from_each_other(space: Space, seed: int) -> None:
    network = space.network_of(space.sample(1, np.random.default_rng(seed))[0])
    network.check()
    for operator in network:
        if "residual" not in operator.own_fields():
            continue
        fits = operator.traits["stride"] == 1 and operator.in_channels == operator.out_channels
        residual = operator.traits["residual"]
        assert residual == fits if isinstance(operator, MBConv) else fits or not residual


def test_operators_are_distinct_and_each_is_used(tiny_space: OfaMbv3Space, every_tiny_genotype: np.ndarray) -> None:
    assert len(set(tiny_space.operators)) == len(tiny_space.operators)
    assert tiny_space.operator_counts(every_tiny_genotype).any(axis=0).all()


def test_depth_decides_how_many_blocks_run(full_space: OfaMbv3Space) -> None:
    for depth in (2, 3, 4):
        row = full_space.genotype({"ks": [3] * 20, "e": [6] * 20, "d": [depth] * 5, "r": 224})
        operators = full_space.operators_of(row)
        assert sum(isinstance(operator, MBConv) for operator in operators) == 1 + 5 * depth


def test_macs_and_parameters_by_hand() -> None:
    conv = Conv(32, 32, 3, 16, kernel=3, stride=2, activation="h_swish")
    assert (conv.out_height, conv.macs, conv.parameters) == (16, 16 * 16 * 9 * 3 * 16, 9 * 3 * 16 + 32)
    block = MBConv(8, 8, 16, 24, mid_channels=48, kernel=5, stride=2, se=True, activation="relu")
    assert block.se_channels == 16  # 48 / 4 = 12, made divisible by 8
    assert block.macs == 64 * 16 * 48 + 16 * 48 * 25 + 2 * 48 * 16 + 16 * 48 * 24
    assert block.parameters == (16 + 2) * 48 + (25 + 2) * 48 + (2 * 48 * 16 + 48 + 16) + (48 + 2) * 24
    linear = Linear(1, 1, 64, 10)
    assert (linear.macs, linear.parameters) == (640, 650)
    bare = MBConv(8, 8, 16, 16, mid_channels=16, kernel=3, residual=True)
    assert not bare.expands
    assert bare.macs == 64 * 16 * 9 + 64 * 16 * 16


@pytest.mark.parametrize("size", [7, 8, 14, 31, 32])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_strided_size_is_that_of_a_padded_convolution(size: int, kernel: int) -> None:
    padded = (size + 2 * (kernel // 2) - kernel) // 2 + 1
    assert Conv(size, size, 3, 8, kernel=kernel, stride=2).out_height == padded


@given(value=st.floats(1, 10_000), divisor=st.sampled_from([4, 8]))
def test_make_divisible_is_near_and_never_far_below(value: float, divisor: int) -> None:
    result = make_divisible(value, divisor)
    assert result % divisor == 0
    assert result >= max(divisor, 0.9 * value)
    assert result - value <= divisor or result == divisor


@pytest.mark.parametrize(
    ("width", "result"),
    [(16, 24), (24, 32), (40, 48), (80, 96), (112, 136), (160, 192), (960, 1152), (1280, 1536)],
)
def test_make_divisible_gives_the_published_widths(width: int, result: int) -> None:
    assert make_divisible(width * 1.2) == result


@pytest.mark.parametrize("kind", [Conv, MBConv, Bottleneck])
def test_unknown_activations_are_refused(kind: type[Operator]) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        kind(8, 8, 3, 8, activation="gelu")  # type: ignore[call-arg]
