"""Image files for tests, and what training and the bundles' example both make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hwnas.data.decode import decode
from hwnas.data.preprocess import Preprocessing
from hwnas.export.bundle.example.preprocess import decode as example_decode
from hwnas.export.bundle.golden import preprocessing_steps
from hwnas.export.formats import model_format

__all__ = ["SIDE", "Pixels", "both", "photo", "steps_of"]

Pixels = NDArray[np.uint8]
SIDE = 32


def photo() -> Pixels:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def both(path: Path, size: int = SIDE) -> Pixels:
    """As training decodes it, once it is sure that a bundle's example does the same."""
    found = decode(path, size)
    steps = {each["step"]: each for each in steps_of(size)}
    shown = example_decode(path, steps["decode"], steps["crop"], size)
    np.testing.assert_array_equal(shown.transpose(2, 0, 1), found)
    return found


def steps_of(size: int) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = preprocessing_steps(
        Preprocessing((0.5,) * 3, (0.2,) * 3, size), size, model_format("onnx")
    )["steps"]
    return steps
