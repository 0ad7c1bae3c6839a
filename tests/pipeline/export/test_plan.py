"""Which files an export is to write, and where."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from hwnas.errors import ConfigError, MissingExtraError
from hwnas.export import passes
from hwnas.export.formats import FORMATS, model_format
from hwnas.pipeline.export.plan import Target, plan_files


def target(
    runtime: str = "onnxruntime", budget: str = "tight", precision: str = "fp32", device: str = "local"
) -> Target:
    return Target(f"{device}-{runtime}-{budget}", device, (runtime,), precision, 1, budget, budget, {"r": 16}, {})


def folders(targets: list[Target], formats: tuple[str, ...] = (), precisions: tuple[str, ...] = ()) -> list[str]:
    return [str(file.folder) for file in plan_files(targets, formats, precisions)[0]]


def test_a_target_is_written_for_its_runtime() -> None:
    assert folders([target(), target("litert"), target(budget="loose", device="phone")]) == [
        "deploy/local/tight/onnx-fp32", "deploy/local/tight/tflite-fp32", "deploy/phone/loose/onnx-fp32",
    ]  # fmt: skip


def test_networks_of_two_runtimes_are_told_apart_in_equal_formats() -> None:
    planned, _ = plan_files([target(), target("litert"), target(budget="loose")], ("onnx",), ())
    assert [str(file.folder) for file in planned] == [
        "deploy/local/onnxruntime-tight/onnx-fp32", "deploy/local/litert-tight/onnx-fp32",
        "deploy/local/loose/onnx-fp32",
    ]  # fmt: skip
    assert len({file.key for file in planned}) == 3
    with pytest.raises(ConfigError, match="expected one network for each device, runtime and budget"):
        plan_files([target(), target()], (), ())


def test_every_combination_that_is_written() -> None:
    precisions = ("fp32", "fp16", "int8", "int8_dynamic")
    planned, left_out = plan_files([target()], tuple(FORMATS), tuple(p for p in precisions if any(
        p in model_format(name).precisions for name in FORMATS
    )))  # fmt: skip
    written = {(name, p) for name in FORMATS for p in model_format(name).precisions}
    assert {(file.format, file.precision) for file in planned} == written
    assert all(tuple(text.split()) not in written for text in left_out)


def test_unknown_names_are_told_with_choices() -> None:
    with pytest.raises(ConfigError, match=r"'onx': did you mean 'onnx'\? valid: onnx, tflite"):
        plan_files([target()], ("onx",), ())
    with pytest.raises(ConfigError, match=r"precisions: 'int4' unknown; .*valid: fp32, fp16, int8, int8_dynamic"):
        plan_files([target()], (), ("int4",))
    with pytest.raises(ConfigError, match="formats: onnx is given twice"):
        plan_files([target()], ("onnx", "onnx"), ())


def test_missing_packages_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "find_spec", lambda name: None if name == "litert_torch" else find_spec(name))
    assert folders([target()]) == ["deploy/local/tight/onnx-fp32"]  # what is not asked for may be missing
    with pytest.raises(MissingExtraError, match=r"exporting to tflite needs litert-torch, .*'hwnas\[litert\]'"):
        plan_files([target()], ("onnx", "tflite"), ())


def test_target_knows_its_key(tmp_path: Path) -> None:
    (file,) = plan_files([target()], (), ())[0]
    (tmp_path / file.key).touch()  # a file's name
    assert file.key == "local-tight-onnx-fp32"
