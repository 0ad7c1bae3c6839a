"""What a user's forward fails with is told as it is, and what merely can't be batched or copied is worked with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.data.preprocess import Preprocessing
from hwnas.errors import ExportError
from hwnas.export.config import ExportConfig
from hwnas.export.deploy import Examples, Subject, export_checked
from hwnas.export.formats import model_format
from hwnas.export.module.copies import copied
from hwnas.export.module.load import load_module
from hwnas.progress import no_progress
from tests.export.bundles import CLASSES, examples
from tests.export.conftest import in_both
from tests.narrow import present

HEAD = """import torch
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 4)
        self.linear = nn.Linear(4 * 6 * 6, 5)

"""
FIRST = HEAD.count("\n") + 1


def subject_of(module: nn.Module, size: int = 24, given: Examples | None = None) -> Subject:
    config = ExportConfig(parity_images=6)
    return Subject.of(module.eval(), size, {"module": "x:y"}, {}, given or noise(), config, no_progress)


def noise(channels: int = 3) -> Examples:
    return Examples((), Preprocessing((0.5,) * channels, (0.25,) * channels, 24), None, None)


def own(folder: Path, forward: str) -> nn.Module:
    """A network of the user's own with that forward, which begins in line `FIRST`."""
    path = folder / "my_net.py"
    path.write_text(HEAD + "".join(f"    {line}\n" for line in forward.splitlines()))
    return load_module(f"{path}:Net")


@pytest.mark.parametrize(("forward", "message", "line"), [
    ("def forward(self, x):\n    assert x.shape[1] == 4, 'four channels'", "AssertionError: four channels", 1),
    ("def forward(self, x):\n    assert x.shape[1] == 4", r"AssertionError: assert x.shape\[1\] == 4", 1),
    ("def forward(self, x):\n    return {}['features']", "failed with KeyError: 'features'", 1),
    ("def forward(self, x):\n    return [x][3]", "failed with IndexError: list index out of range", 1),
    ("def forward(self, x):\n    return x.mean((4, 5))", r"not take images .*Dimension out of range", 1),
    ("def forward(self, x):\n    y = self.conv(x)\n    return self.lin(y)", "AttributeError: 'Net' .* 'lin'", 2),
    ("def forward(self, x):\n    raise ValueError('wrong size\\nof images')", "ValueError: wrong size of images", 1),
    ("def forward(self, x):\n    return self.part(x)\n\ndef part(self, x):\n    return x / 'a'", "TypeError", 4),
    ("def forward(self, x):\n    return self.linear(x.flatten(1))", r"not take images \[1, 3, 24, 24\] \(Run", 1),
    ("def forward(self, x):\n    return self.conv(x).view(1, 7)", r"not take images .*'\[1, 7\]' is invalid", 1),
])  # fmt: skip
def test_what_forward_fails_with_is_told_with_its_place(forward: str, message: str, line: int, tmp_path: Path) -> None:
    module = own(tmp_path, forward)
    with pytest.raises(ExportError, match=message) as told:
        subject_of(module)
    assert f"at {tmp_path}/my_net.py:{FIRST + line}" in str(told.value)
    assert ("does not take images" in str(told.value)) == ("not take images" in message)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("module", "advice"), [
    (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
     r"takes \[1, 3, 224, 224\]: give data=none data.image_size=224, or"),
    (nn.Sequential(nn.Conv2d(4, 4, 3, 32), nn.Flatten(), nn.Linear(4 * 7 * 7, 2)), "image_size=224 data.channels=4"),
    (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 2)), r"it takes \[1, 1, 32, 32\]"),
    (nn.Linear(7, 2), "give its size as data.image_size, and data of its number of channels"),
])  # fmt: skip
def test_size_that_it_would_take_is_told(module: nn.Module, advice: str) -> None:
    with pytest.raises(ExportError, match=advice):
        subject_of(module, 24, noise(1))


@pytest.mark.parametrize(("size", "code"), [(8, "x.reshape(8, -1)"), (2, "x.view(2, -1)"), (3, "x.reshape(3, 144)")])
def test_other_fixed_batch_than_one_is_told(size: int, code: str, tmp_path: Path) -> None:
    module = own(tmp_path, f"def forward(self, x):\n    x = self.conv(x)\n    return self.linear({code})")
    with pytest.raises(ExportError, match=rf"takes {size} images at a time and no other number.*x\.flatten\(1\)"):
        subject_of(module)


ALONE = ["x.view(1, -1)", "x.reshape(1, 144)", "x.flatten()[None]", "x.view(x.size(0), -1)"]


