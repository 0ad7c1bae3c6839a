"""Networks as steps: which are left, what fits, and what is held at once."""

from __future__ import annotations

import pytest

from hwnas.errors import ConfigError
from hwnas.operators import Conv, GlobalPool, Operator
from hwnas.operators.wiring import IMAGE, Network, Step


def conv(channels: int = 4, out: int = 4, size: int = 6) -> Operator:
    return Conv(size, size, channels, out)


def test_a_chain_reads_the_one_before() -> None:
    operators = [conv(3), conv(), GlobalPool(6, 6, 4, 4)]
    network = Network.chain(operators)
    assert network.is_chain
    assert list(network) == operators
    assert network[0] == operators[0]
    assert Network.chain(network) is network
    assert network.last_reads == ((IMAGE,), (0,), (1,))
    assert network.peak_activations == max(one.peak_activations for one in operators)


def test_what_leads_nowhere_is_left_out() -> None:
    steps = [
        Step("a", conv(3), (IMAGE,)), Step("dead", conv(), (0,)), Step("b", conv(), (0,)), Step("join", None, (0, 2)),
        Step("end", conv(), (3,)),
    ]  # fmt: skip
    network = Network.used(steps)
    assert [step.name for step in network.steps] == ["a", "b", "join", "end"]
    assert network.steps[2].reads == (0, 1)
    assert not network.is_chain
    assert len(network) == 3
    network.check()
    # While b runs, a's result is read and kept for the addition, which then overwrites one of them.
    area = 6 * 6 * 4
    assert network.last_reads == ((IMAGE,), (), (0, 1), (2,))
    assert network.peak_activations == 3 * area


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [Step("a", conv(3), (-1,)), Step("b", conv(5), (0,))],
            "b: conv .* takes 6×6×5, but what it reads gives 6×6×4",
        ),
        (
            [Step("a", conv(3), (-1,)), Step("b", conv(4, 8), (0,)), Step("c", None, (0, 1))],
            "c: add of 6×6×4 and 6×6×8: they do not fit",
        ),
        ([Step("a", None, (-1,))], "a: expected an operator in the first place"),
    ],
)
def test_what_does_not_fit_is_named(steps: list[Step], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Network(tuple(steps)).check()


def test_channels_side_by_side_add_up() -> None:
    steps = [Step("a", conv(3), (-1,)), Step("b", conv(4, 8), (0,)), Step("c", conv(12), (0, 1), "concat")]
    Network(tuple(steps)).check()
