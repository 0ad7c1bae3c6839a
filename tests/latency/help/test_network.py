"""How architectures become numbers for HELP."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pytest

from hwnas.spaces import OfaMbv3Config, make_space
from hwnas.spaces.cells import Cell
from hwnas.spaces.nasbench201 import NasBench201Space

torch = pytest.importorskip("torch")

from hwnas.latency.help.network import encoding_of, initial_parameters, predict  # noqa: E402


def test_the_graph_of_a_cell_by_hand() -> None:
    space = NasBench201Space()
    cell = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"
    encoding = encoding_of(space)
    assert (encoding.graph, encoding.features) == (True, 8)
    (graph,) = encoding.encode(space.genotype(cell)[None])
    assert graph.shape == (9, 17)
    joined, kinds = graph[:, :9], graph[:, 9:]
    # Nodes: input, six edges, output, and one that all write to; every node keeps what it holds.
    sources = {node: np.flatnonzero(row).tolist() for node, row in enumerate(joined)}
    assert sources == {
        0: [0], 1: [0, 1], 2: [2], 3: [1, 3], 4: [4], 5: [5], 6: [3, 6], 7: [6, 7], 8: list(range(9)),
    }  # fmt: skip
    assert kinds.argmax(axis=1).tolist() == [0, 4, 1, 2, 1, 1, 5, 6, 7]
    assert (kinds.sum(axis=1) == 1).all()


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


def test_other_spaces_have_their_genes_one_hot() -> None:
    space = make_space(OfaMbv3Config(resolution=(160, 224)))
    encoding, rows = encoding_of(space), space.sample(4, np.random.default_rng(0))
    assert (encoding.graph, encoding.features) == (False, int(space.cardinalities.sum()))
    np.testing.assert_array_equal(encoding.encode(rows), space.features(rows).astype(np.float32))
