"""Batches are a function of seed and step: resumed, in any number of workers and processes, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from hwnas.data.config import AugmentConfig, ImageFolderConfig
from hwnas.data.image_set import ImageSet
from hwnas.data.load import ImageData, load_data
from hwnas.errors import ConfigError, DataError
from hwnas.progress import no_progress
from hwnas.training.batches import Batches
from hwnas.training.processes import Processes
from tests.data.trees import make_photos

PADDED = AugmentConfig(crop_padding=2)
CROPPED = AugmentConfig(crop_padding=0, crop_scale=(0.2, 1.0), brightness=0.1, saturation=0.5, erase_probability=0.3)
STRONG = AugmentConfig.preset("strong")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))


def load(tree: Path, workers: int = 0, augment: AugmentConfig = CROPPED, **changes: object) -> ImageData:
    config = ImageFolderConfig(root=str(tree), image_size=32, held_out=6, workers=workers, augment=augment)
    return load_data(replace(config, **{"in_memory": False, **changes}), seed=0, progress=no_progress)  # type: ignore[arg-type]


def run(batches: Batches, steps: range) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What a run takes, a resolution a step."""
    taken = [batches(step, resolution(step)) for step in steps]
    batches.close()
    return taken


def one_of(count: int, rank: int) -> Processes:
    """One of so many processes, as far as batches are concerned."""
    processes = Processes()
    processes.rank, processes.count = rank, count
    return processes


def resolution(step: int) -> int:
    return (32, 24, 16)[step % 3]


