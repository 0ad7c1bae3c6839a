"""Quantised files that would lose too much: which layers stay float, and what is said when nothing helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hwnas.errors import ExportError, StorageError
from hwnas.export.config import ExportConfig
from hwnas.export.formats import LogitsRunner, ModelFormat, model_format
from hwnas.export.quantise import export_quantised
from hwnas.export.request import ExportRequest, ExportState
from tests.narrow import present

pytest.importorskip("executorch", reason="executorch missing: pip install 'hwnas[executorch]'")

ONNX, TFLITE, EXECUTORCH = map(model_format, ("onnx", "tflite", "executorch"))


def named(value: object) -> str:
    return value.name if isinstance(value, ModelFormat) else str(value)


IMAGES = np.random.default_rng(0).standard_normal((300, 3, 12, 12)).astype(np.float32)


class Net(nn.Sequential):
    """Five convolutions and a classifier whose classes are told apart by sums over many pixels."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        widths = (3, 16, 16, 16, 16, 16)
        parts: list[nn.Module] = []
        for before, after in pairwise(widths):
            parts += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        super().__init__(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
        for part in self:
            if isinstance(part, nn.Conv2d | nn.Linear):
                spread = (2 / part.weight[0].numel()) ** 0.5
                part.weight.data.normal_(0, spread, generator=generator)
                present(part.bias).data.normal_(0, 0.1, generator=generator)
        self.eval()
        with torch.no_grad():  # classes of like size, so that the answers say something
            logits = self(torch.from_numpy(IMAGES))
            last = self.get_submodule("12")
            weight, bias = last.get_parameter("weight"), last.get_parameter("bias")
            weight.div_(logits.std(0)[:, None])
            bias.copy_((bias - logits.mean(0)) / logits.std(0))


def with_outlier_weights() -> nn.Module:
    """Layer 4's weights on a channel that is always zero are huge: nothing in float, the end of its int8 scales."""
    net = Net()
    net.get_parameter("2.weight").data[0], net.get_parameter("2.bias").data[0] = 0.0, -1.0  # dead after its ReLU
    net.get_parameter("4.weight").data[:, 0] = 3000.0
    return net


def with_outlier_channel() -> nn.Module:
    """Channel 0 between layers 2 and 4 is 1000 times the others, and weighted by as much less."""
    net = Net()
    net.get_parameter("2.weight").data[0] *= 1000
    net.get_parameter("2.bias").data[0] *= 1000
    net.get_parameter("4.weight").data[:, 0] /= 1000
    return net


def request(net: nn.Module, precision: str = "int8", **changes: object) -> ExportRequest:
    config = ExportConfig(**{"max_accuracy_drop": 0.15, **changes})  # type: ignore[arg-type]
    return ExportRequest(net, torch.zeros(1, 3, 12, 12), precision, IMAGES[:64], config=config)


def agreement(net: nn.Module) -> Callable[[LogitsRunner], float]:
    with torch.no_grad():
        classes = net(torch.from_numpy(IMAGES)).argmax(1).numpy()

    def accuracy(run: LogitsRunner) -> float:
        logits: NDArray[np.float32] = run(IMAGES)
        return float((logits.argmax(1) == classes).mean())

    return accuracy


def test_good_network_is_quantised_whole(tmp_path: Path) -> None:
    net = Net()
    file = export_quantised(ONNX, request(net), tmp_path / "x.onnx", agreement(net), 1.0)
    assert file.path == tmp_path / "x.onnx"
    assert file.float_layers == ()
    assert file.accuracy_drop == pytest.approx(1 - file.accuracy)
    assert 0 <= file.accuracy_drop <= 0.15
    assert agreement(net)(ONNX.load_runner(file.path)) == file.accuracy
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


@pytest.mark.parametrize(
    ("chosen", "precision"),
    [(ONNX, "int8"), (ONNX, "int8_dynamic"), pytest.param(EXECUTORCH, "int8", marks=pytest.mark.slow)],
    ids=named,
)
def test_one_bad_layer_stays_float(chosen: ModelFormat, precision: str, tmp_path: Path) -> None:
    net, said = with_outlier_weights(), []
    path = tmp_path / f"x{chosen.suffix}"
    file = export_quantised(chosen, request(net, precision), path, agreement(net), 1.0, lambda *told: said.append(told))
    assert file.float_layers == ("4",)
    assert file.accuracy_drop <= 0.15
    shares, texts = zip(*said, strict=True)
    assert list(shares) == sorted(shares)
    assert [text.split(":")[0] for text in texts] == [f"{precision}, {count} layers float" for count in (0, 1)]
    assert float(texts[0].split()[-1]) < 0.8  # what was lost without it


@pytest.mark.parametrize("chosen", [ONNX, pytest.param(EXECUTORCH, marks=pytest.mark.slow)], ids=named)
def test_layers_on_either_side_of_a_bad_tensor_stay_float(chosen: ModelFormat, tmp_path: Path) -> None:
    net = with_outlier_channel()
    file = export_quantised(chosen, request(net), tmp_path / f"x{chosen.suffix}", agreement(net), 1.0)
    assert set(file.float_layers) == {"2", "4"}
    assert file.accuracy_drop <= 0.15


@pytest.mark.parametrize("chosen", [ONNX, pytest.param(EXECUTORCH, marks=pytest.mark.slow)], ids=named)
def test_errors_of_layers_are_ranked_by_what_they_cost(chosen: ModelFormat, tmp_path: Path) -> None:
    net = with_outlier_weights()
    state = chosen.start(request(net))
    file = chosen.finish(state, tmp_path / f"int8{chosen.suffix}")
    assert chosen.layer_errors is not None
    errors = chosen.layer_errors(state, file)
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
    assert next(iter(errors)) == "4"
    assert errors["4"] > 10 * errors["6"] > 0
    assert {"0", "2", "4", "6", "8", "12"} <= set(errors)
    kept = replace(state, request=replace(request(net), float_layers=("4",)))
    mixed = chosen.finish(kept, tmp_path / f"mixed{chosen.suffix}")
    assert "4" not in chosen.layer_errors(kept, mixed)


@pytest.mark.parametrize(
    ("chosen", "precision"),
    [
        (ONNX, "int8"), (ONNX, "int8_dynamic"), (TFLITE, "int8"),
        pytest.param(TFLITE, "int8_dynamic", marks=pytest.mark.slow),
        pytest.param(EXECUTORCH, "int8", marks=pytest.mark.slow),
    ],
    ids=named,
)  # fmt: skip
def test_files_of_one_state_are_those_of_one_export_each(chosen: ModelFormat, precision: str, tmp_path: Path) -> None:
    asked, paths = request(Net(), precision), iter(tmp_path / f"{number}{chosen.suffix}" for number in range(5))
    state = chosen.start(asked)
    whole = chosen.finish(state, next(paths))
    assert chosen.layer_errors is not None
    kept = (next(iter(chosen.layer_errors(state, whole))),)
    mixed = chosen.finish(replace(state, request=replace(asked, float_layers=kept)), next(paths)).read_bytes()
    assert mixed != whole.read_bytes() == chosen.finish(state, next(paths)).read_bytes()
    assert mixed == chosen.export(replace(asked, float_layers=kept), next(paths)).read_bytes()
    assert whole.read_bytes() == chosen.export(asked, next(paths)).read_bytes()


def test_given_float_layers_stay(tmp_path: Path) -> None:
    net = with_outlier_weights()
    given = replace(request(net), float_layers=("0",))
    assert export_quantised(ONNX, given, tmp_path / "x.onnx", agreement(net), 1.0).float_layers == ("0", "4")


def test_refusal_says_what_was_tried(tmp_path: Path) -> None:
    net = Net()
    path = tmp_path / "x.onnx"
    path.write_bytes(b"what was there")
    with pytest.raises(ExportError, match=r"onnx export: int8 loses 50\.00 points of accuracy \(100\.00 to 50\.00 %\); "
                       r"with the 1, 2, 4 most .*at best 50\.00; export\.max_accuracy_drop allows 15: .*"
                       r"quantisation_aware, .*calibration_images.*allow_accuracy_drop=true") as caught:  # fmt: skip
        export_quantised(ONNX, request(net), path, lambda _: 0.5, 1.0)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"what was there"
    assert [found.name for found in tmp_path.iterdir()] == ["x.onnx"]


def test_without_mixed_precision_one_file_is_tried(tmp_path: Path) -> None:
    net, seen = with_outlier_weights(), []

    def accuracy(run: LogitsRunner) -> float:
        seen.append(run)
        return agreement(net)(run)

    with pytest.raises(ExportError, match=r"points of accuracy \([^)]*\); export\.max.*export\.mixed_precision=true"):
        export_quantised(ONNX, request(net, mixed_precision=False), tmp_path / "x.onnx", accuracy, 1.0)
    assert len(seen) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_simulation_answers_nearly_as_the_file(tmp_path: Path) -> None:
    """For any number of images, and any layers that stay float."""
    state = EXECUTORCH.start(request(Net()))
    assert EXECUTORCH.simulate is not None
    for float_layers, images in ((), IMAGES), (("4",), IMAGES[:45]):
        kept = state.keeping(float_layers)
        given = EXECUTORCH.load_runner(EXECUTORCH.finish(kept, tmp_path / "x.pte"))(images)
        simulated = EXECUTORCH.simulate(kept)(images)
        assert simulated.shape == given.shape
        assert np.square(simulated - given).mean() < 0.01 * given.var()


def without_a_file(state: ExportState, quantised_file: Path | str) -> dict[str, float]:
    """ONNX's ranking, which reads the file, where none was written."""
    assert ONNX.layer_errors is not None
    return ONNX.layer_errors(state, ONNX.finish(state, Path(quantised_file)))


def by_torch(state: ExportState) -> LogitsRunner:
    return lambda images: state.request.module(torch.from_numpy(images)).detach().numpy()


# Writing ONNX takes a tenth of the time, and what becomes a file does not depend on the format.
SIMULATED = replace(ONNX, simulate=by_torch, layer_errors=without_a_file)


@pytest.mark.parametrize("chosen", [SIMULATED, pytest.param(EXECUTORCH, marks=pytest.mark.slow)], ids=named)
@pytest.mark.parametrize(
    ("bound", "shares", "files", "kept"),
    [
        (0.15, [0.9, 0.9], [0], 0),
        (0.15, [0.5, 0.9, 0.8, 0.9, 0.9], [1, 2], 2),  # a file that doesn't keep what its simulation promises
        (0.0, [0.5, 0.9, 0.8, 0.6, 0.7], [1], 1),  # none promises enough: the best is written
    ],
)
def test_only_what_promises_enough_becomes_a_file(
    bound: float, shares: list[float], files: list[int], kept: int, chosen: ModelFormat, tmp_path: Path
) -> None:
    finished, given = [], iter(shares)

    class Counting(ModelFormat):
        def finish(self, state: ExportState, path: Path) -> Path:
            finished.append(len(state.request.float_layers))
            return super().finish(state, path)

    counting = Counting(**{key.name: getattr(chosen, key.name) for key in fields(chosen)})
    asked = request(Net(), max_accuracy_drop=bound, allow_accuracy_drop=True)
    path = tmp_path / f"x{chosen.suffix}"
    file = export_quantised(counting, asked, path, lambda _: next(given), 1.0)
    assert finished == files
    assert file.accuracy == shares[-1]  # the file's own
    assert len(file.float_layers) == kept
    assert not list(given)


def test_allowed_drop_keeps_the_best(tmp_path: Path) -> None:
    net = with_outlier_weights()
    strict = request(net, max_accuracy_drop=0.0, allow_accuracy_drop=True)
    shares = iter([0.5, 0.7, 0.9, 0.8])
    file = export_quantised(ONNX, strict, tmp_path / "x.onnx", lambda _: next(shares), 1.0)
    assert file.accuracy == 0.9
    assert file.accuracy_drop == pytest.approx(0.1)
    assert len(file.float_layers) == 2
    assert file.path.is_file()


def test_failure_while_measuring_leaves_nothing(tmp_path: Path) -> None:
    def accuracy(_: LogitsRunner) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_quantised(ONNX, request(Net()), tmp_path / "x.onnx", accuracy, 1.0)
    assert not list(tmp_path.iterdir())


def test_unwritable_path_is_found_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        export_quantised(ONNX, request(nn.Identity()), tmp_path / "file" / "x.onnx", lambda _: 1.0, 1.0)
