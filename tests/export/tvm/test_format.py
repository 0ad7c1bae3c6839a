"""TVM's libraries: what they compute, for which processor, how they are scheduled, and what they say of themselves."""

from __future__ import annotations

import platform
import re
import shutil
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hwnas.errors import ConfigError, ExportError
from hwnas.export.config import ExportConfig
from hwnas.export.formats import model_format
from hwnas.export.request import ExportRequest
from hwnas.export.synthetic import onnx as synthetic_onnx
from hwnas.export.synthetic import tvm as synthetic_tvm
from hwnas.export.tvm import build as tvm_build
from hwnas.export.tvm.schedule import VectorUnit, candidate_tiles, schedule
from hwnas.operators import Conv, GlobalPool, Linear, MBConv, Operator
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, OfaResNet50Config, make_space
from tests.export.conftest import network

tvm = pytest.importorskip("tvm", reason="apache-tvm missing: pip install 'hwnas[tvm]'")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++: install g++ (Debian: apt-get install g++)")

from hwnas.export.tvm.format import read_metadata  # noqa: E402

TINY = OfaMbv3Config(
    name="tiny", resolution=(16,), widths=(8, 8, 16, 24, 24), strides=(1, 2), activations=("relu", "h_swish"),
    se=(False, True), depths=(1,), kernel_sizes=(3,), expand_ratios=(3,), classes=10,
)  # fmt: skip
CROSS = ExportConfig(tvm_target="aarch64-linux-gnu cortex-a76")
needs_cross_compiler = pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None,
    reason="no cross compiler: install g++-aarch64-linux-gnu (Debian: apt-get install g++-aarch64-linux-gnu)",
)


class Tiny:
    """A network of ten layers, and its library."""

    def __init__(self, folder: Path) -> None:
        self.operators, self.module, self.example = network(OfaMbv3Space(TINY), seed=0)
        self.request = ExportRequest(self.module, self.example, metadata={"arch": '{"r": 16}'})
        self.path = model_format("tvm").export(self.request, folder / "tiny.so")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("tvm"))


def elf_machine(path: Path) -> int:
    """ELF's number of the processor family: 62 x86-64, 183 AArch64."""
    content = path.read_bytes()
    assert content[:4] == b"\x7fELF"
    return int(struct.unpack_from("<H", content, 18)[0])


def relax_module(operators: Sequence[Operator], folder: Path) -> Any:
    from tvm.relax.frontend.onnx import from_onnx

    graph = onnx.load(synthetic_onnx.write(operators, folder / "chain.onnx"))
    return from_onnx(graph, keep_params_in_input=False)


