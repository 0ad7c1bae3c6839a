"""int8 files: quantised as the runtimes' own tools quantise, and computing what float32 computes, roughly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from hwnas.errors import ConfigError
from hwnas.export.formats import model_format
from hwnas.export.request import ExportRequest
from hwnas.export.synthetic import onnx as synthetic_onnx
from hwnas.export.synthetic import tflite as synthetic_tflite
from hwnas.export.synthetic import tvm as synthetic_tvm
from hwnas.export.synthetic.int8 import GATE, SIGNED, Range, quantise_weight
from hwnas.operators import GlobalPool, Linear, MBConv, Operator
from hwnas.spaces import OfaMbv3Space
from tests.export.conftest import SPACES, Exported

SPACE = OfaMbv3Space(SPACES["small"])
MBCONVS = [operator for operator in SPACE.operators if isinstance(operator, MBConv)]
CHOSEN = [
    next(one for one in MBCONVS if one.se and one.residual),
    next(one for one in MBCONVS if one.activation == "relu" and one.stride == 2),
    next(one for one in MBCONVS if one.activation == "h_swish"),
    *(one for one in SPACE.operators[-8:] if isinstance(one, GlobalPool | Linear)),
]


def computed(path: Path) -> list[str]:
    """The graph's nodes in order, constants' dequantisation left out."""
    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [node.op_type for node in graph.node if node.input[0] not in constants]


@pytest.mark.parametrize("network", ["exported", "exported_odd"])
def test_nodes_are_those_of_an_exported_network(network: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    exported: Exported = request.getfixturevalue(network)
    images = np.random.default_rng(0).standard_normal((8, *exported.example.shape[1:])).astype(np.float32)
    asked = ExportRequest(exported.module, exported.example, "int8", images)
    theirs = model_format("onnx").export(asked, tmp_path / "theirs.onnx")
    ours = synthetic_onnx.write(exported.operators, tmp_path / "ours.onnx", precision="int8")
    onnx.checker.check_model(onnx.load(ours), full_check=True)
    assert computed(ours) == computed(theirs)


def run_onnx(path: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": image})[0])


def run_tflite(path: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Through int8 at both ends, in the ranges that the file says; channels first, as ONNX has them."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert source["dtype"] == target["dtype"] == np.int8
    scale, zero = source["quantization"]
    values = np.clip(np.rint(image.transpose(0, 2, 3, 1) / scale) + zero, -128, 127).astype(np.int8)
    interpreter.set_tensor(source["index"], values)
    interpreter.invoke()
    scale, zero = target["quantization"]
    output: NDArray[np.float32] = (interpreter.get_tensor(target["index"]).astype(np.float32) - zero) * scale
    return output.transpose(0, 3, 1, 2) if output.ndim == 4 else output


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("operator", CHOSEN, ids=str)
def test_both_runtimes_compute_what_float32_does(operator: Operator, batch: int, tmp_path: Path) -> None:
    shape = (batch, operator.in_channels, operator.in_height, operator.in_width)
    image = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    exact = run_onnx(synthetic_onnx.write([operator], tmp_path / "x.onnx", batch=batch), image)
    assert exact.shape[0] == batch
    settings: dict[str, Any] = {"precision": "int8", "batch": batch}
    from_onnx = run_onnx(synthetic_onnx.write([operator], tmp_path / "q.onnx", **settings), image)
    from_tflite = run_tflite(synthetic_tflite.write([operator], tmp_path / "q.tflite", **settings), image)
    for found in (from_onnx, from_tflite):
        assert found.shape == exact.shape
        assert np.corrcoef(found.ravel(), np.clip(exact, -4, 6).ravel())[0, 1] > 0.98
        assert not np.array_equal(found, exact)


def test_a_whole_network_is_int8_throughout(tmp_path: Path) -> None:
    operators = SPACE.operators_of(SPACE.extreme(largest=True))
    path = synthetic_tflite.write(operators, tmp_path / "q.tflite", precision="int8")
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    kinds = schema.TensorType
    for tensor in model.subgraphs[0].tensors:
        assert tensor.type in (kinds.INT8, kinds.INT32)
        if tensor.type == kinds.INT8:
            scales = len(tensor.quantization.scale)
            assert scales == 1 or scales == tensor.shape[tensor.quantization.quantizedDimension]
    files = {precision: tmp_path / f"{precision}.onnx" for precision in ("fp32", "int8")}
    sizes = [synthetic_onnx.write(operators, path, precision=key).stat().st_size for key, path in files.items()]
    assert sizes[1] < 0.6 * sizes[0]


def test_ranges_hold_zero_exactly() -> None:
    assert (GATE.zero_point, Range(0.0, 6.0).zero_point) == (-128, -128)
    assert abs(SIGNED.zero_point) <= 1
    assert (127 - SIGNED.zero_point) * SIGNED.scale == pytest.approx(SIGNED.high, abs=SIGNED.scale)
    weight = quantise_weight(np.array([[1.0, -2.0], [0.5, 0.25]], dtype=np.float32), 0)
    np.testing.assert_array_equal(weight.values, [[64, -127], [127, 64]])
    np.testing.assert_allclose(weight.scales, [2 / 127, 0.5 / 127])


def test_tvm_compiles_float32_alone_and_names_a_missing_cross_compiler(tmp_path: Path) -> None:
    operators = [GlobalPool(4, 4, 8, 8)]
    with pytest.raises(ConfigError, match=r"profiling\.precision=fp32"):
        synthetic_tvm.write(operators, tmp_path / "x.so", precision="int8")
    with pytest.raises(ConfigError, match=r"riscv64-none-elf-g\+\+"):
        synthetic_tvm.write(operators, tmp_path / "x.so", target="riscv64-none-elf generic-rv64")
    assert not list(tmp_path.iterdir())
