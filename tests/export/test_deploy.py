"""Parity and accuracy of exported files, on real images of digits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from hwnas.data.config import DigitsConfig
from hwnas.data.image_set import LabelledImages
from hwnas.data.load import ImageData, ImageSet, load_data
from hwnas.data.preprocess import prepare
from hwnas.errors import ConfigError, DataError, ExportError
from hwnas.export.bundle.manifest import file_metadata
from hwnas.export.calibration import calibration_images
from hwnas.export.check.answers import Answers, accuracy_of, torch_answers
from hwnas.export.check.feed import PixelFeed
from hwnas.export.check.parity import check_parity
from hwnas.export.config import ExportConfig, VerifyConfig
from hwnas.export.deploy import FLOAT_PRECISIONS, Examples, Subject, export_checked
from hwnas.export.formats import FORMATS, LogitsRunner, format_of_file, model_format
from hwnas.export.signature import Port, Signature
from hwnas.files import sha256_of_file
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Space
from tests.export.conftest import SMALL, Exported, network
from tests.narrow import images_of, present


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(DigitsConfig(), 0, no_progress)


def resolution(exported: Exported) -> int:
    return int(exported.example.shape[-1])


def answers_of(exported: Exported, data: ImageData, images: LabelledImages | None = None) -> Answers:
    return answers_to(exported.module, data.test if images is None else images, resolution(exported), data)


def answers_to(module: torch.nn.Module, images: LabelledImages, size: int, data: ImageData) -> Answers:
    feed = PixelFeed(images, size, data.preprocessing)
    signature = Signature((Port("input", (1, 1, size, size)),), (Port("logits", (1, 10)),), "logits")
    return torch_answers(module, signature, feed, 1000)


@pytest.mark.parametrize("name", FORMATS)
def test_parity_of_a_true_export(name: str, exported: Exported, data: ImageData) -> None:
    config = ExportConfig(parity_images=300)
    parity = check_parity(exported.files[name], answers_of(exported, data), 1e-3, config)
    assert parity.images == 300
    assert parity.real
    assert parity.max_abs <= 1e-4
    assert parity.top1_agreement == 1.0


@pytest.mark.parametrize("name", FORMATS)
def test_parity_with_another_network_fails(name: str, exported: Exported, data: ImageData) -> None:
    _, module, _ = network(OfaMbv3Space(SMALL), seed=5)
    answers = answers_to(module, data.test, resolution(exported), data)
    with pytest.raises(ExportError, match=r"differs from torch by .*parity_tolerance"):
        check_parity(exported.files[name], answers, 1e-3, ExportConfig())
    # What a quantised file is asked for is accuracy: its distance is stated, whatever it is.
    assert check_parity(exported.files[name], answers, float("inf"), ExportConfig()).max_abs > 1e-3


def test_parity_with_no_numbers_fails(exported: Exported, data: ImageData, tmp_path: Path) -> None:
    model = onnx.load(exported.files["onnx"])
    for tensor in model.graph.initializer:
        if list(tensor.dims) == [10]:
            tensor.CopyFrom(numpy_helper.from_array(np.full(10, np.nan, dtype=np.float32), tensor.name))
    onnx.save(model, tmp_path / "nan.onnx")
    for tolerance in (1e-3, float("inf")):
        with pytest.raises(ExportError, match="differs from torch by nan"):
            check_parity(tmp_path / "nan.onnx", answers_of(exported, data), tolerance, ExportConfig())


def load(path: Path) -> LogitsRunner:
    return format_of_file(path).load_runner(path)


def test_parity_and_accuracy_need_images(exported: Exported, data: ImageData) -> None:
    nothing = data.test.first(0)
    with pytest.raises(ExportError, match="at least one image"):
        answers_of(exported, data, nothing)
    with pytest.raises(ExportError, match="got none"):
        accuracy_of(load(exported.files["onnx"]), PixelFeed(nothing, resolution(exported), data.preprocessing))


def test_images_of_another_kind_are_refused(exported: Exported, data: ImageData) -> None:
    coloured = ImageSet(images_of(data.test).repeat(1, 3, 1, 1), data.test.labels)
    with pytest.raises(DataError, match="expected uint8 images"):
        accuracy_of(load(exported.files["onnx"]), PixelFeed(coloured, resolution(exported), data.preprocessing))


@pytest.mark.parametrize("name", FORMATS)
def test_accuracy_is_torchs(name: str, exported: Exported, data: ImageData) -> None:
    # Labels that the network gets right every other time, so that chance isn't what is tested.
    with torch.no_grad():
        answers = exported.module(prepare(images_of(data.test), resolution(exported), data.preprocessing)).argmax(1)
    labels = answers.clone()
    labels[::2] = (labels[::2] + 1) % 10
    shares: list[float] = []
    accuracy = accuracy_of(
        load(exported.files[name]),
        PixelFeed(ImageSet(images_of(data.test), labels), resolution(exported), data.preprocessing),
        progress=lambda share, _: shares.append(share),
    )
    assert accuracy == pytest.approx(float((answers == labels).double().mean()))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def examples_of(data: ImageData, held_out: int = 200) -> Examples:
    return Examples(data.classes, data.preprocessing, data.train, data.held_out.first(held_out))


def subject_of(exported: Exported, examples: Examples, config: ExportConfig) -> Subject:
    return Subject.of(
        exported.module, resolution(exported), {"space": "small", "r": 32}, {"name": "small"}, examples, config,
        no_progress,
    )  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_checked_file_is_described(name: str, exported: Exported, data: ImageData, tmp_path: Path) -> None:
    examples, config = examples_of(data), ExportConfig()
    subject = subject_of(exported, examples, config)
    path = tmp_path / f"a{model_format(name).suffix}"
    checked = export_checked(subject, name, "fp32", path, examples, config, no_progress)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert (checked.sha256, checked.bytes) == (sha256_of_file(path), path.stat().st_size)
    assert checked.parity["images"] == 200  # as many as there are, below 256
    assert checked.parity["top1_agreement"] == 1.0
    assert checked.accuracy["images"] == 200
    assert checked.accuracy["file"] == pytest.approx(checked.accuracy["torch"])
    assert checked.accuracy["drop"] == pytest.approx(0.0)
    assert checked.arch == {"space": "small", "r": 32}
    assert checked.classes == list(data.classes)


def test_file_that_fails_parity_is_deleted(exported: Exported, data: ImageData, tmp_path: Path) -> None:
    examples, config = examples_of(data), ExportConfig(parity_tolerance=1e-12)
    with pytest.raises(ExportError, match="differs from torch"):
        export_checked(
            subject_of(exported, examples, config), "onnx", "fp32", tmp_path / "a.onnx", examples, config, no_progress
        )
    assert not list(tmp_path.iterdir())


# Converting takes seconds, and what is looked at here does not depend on how the numbers were made smaller.
QUANTISED = [
    pytest.param(name, precision, marks=[pytest.mark.slow] * ((name, precision) == ("tflite", "int8_dynamic")))
    for name in FORMATS for precision in model_format(name).precisions if precision not in FLOAT_PRECISIONS
]  # fmt: skip


@pytest.mark.parametrize(("name", "precision"), QUANTISED)
def test_quantised_file_states_what_it_loses(
    name: str, precision: str, exported: Exported, data: ImageData, tmp_path: Path
) -> None:
    # Labels are torch's answers: what a file answers otherwise is its drop.
    right = present(answers_of(exported, data, data.held_out.first(200)).logits).argmax(1)
    labelled = ImageSet(images_of(data.held_out.first(200).in_memory()), torch.from_numpy(right))
    examples = Examples(data.classes, data.preprocessing, data.train, labelled)
    config = ExportConfig(max_accuracy_drop=1.0, calibration_images=50)
    path = tmp_path / f"a{model_format(name).suffix}"
    subject = subject_of(exported, examples, config)
    checked = export_checked(subject, name, precision, path, examples, config, no_progress)
    assert checked.accuracy["torch"] == 1.0
    given = accuracy_of(load(path), PixelFeed(labelled, resolution(exported), data.preprocessing))
    assert checked.accuracy["file"] == given
    assert checked.accuracy["drop"] == pytest.approx(1.0 - given)
    assert checked.parity["max_abs"] > 0
    assert checked.bytes < exported.files[name].stat().st_size


@pytest.mark.parametrize("precision", ["int8", "int8_dynamic"])
def test_quantised_files_need_labelled_images(
    precision: str, exported: Exported, data: ImageData, tmp_path: Path
) -> None:
    examples, config = Examples((), data.preprocessing, None, None), ExportConfig(parity_images=5)
    subject = subject_of(exported, examples, config)
    with pytest.raises(ExportError, match=f"{precision} needs real, labelled images"):
        export_checked(subject, "onnx", precision, tmp_path / "a.onnx", examples, config, no_progress)


def test_without_images_parity_is_of_noise(exported: Exported, data: ImageData, tmp_path: Path) -> None:
    examples, config = Examples((), data.preprocessing, None, None), ExportConfig(parity_images=20)
    subject = subject_of(exported, examples, config)
    checked = export_checked(subject, "onnx", "fp32", tmp_path / "a.onnx", examples, config, no_progress)
    assert (checked.parity["images"], checked.parity["real"]) == (20, False)
    assert checked.accuracy == {"torch": None, "file": None, "drop": None, "images": 0}
    assert checked.classes == [f"class {number}" for number in range(10)]
    np.testing.assert_array_equal(
        subject.answers.logits, subject_of(exported, examples, config).answers.logits
    )  # always the same noise


def test_network_of_other_classes_or_size_is_refused(exported: Exported, data: ImageData) -> None:
    config, examples = ExportConfig(), examples_of(data)
    with pytest.raises(ExportError, match=r"gives 10 logits, the data have 3 classes"):
        subject_of(exported, replace(examples, classes=("a", "b", "c")), config)
    with pytest.raises(ExportError, match=r"does not take images \[1, 1, 32, 32\]"):
        Subject.of(torch.nn.Linear(5, 10), 32, {}, {}, examples, config, no_progress)
    broken = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10))
    torch.nn.init.constant_(broken.get_parameter("1.weight"), float("nan"))
    with pytest.raises(ExportError, match="no numbers"):
        Subject.of(broken, 32, {}, {}, examples, config, no_progress)


def test_calibration_images_are_real_and_enough(data: ImageData) -> None:
    images = calibration_images(data.train, 40, 16, data.preprocessing)
    assert images.shape == (40, 1, 16, 16)
    np.testing.assert_array_equal(images, prepare(data.train.first(40).in_memory().images, 16, data.preprocessing))
    with pytest.raises(ExportError, match=r"expected 500 images .* have 30 .* export.calibration_images=30"):
        calibration_images(data.train.first(30), 500, 16, data.preprocessing)
    some = data.train.first(40).in_memory()
    blank = some.images.clone()
    blank[:21] = torch.arange(21, dtype=torch.uint8).view(-1, 1, 1, 1)
    with pytest.raises(ExportError, match=r"21 of 40 .* are blank"):
        calibration_images(ImageSet(blank, some.labels), 40, 16, data.preprocessing)
    blank[20] = some.images[20]
    assert len(calibration_images(ImageSet(blank, some.labels), 40, 16, data.preprocessing)) == 40


def test_metadata_is_text_that_reads_back(data: ImageData) -> None:
    metadata = file_metadata({"space": "x", "ks": [3]}, {"name": "x"}, data.classes, data.preprocessing.to_dict())
    assert json.loads(metadata["arch"]) == {"space": "x", "ks": [3]}
    assert json.loads(metadata["classes"]) == list(data.classes)
    assert json.loads(metadata["preprocessing"]) == data.preprocessing.to_dict()


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"parity_images": 0}, "parity_images"), ({"parity_tolerance": 0.0}, "parity_tolerance"),
     ({"parity_tolerance": float("nan")}, "parity_tolerance"), ({"fp16_tolerance": 0.0}, "fp16_tolerance")],
)  # fmt: skip
def test_config_is_checked(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"export.{key}"):
        replace(ExportConfig(), **changes)


def test_verify_config_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"verify\.latency_tolerance: .* got 0"):
        VerifyConfig(latency_tolerance=0.0)
