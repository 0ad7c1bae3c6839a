"""Trees decoded lazily: what memory would hold, in any number of workers; broken files stopped at or passed over."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.data.config import ImageFolderConfig
from hwnas.data.decode import RandomCrop
from hwnas.data.image_set import ImageSet, LabelledImages, slices
from hwnas.data.inputs import network_inputs
from hwnas.data.lazy import LazyImageSet
from hwnas.data.load import ImageData, load_data
from hwnas.errors import DataError
from hwnas.progress import no_progress
from tests.data.trees import make_photos

CROP = RandomCrop((0.2, 1.0), (0.75, 4 / 3))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))


def load(tree: Path, **changes: object) -> ImageData:
    settings = {"root": str(tree), "image_size": 24, "held_out": 6, "crop_pct": 0.875, "workers": 0, **changes}
    return load_data(ImageFolderConfig(**settings), seed=0, progress=no_progress)  # type: ignore[arg-type]


def streaming(tree: Path, **changes: object) -> ImageData:
    """Images so large for the limits that no part of the set fits: 6 × 3 × 320² bytes are 1.8 MiB."""
    return load(tree, image_size=320, memory_limit_mib=1, cache_mib=0, **changes)


def test_memory_is_taken_where_the_images_fit(tree: Path) -> None:
    assert isinstance(load(tree).train, ImageSet)
    assert isinstance(load(tree, in_memory=False).train, LazyImageSet)
    assert isinstance(streaming(tree).train, LazyImageSet)
    assert load(tree).summary()["in_memory"] is True
    assert streaming(tree).summary()["in_memory"] is False


@pytest.mark.parametrize("name", ["train", "held_out", "test"])
def test_evaluation_images_are_those_in_memory(tree: Path, name: str) -> None:
    memory, lazy = load(tree).split(name), load(tree, in_memory=False).split(name)
    indices = torch.tensor([3, 0, 5])
    for own, other in zip(memory.batch(indices), lazy.batch(indices), strict=True):
        assert own.equal(other)
    pairs = zip(memory.batches(4), lazy.batches(4), strict=True)
    assert all(a.equal(b) and m.equal(n) for (a, m), (b, n) in pairs)
    assert memory.shape == lazy.shape == (3, 24, 24)
    assert len(lazy.first(4)) == 4
    assert lazy.first(4).in_memory().images.equal(memory.in_memory().images[:4])


@pytest.mark.parametrize("workers", [1, 2])
def test_streamed_batches_are_the_same_for_any_number_of_workers(tree: Path, workers: int) -> None:
    alone, many = streaming(tree).test, streaming(tree, workers=workers).test
    assert not many.fits_memory
    one, other = list(alone.batches(5)), list(many.batches(5))
    assert [len(labels) for _, labels in one] == [5, 5, 2]
    assert all(a.equal(b) and m.equal(n) for (a, m), (b, n) in zip(one, other, strict=True))
    with pytest.raises(DataError, match=r"need 4 MiB of memory, more than data\.memory_limit_mib=1"):
        many.in_memory()


def test_statistics_are_given_or_of_a_sample(tree: Path) -> None:
    given = load(tree, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert given.mean == (0.485, 0.456, 0.406)
    assert given.preprocessing.std == (0.229, 0.224, 0.225)
    whole, all_of_them = load(tree), load(tree, in_memory=False)
    assert all_of_them.mean == whole.mean
    few, again = (load(tree, in_memory=False, statistics_images=6) for _ in range(2))
    assert few.mean == again.mean != whole.mean
    assert few.mean == pytest.approx(whole.mean, abs=0.2)  # a third of the images, of three colours


def test_the_manifest_says_what_share_is_shown(tree: Path) -> None:
    described = load(tree).preprocessing.to_dict()
    assert described["crop_pct"] == 0.875
    assert described["image_size"] == 24
    assert "crop_pct times the shorter side" in described["steps"]


def test_crops_depend_on_the_seed_of_the_image_alone(tree: Path) -> None:
    part = load(tree, in_memory=False).train
    indices, seeds = torch.tensor([7, 2, 9]), [11, 12, 13]
    images, labels = part.crops(indices, seeds, CROP, 16)
    assert images.shape == (3, 3, 16, 16)
    assert labels.equal(part.labels[indices])
    later, _ = part.crops(indices[1:], seeds[1:], CROP, 16)
    assert later.equal(images[1:])
    other, _ = part.crops(indices, [11, 12, 14], CROP, 16)
    assert other[:2].equal(images[:2])
    assert not other[2].equal(images[2])


def test_crops_of_images_in_memory_are_cut_from_what_is_stored() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(64, 1)
    stored = ImageSet(torch.stack([ramp, ramp.T, ramp])[None].repeat(4, 1, 1, 1), torch.arange(4))
    images, labels = stored.crops(torch.tensor([2, 1]), [5, 6], CROP, 16)
    assert labels.tolist() == [2, 1]
    for image, seed in zip(images, (5, 6), strict=True):
        left, top, right, bottom = CROP.box(64, 64, np.random.default_rng(seed))
        assert float(image[0].float().mean()) == pytest.approx((left + right - 1) / 2, abs=1)
        assert float(image[1].float().mean()) == pytest.approx((top + bottom - 1) / 2, abs=1)


@pytest.fixture
def spoilt(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A tree with a text for an image and a cut JPEG in training, and a cut one in the test set."""
    root = make_photos(tmp_path)
    broken = [root / "train/n02/003.JPEG", root / "train/n03/000.JPEG", root / "val/n01/001.JPEG"]
    broken[0].write_text("no image")
    for path in broken[1:]:
        path.write_bytes(path.read_bytes()[:-200])
    return root, broken


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_by_name(spoilt: tuple[Path, list[Path]], in_memory: bool, workers: int) -> None:
    root, broken = spoilt

    def everything() -> None:
        data = load(root, in_memory=in_memory, workers=workers, memory_limit_mib=1, image_size=90)
        list(data.test.batches(4))

    with pytest.raises(DataError, match=r"cannot be decoded .*set data\.skip_broken=true") as caught:
        everything()
    assert any(str(path) in str(caught.value) for path in broken)
    assert "\n" not in str(caught.value)