@pytest.mark.parametrize(("code", "name"), in_both(ALONE, ALONE[:1]))
def test_fixed_batch_of_one_is_worked_image_by_image(code: str, name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = own(tmp_path, f"def forward(self, x):\n    x = self.conv(x)\n    return self.linear({code})")
    shown, config, chosen = examples(), ExportConfig(calibration_images=20, max_accuracy_drop=1.0), model_format(name)
    subject = subject_of(module, 24, shown)
    images = next(iter(subject.answers.feed.batches(30)))[0][0]
    expected = torch.cat([module(image[None]) for image in images]).detach().numpy()
    np.testing.assert_allclose(present(subject.answers.logits), expected, atol=1e-5)
    for precision in ("fp32", "int8"):
        path = tmp_path / f"a{chosen.suffix}"
        checked = export_checked(subject, name, precision, path, shown, config, no_progress)
        right = chosen.load_runner(path)(images.numpy()).argmax(1) == present(shown.held_out).labels.numpy()
        assert checked.accuracy["file"] == pytest.approx(right.mean())
        assert checked.classes == list(CLASSES)


def test_network_that_mixes_a_batch_is_worked_image_by_image(tmp_path: Path) -> None:
    code = "x = self.linear(self.conv(x).flatten(1))\n    return x - x.mean(0) + x.mean()"
    module = own(tmp_path, f"def forward(self, x):\n    {code}")
    subject = subject_of(module)
    first = subject.answers.feed.first()[0]
    np.testing.assert_allclose(present(subject.answers.logits)[:1], module(first).detach().numpy(), atol=1e-6)


def test_chance_is_told(tmp_path: Path) -> None:
    module = own(tmp_path, "def forward(self, x):\n    return self.linear(F.dropout(self.conv(x).flatten(1)))")
    with pytest.raises(ExportError, match=r"another logits for the same input each time.*training=self\.training"):
        subject_of(module)


class Locked(nn.Module):
    """Holds what can't be copied: a lock, a generator, a tensor computed of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3, 4), nn.Linear(4, 5)
        self.lock, self.made, self.sums = threading.Lock(), (n for n in range(3)), self.linear.weight.sum(1) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.lock:
            logits: torch.Tensor = self.linear(self.conv(x).mean((2, 3))) + self.sums
            return logits


class Uncopyable(Locked):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("no copies")


def normed() -> nn.Module:
    """Weight and spectral norm, of the old kind and the new."""
    old, new = nn.utils, nn.utils.parametrizations
    return nn.Sequential(
        old.weight_norm(nn.Conv2d(3, 4, 3, 2)), new.weight_norm(nn.Conv2d(4, 4, 3)), nn.ReLU(),
        old.spectral_norm(nn.Conv2d(4, 4, 3)), new.spectral_norm(nn.Conv2d(4, 4, 3)), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), new.weight_norm(nn.Linear(4, 5)),
    )  # fmt: skip


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3, 4), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(5))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(("make", "name"), in_both([Locked, Uncopyable, normed, lazy], [normed]))
def test_what_is_hard_to_copy_is_exported(make: Callable[[], nn.Module], name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, chosen = make().eval(), model_format(name)
    subject = subject_of(module)
    path = tmp_path / f"a{chosen.suffix}"
    export_checked(subject, name, "fp32", path, noise(), ExportConfig(parity_images=6), no_progress)
    images = torch.randn(2, 3, 24, 24)
    expected = module(images).detach()  # the user's own is as it was
    np.testing.assert_allclose(chosen.load_runner(path)(images.numpy()), expected.numpy(), atol=1e-4)
    torch.testing.assert_close(copied(module)(images), expected)


@pytest.mark.parametrize("forward", [
    "def forward(self, x, *, scale=2.0, labels=None):\n    return self.linear(self.conv(x).flatten(1)) * scale",
    "def forward(self, *, x):\n    return self.linear(self.conv(x).flatten(1)) * 2",
    "def forward(self, *images, **more):\n    return self.linear(self.conv(images[0]).flatten(1)) * 2",
    "def forward(self, pixel_values, labels=None, return_dict=True):\n    y = self.linear(self.conv(pixel_values)"
    ".flatten(1)) * 2\n    return {'loss': None, 'logits': y} if return_dict else (y,)",
])  # fmt: skip
def test_forward_of_any_parameters(forward: str, tmp_path: Path) -> None:
    module = own(tmp_path, forward)
    subject = subject_of(module)
    assert [port.name for port in subject.signature.inputs] == ["input"]
    assert subject.signature.logits == "logits"
    image = subject.answers.feed.first()[0]
    conv, linear = module.get_submodule("conv"), module.get_submodule("linear")
    expected = 2 * linear(conv(image).flatten(1))
    np.testing.assert_allclose(present(subject.answers.logits)[:1], expected.detach().numpy(), atol=1e-5)
    path = tmp_path / "a.onnx"
    export_checked(subject, "onnx", "fp32", path, noise(), ExportConfig(parity_images=6), no_progress)


def test_weights_of_half_precision_are_exported_as_floats(tmp_path: Path) -> None:
    module = own(tmp_path, "def forward(self, x):\n    return self.linear(self.conv(x).flatten(1))").half()
    subject = subject_of(module)
    assert subject.notes == ("weights of float16 are exported as float32",)
    export_checked(subject, "onnx", "fp32", tmp_path / "a.onnx", noise(), ExportConfig(parity_images=6), no_progress)
    assert next(module.parameters()).dtype == torch.float16  # the user's own


@pytest.mark.parametrize(("forward", "message"), [
    ("def forward(self, x):\n    return self.conv(x).relu().nonzero()", r"another shape for each input, .* \[\d+, 4\]"),
    ("def forward(self, x):\n    return torch.fft.fft2(x)", r"got the output \(complex64\)"),
    ("def forward(self):\n    return 1", "takes no input"),
    ("def forward(self, x):\n    return None", r"gives tensors, got the output \(NoneType\)"),
    ("def forward(self, x):\n    return {'n': 3}", r"gives tensors, got n \(int\)"),
    ("def forward(self, x):\n    return nn.Embedding(5, 5)(x)", r"failed with RuntimeError.*export\.inputs='\{input"),
])  # fmt: skip
def test_forward_that_takes_or_gives_nothing_is_told(forward: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        subject_of(own(tmp_path, forward))
