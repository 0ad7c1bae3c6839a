"""Image trees made for tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["COLOURS", "make_photos", "make_tree", "touch"]

COLOURS = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}


def make_tree(root: Path, splits: tuple[str, ...], per_class: int = 10) -> Path:
    """Plain images of three classes, JPEG and PNG, of several widths."""
    for split in splits:
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                image = Image.new("RGB", (20 + number, 16), colour)
                image.save(folder / (f"{number}.png" if number % 2 else f"{number}.JPEG"))
    return root


def make_photos(root: Path, per_class: int = 8, size: tuple[int, int] = (60, 45)) -> Path:
    """JPEGs, each of its own content: `train` and `val` of three classes, the test half as many."""
    rng = np.random.default_rng(0)
    for split, count in (("train", per_class), ("val", per_class // 2)):
        for channel, name in enumerate(("n01", "n02", "n03")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (6, 8, 3), dtype=np.uint8)
                pixels[..., channel] += 110
                image = Image.fromarray(pixels).resize((size[0] + number, size[1]), Image.Resampling.BICUBIC)
                image.save(folder / f"{number:03}.JPEG", quality=90)
    return root


def touch(root: Path, *files: str) -> Path:
    """Files that hold their own names, with the folders that they need."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(file))
    return root
