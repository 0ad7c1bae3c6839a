"""Modules by import path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hwnas.errors import CheckpointError, ConfigError, ExportError
from hwnas.export.module import check_static, load_module, module_name

SOURCE = """
import torch
from torch import nn

from beside import WIDTH

class Net(nn.Module):
    def __init__(self, width=WIDTH):
        super().__init__()
        self.layer = nn.Linear(4, width)
    def forward(self, x):
        return self.layer(x)

class Deciding(Net):
    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else -self.layer(x)

class Counting(Net):
    def forward(self, x):
        return self.layer(x) * x.sum().item()

class Foreign(Net):
    def forward(self, x):
        return self.layer(torch.from_numpy(x.numpy()))

def make():
    return Net().train()

def broken():
    raise RuntimeError("no luck")

def number():
    return 3

instance = Net(2)
text = "nothing"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WIDTH = 7\n")
    path = tmp_path / "own_nets.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize(("name", "width"), [("Net", 7), ("make", 7), ("instance", 2)])
def test_class_function_and_instance(name: str, width: int, file: Path) -> None:
    before = list(sys.path)
    module = load_module(f"{file}:{name}")
    assert module(torch.zeros(1, 4)).shape == (1, width)
    assert not module.training
    assert sys.path == before


def test_module_of_a_package_where_hwnas_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert isinstance(load_module("own_nets:make"), nn.Module)
    assert module_name("own_nets:make") == "make"


@pytest.mark.parametrize(("path", "message"), [
    ("{}:nix", r"has no 'nix': .*valid: .*make"), ("{}:broken", "RuntimeError: no luck"),
    ("{}:number", "expected an nn.Module, got int"), ("{}:text", "expected an nn.Module or a function"),
    ("{}", "expected package.module:name"), ("{}:", "expected package.module:name"), ("nowhere.py:a", "no such file"),
    ("no.such.package:a", "ModuleNotFoundError"),
])  # fmt: skip
def test_what_is_none_is_refused(path: str, message: str, file: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_module(path.format(file))


def test_file_that_fails_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import no_such_thing\n")
    with pytest.raises(ConfigError, match=r"running it failed with ModuleNotFoundError: No module named 'no_such"):
        load_module(f"{path}:a")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_state_dict(suffix: str, file: Path, tmp_path: Path) -> None:
    state = {"layer.weight": torch.full((7, 4), 2.0), "layer.bias": torch.ones(7)}
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    module = load_module(f"{file}:make", path)
    torch.testing.assert_close(module(torch.ones(1, 4)), torch.full((1, 7), 9.0))
    with pytest.raises(CheckpointError, match="is no state dict of this module"):
        load_module(f"{file}:instance", path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CheckpointError, match="is no state dict"):
        load_module(f"{file}:make", path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_module(f"{file}:make", tmp_path / "nothing.pt")


def test_pickled_module_is_not_run(file: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    torch.save({"layer.weight": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match="is no state dict"):
        load_module(f"{file}:make", tmp_path / "trap.pt")
    assert not (tmp_path / "ran").exists()


def test_network_must_be_static(file: Path) -> None:
    example = torch.ones(1, 4)
    check_static(load_module(f"{file}:make"), example)
    with pytest.raises(ExportError, match="depends on the values in its input"):
        check_static(load_module(f"{file}:Deciding"), example)
    with pytest.raises(ExportError, match="can't be traced"):
        check_static(load_module(f"{file}:Foreign"), example)
