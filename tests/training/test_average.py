"""The average of a network's weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.training.average import WeightAverage


def test_the_average_written_out() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = WeightAverage(network, 0.5)
    expected = network.weight.item()
    for step in range(6):
        with torch.no_grad():
            network.weight.fill_(float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.applied():
        assert network.weight.item() == pytest.approx(expected, rel=1e-6)
    assert network.weight.item() == 5
    again = WeightAverage(network, 0.5)
    again.restore(average.tensors(), average.updates)
    again.update()
    average.update()
    assert torch.equal(*(found.tensors()["weight"] for found in (again, average)))
    average.adopt()
    assert torch.equal(network.weight, average.tensors()["weight"])
