"""HELP on a cell of a user's own."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pytest

from hwnas.spaces.cells import Cell
from hwnas.spaces.nasbench201 import NasBench201Space

torch = pytest.importorskip("torch")

from hwnas.latency.help.network import encoding_of, initial_parameters, predict  # noqa: E402


class _Mine(NasBench201Space):
    """A cell of a user's own: two edges in a row, three operators."""

    @cached_property
    def cell(self) -> Cell:
        return Cell(((0, 1), (1, 2)), 2, ((), ((1.0, 2.0),), ((3.0, 4.0),)), lambda rows: rows != 0)


def test_a_cell_of_another_form_is_a_graph_too() -> None:
    encoding = encoding_of(_Mine())
    graphs = encoding.encode(np.array([[1, 2], [0, 2]]))
    assert graphs.shape == (2, 5, 5 + 6)
    assert np.flatnonzero(graphs[0, 2, :5]).tolist() == [1, 2]
    assert np.flatnonzero(graphs[1, 2, :5]).tolist() == [2]
    assert np.flatnonzero(graphs[0, 3, :5]).tolist() == [2, 3]
    parameters = initial_parameters(encoding, torch.Generator().manual_seed(0))
    found = predict(parameters, True, torch.as_tensor(graphs), torch.zeros(10))
    assert found.shape == (2,)
