"""Networks of any inputs and outputs: what goes in and comes out, in files, bundles and examples."""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.data.config import NoDataConfig
from hwnas.data.image_set import ImageSet
from hwnas.data.preprocess import Preprocessing
from hwnas.errors import ConfigError, ExportError
from hwnas.export.bundle.verify import verify_files, verify_golden
from hwnas.export.config import ExportConfig
from hwnas.export.deploy import Examples, Subject, export_checked
from hwnas.export.formats import model_format
from hwnas.progress import no_progress
from tests.export.bundles import CLASSES, examples, run_example, write, write_of
from tests.export.conftest import in_both

SIZE = (24, 40)


class Net(nn.Module):
    """A convolution, and logits of its mean; `give` makes of image, map and logits what it gives."""

    def __init__(self, give: Callable[[Tensor, Tensor, Tensor], Any], channels: int = 3) -> None:
        super().__init__()
        self.conv, self.linear, self.give = nn.Conv2d(channels, 8, 3, 2), nn.Linear(8, 5), give

    def forward(self, x: Tensor) -> Any:
        mapped = F.relu(self.conv(x))
        return self.give(x, mapped, self.linear(mapped.mean((2, 3))))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3, 2), nn.Linear(9, 5)

    def forward(self, image: Tensor, meta: Tensor) -> Tensor:
        logits: Tensor = self.linear(torch.cat([self.conv(image).mean((2, 3)), meta], 1))
        return logits


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)

    def forward(self, ids: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> dict[str, Any]:
        found = self.embedding(ids) * scale
        return {"last": found if mask is None else found * mask[..., None], "pooled": found.mean(1), "past": None}


class Signal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv1d(2, 8, 5, 2), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(F.relu(self.conv(x)).mean(2))
        return logits


class Many(nn.Module):
    """More inputs than there are digits: `args_10` comes before `args_2` where names are sorted."""

    def forward(self, *values: Tensor) -> list[Tensor]:
        return [value * (place + 1) for place, value in enumerate(values)]


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None
    hidden: tuple[Tensor, ...] = ()


Pair = namedtuple("Pair", "boxes scores")

GIVES: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Any], list[str], str | None]] = {
    "tuple": (lambda _x, m, z: (z, m), ["output_0", "output_1"], "output_0"),
    "list of one": (lambda _x, _m, z: [z], ["logits"], "logits"),
    "dict": (lambda _x, m, z: {"map": m, "logits": z}, ["map", "logits"], "logits"),
    "nested": (lambda _x, m, z: {"out": z, "aux": [m, (m.mean(1), None)]}, ["out", "aux_0", "aux_1_0"], "out"),
    "dataclass": (lambda _x, m, z: Output(z, hidden=(m, m)), ["logits", "hidden_0", "hidden_1"], "logits"),
    "named tuple": (lambda _x, m, z: Pair(m.flatten(2), z.softmax(1)), ["boxes", "scores"], "scores"),
    "map": (lambda _x, m, _z: m, ["output"], None),
    "vector": (lambda _x, _m, z: z[0], ["output"], None),
    "scalar": (lambda _x, _m, z: z.sum(), ["output"], None),
    "number an image": (lambda _x, _m, z: z.sum(1), ["output"], None),
    "class": (lambda _x, _m, z: z.argmax(1), ["output"], None),
    "truth": (lambda _x, _m, z: z > 0, ["output"], None),
    "label map": (lambda _x, m, z: {"seg": m.argmax(1), "l": z}, ["seg", "l"], "l"),
    "input and twice the same": (
        lambda x, _m, z: {"x": x, "a": z, "b": z, "input": z + 1}, ["x", "a", "b", "input_out"], "a",
    ),
    "constants": (
        lambda _x, _m, z: {"l": z, "anchors": torch.arange(12.0).view(1, 3, 4), "count": torch.tensor(3)},
        ["l", "anchors", "count"], "l",
    ),
    "strange names": (lambda _x, m, z: {"a b/c": z, "a.b-c": m, 3: m}, ["a_b_c", "a_b_c_out", "3"], "a_b_c"),
}  # fmt: skip


def noise(channels: int = 3) -> Examples:
    return Examples((), Preprocessing((0.5,) * channels, (0.25,) * channels), None, None)


OF_ITS_OWN = {"nested", "class", "truth", "scalar", "input and twice the same", "constants", "strange names", "map"}


