"""TFLite files in every precision: what is integer in them, what they compute, and what stays float on request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import nn

from hwnas.errors import ConfigError, ExportError, MissingExtraError
from hwnas.export.convolutions import row_groups
from hwnas.export.formats import model_format
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportRequest, ExportState
from hwnas.export.synthetic import tflite as synthetic_tflite
from hwnas.export.tflite.activations import lower_activations
from hwnas.export.tflite.depthwise import split_depthwise
from hwnas.export.tflite.flatbuffer import pack, read_metadata, unpack
from hwnas.export.tflite.operators import layer_of, operator_layers, operator_names, output_types
from hwnas.export.tflite.quantise import dynamic_integer, float16, full_integer, layer_errors
from hwnas.export.tflite.ranges import read_ranges
from hwnas.spaces import OfaMbv3Space, Operator
from hwnas.supernet.build import build_subnet
from tests.export.conftest import SMALL

TFLITE = model_format("tflite")
PRECISIONS = TFLITE.precisions


class Precisions:
    """One network whose activations have the spread that BatchNorm gives, in each precision.

    Converting takes seconds, so all but float32 and int8 are made from the float32 file, as the exporter makes them.
    """

    def __init__(self, folder: Path) -> None:
        space = OfaMbv3Space(replace(SMALL, resolution=(32,), in_channels=3))
        genotype = space.extreme(largest=True)
        self.operators = space.operators_of(genotype)
        generator = torch.Generator().manual_seed(0)
        self.module = build_subnet(space, genotype, generator=generator).train()
        images = torch.randn(64, 3, 32, 32, generator=generator)
        for part in self.module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None
        with torch.no_grad():
            self.module(images)
            self.expected = self.module.eval()(images[:32]).numpy()
        self.images: NDArray[np.float32] = images.numpy()
        self.calibration = self.images[32:]
        self.request = ExportRequest(
            self.module, images[:1], calibration=self.calibration, metadata={"arch": '{"space": "small"}'}
        )
        self.files = {key: folder / f"{key}.tflite" for key in PRECISIONS}
        for key in ("fp32", "int8"):
            TFLITE.export(replace(self.request, precision=key), self.files[key])
        self.plain = self.files["fp32"].read_bytes()
        with quiet("quantising"):
            self.files["fp16"].write_bytes(float16(self.plain))
            self.files["int8_dynamic"].write_bytes(dynamic_integer(self.plain))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Precisions:
    return Precisions(tmp_path_factory.mktemp("precisions"))


def in_integers(content: bytes, images: NDArray[np.float32], float_layers: tuple[str, ...] = ()) -> bytes:
    lowered = lower_activations(content)
    return full_integer(lowered, read_ranges(lowered, images), float_layers)


def delegated(path: Path) -> int:
    """Into how many parts XNNPACK takes the graph; what it leaves lies between them."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return sum(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())