def assert_equal(one: list[tuple[torch.Tensor, torch.Tensor]], other: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    assert len(one) == len(other)
    assert all(a.equal(b) and m.equal(n) for (a, m), (b, n) in zip(one, other, strict=True))


@pytest.mark.parametrize("augment", [PADDED, CROPPED, STRONG], ids=["padded", "cropped", "strong"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_the_same_images(tree: Path, workers: int, augment: AugmentConfig) -> None:
    """18 images in batches of 4: four steps an epoch, and a resumption in the middle of the second."""
    whole = run(Batches(load(tree, 0, augment), 4, seed=1, processes=Processes()), range(10))
    resumed = run(Batches(load(tree, workers, augment), 4, seed=1, processes=Processes()), range(6, 10))
    assert_equal(whole[6:], resumed)
    assert not whole[0][0].equal(run(Batches(load(tree, 0, augment), 4, seed=2, processes=Processes()), range(1))[0][0])


@pytest.mark.parametrize("augment", [PADDED, CROPPED, STRONG], ids=["padded", "cropped", "strong"])
def test_the_parts_of_two_processes_are_the_batch_of_one(tree: Path, augment: AugmentConfig) -> None:
    data = load(tree, 0, augment)
    whole = run(Batches(data, 6, seed=0, processes=Processes()), range(4))
    halves = [run(Batches(data, 6, seed=0, processes=one_of(2, rank)), range(4)) for rank in (0, 1)]
    joined = [tuple(torch.cat(parts) for parts in zip(*pair, strict=True)) for pair in zip(*halves, strict=True)]
    assert_equal(whole, joined)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [6, 12, 30, 42, 90])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_epoch_takes_each_image_once_over_all_processes(count: int, batch: int) -> None:
    images = torch.arange(90, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    part = ImageSet(images, torch.arange(90) % 3)
    none = AugmentConfig(flip=False, crop_padding=0)
    data = ImageData("numbers", part, part, part, ("a", "b", "c"), (0.0,), (1.0,), none)
    shares = [Batches(data, batch, 0, one_of(count, rank)) for rank in range(count)]
    steps = shares[0].steps_per_epoch
    epochs = []
    for epoch in range(3):
        taken = [
            [
                round(255 * float(image.mean()))
                for step in range(epoch * steps, (epoch + 1) * steps)
                for image in share(step, 8)[0]
            ]
            for share in shares
        ]
        assert {len(numbers) for numbers in taken} == {steps * batch // count}
        numbers = [number for one in taken for number in one]
        assert len(numbers) == len(set(numbers)) == 90 // batch * batch  # what fills no batch waits
        epochs.append(numbers)
    assert epochs[0] != epochs[1]
    if 90 % batch:  # for another epoch, which leaves out others
        assert set(range(90)) > set(epochs[0]) != set(epochs[1])


def test_mixed_labels_are_shares_of_the_batch_s_classes(tree: Path) -> None:
    data = load(tree, 0, STRONG)
    (images, shares), *_ = run(Batches(data, 6, seed=0, processes=Processes()), range(1))
    (_, labels), *_ = run(Batches(load(tree), 6, seed=0, processes=Processes()), range(1))
    assert images.dtype == shares.dtype == torch.float32
    assert shares.shape == (6, len(data.classes))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(6))
    for place, share in enumerate(shares):
        assert set(share.nonzero().flatten().tolist()) <= {int(labels[place]), int(labels[place ^ 1])}


def test_crops_in_the_size_that_the_network_takes(tree: Path) -> None:
    data = load(tree)
    known = run(Batches(data, 6, seed=0, processes=Processes(), resolution_at=resolution), range(3))
    guessed = run(Batches(data, 6, seed=0, processes=Processes()), range(3))
    assert [images.shape[-1] for images, _ in known] == [32, 24, 16]
    assert known[0][0].equal(guessed[0][0])  # the size of the data set
    assert all(m.equal(n) for (_, m), (_, n) in zip(known, guessed, strict=True))
    assert [images.shape for images, _ in known] == [images.shape for images, _ in guessed]
    assert not known[2][0].equal(guessed[2][0])
    assert_equal(
        known, run(Batches(load(tree, 2), 6, seed=0, processes=Processes(), resolution_at=resolution), range(3))
    )


@pytest.mark.parametrize("augment", [PADDED, CROPPED], ids=["padded", "cropped"])
@pytest.mark.parametrize("cache_mib", [0, 64])
def test_batches_of_stored_photographs_are_made_ahead_and_the_same(
    tree: Path, augment: AugmentConfig, cache_mib: int
) -> None:
    taken = {}
    for workers in (0, 1, 2):
        data = load(tree, workers, augment, in_memory=None, image_size=64, cache_mib=cache_mib)
        assert isinstance(data.train, ImageSet)
        assert data.train.workers == workers
        batches, others = Batches(data, 5, seed=0, processes=Processes()), set(psutil.Process().children())
        first = batches(0, 32)
        assert len(set(psutil.Process().children()) - others) == workers
        taken[workers] = [first, *run(batches, range(1, 7))]
    assert_equal(taken[0], taken[1])
    assert_equal(taken[0], taken[2])
    assert load(tree, 2, augment, in_memory=None).train.workers is None  # 32 pixels


def test_padded_images_are_those_in_memory(tree: Path) -> None:
    memory, lazy = load(tree, 0, PADDED, in_memory=True), load(tree, 0, PADDED)
    assert memory.mean == lazy.mean
    assert_equal(
        run(Batches(memory, 5, seed=0, processes=Processes()), range(5)),
        run(Batches(lazy, 5, seed=0, processes=Processes()), range(5)),
    )


def test_an_epoch_shows_each_image_once(tree: Path) -> None:
    plain = load(tree, 0, AugmentConfig(flip=False, crop_padding=0))
    batches = Batches(plain, 9, seed=0, processes=Processes())
    shown = torch.cat([batches(step, 32)[0] for step in range(2)])
    assert len({image.numpy().tobytes() for image in shown}) == 18


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_training_by_name_or_is_replaced(tmp_path: Path, workers: int) -> None:
    root = make_photos(tmp_path)
    clean = run(Batches(load(root, workers, held_out=3), 7, seed=0, processes=Processes()), range(3))
    path = root / "train" / "n02" / "004.JPEG"
    path.write_bytes(path.read_bytes()[:-300])
    statistics: dict[str, Any] = {"held_out": 3, "mean": (0.5,) * 3, "std": (0.2,) * 3}
    stopped = Batches(load(root, workers, **statistics), 7, seed=0, processes=Processes())
    with pytest.raises(DataError, match=r"n02/004\.JPEG cannot be decoded"):
        run(stopped, range(3))
    stopped.close()
    data = load(root, workers, **statistics, skip_broken=True)
    replaced = run(Batches(data, 7, seed=0, processes=Processes()), range(3))
    assert [images.shape for images, _ in replaced] == [images.shape for images, _ in clean]
    assert list(data.train.passed_over) == [str(path)]
    assert_equal(
        replaced,
        run(Batches(load(root, 0, **statistics, skip_broken=True), 7, seed=0, processes=Processes()), range(3)),
    )


def test_a_batch_size_that_does_not_divide_is_refused(data: ImageData) -> None:
    with pytest.raises(ConfigError, match="at most the 90 training images, got 91"):
        Batches(data, 91, seed=0, processes=Processes())