@pytest.mark.parametrize(("kind", "name"), in_both(GIVES, OF_ITS_OWN))
def test_whatever_it_gives_is_in_the_file(kind: str, name: str, tmp_path: Path) -> None:
    give, names, logits = GIVES[kind]
    torch.manual_seed(0)
    net, chosen, config = Net(give).eval(), model_format(name), ExportConfig(parity_images=6)
    subject = Subject.of(net, SIZE, {"module": "x:y"}, {}, noise(), config, no_progress)
    assert [port.name for port in subject.signature.outputs] == names
    assert subject.signature.logits == logits
    path = tmp_path / f"a{chosen.suffix}"
    checked = export_checked(subject, name, "fp32", path, noise(), config, no_progress)
    assert (checked.parity["images"], checked.parity["max_abs"] < 1e-5) == (6, True)
    assert list(checked.parity["outputs"]) == names
    assert (checked.parity["top1_agreement"], checked.accuracy["file"]) == (None if logits is None else 1.0, None)
    assert len(checked.classes) == (0 if logits is None else 5)
    images = torch.randn(3, 3, *SIZE)
    found = chosen.open(path)([images.numpy()])
    for number, image in enumerate(images):
        given = subject.module(image[None])
        for one, expected in zip(found, given if isinstance(given, tuple) else (given,), strict=True):
            assert one[number].shape == tuple(expected.shape)
            np.testing.assert_allclose(one[number], expected.detach().numpy(), atol=1e-5)


CASES = {
    "two inputs": (TwoInputs, {"image": [1, 3, 24, 40], "meta": [1, 5]}, 5),
    "in order": (TwoInputs, [[1, 3, 24, 40], [1, 5]], 5),
    "the other way round": (TwoInputs, {"meta": [1, 5], "image": [1, 3, 24, 40]}, 5),
    "signal": (Signal, [[1, 2, 100]], 4),
    "integers": (Tokens, {"ids": {"shape": [1, 16], "dtype": "int64", "high": 50}}, 8),
    "an optional one": (Tokens, {"mask": [1, 16], "ids": {"shape": [1, 16], "dtype": "int32", "high": 50}}, 8),
    "eleven": (Many, [[1, 2]] * 11, 2),
}