def labels_of(part: LabelledImages, size: int) -> list[int]:
    return [int(label) for _, labels in part.batches(size) for label in labels]


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_passed_over_and_named(
    spoilt: tuple[Path, list[Path]], workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    root, broken = spoilt
    with caplog.at_level(logging.WARNING):
        data = streaming(root, skip_broken=True, workers=workers)
        assert sorted(labels_of(data.test, 4)) == [0] * 3 + [1] * 4 + [2] * 4
        assert len(labels_of(data.train, 4)) + len(labels_of(data.held_out, 2)) == 22
    named = [record.getMessage() for record in caplog.records]
    assert sorted(str(path) in " ".join(named) for path in broken) == [True] * 3
    assert len(named) == 3
    memory = load(root, skip_broken=True)
    assert [len(memory.train) + len(memory.held_out), len(memory.test)] == [22, 11]


def test_a_training_batch_stays_whole(spoilt: tuple[Path, list[Path]]) -> None:
    root, broken = spoilt
    part = streaming(root, skip_broken=True).train
    assert isinstance(part, LazyImageSet)
    names = [bytes(path).decode() for path in part.paths]
    row = next(names.index(str(path)) for path in broken if str(path) in names)
    images, labels = part.batch(torch.tensor([row, 0]))
    stand_in, _ = part.batch(torch.tensor([row + 1, 0]))
    assert images.equal(stand_in)
    assert labels.tolist() == part.labels[[row + 1, 0]].tolist()
    assert part.crops(torch.tensor([row]), [3], CROP, 8)[0].equal(part.crops(torch.tensor([row + 1]), [3], CROP, 8)[0])
    assert str(names[row]) in part.passed_over


def test_nothing_but_broken_images_is_an_error(tmp_path: Path) -> None:
    root = make_photos(tmp_path)
    for path in root.rglob("*.JPEG"):
        path.write_text("no image")
    with pytest.raises(DataError, match="no image of a part can be decoded"):
        load(root, skip_broken=True)
    lazy = load(root, skip_broken=True, in_memory=False, mean=(0.5,) * 3, std=(0.2,) * 3)
    with pytest.raises(DataError, match="images in a row cannot be decoded, from"):
        lazy.train.batch(torch.tensor([0]))
    with pytest.raises(DataError, match="at least one image that can be decoded"):
        load(root, skip_broken=True, in_memory=False)


@pytest.mark.parametrize(
    ("count", "size", "lengths"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (0, 4, [])]
)
def test_no_last_batch_of_one(count: int, size: int, lengths: list[int]) -> None:
    parts = slices(count, size)
    assert [part.stop - part.start for part in parts] == lengths
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(count))


def test_network_inputs_of_both_kinds_are_equal(tree: Path) -> None:
    memory, lazy = load(tree), load(tree, in_memory=False)
    pairs = zip(
        network_inputs(memory.test, 20, memory.preprocessing, 5),
        network_inputs(lazy.test, 20, memory.preprocessing, 5),
        strict=True,
    )
    for (a, m), (b, n) in pairs:
        assert a.equal(b)
        assert m.equal(n)
        assert a.shape[1:] == (3, 20, 20)
        assert a.is_contiguous(memory_format=torch.channels_last)
