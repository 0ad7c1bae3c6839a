"""ExecuTorch's programs: what they compute, what XNNPACK runs of them, what they say of themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.errors import ConfigError, ExportError
from hwnas.export.formats import model_format
from hwnas.export.request import ExportRequest
from hwnas.export.synthetic import executorch as synthetic_executorch
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.operators import GlobalPool, Linear, MBConv
from hwnas.spaces import OfaMbv3Space
from tests.export.conftest import network
from tests.export.tvm.test_format import TINY

pytest.importorskip("executorch", reason="executorch missing: pip install 'hwnas[executorch]'")

from hwnas.export.executorch.depthwise import split_depthwise
from hwnas.export.executorch.format import read_metadata
from hwnas.export.request import ExportState


class Tiny:
    """A network of ten layers, its programs, and images."""

    def __init__(self, folder: Path) -> None:
        self.operators, self.module, self.example = network(OfaMbv3Space(TINY), seed=0)
        self.images = torch.randn(64, *self.example.shape[1:], generator=torch.Generator().manual_seed(0))
        self.paths = {
            precision: model_format("executorch").export(
                ExportRequest(self.module, self.example, precision, self.images.numpy(), {"arch": '{"r": 16}'}),
                folder / f"{precision}.pte",
            )
            for precision in model_format("executorch").precisions
        }

    def logits(self) -> np.ndarray:
        with torch.no_grad():
            values: np.ndarray = self.module(self.images).numpy()
            return values


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("executorch"))


@pytest.mark.parametrize("threads", [1, 2])
def test_program_gives_torchs_logits(tiny: Tiny, threads: int) -> None:
    from executorch.extension.pybindings import portable_lib

    logits = model_format("executorch").load_runner(tiny.paths["fp32"], threads)(tiny.images.numpy())
    assert portable_lib._threadpool_get_thread_count() == threads
    assert logits.dtype == np.float32
    assert tiny.logits().std() > 0.05
    np.testing.assert_allclose(logits, tiny.logits(), atol=1e-4)


@pytest.mark.parametrize(("kernel", "stride", "parts"), [(7, 1, 3), (7, 2, 3), (9, 2, 5), (5, 1, 1)])
def test_large_depthwise_convolutions_become_sums(kernel: int, stride: int, parts: int) -> None:
    module = torch.nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6).eval()
    image = torch.randn(1, 6, 15, 12)
    state = ExportState(ExportRequest(module, image), module, torch.export.export(module, (image,)))
    program = split_depthwise(state).model
    convolutions = [node for node in program.graph.nodes if node.target == torch.ops.aten.conv2d.default]
    assert len(convolutions) == parts
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), module(image), atol=1e-5, rtol=1e-5)


def test_int8_is_near(tiny: Tiny) -> None:
    logits, expected = model_format("executorch").load_runner(tiny.paths["int8"])(tiny.images.numpy()), tiny.logits()
    error = np.abs(logits - expected)
    assert 1e-6 < error.mean() < 0.1 * expected.std()
    assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.9


@pytest.mark.slow
def test_layers_stay_float_by_their_modules_names(tiny: Tiny, tmp_path: Path) -> None:
    """Those of a depthwise convolution that became a sum among them, which is one layer as before."""
    chosen = model_format("executorch")
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Hardswish(), torch.nn.Conv2d(8, 8, 7, padding=3, groups=8),
        torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1),
    ).eval()  # fmt: skip
    asked = ExportRequest(module, tiny.example[:, :3], "int8", tiny.images[:16, :3].numpy())
    state = chosen.start(asked)  # files of one state are those of an export each: tests/export/test_quantise.py
    path = chosen.finish(state, tmp_path / "int8.pte")
    assert chosen.layer_errors is not None
    assert set(chosen.layer_errors(state, path)) == {"0", "2", "4"}
    kept = state.keeping(("0", "2", "4"))
    images = tiny.images[:8, :3]
    with torch.no_grad():
        expected = module(images).numpy()
    exact = chosen.load_runner(chosen.finish(kept, tmp_path / "float.pte"))(images.numpy())
    np.testing.assert_allclose(exact, expected, atol=1e-4)
    assert np.abs(chosen.load_runner(path)(images.numpy()) - expected).max() > 1e-3
    with pytest.raises(ConfigError, match=r"'00' is no layer of the network"):
        chosen.export(replace(asked, float_layers=("00",)), tmp_path / "x.pte")


def test_numbers_in_the_network_have_scales_too(tiny: Tiny, tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.layers(x * 0.5 + 3.0) * 2.0
            return logits

    module, images = Scaled().eval(), tiny.images[:, :3]
    chosen = model_format("executorch")
    path = chosen.export(ExportRequest(module, images[:1], "int8", images.numpy()), tmp_path / "x.pte")
    with torch.no_grad():
        expected = module(images).numpy()
    assert np.abs(chosen.load_runner(path)(images.numpy()) - expected).mean() < 0.2 * expected.std()


def test_programs_of_several_thread_counts_take_turns(tiny: Tiny) -> None:
    """One pool serves them all."""
    load = model_format("executorch").load_runner
    runs = [load(tiny.paths["fp32"], 1), load(tiny.paths["int8"], 2), load(tiny.paths["fp32"], 2)]
    first = [run(tiny.images[:2].numpy()) for run in runs]
    for run, expected in zip(runs, first, strict=True):
        np.testing.assert_array_equal(run(tiny.images[:2].numpy()), expected)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_metadata_is_in_the_program(tiny: Tiny, precision: str) -> None:
    assert read_metadata(tiny.paths[precision]) == {"arch": '{"r": 16}'}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_xnnpack_runs_it(tiny: Tiny, precision: str) -> None:
    """What is left to ExecuTorch's own, slow kernels is no convolution."""
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(tiny.paths[precision].read_bytes())
    content = tiny.paths[precision].read_bytes()
    assert program.metadata("forward").num_inputs() == 1
    assert b"XnnpackBackend" in content
    assert b"aten::convolution" not in content


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_cut_file_is_refused(tiny: Tiny, share: float, tmp_path: Path) -> None:
    path, content = tmp_path / "cut.pte", tiny.paths["fp32"].read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ExportError, match=r"can't load .*export it again") as caught:
        model_format("executorch").load_runner(path)
    assert "\n" not in str(caught.value)


def test_int8_needs_images(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="int8 needs real images"):
        model_format("executorch").export(ExportRequest(tiny.module, tiny.example, "int8"), tmp_path / "x.pte")


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=pytest.mark.slow)])
def test_synthetic_program(precision: str, tmp_path: Path) -> None:
    operators = [
        MBConv(8, 8, 8, 8, mid_channels=16, kernel=3, residual=True, se=True, activation="h_swish"),
        GlobalPool(8, 8, 8, 8),
        Linear(1, 1, 8, 5),
    ]
    path = synthetic_executorch.write(operators, tmp_path / "chain.pte", precision=precision)
    image = np.random.default_rng(7).standard_normal((1, 8, 8, 8)).astype(np.float32)
    logits = model_format("executorch").load_runner(path)(image)
    expected = model_format("onnx").load_runner(synthetic_writer("onnx")(operators, tmp_path / "x"))(image)
    if precision == "fp32":
        np.testing.assert_allclose(logits, expected, atol=1e-4)
    else:
        assert np.corrcoef(logits[0], expected[0])[0, 1] > 0.95
        assert np.abs(logits - expected).max() > 1e-5


def test_synthetic_program_of_a_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"profiling\.batch=1, got 4"):
        synthetic_executorch.write([GlobalPool(4, 4, 8, 8)], tmp_path / "x", batch=4)
