"""Networks and exported files that several tests look at; exporting takes seconds, so each is done once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.operators import Operator
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, Space
from hwnas.supernet.build import build_subnet
from tests.narrow import present
from tests.shared import common_folder, made_once

# Compiling takes several times as long as the other formats: what all formats do, these do in the slow tests, but for
# one tiny network each in tvm/test_format.py and executorch/test_format.py.
COMPILED = ("tvm", "executorch")

# 1 channel; odd and even sizes before strides; every activation; with and without squeeze-and-excitation.
SMALL = OfaMbv3Config(
    name="small",
    resolution=(20, 32),
    widths=(16, 16, 16, 24, 40, 96, 128),
    stem_stride=1,
    strides=(1, 2, 2, 2),
    activations=("relu", "relu", "relu6", "h_swish"),
    se=(False, False, True, True),
    depths=(1, 2),
    in_channels=1,
    classes=10,
)
SPACES = {"small": SMALL, "full": OfaMbv3Config(resolution=(160, 176))}


def in_both(cases: Iterable[Any], tflite: Collection[Any], onnx: Collection[Any] | None = None) -> list[Any]:
    """Each case as ONNX and as TFLite; others than those of `tflite`, and of `onnx` where given, are slow tests."""
    given = list(cases)
    fast = {"onnx": given if onnx is None else onnx, "tflite": tflite}
    return [
        pytest.param(case, name, marks=[] if case in fast[name] else [pytest.mark.slow])
        for case in given
        for name in ("onnx", "tflite")
    ]


def each_format(slow: Collection[str] = COMPILED) -> list[Any]:
    """Every format; `slow` ones in the slow tests."""
    from hwnas.export.formats import FORMATS

    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in FORMATS]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        of_format = callspec and callspec.params.get("name")
        if of_format in COMPILED and {"exported", "network"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def skip_without_runtime(request: pytest.FixtureRequest) -> None:
    """A test of one format needs its packages."""
    from hwnas.export.formats import FORMATS, model_format

    of_format = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    if of_format in FORMATS:
        chosen = model_format(of_format)
        if missing := [package for package in chosen.packages if find_spec(package) is None]:
            pytest.skip(f"{', '.join(missing)} missing: pip install 'hwnas[{chosen.extra}]'")


def network(space: Space, seed: int) -> tuple[Sequence[Operator], nn.Module, torch.Tensor]:
    """A random arch's operators, its torch network with non-trivial statistics, and an example input."""
    genotype = space.sample(1, np.random.default_rng(seed))[0]
    operators = space.operators_of(genotype)
    generator = torch.Generator().manual_seed(seed)
    module = build_subnet(space, genotype, generator=generator).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            present(part.running_mean).normal_(0.0, 0.1, generator=generator)
            present(part.running_var).uniform_(0.8, 1.2, generator=generator)
            part.bias.data.normal_(0.0, 0.1, generator=generator)
        if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
            part.bias.data.normal_(0.0, 0.1, generator=generator)
    first = operators[0]
    example = torch.randn(1, first.in_channels, first.in_height, first.in_width, generator=generator)
    return operators, module, example


class Exported:
    """One network, and its files of each format, each written by the first process that asks for it."""

    def __init__(self, folder: Path, space: Space, seed: int) -> None:
        self.operators, self.module, self.example = network(space, seed)
        self.files = Files(folder / str(seed), self.module, self.example)


class Files(dict[str, Path]):
    """Paths by the format's name."""

    def __init__(self, stem: Path, module: nn.Module, example: torch.Tensor) -> None:
        super().__init__()
        self._stem, self._module, self._example = stem, module, example

    def __missing__(self, name: str) -> Path:
        from hwnas.export.formats import model_format
        from hwnas.export.request import ExportRequest

        chosen = model_format(name)
        request = ExportRequest(self._module, self._example, metadata={"arch": '{"space": "small"}'})
        path = self._stem.with_suffix(chosen.suffix)
        self[name] = made_once(path, lambda: chosen.export(request, path))
        return self[name]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(common_folder(tmp_path_factory) / "exported", OfaMbv3Space(SMALL), seed=0)


@pytest.fixture(scope="session")
def exported_odd(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """3 channels, a stem of stride 2, and a size (25) whose strides meet odd sizes."""
    config = replace(SMALL, in_channels=3, stem_stride=2, resolution=(25,), strides=(1, 2, 1, 2))
    return Exported(common_folder(tmp_path_factory) / "exported", OfaMbv3Space(config), seed=1)
