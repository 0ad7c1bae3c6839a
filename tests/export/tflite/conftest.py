"""One network in every precision, and what several tests do with its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import nn

from hwnas.export.formats import model_format
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportRequest
from hwnas.export.tflite.activations import lower_activations
from hwnas.export.tflite.quantise import dynamic_integer, float16, full_integer
from hwnas.export.tflite.ranges import read_ranges
from hwnas.spaces import OfaMbv3Space
from hwnas.supernet.build import build_subnet
from tests.export.conftest import SMALL
from tests.shared import common_folder, made_once

TFLITE = model_format("tflite")
PRECISIONS = TFLITE.precisions


class Precisions:
    """One network whose activations have the spread that BatchNorm gives, in each precision.

    Converting takes seconds, so all but float32 and int8 are made from the float32 file, as the exporter makes them.
    """

    def __init__(self, folder: Path) -> None:
        space = OfaMbv3Space(replace(SMALL, resolution=(32,), in_channels=3))
        genotype = space.extreme(largest=True)
        self.operators = space.operators_of(genotype)
        generator = torch.Generator().manual_seed(0)
        self.module = build_subnet(space, genotype, generator=generator).train()
        images = torch.randn(64, 3, 32, 32, generator=generator)
        for part in self.module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None
        with torch.no_grad():
            self.module(images)
            self.expected = self.module.eval()(images[:32]).numpy()
        self.images: NDArray[np.float32] = images.numpy()
        self.calibration = self.images[32:]
        self.request = ExportRequest(
            self.module, images[:1], calibration=self.calibration, metadata={"arch": '{"space": "small"}'}
        )
        self.files = {key: folder / f"{key}.tflite" for key in PRECISIONS}
        made_once(folder / "all", self._write)
        self.plain = self.files["fp32"].read_bytes()

    def _write(self) -> None:
        for key in ("fp32", "int8"):
            TFLITE.export(replace(self.request, precision=key), self.files[key])
        plain = self.files["fp32"].read_bytes()
        with quiet("quantising"):
            self.files["fp16"].write_bytes(float16(plain))
            self.files["int8_dynamic"].write_bytes(dynamic_integer(plain))
        (self.files["fp32"].parent / "all").touch()


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Precisions:
    return Precisions(common_folder(tmp_path_factory) / "precisions")


def in_integers(content: bytes, images: NDArray[np.float32], float_layers: tuple[str, ...] = ()) -> bytes:
    lowered = lower_activations(content)
    return full_integer(lowered, read_ranges(lowered, images), float_layers)


def delegated(path: Path) -> int:
    """Into how many parts XNNPACK takes the graph; what it leaves lies between them."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return sum(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())


def run(content: bytes, image: NDArray[np.float32]) -> NDArray[np.float32]:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
