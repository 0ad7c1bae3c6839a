"""What is integer in quantised TFLite files, and what stays float on request."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from hwnas.errors import ConfigError, ExportError
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportState
from hwnas.export.tflite.activations import lower_activations
from hwnas.export.tflite.flatbuffer import pack, unpack
from hwnas.export.tflite.operators import operator_layers, operator_names, output_types
from hwnas.export.tflite.quantise import dynamic_integer, float16, full_integer, layer_errors
from hwnas.export.tflite.ranges import read_ranges
from tests.export.tflite.conftest import Precisions, delegated, in_integers


def test_int8_is_integer_between_its_borders(net: Precisions) -> None:
    content = net.files["int8"].read_bytes()
    names, types = operator_names(content), output_types(content)
    assert (names[0], names[-1]) == ("QUANTIZE", "DEQUANTIZE")
    assert Counter(names)["QUANTIZE"] == Counter(names)["DEQUANTIZE"] == 1
    assert set(types[:-1]) == {"INT8"}
    assert "HARD_SWISH" not in names
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    tensors = model.subgraphs[0].tensors
    for name, entry in zip(names, model.subgraphs[0].operators, strict=True):
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weights, bias = tensors[entry.inputs[1]], tensors[entry.inputs[2]]
            axis = weights.quantization.quantizedDimension
            assert weights.type == schema.TensorType.INT8
            assert bias.type == schema.TensorType.INT32
            assert len(weights.quantization.scale) == weights.shape[axis]
            assert np.all(np.asarray(weights.quantization.zeroPoint) == 0)


def test_quantising_again_gives_the_same_bytes(net: Precisions) -> None:
    with quiet("quantising"):
        assert float16(net.plain) == net.files["fp16"].read_bytes()
        assert dynamic_integer(net.plain) == net.files["int8_dynamic"].read_bytes()
        assert in_integers(net.plain, net.calibration) == in_integers(net.plain, net.calibration)


def test_float_layers_stay_float(net: Precisions, tmp_path: Path) -> None:
    path = tmp_path / "mixed.tflite"
    with quiet("quantising"):
        path.write_bytes(in_integers(net.plain, net.calibration, ("stem", "block1.depthwise")))
    content = path.read_bytes()
    kept = {
        layer
        for name, layer, given in zip(
            operator_names(content), operator_layers(content), output_types(content), strict=True
        )
        if given == "FLOAT32" and name not in ("QUANTIZE", "DEQUANTIZE")
    }
    assert kept == {"stem", "block1.depthwise"}
    assert delegated(path) == 1
    with pytest.raises(ConfigError, match=r"no layer 'block1\.depthwize'.*did you mean 'block1\.depthwise'"):
        in_integers(net.plain, net.calibration, ("block1.depthwize",))


@pytest.mark.parametrize("precision", ["int8", "int8_dynamic"])
def test_layer_errors_find_a_spoilt_layer(precision: str, net: Precisions, tmp_path: Path) -> None:
    # Large weights on a channel that is always 0 change nothing in float, and take the other weights' steps from them.
    model = unpack(net.plain)
    for operator, name, layer in zip(
        model.subgraphs[0].operators, operator_names(net.plain), operator_layers(net.plain), strict=True
    ):
        if (name, layer) in (("DEPTHWISE_CONV_2D", "block1.depthwise"), ("CONV_2D", "block1.projection")):
            for number, axis in ((1, 3), (2, 0)):
                tensor = model.subgraphs[0].tensors[operator.inputs[number]]
                buffer = model.buffers[tensor.buffer]
                values = np.frombuffer(buffer.data, dtype=np.float32).reshape(tensor.shape).copy()
                if name == "DEPTHWISE_CONV_2D":
                    np.moveaxis(values, axis, 0)[0] = 0
                elif number == 1:
                    values[..., 0] = 50 * np.abs(values).max()
                buffer.data = values.tobytes()
    content, path, asked = pack(model), tmp_path / "quantised.tflite", replace(net.request, precision=precision)
    with quiet("quantising"):
        if precision == "int8":
            content = lower_activations(content)
            state = ExportState(asked, asked.module, content, read_ranges(content, net.calibration))
            path.write_bytes(full_integer(content, state.ranges))
        else:
            state = ExportState(asked, asked.module, content)
            path.write_bytes(dynamic_integer(content))
    errors = layer_errors(state, path)
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
    assert {"stem", "classifier", "block1.projection"} <= set(errors)
    assert next(iter(errors)) == "block1.projection"


def test_an_operator_without_an_int8_form_is_named(net: Precisions) -> None:
    model = unpack(net.plain)
    (code,) = [entry for entry in model.operatorCodes if entry.builtinCode == schema.BuiltinOperator.HARD_SWISH]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ELU
    with pytest.raises(ExportError, match=r"no int8 form of ELU in .*precisions=\[fp32\]") as caught, quiet("ELU"):
        in_integers(pack(model), net.calibration)
    assert "\n" not in str(caught.value)
    with quiet("ELU"):
        mixed = in_integers(pack(model), net.calibration, tuple(dict.fromkeys(_layers_of(pack(model), "ELU"))))
    assert "ELU" in operator_names(mixed)


def _layers_of(content: bytes, name: str) -> list[str]:
    return [
        layer for kind, layer in zip(operator_names(content), operator_layers(content), strict=True) if kind == name
    ]