def functions(module: Any) -> dict[str, Any]:
    return {
        str(name.name_hint): function
        for name, function in module.functions_items()
        if isinstance(function, tvm.tirx.PrimFunc)
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_library_gives_torchs_logits(tiny: Tiny, threads: int) -> None:
    images = torch.randn(7, *tiny.example.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = tiny.module(images).numpy()
    logits = model_format("tvm").load_runner(tiny.path, threads)(images.numpy())
    assert tvm.get_global_func("runtime.NumThreads")() == threads
    assert logits.dtype == np.float32
    assert expected.std() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_metadata_is_in_the_library(tiny: Tiny) -> None:
    assert read_metadata(tiny.path) == {"arch": '{"r": 16}', "tvm_version": tvm.__version__}


def test_synthetic_library_holds_the_same_kernels(tiny: Tiny, tmp_path: Path) -> None:
    """What latency tables are measured on is compiled from the same functions, in the same order."""
    tools = tvm_build.toolchain(None)
    exported = tvm_build.fuse_operators(model_format("tvm").start(tiny.request).model, tools)
    synthetic = tvm_build.fuse_operators(relax_module(tiny.operators, tmp_path), tools)

    def kernels(module: Any) -> Counter[str]:
        """How many functions there are of the same operators over tensors of the same sizes."""
        return Counter(
            re.sub(r"\d+", "", name) + str([list(map(int, value.ty.shape)) for value in function.params])
            for name, function in functions(module).items()
        )

    assert kernels(exported) == kernels(synthetic)
    path = synthetic_tvm.write(tiny.operators, tmp_path / "chain.so")
    assert model_format("tvm").load_runner(path)(tiny.example.numpy()).shape == (1, 10)


def test_every_function_is_scheduled_and_none_transposes_in_between(tiny: Tiny, tmp_path: Path) -> None:
    tools = tvm_build.toolchain(None)
    module = tvm_build.schedule_functions(
        tvm_build.fuse_operators(relax_module(tiny.operators, tmp_path), tools), tools
    )
    found = functions(module)
    assert len(found) > 8
    assert all(function.attrs["tirx.is_scheduled"] for function in found.values())
    # One for the image, and one of the single pixel that pooling leaves.
    assert sum("transpose" in name for name in found) == 2


@pytest.mark.parametrize("lanes", [4, pytest.param(8, marks=pytest.mark.slow), 16])
def test_vectors_of_any_width_compute_the_same(lanes: int, tmp_path: Path) -> None:
    """Rules for other processors, on this one; sizes that no tile divides, and channels that no vector does."""
    operators = [
        Conv(13, 11, 3, 20, kernel=3, stride=2, activation="relu6"),
        MBConv(7, 6, 20, 10, mid_channels=36, kernel=5, stride=1, se=True, activation="h_swish"),
        GlobalPool(7, 6, 10, 10),
        Linear(1, 1, 10, 7),
    ]
    tools = replace(tvm_build.toolchain(None), unit=VectorUnit(lanes, 16))
    module = tvm_build.fuse_operators(relax_module(operators, tmp_path), tools)
    library = tmp_path / "chain.so"
    library.write_bytes(tvm_build.compile_library(tvm_build.schedule_functions(module, tools), tools))
    image = np.random.default_rng(0).standard_normal((1, 3, 13, 11)).astype(np.float32)
    machine = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    found = machine["main"](tvm.runtime.tensor(image)).numpy()
    expected = model_format("onnx").load_runner(tmp_path / "chain.onnx")(image)
    assert expected.std() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_tiles_fit_into_the_registers(tiny: Tiny, tmp_path: Path) -> None:
    tools = tvm_build.toolchain(None)
    found = functions(tvm_build.fuse_operators(relax_module(tiny.operators, tmp_path), tools))
    for registers in (16, 32):
        unit = VectorUnit(8, registers)
        tiles = {name: candidate_tiles(function, unit) for name, function in found.items()}
        assert sum(bool(of_function) for of_function in tiles.values()) > 8
        for of_function in tiles.values():
            assert all((tile.rows * tile.columns + 1) * tile.vectors < registers for tile in of_function)
            assert len(set(of_function)) == len(of_function)


@pytest.mark.slow
def test_every_tile_computes_the_same(tmp_path: Path) -> None:
    tools = tvm_build.toolchain(None)
    operators = [Conv(6, 6, 8, 16, kernel=3, activation="relu")]
    (function,) = (
        function
        for name, function in functions(tvm_build.fuse_operators(relax_module(operators, tmp_path), tools)).items()
        if "conv2d" in name
    )
    arrays = [
        np.random.default_rng(i).standard_normal(list(map(int, value.ty.shape))).astype(np.float32)
        for i, value in enumerate(function.params)
    ]
    results = []
    for tile in candidate_tiles(function, tools.unit):
        scheduled = schedule(function, tools.unit, tile).with_attr("global_symbol", "main")
        compiled = tvm.compile(tvm.IRModule({"main": scheduled}), tools.target)
        tensors = [tvm.runtime.tensor(array) for array in arrays]
        compiled["main"](*tensors)
        results.append(tensors[-1].numpy())
    assert len(results) > 5
    for result in results:
        np.testing.assert_allclose(result, results[0], atol=1e-5)


@pytest.mark.slow
def test_networks_with_other_operators(tmp_path: Path) -> None:
    """Max pooling, average pooling cut off at the border, full 3×3 convolutions, residual sums before a ReLU."""
    config = OfaResNet50Config(
        resolution=(35,), stem_width=32, widths=(32, 48), strides=(2, 2), base_depths=(1, 1), depths=(0, 1),
        expand_ratios=(0.25, 0.5), width_mults=(0.5, 1.0), classes=5,
    )  # fmt: skip
    _, module, example = network(make_space(config), seed=1)
    path = model_format("tvm").export(ExportRequest(module, example), tmp_path / "resnet.so")
    expected = module(example).detach().numpy()
    np.testing.assert_allclose(model_format("tvm").load_runner(path)(example.numpy()), expected, atol=1e-4)


def test_tuning_tries_as_many_tiles_as_asked_for_and_stays_right(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    example = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    shown: list[tuple[float, str]] = []
    request = ExportRequest(
        module.eval(), example, config=ExportConfig(tuning_trials=5), progress=lambda *one: shown.append(one)
    )
    path = model_format("tvm").export(request, tmp_path / "tuned.so")
    assert [share for share, _ in shown] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert shown[2][1].startswith("3 of 5 tiles, ")
    logits = model_format("tvm").load_runner(path)(example.numpy())
    np.testing.assert_allclose(logits, module(example).detach().numpy(), atol=1e-4)


def test_tuning_for_another_processor_is_refused(tmp_path: Path) -> None:
    request = ExportRequest(nn.Flatten(), torch.zeros(1, 3, 8, 8), config=replace(CROSS, tuning_trials=5))
    with pytest.raises(ConfigError, match=r"export\.tuning_trials: schedules are timed on this machine"):
        model_format("tvm").export(request, tmp_path / "x")


# ---- other processors -----------------------------------------------------------------------------------------------


def test_library_is_for_this_machine(tiny: Tiny) -> None:
    assert elf_machine(tiny.path) == {"x86_64": 62, "aarch64": 183}[platform.machine()]


@needs_cross_compiler
def test_library_for_another_processor(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    request = ExportRequest(module, torch.zeros(1, 3, 8, 8), config=CROSS)
    path = model_format("tvm").export(request, tmp_path / "board.so")
    assert elf_machine(path) == 183
    with pytest.raises(ExportError, match=r"can't load .*board\.so: it was compiled for aarch64, and this is"):
        model_format("tvm").load_runner(path)


def test_missing_cross_compiler_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"aarch64-linux-gnu-g\+\+ here \(Debian: apt-get install g\+\+-aarch64-lin"):
        tvm_build.toolchain("aarch64-linux-gnu cortex-a76")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("abacus-linux-gnu", "LLVM knows no processor family 'abacus'"),
        ("aarch64-linux-gnu cortex-a9999", "LLVM knows no processor 'cortex-a9999' for aarch64-linux-gnu"),
        ("", "LLVM knows no processor family ''"),
    ],
)
def test_unknown_targets_are_one_line(target: str, reason: str, tmp_path: Path) -> None:
    request = ExportRequest(nn.Flatten(), torch.zeros(1, 3, 8, 8), config=ExportConfig(tvm_target=target))
    with pytest.raises(ConfigError, match=reason) as caught:
        model_format("tvm").export(request, tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_runtime_too_old_for_the_file(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm, "__version__", "0.25.1")
    with pytest.raises(ExportError, match=r"compiled by TVM 0\.\d+.*this runtime is 0\.25\.1: pip install 'apache-tvm"):
        model_format("tvm").load_runner(tiny.path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_cut_file_is_refused(tiny: Tiny, share: float, tmp_path: Path) -> None:
    """By hand: the system's loader would end the process."""
    path = tmp_path / "cut.so"
    content = tiny.path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ExportError, match=r"can't load .*export it again") as caught:
        model_format("tvm").load_runner(path)
    assert "\n" not in str(caught.value)


def test_library_of_something_else_is_refused(tmp_path: Path) -> None:
    library = next(Path(np.__file__).parent.rglob("*.so"))
    with pytest.raises(ExportError, match="can't load"):
        model_format("tvm").load_runner(library)
