"""Parity, accuracy and manifest of exported files, on real images of digits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from hwnas.data.config import DigitsConfig
from hwnas.data.load import ImageData, ImageSet, load_data
from hwnas.data.preprocess import prepare
from hwnas.errors import ConfigError, DataError, ExportError
from hwnas.export.config import ExportConfig
from hwnas.export.deploy import export_network
from hwnas.export.formats import FORMATS, model_format
from hwnas.export.manifest import MANIFEST_NAME, Manifest, file_metadata, read_manifest, write_manifest
from hwnas.export.parity import accuracy_of_file, check_parity
from hwnas.files import sha256_of_file
from hwnas.progress import no_progress
from tests.export.conftest import Exported


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(DigitsConfig(), 0, no_progress)


def resolution(exported: Exported) -> int:
    return int(exported.example.shape[-1])


@pytest.mark.parametrize("name", FORMATS)
def test_parity_of_a_true_export(name: str, exported: Exported, data: ImageData) -> None:
    parity = check_parity(
        exported.files[name], exported.module, data.test, resolution(exported), data.preprocessing,
        ExportConfig(parity_images=300),
    )  # fmt: skip
    assert parity.images == 300
    assert parity.max_abs <= 1e-4
    assert parity.top1_agreement == 1.0


@pytest.mark.parametrize("name", FORMATS)
def test_parity_with_another_network_fails(name: str, exported: Exported, data: ImageData) -> None:
    other = model_format(name)
    from hwnas.spaces import OfaMbv3Space
    from tests.export.conftest import SMALL, network

    _, module, _ = network(OfaMbv3Space(SMALL), seed=5)
    with pytest.raises(ExportError, match=r"differs from torch by .*parity_tolerance"):
        check_parity(
            exported.files[other.name], module, data.test, resolution(exported), data.preprocessing, ExportConfig()
        )


def test_parity_with_no_numbers_fails(exported: Exported, data: ImageData, tmp_path: Path) -> None:
    model = onnx.load(exported.files["onnx"])
    for tensor in model.graph.initializer:
        if list(tensor.dims) == [10]:
            tensor.CopyFrom(numpy_helper.from_array(np.full(10, np.nan, dtype=np.float32), tensor.name))
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(ExportError, match="differs from torch by nan"):
        check_parity(
            tmp_path / "nan.onnx", exported.module, data.test, resolution(exported), data.preprocessing, ExportConfig()
        )


def test_parity_and_accuracy_need_images(exported: Exported, data: ImageData) -> None:
    nothing, path = data.test.first(0), exported.files["onnx"]
    with pytest.raises(ExportError, match="at least one image"):
        check_parity(path, exported.module, nothing, resolution(exported), data.preprocessing, ExportConfig())
    with pytest.raises(ExportError, match="got none"):
        accuracy_of_file(path, nothing, resolution(exported), data.preprocessing)


def test_images_of_another_kind_are_refused(exported: Exported, data: ImageData) -> None:
    coloured = ImageSet(data.test.images.repeat(1, 3, 1, 1), data.test.labels)
    with pytest.raises(DataError, match="expected uint8 images"):
        accuracy_of_file(exported.files["onnx"], coloured, resolution(exported), data.preprocessing)


@pytest.mark.parametrize("name", FORMATS)
def test_accuracy_is_torchs(name: str, exported: Exported, data: ImageData) -> None:
    # Labels that the network gets right every other time, so that chance isn't what is tested.
    with torch.no_grad():
        answers = exported.module(prepare(data.test.images, resolution(exported), data.preprocessing)).argmax(1)
    labels = answers.clone()
    labels[::2] = (labels[::2] + 1) % 10
    shares: list[float] = []
    accuracy = accuracy_of_file(
        exported.files[name], ImageSet(data.test.images, labels), resolution(exported), data.preprocessing,
        progress=lambda share, _: shares.append(share),
    )  # fmt: skip
    assert accuracy == pytest.approx(float((answers == labels).double().mean()))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("name", FORMATS)
def test_whole_export_is_described(name: str, exported: Exported, data: ImageData, tmp_path: Path) -> None:
    manifest = export_network(
        exported.module, name, tmp_path,
        arch={"space": "small", "r": 32}, space={"name": "small"}, classes=data.classes,
        preprocessing=data.preprocessing, resolution=resolution(exported), images=data.test, config=ExportConfig(),
        metrics={"accuracy_predicted": 0.5, "latency_ms_predicted": 1.5},
    )  # fmt: skip
    suffix = model_format(name).suffix
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST_NAME, f"model{suffix}"]
    assert read_manifest(tmp_path) == manifest
    path = manifest.verify(tmp_path)
    assert manifest.sha256 == sha256_of_file(path)
    assert manifest.bytes == path.stat().st_size
    size = resolution(exported)
    assert manifest.input_shape == ([1, size, size, 1] if name == "tflite" else [1, 1, size, size])
    assert manifest.classes == list(data.classes)
    assert manifest.preprocessing == data.preprocessing.to_dict()
    assert manifest.parity["images"] == 256
    assert manifest.metrics["latency_ms_predicted"] == 1.5
    assert {"hwnas", "torch", "python"} < set(manifest.versions)
    assert "unknown" not in manifest.versions.values()


def test_file_that_fails_parity_is_deleted(exported: Exported, data: ImageData, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="differs from torch"):
        export_network(
            exported.module, "onnx", tmp_path, arch={}, space={}, classes=data.classes,
            preprocessing=data.preprocessing, resolution=resolution(exported), images=data.test,
            config=ExportConfig(parity_tolerance=1e-12), metrics={},
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.fixture
def described(exported: Exported, tmp_path: Path) -> Manifest:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.files["onnx"].read_bytes())
    return write_manifest(
        path, arch={}, space={}, classes=["a"], input_shape=[1, 1, 8, 8], preprocessing={}, parity={}, metrics={}
    )


def test_altered_file_is_found(described: Manifest, tmp_path: Path) -> None:
    path = described.verify(tmp_path)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ExportError, match="was altered"):
        described.verify(tmp_path)
    path.unlink()
    with pytest.raises(ExportError, match="no such file"):
        described.verify(tmp_path)


def test_broken_manifests_are_refused(described: Manifest, tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_NAME
    content = json.loads(path.read_text())
    path.write_text(path.read_text()[:50])
    with pytest.raises(ExportError, match="not a complete JSON file"):
        read_manifest(tmp_path)
    content["extra"] = content.pop("sha256")
    path.write_text(json.dumps(content))
    with pytest.raises(ExportError, match=r"missing \['sha256'\], unknown \['extra'\]"):
        read_manifest(tmp_path)
    path.write_text("[]")
    with pytest.raises(ExportError, match="missing"):
        read_manifest(tmp_path)
    path.unlink()
    with pytest.raises(ExportError, match="no such file"):
        read_manifest(tmp_path)


def test_manifest_needs_its_file(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no such file"):
        write_manifest(
            tmp_path / "model.onnx",
            arch={}, space={}, classes=[], input_shape=[1, 1, 8, 8], preprocessing={}, parity={}, metrics={},
        )  # fmt: skip


def test_metadata_is_text_that_reads_back(data: ImageData) -> None:
    metadata = file_metadata({"space": "x", "ks": [3]}, {"name": "x"}, data.classes, data.preprocessing.to_dict())
    assert json.loads(metadata["arch"]) == {"space": "x", "ks": [3]}
    assert json.loads(metadata["classes"]) == list(data.classes)
    assert json.loads(metadata["preprocessing"]) == data.preprocessing.to_dict()


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"parity_images": 0}, "parity_images"), ({"parity_tolerance": 0.0}, "parity_tolerance"),
     ({"parity_tolerance": float("nan")}, "parity_tolerance")],
)  # fmt: skip
def test_config_is_checked(changes: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError, match=f"export.{key}"):
        replace(ExportConfig(), **changes)
