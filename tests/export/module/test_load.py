"""Modules by import path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hwnas.errors import CheckpointError, ConfigError, ExportError
from hwnas.export.module.load import check_static, load_module, module_files, module_name, module_title

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
        check_static(load_module(f"{file}:Deciding"), (example,))
    with pytest.raises(ExportError, match="can't be traced"):
        check_static(load_module(f"{file}:Foreign"), (example,))


NET = """
import {beside}
from torch import nn

def make():
    return nn.Linear(4, {beside}.WIDTH)
"""


def project(folder: Path, beside: str = "backbone", width: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{beside}.py").write_text(f"WIDTH = {width}\n")
    path = folder / "net.py"
    path.write_text(NET.format(beside=beside))
    return path


def width_of(path: Path | str) -> int:
    return int(load_module(f"{path}:make")(torch.zeros(1, 4)).shape[1])


def test_edited_import_is_the_new_one(tmp_path: Path) -> None:
    path = project(tmp_path)
    assert width_of(path) == 3
    (tmp_path / "backbone.py").write_text("WIDTH = 5\n")  # as long as before, and in the same second
    assert width_of(path) == 5
    assert not list(tmp_path.rglob("__pycache__"))


def test_two_projects_have_their_own_modules(tmp_path: Path) -> None:
    first, second = project(tmp_path / "a", width=3), project(tmp_path / "b", width=6)
    assert [width_of(path) for path in (first, second, first)] == [3, 6, 3]


@pytest.mark.parametrize("beside", ["utils", "data", "test", "onnx", "yaml", "hub", "models"])
def test_file_named_as_an_installed_module_is_the_users(beside: str, tmp_path: Path) -> None:
    import onnx
    import yaml

    assert width_of(project(tmp_path, beside)) == 3
    assert sys.modules["onnx"] is onnx
    assert sys.modules["yaml"] is yaml


def test_file_named_as_pythons_own_breaks_nothing(tmp_path: Path) -> None:
    path = project(tmp_path)
    for name in ("types", "queue", "random", "torch", "numpy", "onnx", "cProfile", "profile"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not asked for')\n")
    module = load_module(f"{path}:make")
    check_static(module, (torch.zeros(1, 4),))


def test_imports_as_it_is_made_and_as_it_runs(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("WIDTH = 4\nSCALE = 2.0\n")
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        import late\n        self.layer = nn.Linear(4, late.WIDTH)\n"
        "    def forward(self, x):\n        from later.sub import OFFSET\n        return self.layer(x) + OFFSET\n"
    )
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "sub.py").write_text("OFFSET = 7.0\n")
    module = load_module(f"{path}:Net")
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    assert module(torch.zeros(1, 4)).tolist() == [[7.0] * 4]
    assert set(module_files(f"{path}:Net")) == {"net.py", "late.py", "later/sub.py"}


def test_module_of_a_package_by_its_file(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "parts" / "__init__.py").write_text("from .. import sizes\n")
    (package / "sizes.py").write_text("WIDTH = 9\n")
    path = package / "parts" / "net.py"
    path.write_text("from torch import nn\nfrom ..sizes import WIDTH\ndef make():\n    return nn.Linear(4, WIDTH)\n")
    assert width_of(path) == 9
    assert set(module_files(f"{path}:make")) == {"net.py", "__init__.py", "../__init__.py", "../sizes.py"}


def test_inputs_are_all_files_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    (tmp_path / "backbone.py").write_text(
        "import sys\nfrom pathlib import Path\nsys.path.append(str(Path(__file__).parent.parent / 'elsewhere'))\n"
        "import far\nfrom pkg import *\nfrom pkg.one import two\nimport torch, numpy\nWIDTH = far.WIDTH\n"
        "def later():\n    import importlib\n    importlib.import_module('named')\n    try:\n        import lazy\n"
        "    except ImportError:\n        pass\n"
    )
    inside = tmp_path / "pkg" / "one"
    inside.mkdir(parents=True)
    for file in ("pkg/__init__", "pkg/one/__init__", "pkg/one/two", "named", "lazy", "unrelated"):
        (tmp_path / f"{file}.py").write_text("")
    elsewhere = tmp_path.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.py").write_text("WIDTH = 2\n")
    before = list(sys.path)
    expected = {
        "net.py", "backbone.py", "pkg/__init__.py", "pkg/one/__init__.py", "pkg/one/two.py", "named.py", "lazy.py",
        "../elsewhere/far.py",
    }  # fmt: skip
    try:
        for path in (f"{tmp_path}/net.py:make", f"{tmp_path}/../{tmp_path.name}/net.py:make"):
            load_module(path)
            assert set(module_files(path)) == expected
            assert module_title(path) == "net.py:make"
        monkeypatch.chdir(tmp_path)
        load_module("net:make")
        assert set(module_files("net:make")) == expected
        assert sys.path == before
    finally:
        (elsewhere / "far.py").unlink()
        elsewhere.rmdir()


def test_module_in_a_package_where_hwnas_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_pkg" / "nets").mkdir(parents=True)
    (tmp_path / "own_pkg" / "widths.py").write_text("WIDTH = 3\n")
    (tmp_path / "own_pkg" / "nets" / "net.py").write_text(
        "from torch import nn\nfrom own_pkg.widths import WIDTH\ndef make():\n    return nn.Linear(4, WIDTH)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert set(module_files("own_pkg.nets.net:make")) >= {"net.py", "../widths.py"}
    assert width_of("own_pkg.nets.net") == 3
    (tmp_path / "own_pkg" / "widths.py").write_text("WIDTH = 8\n")
    assert width_of("own_pkg.nets.net") == 8


@pytest.mark.parametrize(("source", "message"), [
    ("import torch\nraise KeyError('oh')", r"running it failed with KeyError: 'oh' at .*net\.py:2"),
    ("def make(:", r"running it failed with SyntaxError: .* at .*net\.py:1"),
    ("import backbone", r"ZeroDivisionError: division by zero at .*backbone\.py:2"),
    ("import sys\nsys.exit(3)", r"SystemExit: 3 at .*net\.py:2"),
    ("def make():\n    x = 1\n    assert x == 2", r"calling it .* AssertionError: assert x == 2 at .*net\.py:3"),
    ("def make(width, depth=1, *, kind): ...", r"make is called without arguments, and needs width, kind"),
    ("from torch import nn\nclass make(nn.Linear):\n    pass", "needs in_features, out_features"),
])  # fmt: skip
def test_what_the_users_code_raises_is_told_with_its_place(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "backbone.py").write_text("WIDTH = 1\n1 / 0\n")
    (tmp_path / "net.py").write_text(source + "\n")
    with pytest.raises(ConfigError, match=message) as told:
        load_module(f"{tmp_path}/net.py:make")
    assert "\n" not in str(told.value)


def test_missing_file_is_told_with_the_nearest(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file: .*own_net\.py \(did you mean 'own_nets\.py'"):
        load_module(f"{file.parent}/own_net.py:make")
    with pytest.raises(ConfigError, match="no such file"):
        module_files(f"{file.parent}/own_net.py:make")


def test_weights_that_are_drawn_are_the_same_each_time(file: Path) -> None:
    first, second, other = (load_module(f"{file}:make", seed=seed).get_parameter("layer.weight") for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_files_that_it_reads_are_inputs_too(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(4, 3).state_dict(), tmp_path / "weights.pt")
    (tmp_path / "settings.json").write_text('{"width": 3}')
    (tmp_path / "net.py").write_text(
        "import json\nimport torch\nfrom pathlib import Path\nfolder = Path(__file__).parent\n"
        "WIDTH = json.loads((folder / 'settings.json').read_text())['width']\n"
        "def make():\n    net = torch.nn.Linear(4, WIDTH)\n"
        "    net.load_state_dict(torch.load(folder / 'weights.pt'))\n"
        "    (folder / 'written.txt').write_text('made')\n    return net\n"
    )
    load_module(f"{tmp_path}/net.py:make")
    assert set(module_files(f"{tmp_path}/net.py:make")) == {"net.py", "settings.json", "weights.pt"}


def test_settings_of_the_process_are_kept(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import os\nimport torch\ntorch.set_default_dtype(torch.float64)\nos.chdir('/')\n"
        "def make():\n    return torch.nn.Linear(4, 3)\n"
    )
    state, folder = torch.get_rng_state(), Path.cwd()
    load_module(f"{tmp_path}/net.py:make")
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), state)
    assert Path.cwd() == folder
