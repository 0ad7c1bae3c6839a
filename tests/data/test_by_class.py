"""Right answers counted by class, and where each image that is read is from."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.data.by_class import RightByClass
from hwnas.data.config import DigitsConfig, ImageFolderConfig
from hwnas.data.load import load_data
from hwnas.progress import no_progress
from tests.data.trees import make_tree


def test_each_class_that_has_images_counts_as_much() -> None:
    labels = torch.tensor([0] * 8 + [2] * 2)
    predicted = torch.tensor([0] * 8 + [0, 2])
    found = RightByClass.count(predicted, labels, 4)
    assert (found.right.tolist(), found.images.tolist()) == ([8, 0, 1, 0], [8, 0, 2, 0])
    assert found.accuracy == 0.9
    assert found.balanced == 0.75
    twice = found + RightByClass.count(labels, labels, 4)
    assert (twice.accuracy, twice.balanced) == (0.95, 0.875)
    nothing = RightByClass.count(labels[:0], labels[:0], 3)
    assert math.isnan(nothing.accuracy)
    assert math.isnan(nothing.balanced)


def test_arrays_are_numbered_as_they_were_read() -> None:
    data = load_data(DigitsConfig(held_out=200), 0, no_progress)
    parts = [data.split(name) for name in ("train", "held_out")]
    assert sorted(np.concatenate([part.origins for part in parts]).tolist()) == list(range(1438))
    assert sorted(data.test.origins.tolist()) == list(range(359))
    assert data.test.first(5).origins.tolist() == data.test.origins[:5].tolist()
    again = load_data(DigitsConfig(held_out=100), 1, no_progress)
    order = np.argsort(again.test.origins)
    assert torch.equal(again.test.labels[order], data.test.labels[np.argsort(data.test.origins)])
    assert {name: sum(counts) for name, counts in data.images_by_class().items()} == data.summary()["images"]


@pytest.mark.parametrize("in_memory", [True, False])
def test_files_are_named_by_their_paths_less_those_passed_over(tmp_path: Path, in_memory: bool) -> None:
    root = make_tree(tmp_path, ("train", "test"), per_class=6)
    broken = root / "test" / "green" / "2.JPEG"
    broken.write_bytes(b"no image")
    config = ImageFolderConfig(
        root=str(root), image_size=8, held_out=6, in_memory=in_memory, memory_limit_mib=1, workers=0, skip_broken=True,
        mean=(0.5,) * 3, std=(0.2,) * 3,
    )  # fmt: skip
    test = load_data(config, 0, no_progress).test
    labels = [label for _, batch in test.batches(4) for label in batch.tolist()]
    paths = [Path(os.fsdecode(bytes(path))) for path in test.origins]
    assert [path.parent.name for path in paths] == [["blue", "green", "red"][label] for label in labels]
    assert len({*paths}) == 17
    assert broken not in paths
    assert all(path.is_file() for path in paths)
