"""What a kind of operators is held to, ours and anyone's: a class of tests that pytest collects in one's own file.

from hwnas.testing import OperatorContract
from ghost import Ghost

class TestGhost(OperatorContract):
    operators = (Ghost(8, 8, 16, 16, ratio=2), Ghost(8, 8, 16, 16, ratio=4))
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from hwnas.export.formats import model_format
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.latency.tables.table import LatencyTable, NetworkRows, OperatorRows, read_table, write_table
from hwnas.operators import Operator
from hwnas.operators.derived import traced
from hwnas.operators.registry import kind_named, operator_from_dict
from hwnas.supernet.initialise import initialise
from hwnas.supernet.layers.elastic import ElasticLayer
from hwnas.supernet.layers.kinds import layer_of, static_layer
from hwnas.supernet.wired import network_with_weights

__all__ = ["OperatorContract"]

_CLOSE = 1e-4
"""Between a layer and its file in a runtime, times the largest number: rounding of float32 in another order."""


class OperatorContract:
    """Tests of a kind. Subclasses give `operators`: two or more of it that may stand in one place, the largest last.

    `formats`: which to write and run, of those whose packages are installed.
    """

    operators: ClassVar[Sequence[Operator]]
    formats: ClassVar[Sequence[str]] = ("onnx", "tflite")

    def test_it_is_known_by_its_name_and_has_equals(self) -> None:
        for operator in self.operators:
            assert kind_named(operator.kind) is type(operator)
            same = operator_from_dict(operator.to_dict())
            assert same == operator
            assert hash(same) == hash(operator)
            assert pickle.loads(pickle.dumps(operator)) == operator  # noqa: S301 (of our own: workers are sent them)
        assert len(set(self.operators)) == len(self.operators)
        assert len(set(map(str, self.operators))) == len(self.operators)

    def test_it_costs_what_its_layer_costs(self) -> None:
        for operator in self.operators:
            with torch.device("meta"):
                found = traced(static_layer(operator), operator)
            for name in (field.name for field in fields(found)):
                assert getattr(operator, name) == getattr(found, name), f"{operator}: {name}"
            assert sum(macs for macs, _ in operator.kernels) == operator.macs
            assert all(moved > 0 for _, moved in operator.kernels)

    def test_a_table_holds_it(self, tmp_path: Path) -> None:
        count = len(self.operators)
        ms, none = np.arange(1.0, count + 1), np.zeros(0)
        rows = OperatorRows(tuple(self.operators), ms, ms, ms, np.full(count, 9), ms, ("",) * count)
        networks = NetworkRows((), none, none, none, np.zeros(0, dtype=np.int64), none, none)
        facts = dict.fromkeys(("device", "runtime", "runtime_version", "precision", "threads"), "any")
        facts |= {"reference": {"arch": {}, "seed": 0, "latency_ms": 1.0}}  # type: ignore[dict-item]
        path = write_table(LatencyTable(rows, networks, facts), tmp_path / "table.csv")
        assert read_table(path).operators.operators == tuple(self.operators)

    def test_a_supernet_computes_what_the_extracted_layer_computes(self) -> None:
        place = [replace(operator, in_height=1, in_width=1) for operator in self.operators]
        layer = layer_of(place)
        initialise(layer, torch.Generator().manual_seed(0))
        layer.eval()
        for operator, full in zip(place, self.operators, strict=True):
            static = static_layer(full)
            state = layer.state_of(operator) if isinstance(layer, ElasticLayer) else layer.state_dict()
            own = static.state_dict()
            static.load_state_dict({key: state[key][tuple(map(slice, one.shape))] for key, one in own.items()})
            images = _images(full)
            with torch.no_grad():
                expected = static.eval()(images)
                found = layer(images, operator) if isinstance(layer, ElasticLayer) else layer(images)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)

    def test_it_trains(self) -> None:
        layer = static_layer(self.operators[-1]).train()
        images = _images(self.operators[-1], 2).requires_grad_()
        layer(images).square().mean().backward()
        assert all(one.grad is not None and bool(one.grad.isfinite().all()) for one in (images, *layer.parameters()))

    def test_files_to_be_measured_run(self, tmp_path: Path) -> None:
        operator = self.operators[-1]
        for name in self.formats:
            chosen = model_format(name)
            if not all(map(find_spec, chosen.packages)):
                continue
            path = synthetic_writer(name)([operator], tmp_path / f"operator{chosen.suffix}")
            images = _images(operator, as_image=True).numpy()
            [result] = chosen.open(path)([images])
            assert result.size == operator.out_channels * operator.out_height * operator.out_width
            assert np.isfinite(result).all()

    def test_exported_files_compute_what_the_layer_computes(self, tmp_path: Path) -> None:
        from hwnas.export.request import ExportRequest

        operator = self.operators[-1]
        network = network_with_weights([operator], torch.Generator().manual_seed(0))
        images = _images(operator, as_image=True)
        with torch.no_grad():
            expected = network(images).numpy()
        for name in self.formats:
            chosen = model_format(name)
            if not all(map(find_spec, chosen.packages)):
                continue
            path = chosen.export(
                ExportRequest(network, images, plain_layout=False), tmp_path / f"exported{chosen.suffix}"
            )
            [result] = chosen.open(path)([images.numpy()])
            np.testing.assert_allclose(result.reshape(expected.shape), expected, atol=_CLOSE * np.abs(expected).max())


def _images(operator: Operator, count: int = 1, as_image: bool = False) -> torch.Tensor:
    shape = operator.shape[1:2] if operator.takes_flat and not as_image else operator.shape[1:]
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))
