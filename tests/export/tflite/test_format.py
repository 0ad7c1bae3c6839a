"""TFLite files in every precision: what they compute, hold and weigh."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from hwnas.errors import MissingExtraError
from hwnas.export.request import ExportRequest
from hwnas.export.synthetic import tflite as synthetic_tflite
from hwnas.export.tflite.flatbuffer import read_metadata
from hwnas.export.tflite.operators import operator_names
from hwnas.supernet.layout import channels_last
from tests.export.tflite.conftest import PRECISIONS, TFLITE, Precisions, delegated


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


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8", "int8_dynamic"])
def test_the_same_request_gives_the_same_bytes(precision: str, net: Precisions, tmp_path: Path) -> None:
    again = TFLITE.export(replace(net.request, precision=precision), tmp_path / "again.tflite")
    logits = TFLITE.load_runner(again)(net.images[:8])
    np.testing.assert_array_equal(logits, TFLITE.load_runner(net.files[precision])(net.images[:8]))
    assert precision != "int8" or again.read_bytes() == net.files[precision].read_bytes()


def test_the_quantiser_missing_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    request = ExportRequest(nn.Identity(), torch.zeros(1, 3, 8, 8), precision="fp16")
    with pytest.raises(MissingExtraError, match=r"ai-edge-quantizer.*hwnas\[litert\]"):
        TFLITE.export(request, tmp_path / "x.tflite")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_synthetic_files_hold_the_operators_of_exported_ones(precision: str, net: Precisions, tmp_path: Path) -> None:
    ours = synthetic_tflite.write(net.operators, tmp_path / "x.tflite", precision=precision)
    theirs = Counter(operator_names(net.files[precision].read_bytes())) - Counter(("QUANTIZE", "DEQUANTIZE"))
    assert Counter(operator_names(ours.read_bytes())) == theirs
    assert delegated(ours) == 1


def test_convolutions_of_one_shape_keep_their_own_weights(tmp_path: Path) -> None:
    # Weights laid out channels last were taken for one another: the exporter knew them by where they lay for a moment.
    blocks = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(8)]
    network = channels_last(nn.Sequential(nn.Conv2d(3, 8, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())).eval()
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    path = TFLITE.export(ExportRequest(network, images[:1]), tmp_path / "model.tflite")
    np.testing.assert_allclose(
        TFLITE.load_runner(path)(images.numpy()), network(images).detach().numpy(), rtol=1e-4, atol=1e-6
    )
