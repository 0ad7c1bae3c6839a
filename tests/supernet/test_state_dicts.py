"""Checkpoints as people have them: taken out of what they are wrapped in, or said to be something else in one line."""

from __future__ import annotations

import argparse
import datetime
import pickle
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hwnas.errors import CheckpointError
from hwnas.spaces import OfaMbv3Config, make_space
from hwnas.supernet.fit_weights import fit_state_dict
from hwnas.supernet.state_dicts import read_state_dict
from hwnas.training.checkpoint import load_any, write_checkpoint

Weights = dict[str, Tensor]


class Net(nn.Module):
    def __init__(self, classes: int = 5, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)


@pytest.fixture(scope="module")
def weights() -> Weights:
    torch.manual_seed(0)
    return dict(Net().state_dict())


def under(prefix: str, weights: Mapping[str, Tensor], **more: Tensor) -> Weights:
    return {prefix + name: value for name, value in weights.items()} | more


def changed(weights: Weights) -> Weights:
    return {name: value + 1 for name, value in weights.items()}


def without(weights: Weights, *names: str) -> Weights:
    return {name: value for name, value in weights.items() if name not in names}


def load(path: Path, content: Any, module: nn.Module | None = None, legacy: bool = False) -> Weights:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    module = module or Net()
    fit_state_dict(module, read_state_dict(path), path)
    return dict(module.state_dict())


def settings() -> argparse.Namespace:
    return argparse.Namespace(
        lr=0.1, out=Path("out"), best=np.float64(0.5), seed=np.int64(3), mean=np.zeros(3), kind=float,
        when=datetime.datetime(2026, 1, 2), names=deque(["a"]), seen=defaultdict(list, a=[1]), sizes={1, 2},
    )  # fmt: skip


FORMS: dict[str, Callable[[Weights], Any]] = {
    "plain": lambda w: w,
    "ordered": lambda w: OrderedDict(w),
    "state_dict": lambda w: {"state_dict": w, "epoch": 3, "arch": "net"},
    "model": lambda w: {"model": w, "optimizer": adam(), "lr_scheduler": {"last_epoch": 3}, "scaler": {}},
    "model_state_dict": lambda w: {"epoch": 3, "model_state_dict": w, "optimizer_state_dict": adam(), "loss": 0.1},
    "net": lambda w: {"net": w, "acc": 91.25, "epoch": 3},
    "another key": lambda w: {"student_weights": w, "epoch": 3},
    "model_ema": lambda w: {"model_ema": w, "epoch": 3},
    "state_dict_ema": lambda w: {"state_dict_ema": w, "epoch": 3},
    "trained and averaged": lambda w: {"state_dict_ema": changed(w), "state_dict": w},
    "parallel": lambda w: under("module.", w),
    "compiled": lambda w: under("_orig_mod.", w),
    "parallel and compiled": lambda w: {"model": under("module._orig_mod.", w)},
    "compiled and parallel": lambda w: {"state_dict": under("_orig_mod.module.", w), "epoch": 3},
    "averaged": lambda w: under("module.", w, n_averaged=torch.tensor(3)),
    "parts in parallel": lambda w: {name.replace("conv.", "conv.module."): value for name, value in w.items()},
    "parts compiled": lambda w: {
        "model." + name.replace("bn.", "bn._orig_mod.").replace("fc.", "fc._orig_mod."): v for name, v in w.items()
    },
    "nested": lambda w: {"state": {"model": {"state_dict": w}}},
    "lightning": lambda w: {
        "state_dict": under("model.", w), "hyper_parameters": {"lr": 0.1}, "optimizer_states": [adam()], "epoch": 3,
        "callbacks": {"Checkpoint{'monitor': 'loss'}": {"best": torch.tensor(0.5)}}, "pytorch-lightning_version": "2.4",
    },
    "lightning with a loss": lambda w: {"state_dict": under("net.", w, **{"criterion.weight": torch.ones(5)})},
    "lightning with averages": lambda w: {"state_dict": under("network.", w) | under("ema_model.", changed(w))},
    "one net under two names": lambda w: under("model.", w) | under("net.", w),
    "part of a larger one": lambda w: under("backbone.", w, **{"head.weight": torch.ones(2)}),
    "arguments": lambda w: {"state_dict": w, "args": settings()},
    "objects of training": lambda w: {
        "model_state_dict": w, "kind": torch.optim.SGD,
        "schedule": torch.optim.lr_scheduler.StepLR(torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1), 3),
    },
    "without counters": lambda w: without(w, "bn.num_batches_tracked"),
    "parameters": lambda w: {name: nn.Parameter(v) if v.is_floating_point() else v for name, v in w.items()},
    "beside the names": lambda w: {**w, "epoch": 3},
}  # fmt: skip


