"""The files that latency tables are measured on are those that the exporters write, but for the weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import StorageError
from hwnas.export.formats import FORMATS, model_format
from hwnas.export.request import ExportRequest
from hwnas.export.synthetic import onnx as synthetic_onnx
from hwnas.export.synthetic import tflite as synthetic_tflite
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.export.tflite.flatbuffer import ALIGNMENT, unpack
from hwnas.operators import Conv, GlobalPool, Linear, MBConv, Operator
from hwnas.spaces import OfaMbv3Space
from tests.export.conftest import SPACES, Exported

Signature = list[tuple[Any, ...]]


def onnx_signature(path: Path) -> Signature:
    """Each node's type, attributes and shapes of constants, in order, and how it is wired to others."""
    model = onnx.load(path)
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    numbers = {model.graph.input[0].name: -1}
    rows: Signature = []
    for number, node in enumerate(model.graph.node):
        # torch writes the factor 1/6 of the h-sigmoid as a rounded float
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        rounded = {name: round(v, 4) if isinstance(v, float) else v for name, v in attributes.items()}
        wires = tuple(constants.get(name, numbers.get(name)) for name in node.input)
        rows.append((node.op_type, tuple(sorted(rounded.items(), key=str)), wires))
        numbers[node.output[0]] = number
    shape = tuple(size.dim_value for size in model.graph.output[0].type.tensor_type.shape.dim)
    return [*rows, ("opset", model.opset_import[0].version, shape)]


