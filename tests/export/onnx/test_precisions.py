"""ONNX files in every precision: one contract; and what each promises on its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import nn

from hwnas.errors import ConfigError, ExportError
from hwnas.export.config import ExportConfig
from hwnas.export.formats import model_format
from hwnas.export.onnx.graph import layers_of
from hwnas.export.request import ExportRequest
from hwnas.supernet.layout import channels_last
from tests.export.conftest import Exported

ONNX = model_format("onnx")


def real_images(exported: Exported, count: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *exported.example.shape[1:])).astype(np.float32)


def asked(exported: Exported, precision: str) -> ExportRequest:
    metadata = {"arch": '{"space": "small"}'}
    return ExportRequest(exported.module, exported.example, precision, real_images(exported, 32), metadata)


@pytest.fixture(scope="module")
def files(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("precisions")
    return {
        precision: ONNX.export(asked(exported, precision), folder / f"{precision}.onnx")
        for precision in ONNX.precisions
    }


def node_kinds(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


# ---- every precision ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ONNX.precisions)
def test_file_is_checked_named_and_float_at_both_ends(precision: str, files: dict[str, Path]) -> None:
    model = onnx.load(files[precision])
    onnx.checker.check_model(model, full_check=True)
    assert {prop.key: prop.value for prop in model.metadata_props} == {"arch": '{"space": "small"}'}
    ends = (*model.graph.input, *model.graph.output)
    assert [value.name for value in ends] == ["input", "logits"]
    assert all(value.type.tensor_type.elem_type == TensorProto.FLOAT for value in ends)
    assert all(size.dim_value for value in ends for size in value.type.tensor_type.shape.dim)
    assert not {"BatchNormalization", "Dropout", "Identity"} & set(node_kinds(files[precision]))
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {"stem.conv", "classifier"} <= set(names)


@pytest.mark.parametrize("precision", ONNX.precisions)
def test_file_computes_what_torch_does(precision: str, files: dict[str, Path], exported: Exported) -> None:
    images = real_images(exported, 20, seed=1)
    with torch.no_grad():
        exact = exported.module(torch.from_numpy(images)).numpy()
    found = ONNX.load_runner(files[precision])(images)
    assert found.dtype == np.float32
    error = np.abs(found - exact).max() / exact.std()
    assert error < {"fp32": 1e-4, "fp16": 0.05, "int8": 1.5, "int8_dynamic": 0.5}[precision]
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.97
    assert precision == "fp32" or not np.array_equal(found, ONNX.load_runner(files["fp32"])(images))


def test_fewer_bits_are_fewer_bytes(files: dict[str, Path]) -> None:
    sizes = {precision: path.stat().st_size for precision, path in files.items()}
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    assert sizes["int8"] < 0.6 * sizes["fp32"]
    assert sizes["int8_dynamic"] < 0.4 * sizes["fp32"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8", "int8_dynamic"])
def test_same_request_gives_the_same_bytes(
    precision: str, files: dict[str, Path], exported: Exported, tmp_path: Path
) -> None:
    again = ONNX.export(asked(exported, precision), tmp_path / "again.onnx")
    assert again.read_bytes() == files[precision].read_bytes()


# ---- int8 -----------------------------------------------------------------------------------------------------------


def test_int8_computes_on_integers_throughout(files: dict[str, Path], tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 3
    onnxruntime.InferenceSession(str(files["int8"]), options, providers=["CPUExecutionProvider"])
    kinds = node_kinds(tmp_path / "optimised.onnx")
    written = node_kinds(files["fp32"])
    assert kinds["QLinearConv"] == written["Conv"]
    assert kinds["QuantizeLinear"] == 1  # the input
    assert not {"Conv", "Mul", "Add", "HardSigmoid", "HardSwish", "GlobalAveragePool", "Relu"} & set(kinds)


def test_int8_weights_have_a_scale_a_channel(files: dict[str, Path]) -> None:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(files["int8"]).graph.initializer}
    weights = {name for name, values in constants.items() if values.dtype == np.int8 and values.ndim == 4}
    assert weights
    for name in weights:
        scales = constants[name.replace("_quantized", "_scale")]
        assert scales.shape == (len(constants[name]),)
        assert (constants[name.replace("_quantized", "_zero_point")] == 0).all()


@pytest.mark.slow
def test_reduced_range_keeps_seven_bits(exported: Exported, tmp_path: Path) -> None:
    request = replace(asked(exported, "int8"), config=ExportConfig(reduce_range=True))
    model = onnx.load(ONNX.export(request, tmp_path / "x.onnx"))
    values = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.data_type == tensor.INT8]
    assert max(int(np.abs(array).max()) for array in values) <= 64


@pytest.mark.slow
@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_other_calibrations_work(method: str, exported: Exported, files: dict[str, Path], tmp_path: Path) -> None:
    request = replace(asked(exported, "int8"), config=ExportConfig(calibration_method=method))
    path = ONNX.export(request, tmp_path / "x.onnx")
    assert node_kinds(path) == node_kinds(files["int8"])
    assert path.read_bytes() != files["int8"].read_bytes()


@pytest.mark.parametrize("precision", ["int8", "int8_dynamic"])
def test_chosen_layers_stay_float(precision: str, exported: Exported, tmp_path: Path) -> None:
    kept = ("block0.depthwise.conv", "classifier")
    path = ONNX.export(replace(asked(exported, precision), float_layers=kept), tmp_path / "x.onnx")
    graph = onnx.load(path).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.name in kept:
            assert types[node.input[1]] == TensorProto.FLOAT
        elif node.op_type == "Conv":
            assert types.get(node.input[1]) != TensorProto.FLOAT
    images = real_images(exported, 4)
    assert ONNX.load_runner(path)(images).shape == (4, 10)


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8_dynamic"])
def test_unknown_layer_is_named(precision: str, exported: Exported, tmp_path: Path) -> None:
    request = replace(asked(exported, precision), float_layers=("block0.depthwise.con",))
    with pytest.raises(ConfigError, match=r"'block0\.depthwise\.con' is no layer.*did you mean 'block0\.depthwise"):
        ONNX.export(request, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def bad_images(kind: str) -> NDArray[np.float32] | None:
    good = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    return {
        "none": None,
        "few": good[:3],
        "other size": good[:, :, :4],
        "blank": np.ones_like(good) * np.arange(16, dtype=np.float32)[:, None, None, None],
        "the same": np.repeat(good[:1], 16, axis=0),
        "no numbers": np.where(good > 2, np.nan, good).astype(np.float32),
    }[kind]


@pytest.mark.parametrize("kind", ["none", "few", "other size", "blank", "the same", "no numbers"])
def test_bad_calibration_images_are_refused(kind: str, tmp_path: Path) -> None:
    request = ExportRequest(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 8, 8), "int8", bad_images(kind))
    told = {"none": "got none", "few": r"got \[3, 3, 8, 8\]", "other size": r"got \[16, 3, 4, 8\]", "blank": "blank",
            "the same": "all the same", "no numbers": "no numbers"}[kind]  # fmt: skip
    with pytest.raises(ExportError, match=rf"export\.calibration_images=256, at least 8; .*{told}") as caught:
        ONNX.export(request, tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


# ---- the graph ------------------------------------------------------------------------------------------------------


def test_layers_are_modules_with_their_activations(files: dict[str, Path]) -> None:
    layers = layers_of(onnx.load(files["fp32"]))
    assert layers["stem.conv"] == ("stem.conv", "stem.act/HardSwish")
    gates = [layer for layer in layers if layer.endswith("se.expand")]
    assert gates
    assert all(layers[layer] == (layer, f"{layer[:-7]}/HardSigmoid") for layer in gates)
    assert not any(layer.endswith(("Relu", "HardSwish", "HardSigmoid")) for layer in layers)


def test_memory_format_leaves_no_trace(files: dict[str, Path], exported: Exported, tmp_path: Path) -> None:
    from copy import deepcopy

    module = channels_last(deepcopy(exported.module))
    path = ONNX.export(ExportRequest(module, exported.example), tmp_path / "x.onnx")
    assert node_kinds(path) == node_kinds(files["fp32"])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_dynamic_batch_is_run_whole(
    precision: str, exported: Exported, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    request = replace(asked(exported, precision), config=ExportConfig(dynamic_batch=True))
    path = ONNX.export(request, tmp_path / "x.onnx")
    assert not onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value
    images = real_images(exported, 7)
    sizes = []
    plain = onnxruntime.InferenceSession.run

    def counted(session, names, feed, *rest):  # type: ignore[no-untyped-def]
        sizes.append(len(feed["input"]))
        return plain(session, names, feed, *rest)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", counted)
    found = ONNX.load_runner(path)(images)
    assert sizes == [7]
    np.testing.assert_allclose(found, ONNX.load_runner(files[precision])(images), atol=1e-4)


@pytest.mark.parametrize(("part", "told"), [("opset", "ai.onnx 99"), ("ir", "IR version 99")])
def test_too_new_file_names_both_versions(part: str, told: str, files: dict[str, Path], tmp_path: Path) -> None:
    import onnxruntime

    model = onnx.load(files["fp32"])
    if part == "opset":
        model.opset_import[0].version = 99
    else:
        model.ir_version = 99
    path = tmp_path / "new.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=rf"ONNX Runtime {onnxruntime.__version__} is too old for .*{told}"):
        ONNX.load_runner(path)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"calibration_method": "minmx"}, "did you mean 'minmax'"), ({"calibration_percentile": 50.0}, "more than 50"),
     ({"calibration_percentile": 101.0}, "at most 100")],
)  # fmt: skip
def test_config_is_checked(changes: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        ExportConfig(**changes)  # type: ignore[arg-type]