def adam() -> dict[str, Any]:
    net = nn.Linear(2, 2)
    optimiser: torch.optim.Optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_weights(form: str, legacy: bool, weights: Weights, tmp_path: Path) -> None:
    found = load(tmp_path / "w.pth", FORMS[form](weights), legacy=legacy)
    for name, value in weights.items():
        assert torch.equal(found[name], value), name


def test_a_configuration_of_omegaconf_may_be_there(weights: Weights, tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create({"lr": 0.1, "sizes": [1, {"a": "${lr}"}]})
    found = load(tmp_path / "w.pth", {"state_dict": under("model.", weights), "hyper_parameters": {"cfg": config}})
    assert torch.equal(found["fc.weight"], weights["fc.weight"])


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_safetensors_are_known_by_what_is_in_them(name: str, weights: Weights, tmp_path: Path) -> None:
    save_file(under("module.", weights), tmp_path / name)
    module = Net()
    fit_state_dict(module, read_state_dict(tmp_path / name), tmp_path / name)
    assert torch.equal(module.fc.weight, weights["fc.weight"])


def test_counters_that_the_module_has_not_are_left_over(weights: Weights, tmp_path: Path) -> None:
    module = Net()
    module.bn = nn.BatchNorm2d(4, track_running_stats=True)
    module.bn.num_batches_tracked = None
    assert torch.equal(load(tmp_path / "w.pth", weights, module)["bn.weight"], weights["bn.weight"])


class Within(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.module = Net()
        self.out = nn.Linear(5, 5)


def test_a_module_of_ones_own_may_be_called_as_a_wrapper_is(tmp_path: Path) -> None:
    expected = Within().state_dict()
    for prefix in ("", "model."):
        assert torch.equal(load(tmp_path / "w.pth", under(prefix, expected), Within())["module.fc.bias"],
                           expected["module.fc.bias"])  # fmt: skip
    with pytest.raises(CheckpointError, match=r"keys: 1 missing \(first module\.fc\.bias\)"):
        load(tmp_path / "w.pth", without(dict(expected), "module.fc.bias"), Within())


def test_a_module_that_knows_its_former_names_is_asked(tmp_path: Path) -> None:
    old = nn.utils.weight_norm(nn.Linear(3, 2))
    new = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    load(tmp_path / "w.pth", under("module.", old.state_dict()), new)
    images = torch.ones(1, 3)
    torch.testing.assert_close(new(images), old(images))


class Lenient(Net):
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, strict=strict and False, assign=assign)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda w: without(w, "fc.bias"), "keys: 1 missing (first fc.bias)"),
        (lambda w: without(w, "bn.running_mean", "bn.running_var"), "keys: 2 missing (first bn.running_mean)"),
        (lambda w: {**w, "a.weight": torch.ones(2), "a.bias": torch.ones(2)}, "keys: 2 unexpected (first a.weight)"),
        (lambda w: {**without(w, "fc.bias"), "x": w["fc.bias"]}, "1 missing (first fc.bias); 1 unexpected (first x)"),
        (lambda w: {"state_dict": under("model.", without(w, "fc.bias"))}, "keys: 1 missing (first fc.bias)"),
        (lambda w: under("module.", without(w, "conv.weight")), "keys: 1 missing (first conv.weight)"),
        (lambda _: Net(7).state_dict(), "2 of another shape (first fc.weight: expected [5, 4], got [7, 4]): the"
         " checkpoint looks like one of 7 classes, the module has 5"),
        (lambda _: under("model.", Net(7).state_dict()), "looks like one of 7 classes"),
        (lambda _: Net(5, 8).state_dict(), "(first conv.weight: expected [4, 3, 3, 3], got [8, 3, 3, 3])"),
        (lambda _: nn.Sequential(nn.Linear(2, 2)).state_dict(), "none of its 2 names is one of the module's 9: expected"
         " such as conv.weight, got 0.weight"),
        (lambda w: {name: value.to(torch.int8) for name, value in w.items()}, "8 of another kind of number (first"
         " conv.weight: expected float32, got int8)"),
        (lambda w: under("student.", w) | under("teacher.", changed(w)), "it fits under student. and under teacher."),
        (lambda w: {"generator": w, "discriminator": changed(w)}, "weights are under 'generator', 'discriminator'"),
        (lambda _: adam(), "the state of an optimiser"),
        (lambda _: torch.ones(3), "a tensor of shape [3]"),
        (lambda w: [w], "got a list"),
        (lambda _: {}, "got none"),
        (lambda _: {"epoch": 3}, "a mapping without them (its keys: 'epoch')"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Net, Lenient])