# How far logits may be from torch's, as a share of their standard deviation: some rounding steps of each kind.
@pytest.mark.parametrize(
    ("precision", "share"), [("fp32", 1e-4), ("fp16", 0.02), ("int8", 0.3), ("int8_dynamic", 0.15)]
)
def test_every_precision_gives_torchs_logits(precision: str, share: float, net: Precisions) -> None:
    logits = TFLITE.load_runner(net.files[precision])(net.images[:32])
    assert logits.dtype == np.float32
    assert np.sqrt(((logits - net.expected) ** 2).mean()) < share * net.expected.std()
    assert precision == "fp32" or not np.allclose(logits, net.expected, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_input_layout_metadata_and_delegate(precision: str, net: Precisions) -> None:
    content = net.files[precision].read_bytes()
    assert not {"TRANSPOSE", "RESHAPE"} & set(operator_names(content))
    assert json.loads(read_metadata(content, "hwnas") or b"") == {"arch": '{"space": "small"}'}
    interpreter = Interpreter(model_content=content)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (source["dtype"], target["dtype"]) == (np.float32, np.float32)
    assert source["shape"].tolist() == [1, 32, 32, 3]
    assert list(interpreter.get_signature_list()) == ["serving_default"]
    assert delegated(net.files[precision]) == 1


def test_files_shrink(net: Precisions) -> None:
    sizes = {key: path.stat().st_size for key, path in net.files.items()}
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    assert sizes["int8"] < 0.55 * sizes["fp32"]
    assert sizes["int8_dynamic"] < 0.6 * sizes["fp32"]
    assert read_metadata(net.files["fp16"].read_bytes(), "reduced_precision_support") == b"fp16accfp16"


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


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8", "int8_dynamic"])
def test_the_same_request_gives_the_same_bytes(precision: str, net: Precisions, tmp_path: Path) -> None:
    again = TFLITE.export(replace(net.request, precision=precision), tmp_path / "again.tflite")
    logits = TFLITE.load_runner(again)(net.images[:8])
    np.testing.assert_array_equal(logits, TFLITE.load_runner(net.files[precision])(net.images[:8]))
    assert precision != "int8" or again.read_bytes() == net.files[precision].read_bytes()


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


def test_the_quantiser_missing_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    request = ExportRequest(nn.Identity(), torch.zeros(1, 3, 8, 8), precision="fp16")
    with pytest.raises(MissingExtraError, match=r"ai-edge-quantizer.*hwnas\[litert\]"):
        TFLITE.export(request, tmp_path / "x.tflite")


# ---- rewriting of graphs --------------------------------------------------------------------------------------------


def run(content: bytes, image: NDArray[np.float32]) -> NDArray[np.float32]:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@pytest.mark.parametrize("kernel", range(1, 15, 2))
def test_row_groups_hold_every_row_once_in_kernels_of_25_taps(kernel: int) -> None:
    groups = row_groups(kernel)
    assert bool(groups) == (kernel in (7, 9, 11))
    assert sorted(row for group in groups for row in group) == (list(range(kernel)) if groups else [])
    for group in groups:
        assert len(group) * kernel <= 25
        assert [kernel - 1 - row for row in reversed(group)] == list(group)
        assert len({after - row for row, after in pairwise(group)}) <= 1


@pytest.mark.parametrize("kernel", [5, 7, 9])
@pytest.mark.parametrize(("size", "stride"), [(12, 1), (12, 2), (13, 2)])
def test_split_depthwise_computes_the_same(kernel: int, size: int, stride: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=8), nn.ReLU6(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    ).eval()
    import litert_torch

    image = torch.randn(1, size, size, 8)
    plain = litert_torch.convert(litert_torch.to_channel_last_io(module, args=[0]).eval(), (image,)).model_content()
    split = split_depthwise(plain)
    assert Counter(operator_names(split))["DEPTHWISE_CONV_2D"] == max(1, len(row_groups(kernel)))
    np.testing.assert_allclose(run(split, image.numpy()), run(plain, image.numpy()), atol=1e-5)
    assert split_depthwise(split) == split


class Silent(nn.Module):
    """Branches that add next to nothing: one by its weights, one because its kernel's rows miss so small a map."""

    def __init__(self, kernel: int, scale: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.branch = nn.Conv2d(8, 8, kernel, 1, kernel // 2, groups=8)
        self.squeeze = nn.Conv2d(8, 8, 1)
        for part, factor in ((self.branch, scale), (self.squeeze, 0.0)):
            part.weight.data = factor * torch.randn(part.weight.shape, generator=generator)
            part.bias.data.zero_()
        self.classifier = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x + self.branch(x)
        return self.classifier((y + self.squeeze(y).relu()).mean((2, 3), keepdim=True).flatten(1))


@pytest.mark.parametrize(("kernel", "scale"), [(7, 1.0), (3, 1e-9), (7, 1e-5)])
def test_branches_that_add_nothing_can_be_int8(kernel: int, scale: float, tmp_path: Path) -> None:
    # XNNPACK crashed the whole process where such a branch had a scale of its own size.
    images = np.random.default_rng(0).normal(size=(32, 8, 2, 2)).astype(np.float32)
    module = Silent(kernel, scale).eval()
    TFLITE.export(
        ExportRequest(module, torch.zeros(1, 8, 2, 2), precision="int8", calibration=images), tmp_path / "x.tflite"
    )
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    script = (
        "import sys, numpy; from hwnas.export.formats import model_format;"
        "numpy.save(sys.argv[3], model_format('tflite').load_runner(sys.argv[1])(numpy.load(sys.argv[2])))"
    )
    np.save(tmp_path / "images.npy", images)
    arguments = [str(tmp_path / name) for name in ("x.tflite", "images.npy", "logits.npy")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.abs(np.load(tmp_path / "logits.npy") - expected).mean() < 0.2 * expected.std()


def test_lowered_activations_compute_the_same(net: Precisions) -> None:
    plain = net.files["fp32"].read_bytes()
    lowered = lower_activations(plain)
    names = Counter(operator_names(lowered))
    assert "HARD_SWISH" not in names
    # Squeeze-and-excitation lost its product with 1/6. No value needed one but the stem's, which a residual adds.
    before = Counter(operator_names(plain))
    assert names["MUL"] == before["MUL"] // 2 + before["HARD_SWISH"] + 1
    assert names["ADD"] == before["ADD"] + before["HARD_SWISH"]
    for image in net.images[:4].transpose(0, 2, 3, 1):
        np.testing.assert_allclose(run(lowered, image[None]), run(plain, image[None]), atol=1e-4)
    model = unpack(lowered)
    used = {int(number) for one in model.subgraphs[0].operators for number in (*one.inputs, *one.outputs)}
    assert used - {-1} == set(range(len(model.subgraphs[0].tensors)))


class Awkward(nn.Module):
    """h-swish where nothing that follows has weights: added, given out, multiplied with itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.hardswish(x.mean((2, 3)))
        return nn.functional.hardswish(y * y + y)


def test_a_factor_that_no_weights_take_is_divided_out() -> None:
    import litert_torch

    image = torch.randn(1, 4, 4, 6) * 3
    module = litert_torch.to_channel_last_io(Awkward(), args=[0]).eval()
    plain = litert_torch.convert(module, (image,)).model_content()
    lowered = lower_activations(plain)
    assert "HARD_SWISH" not in operator_names(lowered)
    np.testing.assert_allclose(run(lowered, image.numpy()), run(plain, image.numpy()), atol=1e-5)
    interpreter = Interpreter(model_content=lowered)
    runner = interpreter.get_signature_runner("serving_default")
    (given,) = runner(args_0=image.numpy()).values()
    np.testing.assert_allclose(given, run(plain, image.numpy()), atol=1e-5)


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("a.Wrapper/hwnas.supernet.subnet.Subnet_wrapped/h.ConvBlock_stem/torch.nn.modules.conv.Conv2d_conv;2", "stem"),
        ("a.W/h.Subnet_wrapped/h.Residual_block3/h.ConvBlock_depthwise/torch.nn.a.ReLU_act;;a.W/x", "block3.depthwise"),
        ("a.W/h.Subnet_wrapped/torch.nn.modules.linear.Linear_classifier;1", "classifier"),
        ("serving_default_output_0_output", "serving_default_output_0_output"),
    ],
)
def test_layers_are_named_by_modules(tensor: str, layer: str) -> None:
    assert layer_of(tensor) == layer


# ---- the profiler's operator files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_synthetic_files_hold_the_operators_of_exported_ones(precision: str, net: Precisions, tmp_path: Path) -> None:
    ours = synthetic_tflite.write(net.operators, tmp_path / "x.tflite", precision=precision)
    theirs = Counter(operator_names(net.files[precision].read_bytes())) - Counter(("QUANTIZE", "DEQUANTIZE"))
    assert Counter(operator_names(ours.read_bytes())) == theirs
    assert delegated(ours) == 1


def test_synthetic_large_kernels_compute_the_same_as_one_convolution(tmp_path: Path) -> None:
    operator = Operator("mbconv", 12, 12, 8, 8, mid_channels=16, kernel=7, stride=2, activation="h_swish", se=True)
    path = synthetic_tflite.write([operator], tmp_path / "x.tflite")
    image = np.random.default_rng(0).standard_normal((1, 12, 12, 8)).astype(np.float32)
    import onnxruntime

    from hwnas.export.synthetic import onnx as synthetic_onnx

    session = onnxruntime.InferenceSession(
        synthetic_onnx.write([operator], tmp_path / "x.onnx"), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"input": image.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(run(path.read_bytes(), image), expected, atol=1e-4)
