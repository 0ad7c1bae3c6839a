"""What every format must do: one contract, and each format's own promises."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hwnas.errors import ConfigError, ExportError, MissingExtraError, StorageError
from hwnas.export.formats import FORMATS, format_of_file, format_of_runtime, model_format
from hwnas.export.onnx.graph import OPSET
from hwnas.export.request import ExportRequest, ExportState
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.export.tflite.flatbuffer import read_metadata
from hwnas.export.tflite.operators import operator_names
from hwnas.operators import GlobalPool
from hwnas.supernet.layout import channels_last
from tests.export.conftest import Exported, each_format

EXAMPLE = torch.zeros(1, 3, 8, 8)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


class Interrupted(nn.Module):
    def forward(self, _: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt


# ---- every format ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_is_found_by_name_runtime_and_file(name: str) -> None:
    chosen = model_format(name)
    assert chosen.name == name
    assert format_of_runtime(chosen.runtime) is chosen
    assert format_of_file(f"folder/x{chosen.suffix}") is chosen


def test_unknown_formats_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'onnx'"):
        model_format("onxx")
    with pytest.raises(ConfigError, match=r"unknown runtime 'ncnn'.*onnxruntime, litert, tvm"):
        format_of_runtime("ncnn")
    with pytest.raises(ConfigError, match=r"x\.pth is no model file.*\.onnx, \.tflite, \.so, \.pte"):
        format_of_file("x.pth")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("network", ["exported", "exported_odd"])
@pytest.mark.parametrize("threads", [1, 2])
def test_file_gives_torchs_logits(name: str, network: str, threads: int, request: pytest.FixtureRequest) -> None:
    exported: Exported = request.getfixturevalue(network)
    images = torch.randn(5, *exported.example.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = exported.module(images).numpy()
    logits = model_format(name).load_runner(exported.files[name], threads)(images.numpy())
    assert logits.dtype == np.float32
    assert expected.std() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("name", each_format())
def test_module_stays_as_it_was(name: str, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    model_format(name).export(ExportRequest(module, EXAMPLE), tmp_path / "x")
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", FORMATS)
def test_what_cannot_be_traced_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=rf"^{name} export failed in pass '\w+': .*plain static network") as caught:
        model_format(name).export(ExportRequest(Branching(), EXAMPLE), tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_interrupted_export_leaves_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        model_format(name).export(ExportRequest(Interrupted(), EXAMPLE), tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", each_format())
def test_channels_last_networks_export(name: str, tmp_path: Path) -> None:
    """As subnets are, once their BatchNorm is calibrated."""
    chosen = model_format(name)
    parts = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module = channels_last(nn.Sequential(*parts)).eval()
    images = torch.randn(2, *EXAMPLE.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module(images).numpy()
    found = chosen.load_runner(chosen.export(ExportRequest(module, EXAMPLE), tmp_path / f"x{chosen.suffix}"))
    np.testing.assert_allclose(found(images.numpy()), expected, atol=1e-5)


def test_layers_that_can_not_stay_float_are_refused() -> None:
    with pytest.raises(ConfigError, match="keeps no single layer float"):
        model_format("tvm").check(ExportRequest(nn.Identity(), EXAMPLE, float_layers=("stem",)))


@pytest.mark.parametrize("name", FORMATS)
def test_batches_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"one image \[1, C, H, W\], got \(2, 3, 8, 8\)"):
        model_format(name).export(ExportRequest(nn.Identity(), torch.zeros(2, 3, 8, 8)), tmp_path / "x")


@pytest.mark.parametrize("name", FORMATS)
def test_unwritable_folder_is_found_before_the_work(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        model_format(name).export(ExportRequest(Interrupted(), EXAMPLE), tmp_path / "file" / "x")


def test_full_disk_in_a_pass_is_no_fault_of_the_network(tmp_path: Path) -> None:
    def fill(state: ExportState) -> ExportState:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    full = replace(model_format("onnx"), graph_passes=(), file_passes=(("fill", fill),))
    with pytest.raises(StorageError, match=r"cannot write .*No space left"):
        full.export(ExportRequest(nn.Identity(), EXAMPLE), tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_broken_files_are_refused(name: str, content: bytes | None, exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(exported.files[name].read_bytes()[:3000] if content is None else content)
    with pytest.raises(ExportError, match=r"can't load .*export it again") as caught:
        model_format(name).load_runner(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_missing_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="absent"):
        model_format(name).load_runner(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "package"), [(name, package) for name in FORMATS for package in model_format(name).packages]
)
def test_missing_package_names_the_extra(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    chosen = model_format(name)
    with pytest.raises(MissingExtraError, match=rf"{package.replace('_', '-')}.*hwnas\[{chosen.extra}\]"):
        chosen.export(ExportRequest(nn.Identity(), EXAMPLE), tmp_path / "x")


@pytest.mark.parametrize("name", FORMATS)
def test_synthetic_writer_without_its_package(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = model_format(name)
    monkeypatch.setitem(sys.modules, chosen.packages[0], None)
    with pytest.raises(MissingExtraError, match=rf"hwnas\[{chosen.extra}\]"):
        synthetic_writer(chosen.name)([GlobalPool(4, 4, 8, 8)], tmp_path / "x")


def test_formats_import_neither_torch_nor_runtimes() -> None:
    heavy = "torch onnx onnxruntime ai_edge_litert litert_torch flatbuffers tvm executorch"
    code = (
        "import sys; from hwnas.export.formats import *; from hwnas.export import config;"
        "from hwnas.export.bundle import manifest;"
        f"[model_format(name) for name in FORMATS]; print([m for m in {heavy.split()!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- ONNX -----------------------------------------------------------------------------------------------------------


def test_onnx_is_checked_static_and_clean(exported: Exported) -> None:
    content = exported.files["onnx"].read_bytes()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == OPSET
    assert not {node.op_type for node in model.graph.node} & {"BatchNormalization", "Dropout", "Identity"}
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["input", "logits"]
    assert [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim] == list(exported.example.shape)
    assert {prop.key: prop.value for prop in model.metadata_props} == {"arch": '{"space": "small"}'}
    # Nothing of the machine that exported it.
    assert b"stack_trace" not in content
    assert b".py" not in content


def test_onnx_keeps_stem_and_classifier(exported: Exported) -> None:
    graph = onnx.load(exported.files["onnx"]).graph
    assert graph.node[0].op_type == "Conv"
    assert graph.node[-1].op_type == "Gemm"
    weights = {tuple(tensor.dims) for tensor in graph.initializer}
    assert {(16, 1, 3, 3), (10, 128)} <= weights


# ---- TFLite ---------------------------------------------------------------------------------------------------------


def test_tflite_is_nhwc_without_transposes(exported: Exported) -> None:
    from ai_edge_litert.interpreter import Interpreter

    content = exported.files["tflite"].read_bytes()
    names = operator_names(content)
    assert names[0] == "DEPTHWISE_CONV_2D"  # a stem of one input channel
    assert names[-1] == "FULLY_CONNECTED"
    assert not {"TRANSPOSE", "RESHAPE"} & set(names)
    interpreter = Interpreter(model_content=content)
    (source,) = interpreter.get_input_details()
    _, channels, height, width = exported.example.shape
    assert source["shape"].tolist() == [1, height, width, channels]
    assert list(interpreter.get_signature_list()) == ["serving_default"]
    assert json.loads(read_metadata(content, "hwnas") or b"") == {"arch": '{"space": "small"}'}
    assert read_metadata(content, "absent") is None


def test_tflite_refuses_inserted_transposes(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="TRANSPOSE"):
        # its output has an axis for channels
        model_format("tflite").export(ExportRequest(nn.Conv2d(3, 4, 3), EXAMPLE), tmp_path / "x")
    assert not list(tmp_path.iterdir())