def test_what_does_not_fit_is_counted_and_nothing_is_loaded(
    form: Any, message: str, kind: type[nn.Module], weights: Weights, tmp_path: Path
) -> None:
    module = kind()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "w.pth", form(weights), module)
    text = str(caught.value)
    assert message in text
    assert text.startswith(f"{tmp_path / 'w.pth'} is no state dict")
    assert "\n" not in text
    assert len(text) < 400
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_an_inner_layer_of_another_width_is_no_number_of_classes(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "w.pth", Net(5, 8).state_dict())
    assert "classes" not in str(caught.value)


def test_a_loss_is_no_network(weights: Weights, tmp_path: Path) -> None:
    content = {"model_state_dict": weights, "loss": nn.CrossEntropyLoss(weight=torch.ones(5))}
    assert torch.equal(load(tmp_path / "w.pth", content)["fc.weight"], weights["fc.weight"])
    with pytest.raises(CheckpointError, match=r"a whole pickled module \(torch\.nn\.modules\.loss\.CrossEntropyLoss\)"):
        load(tmp_path / "w.pth", content, legacy=True)  # whose source code went with it


class Custom:
    pass


class Touch:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_never_run_and_what_stands_in_the_way_is_named(legacy: bool, weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with pytest.raises(
        CheckpointError, match=r"an object of \S*Custom.* torch\.save\(checkpoint\['state_dict'\], PATH\)"
    ):
        load(path, {"state_dict": weights, "config": Custom()}, legacy=legacy)
    for whole in (Net(), {"model": Net(), "epoch": 3}):
        with pytest.raises(
            CheckpointError, match=r"a whole pickled module \(\S*\.Net\).* torch\.save\(model\.state_dict\(\), PATH\)"
        ):
            load(path, whole, legacy=legacy)
    for trap in (
        Touch(tmp_path / "ran"),
        {"state_dict": weights, "args": argparse.Namespace(a=Touch(tmp_path / "ran"))},
    ):
        with pytest.raises(CheckpointError, match=r"can't be read without running code"):
            load(path, trap, legacy=legacy)
    assert not (tmp_path / "ran").exists()


def test_files_of_other_kinds_are_named(weights: Weights, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 2))
    torch.jit.script(module).save(str(tmp_path / "script.pt"))
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    with zipfile.ZipFile(tmp_path / "release.zip", "w") as archive:
        archive.writestr("weights/model.pth", "")
    torch.save(weights, tmp_path / "whole.pth")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").touch()
    contents = {
        "cut.pth": (tmp_path / "whole.pth").read_bytes()[:-40],
        "net.onnx": b"\x08\x0a\x12\x07pytorch\x1a",
        "renamed.pth": b"\x08\x0a\x12\x07pytorch\x1a",
        "net.tflite": b"\x1c\0\0\0TFL3" + bytes(40),
        "page.pth": b"\n<!DOCTYPE html><html>",
        "pointer.pth": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "keras.h5": b"\x89HDF\r\n\x1a\n" + bytes(40),
        "own.pkl": pickle.dumps({"a": 1}),
        "notes.pth": b"see the other folder\n",
        "empty.pth": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    said = {
        "script.pt": r"a TorchScript archive; save its weights: torch\.save\(torch\.jit\.load",
        "arrays.npz": "an archive of numpy arrays", "release.zip": r"unpack it and give weights/model\.pth",
        "cut.pth": "truncated", "net.onnx": "an ONNX model", "renamed.pth": "an ONNX model",
        "net.tflite": "a TFLite model", "page.pth": "a web page", "pointer.pth": "git lfs pull",
        "keras.h5": "an HDF5 file", "own.pkl": r"a pickle that torch\.save did not write", "notes.pth": "it is text",
        "empty.pth": "an empty file", "folder": r"a folder, .*; model\.safetensors in it",
    }  # fmt: skip
    for name, message in said.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            read_state_dict(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_state_dict(tmp_path / "nothing.pth")


def test_files_of_hwnas_are_named_too(tmp_path: Path) -> None:
    path = write_checkpoint(
        tmp_path / "s.safetensors", {"a": torch.ones(1)}, {"kind": "supernet", "space": {"name": "s"}}
    )
    with pytest.raises(CheckpointError, match=r"it holds hwnas's own supernet of space s, .* without module=…"):
        read_state_dict(path)
    save_file({"a": torch.ones(1)}, path, {"format": "hwnas accuracy predictor 2", "space": "{}"})
    with pytest.raises(CheckpointError, match="hwnas's own accuracy predictor, expected a torch module's"):
        read_state_dict(path)
    with pytest.raises(CheckpointError, match="hwnas's own accuracy predictor, expected a network of hwnas train"):
        load_any(path, make_space(OfaMbv3Config()))