@pytest.mark.parametrize(("kind", "name"), in_both(CASES, {"two inputs", "signal", "integers", "eleven"}))
def test_bundle_of_other_inputs_is_whole_and_good(kind: str, name: str, tmp_path: Path) -> None:
    make, inputs, classes = CASES[kind]
    torch.manual_seed(0)
    bundle = write_of(make(), tmp_path, name, noise(), 1, ExportConfig(parity_images=5, inputs=inputs))
    manifest = verify_files(bundle)
    assert verify_golden(bundle, manifest).output_max_abs == 0
    assert manifest.parity["max_abs"] < 1e-5
    assert len(manifest.classes) == classes
    assert not (bundle / "sample.png").exists()
    if kind != "eleven":
        named = [port["name"] for port in manifest.inputs]
        assert named == {TwoInputs: ["image", "meta"], Signal: ["x"]}.get(make, ["ids", "mask"][: len(inputs)])
    if name == "tflite" and make is TwoInputs:
        assert manifest.inputs[0]["shape"] == manifest.input_shape == [1, 24, 40, 3]
    # ExecuTorch's runtime for Python is built on torch.
    done = run_example(bundle, "--check", blocked=("hwnas",) if name == "executorch" else ("torch", "hwnas"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "good"


def test_names_are_in_the_files_themselves(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    config = ExportConfig(parity_images=2, inputs={"ids": {"shape": [1, 4], "dtype": "int64"}, "mask": [1, 4]})
    for name in ("onnx", "tflite"):
        write_of(Tokens(), tmp_path, name, noise(), 1, config)
    graph = onnx.load(tmp_path / "made.onnx").graph
    assert [value.name for value in graph.input] == ["ids", "mask"]
    assert [value.name for value in graph.output] == ["last", "pooled"]
    runner = Interpreter(model_path=str(tmp_path / "made.tflite")).get_signature_runner("serving_default")
    given = runner(ids=np.zeros((1, 4), np.int32), mask=np.ones((1, 4), np.float32))
    assert {key: value.shape for key, value in given.items()} == {"last": (1, 4, 8), "pooled": (1, 8)}


@pytest.mark.parametrize(("channels", "name"), in_both([1, 2, 4, 5, 13], onnx={1, 4, 13}, tflite={4}))
def test_any_size_and_number_of_channels(channels: int, name: str, tmp_path: Path) -> None:
    net = Net(lambda _x, _m, z: z, channels)
    bundle = write_of(net, tmp_path, name, noise(channels), SIZE, ExportConfig(parity_images=5))
    manifest = verify_files(bundle)
    assert manifest.input_shape == ([1, *SIZE, channels] if name == "tflite" else [1, channels, *SIZE])
    found = verify_golden(bundle, manifest)
    assert (found.output_max_abs, found.input_max_abs) == (0, None)
    steps = json.loads((bundle / "preprocessing.json").read_text())["steps"]
    assert [step["step"] for step in steps] == ["pixels", "normalise", "layout"]
    assert len(steps[1]["mean"]) == channels
    assert run_example(bundle, "--check").returncode == 0
    done = run_example(bundle, bundle / "golden.npz", "--top", 1)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    refused = run_example(bundle, "photo.jpg")
    assert refused.returncode == 1
    assert "takes arrays, not image files" in refused.stderr


def test_example_says_what_a_map_is(tmp_path: Path) -> None:
    bundle = write_of(Net(lambda _x, m, z: {"map": m, "l": z}), tmp_path, "onnx", examples(), 24, ExportConfig())
    done = run_example(bundle, "--top", 2)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("map: float32 [1, 8, 11, 11], from ")
    assert len(lines) == 3
    assert "preprocessing: differs by" in run_example(bundle, "--check").stdout


def test_bundle_of_a_map_alone(tmp_path: Path) -> None:
    bundle = write_of(Net(lambda _x, m, _z: m, 1), tmp_path, "tflite", examples(1), 24, ExportConfig(), "fp16")
    manifest = verify_files(bundle)
    assert (manifest.classes, manifest.logits, manifest.accuracy["file"]) == ([], None, None)
    assert (bundle / "labels.txt").read_text() == ""
    assert verify_golden(bundle, manifest).output_max_abs == 0
    done = run_example(bundle)
    assert done.stdout.startswith("output: float32 [1, 8, 11, 11], from ")
    assert run_example(bundle, "--check").returncode == 0


def test_example_tells_arrays_that_do_not_fit(tmp_path: Path) -> None:
    config = ExportConfig(parity_images=2, inputs={"image": [1, 3, 24, 40], "meta": [1, 5]})
    bundle = write_of(TwoInputs(), tmp_path, "onnx", noise(), 1, config)
    image = np.zeros((1, 3, 24, 40), np.float32)
    for arrays, expected in (
        ({"image": image}, "has no 'meta'"),
        ({"image": image, "meta": np.zeros((1, 6))}, "expected meta of shape [1, 5], got [1, 6]"),
    ):
        np.savez(tmp_path / "given.npz", **arrays)
        done = run_example(bundle, tmp_path / "given.npz")
        assert done.returncode == 1
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
    np.savez(tmp_path / "given.npz", image=image, meta=np.zeros((1, 5)))  # float64 becomes what the file takes
    assert run_example(bundle, tmp_path / "given.npz").returncode == 0


def test_bundle_from_before_still_reads(tmp_path: Path) -> None:
    from tests.export.bundles import resign

    bundle = write(tmp_path, "tflite")
    content = json.loads((bundle / "manifest.json").read_text())
    for key in ("inputs", "outputs", "logits", "notes"):
        del content[key]
    del content["golden"]["outputs"]
    (bundle / "manifest.json").write_text(json.dumps(content))
    resign(bundle)
    manifest = verify_files(bundle)
    assert manifest.inputs == [{"name": "input", "shape": [1, 24, 24, 3], "dtype": "float32", "layout": "NHWC"}]
    assert manifest.outputs == [{"name": "logits", "shape": [1, 5], "dtype": "float32", "layout": None}]
    assert verify_golden(bundle, manifest).output_max_abs == 0


def test_accuracy_is_of_the_output_that_tells_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = examples()
    config, images = ExportConfig(), given.held_out
    assert isinstance(images, ImageSet)
    net = Net(lambda _x, m, z: (m, m.mean((2, 3)), z)).eval()
    subject = Subject.of(net, 24, {}, {}, given, config, no_progress)
    assert subject.signature.logits == "output_2"  # the only one of five
    assert subject.classes == CLASSES
    checked = export_checked(subject, "onnx", "fp32", tmp_path / "a.onnx", given, config, no_progress)
    assert checked.accuracy["file"] == checked.accuracy["torch"] is not None
    mapped = Subject.of(Net(lambda _x, m, _z: m).eval(), 24, {}, {}, given, config, no_progress)
    checked = export_checked(mapped, "onnx", "fp32", tmp_path / "b.onnx", given, config, no_progress)
    assert (checked.accuracy["file"], checked.accuracy["torch"], checked.parity["real"]) == (None, None, True)
    with pytest.raises(ExportError, match=r"int8 is judged by the accuracy .* gives output \[1, 8, 11, 11\]"):
        export_checked(mapped, "onnx", "int8", tmp_path / "c.onnx", given, config, no_progress)


def test_open_batch_with_several_inputs_and_outputs(tmp_path: Path) -> None:
    config = ExportConfig(parity_images=5, dynamic_batch=True, inputs=[[1, 3, 24, 40], [1, 5]])
    bundle = write_of(TwoInputs(), tmp_path, "onnx", noise(), 1, config)
    assert verify_files(bundle).parity["images"] == 5
    write_of(Net(lambda _x, m, z: (z, m)), tmp_path, "onnx", noise(), SIZE, replace(config, inputs=None))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tvm", "executorch"])
@pytest.mark.parametrize("kind", ["two inputs", "integers"])
def test_compiled_bundle_of_other_inputs(kind: str, name: str, tmp_path: Path) -> None:
    test_bundle_of_other_inputs_is_whole_and_good(kind, name, tmp_path)


def test_file_that_differs_in_one_output_is_refused(tmp_path: Path) -> None:
    config = ExportConfig(parity_images=3)
    subject = Subject.of(Net(lambda _x, m, z: (z, m)).eval(), SIZE, {}, {}, noise(), config, no_progress)
    wrapped = subject.module.get_submodule("wrapped")
    assert isinstance(wrapped, Net)
    wrapped.give = lambda _x, m, z: (z, m + 0.5)  # after torch has answered
    with pytest.raises(
        ExportError, match=r"differs from torch by 0\.5 in the output 'output_1', expected at most 0.001"
    ):
        export_checked(subject, "onnx", "fp32", tmp_path / "a.onnx", noise(), config, no_progress)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("inputs", "message"), [
    ({"image": [1, 3, 24, 40], "mta": [1, 5]}, r"has no 'mta': did you mean 'meta'"),
    ({"image": [1, 3, 24, 40]}, r"meta of the network's forward is missing: give .*meta: \[1, …\]"),
    ([[1, 3, 24, 40]], r"got 1, and the network's forward takes 2 \(image, meta\)"),
    ([[1, 3, 24, 40], [1, 5], [1, 5]], r"got 3, and the network's forward takes 2"),
    ({"image": [1, 3, 24, 40], "meta": [1, 6]}, r"take inputs image .*, meta \[1, 6\] \(RuntimeError.*export.inputs"),
    (None, r"forward takes 2 inputs \(image, meta\): .*export.inputs='\{image: \[1, 3, 24, 40\], meta: \[1, …\]\}'"),
])  # fmt: skip
def test_inputs_that_are_not_the_networks_are_told(inputs: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        Subject.of(TwoInputs(), SIZE, {}, {}, noise(), ExportConfig(inputs=inputs), no_progress)


@pytest.mark.parametrize(("inputs", "message"), [
    ([1, 3, 24, 40], r"got one shape .*: write \[\[1, 3, 24, 40\]\]"), ({}, "got none"), ("image", "got 'image'"),
    ({"x": [2, 3]}, r"x: expected the shape for a batch of one, \[1, …\], got \[2, 3\]"),
    ({"x": [1, -1]}, "whole numbers"), ({"x": []}, "whole numbers"), ({"x": 5}, "whole numbers"),
    ({"x": {"shape": [1, 2], "dtype": "int65"}}, "dtype 'int65' unknown: did you mean 'int64'"),
    ({"x": {"shpe": [1, 2]}}, "no setting 'shpe': did you mean 'shape'"),
    ({"x": {"shape": [1, 2], "dtype": "int64", "high": 0}}, "high: expected 1 or more"),
])  # fmt: skip
def test_inputs_that_are_none_are_told(inputs: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportConfig(inputs=inputs)


@pytest.mark.parametrize(("changes", "message"), [
    ({"image_size": [96]}, "image_size"), ({"image_size": 0}, "image_size"), ({"image_size": [96, 1.5]}, "image_size"),
    ({"image_size": "big"}, "image_size"), ({"channels": 0}, "channels"),
    ({"channels": 4, "mean": (0.5,) * 3}, "mean: expected 4 numbers"),
])  # fmt: skip
def test_settings_without_data_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NoDataConfig(**changes)
    assert NoDataConfig(image_size=(96, 160), channels=4).size == (96, 160)