def tflite_signature(path: Path) -> Signature:
    """Each operator's type, options and shapes, in order, and how it is wired to others."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    numbers = {int(graph.inputs[0]): -1}
    rows: Signature = []
    for number, operator in enumerate(graph.operators):
        tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs)]
        wires = tuple(numbers.get(int(i)) for i in operator.inputs)
        shapes = tuple(tuple(map(int, tensor.shape)) for tensor in tensors)
        options = {} if operator.builtinOptions is None else vars(operator.builtinOptions)
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        rows.append((code, tuple(sorted(options.items())), wires, shapes, tuple(tensor.type for tensor in tensors)))
        numbers[int(operator.outputs[0])] = number
    return rows


SIGNATURES = {"onnx": onnx_signature, "tflite": tflite_signature}


def test_every_format_is_tested() -> None:
    # TVM compiles the ONNX file, ExecuTorch the torch module: their tests hold these against the exporter's.
    assert SIGNATURES.keys() == FORMATS.keys() - {"tvm", "executorch"}


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.parametrize("network", ["exported", "exported_odd"])
def test_graph_equals_the_exporters(name: str, network: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    exported: Exported = request.getfixturevalue(network)
    path = synthetic_writer(name)(exported.operators, tmp_path / "x" / "chain")
    if name == "onnx":
        onnx.checker.check_model(onnx.load(path), full_check=True)
    assert SIGNATURES[name](path) == SIGNATURES[name](exported.files[name])


@pytest.mark.parametrize("name", SIGNATURES)
def test_half_precision_graph_equals_the_exporters(name: str, exported_odd: Exported, tmp_path: Path) -> None:
    chosen = model_format(name)
    asked = ExportRequest(exported_odd.module, exported_odd.example, "fp16")
    theirs = chosen.export(asked, tmp_path / f"theirs{chosen.suffix}")
    ours = synthetic_writer(chosen.name)(exported_odd.operators, tmp_path / f"ours{chosen.suffix}", precision="fp16")
    assert SIGNATURES[name](ours) == SIGNATURES[name](theirs)
    image = np.random.default_rng(0).standard_normal(exported_odd.example.shape).astype(np.float32)
    whole = synthetic_writer(chosen.name)(exported_odd.operators, tmp_path / f"whole{chosen.suffix}")
    expected, found = (chosen.load_runner(path)(image) for path in (whole, ours))
    assert 0 < np.abs(found - expected).max() < 0.02 * expected.std()


@pytest.mark.slow
@pytest.mark.parametrize(("space", "seed"), [("small", 2), ("small", 3), ("small", 4), ("full", 0), ("full", 1)])
def test_graph_equals_the_exporters_for_more_archs(space: str, seed: int, tmp_path: Path) -> None:
    exported = Exported(tmp_path, OfaMbv3Space(SPACES[space]), seed)
    for name, signature in SIGNATURES.items():
        path = synthetic_writer(name)(exported.operators, tmp_path / "chain")
        assert signature(path) == signature(exported.files[name])


def outputs(operators: Sequence[Operator], folder: Path, seed: int = 0) -> list[np.ndarray]:
    """What the chain gives for one random image, in each format's runtime."""
    first = operators[0]
    image = np.random.default_rng(7).standard_normal((1, first.in_channels, first.in_height, first.in_width))
    results = []
    for name in SIGNATURES:
        chosen = model_format(name)
        path = synthetic_writer(chosen.name)(operators, folder / f"chain{chosen.suffix}", seed)
        results.append(chosen.load_runner(path)(image.astype(np.float32)))
    return results


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_whole_networks_compute_the_same_in_both_runtimes(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    space = OfaMbv3Space(SPACES["small"])
    operators = space.operators_of(space.sample(1, np.random.default_rng(seed))[0])
    from_onnx, from_tflite = outputs(operators, tmp_path_factory.mktemp("chain"), seed)
    assert from_onnx.shape == (1, 10)
    np.testing.assert_allclose(from_onnx, from_tflite, atol=1e-4)
    assert 0.02 < from_onnx.std() < 20


def test_activations_stay_near_one_at_full_size(tmp_path: Path) -> None:
    space = OfaMbv3Space(SPACES["full"])
    operators = space.operators_of(space.extreme(largest=True))
    for result in outputs(operators, tmp_path):
        assert 0.02 < result.std() < 20


@pytest.mark.parametrize("operator", OfaMbv3Space(SPACES["small"]).operators[::9], ids=str)
def test_single_operators(operator: Operator, tmp_path: Path) -> None:
    from_onnx, from_tflite = outputs([operator], tmp_path)
    if operator.takes_flat:
        assert from_onnx.shape == (1, operator.out_channels)
        np.testing.assert_allclose(from_onnx, from_tflite, atol=1e-4)
    else:
        assert from_onnx.shape == (1, operator.out_channels, operator.out_height, operator.out_width)
        np.testing.assert_allclose(from_onnx, from_tflite.transpose(0, 3, 1, 2), atol=1e-4)


@pytest.mark.parametrize(
    "operator",
    [
        GlobalPool(4, 4, 24, 24),
        GlobalPool(1, 1, 24, 24),
        Linear(1, 1, 24, 10),
        Conv(1, 1, 24, 48, activation="h_swish", norm=False),
        MBConv(1, 1, 8, 8, mid_channels=24, kernel=7, residual=True, se=True, activation="h_swish"),
        MBConv(5, 8, 8, 16, mid_channels=24, kernel=5, stride=2, activation="relu6"),
    ],
    ids=str,
)
def test_corner_cases(operator: Operator, tmp_path: Path) -> None:
    from_onnx, from_tflite = outputs([operator], tmp_path)
    assert from_onnx.size == operator.out_channels * operator.out_height * operator.out_width
    if from_tflite.ndim == 4:
        from_tflite = from_tflite.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(from_onnx, from_tflite, atol=1e-4)


@pytest.mark.parametrize("name", SIGNATURES)
def test_same_seed_same_bytes(name: str, tmp_path: Path) -> None:
    write = synthetic_writer(name)
    operators = [Conv(8, 8, 3, 16, kernel=3, stride=2, activation="h_swish")]
    contents = [write(operators, tmp_path / "chain", seed).read_bytes() for seed in (1, 1, 2)]
    assert contents[0] == contents[1] != contents[2]


def test_tflite_constants_are_aligned(tmp_path: Path) -> None:
    path = synthetic_tflite.write([Conv(8, 8, 3, 17, kernel=3, activation="relu")], tmp_path / "chain")
    content = path.read_bytes()
    constants = [buffer.data for buffer in unpack(content).buffers if buffer.data]
    assert constants
    for constant in constants:
        assert content.index(bytes(constant)) % ALIGNMENT == 0


@pytest.mark.parametrize("name", SIGNATURES)
def test_chains_that_do_not_fit_are_refused(name: str, tmp_path: Path) -> None:
    write = synthetic_writer(name)
    conv = Conv(8, 8, 3, 16, kernel=3, stride=2)
    with pytest.raises(ValueError, match="does not fit onto"):
        write([conv, conv], tmp_path / "chain")
    with pytest.raises(ValueError, match="at least one operator"):
        write([], tmp_path / "chain")
    assert not list(tmp_path.iterdir())


def test_unwritable_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        synthetic_onnx.write([GlobalPool(4, 4, 8, 8)], tmp_path / "file" / "chain.onnx")
