"""Decoded images on disk: the same as decoded anew, decoded once, whole or made again, within a limit."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.data import decode_all, image_cache
from hwnas.data.config import ImageFolderConfig
from hwnas.data.decode import RandomCrop, decode_sized
from hwnas.data.image_set import ImageSet
from hwnas.data.lazy import LazyImageSet
from hwnas.data.load import ImageData, load_data
from hwnas.errors import DataError
from hwnas.progress import no_progress
from tests.data.trees import make_photos
from tests.running import Forked

PARTS = ("train", "held_out", "test")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_IMAGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded."""
    names: list[str] = []
    real = decode_sized

    def noted(path: str, size: int, crop_pct: float) -> tuple[np.ndarray, int]:
        names.append(path)
        return real(path, size, crop_pct)

    monkeypatch.setattr(decode_all, "decode_sized", noted)
    return names


def load(tree: Path, seed: int = 0, **changes: object) -> ImageData:
    settings = {"root": str(tree), "image_size": 24, "held_out": 6, "crop_pct": 0.875, "workers": 2, **changes}
    return load_data(ImageFolderConfig(**settings), seed=seed, progress=no_progress)  # type: ignore[arg-type]


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.images"))


def assert_same(one: ImageData, other: ImageData) -> None:
    for name in PARTS:
        for (a, m), (b, n) in zip(one.split(name).batches(5), other.split(name).batches(5), strict=True):
            assert a.equal(b)
            assert m.equal(n)
    assert (one.mean, one.std) == (other.mean, other.std)


def test_images_are_decoded_once_and_are_the_same(tree: Path, cache: Path, decoded: list[str]) -> None:
    first = load(tree)
    assert len(decoded) == 36
    second = load(tree)
    assert len(decoded) == 36
    assert len(files(cache)) == 2  # train and test
    plain = load(tree, cache_mib=0)
    assert len(decoded) == 72
    assert_same(first, plain)
    assert_same(second, plain)
    assert_same(load(tree, seed=3), load(tree, seed=3, cache_mib=0))
    indices, seeds, crop = torch.tensor([7, 2, 9]), [11, 12, 13], RandomCrop((0.2, 1.0), (0.75, 4 / 3))
    assert second.train.crops(indices, seeds, crop, 16)[0].equal(plain.train.crops(indices, seeds, crop, 16)[0])
    some = second.train.subset(np.array([4, 1])).first(1)
    assert some.in_memory().images.equal(plain.train.batch(torch.tensor([4]))[0])


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("cache_mib", [0, 100])
def test_many_chunks_hold_every_image(
    tree: Path, cache_mib: int, workers: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(tree, cache_mib=0)
    monkeypatch.setattr(decode_all, "_ROWS", 1)
    monkeypatch.setattr(image_cache, "_PIECE", 1000)  # bytes under one CRC
    for _ in "ab":
        assert_same(load(tree, cache_mib=cache_mib, workers=workers), whole)
    assert len(files(cache)) == (2 if cache_mib else 0)


def test_sets_that_memory_does_not_hold_are_mapped(tree: Path, decoded: list[str]) -> None:
    mapped = load(tree, image_size=320, memory_limit_mib=1, statistics_images=6)
    lazy = load(tree, image_size=320, memory_limit_mib=1, cache_mib=0, statistics_images=6)
    assert isinstance(mapped.train, ImageSet)
    assert isinstance(lazy.train, LazyImageSet)
    assert_same(mapped, lazy)
    assert isinstance(load(tree, in_memory=False).train, LazyImageSet)
    assert isinstance(load(tree, image_size=320, memory_limit_mib=1, cache_mib=10).train, LazyImageSet)  # 11 are needed


@pytest.mark.parametrize("change", [{"image_size": 25}, {"crop_pct": 0.9}])
def test_another_size_or_share_is_another_file(tree: Path, cache: Path, change: dict[str, Any]) -> None:
    load(tree)
    assert_same(load(tree, **change), load(tree, cache_mib=0, **change))
    assert len(files(cache)) == 4


def test_a_replaced_image_is_seen(tree: Path, tmp_path: Path, decoded: list[str]) -> None:
    root = Path(shutil.copytree(tree, tmp_path / "own"))
    load(root)
    path = root / "val" / "n01" / "000.JPEG"
    stat = path.stat()
    Image.new("RGB", (60, 45), (9, 9, 9)).save(path)
    with path.open("ab") as file:
        file.write(bytes(stat.st_size - path.stat().st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    decoded.clear()
    assert int((load(root).test.in_memory().images == 9).all(dim=(1, 2, 3)).sum()) == 1
    assert len(decoded) == 12  # the test images alone


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)


def flip_what_is_told(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-60] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    one, other = path.parent.glob("*.images")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


@pytest.mark.parametrize("spoil", [cut, empty, flip, flip_what_is_told, swap])
def test_a_broken_file_is_made_anew(tree: Path, cache: Path, spoil: Callable[[Path], None], decoded: list[str]) -> None:
    plain = load(tree, cache_mib=0)
    load(tree)
    spoil(files(cache)[0])
    decoded.clear()
    assert_same(load(tree), plain)
    assert len(decoded) in (12, 24, 36)
    decoded.clear()
    assert_same(load(tree), plain)
    assert decoded == []


def test_the_longest_unused_make_room(tree: Path, cache: Path, decoded: list[str]) -> None:
    """A set at 320 pixels takes 10.6 MiB."""
    large: dict[str, Any] = {"memory_limit_mib": 1, "mean": (0.5,) * 3, "std": (0.2,) * 3, "cache_mib": 23}
    for number, size in enumerate((320, 319)):
        load(tree, image_size=size, **large)
        for path in files(cache):
            os.utime(path, ns=(number + 1, min(path.stat().st_mtime_ns, (number + 1) * 10**9)))
    load(tree, image_size=320, **large)  # used again
    (cache / ".old.images").write_bytes(b"of a process that was killed")
    os.utime(cache / ".old.images", (1, 1))
    load(tree, image_size=318, **large)
    assert sum(path.stat().st_size for path in files(cache)) < 23 << 20
    assert not (cache / ".old.images").exists()
    decoded.clear()
    load(tree, image_size=320, **large)
    assert decoded == []
    load(tree, image_size=319, **large)
    assert len(decoded) == 36


def test_a_cache_that_cannot_be_written_is_done_without(
    tree: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file in its place")
    with caplog.at_level(logging.WARNING):
        data = load(tree)
    assert_same(data, load(tree, cache_mib=0))
    assert "decoded images are not kept" in caplog.text


def test_a_full_disk_is_done_without(tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    assert_same(load(tree), load(tree, cache_mib=0))
    assert files(cache) == []


def test_broken_images_are_remembered_and_told_again(
    tree: Path, tmp_path: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(tree, tmp_path / "own"))
    path = root / "train" / "n02" / "003.JPEG"
    path.write_text("no image")
    told = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            data = load(root, skip_broken=True)
        told.append([record.getMessage() for record in caplog.records])
        assert len(data.train) + len(data.held_out) == 23
    assert len(decoded) == 36
    assert told[0] == told[1]
    assert len(told[0]) == 1
    assert f"image {path} cannot be decoded (" in told[0][0]
    with pytest.raises(DataError, match=r"n02/003\.JPEG cannot be decoded .*data\.skip_broken=true"):
        load(root)


SLOWLY = """
import sys, time
from hwnas.data import decode_all
from hwnas.data.config import ImageFolderConfig
from hwnas.data.load import load_data
real, count = decode_all.decode_sized, [0]
def slow(*arguments):
    time.sleep(0.02)
    count[0] += 1
    return real(*arguments)
decode_all.decode_sized = slow
config = ImageFolderConfig(root=sys.argv[1], image_size=24, held_out=6, crop_pct=0.875, workers=2)
data = load_data(config, 0, lambda share, status: None)
print(count[0], data.train.in_memory().images.long().sum().item())
"""


def test_of_two_processes_one_decodes(tree: Path, cache: Path) -> None:
    commands = [
        subprocess.Popen([sys.executable, "-c", SLOWLY, str(tree)], stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    said = [command.communicate(timeout=120)[0].split() for command in commands]
    total = str(int(load(tree, cache_mib=0).train.in_memory().images.long().sum()))
    assert [sums for _, sums in said] == [total, total]
    assert sum(int(count) for count, _ in said) == 36


def test_a_killed_process_leaves_nothing_that_is_read(tree: Path, cache: Path, decoded: list[str]) -> None:
    slow = SLOWLY.replace("0.02", "0.5")
    with Forked(slow, [tree]) as process:
        deadline = time.monotonic() + 60
        while not list(cache.glob(".*.images")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.finish()
    assert files(cache) == [] or all(path.name.startswith(".") for path in files(cache))
    load(tree)
    assert len(decoded) == 36


def test_progress_tells_speed_and_time_left(tree: Path) -> None:
    said: list[tuple[float, str]] = []
    load_data(
        ImageFolderConfig(root=str(tree), image_size=24, workers=2),
        0,
        lambda share, status: said.append((share, status)),
    )
    shares = [share for share, _ in said]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any("images, " in status and "/s, " in status and status.endswith("left") for _, status in said)


def test_large_and_small_images_of_all_sizes(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    sizes = [(8, 8), (8, 300), (300, 8), (23, 24), (24, 24), (400, 300)]
    for name in ("a", "b"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number, size in enumerate(sizes):
            Image.new("RGB", size, (number * 40, 0, 0)).save(tmp_path / "own" / name / f"{number}.png")
    Image.new("L", (10000, 9500), 200).save(tmp_path / "own" / "a" / "huge.png", compress_level=1)
    data = load(tmp_path / "own", held_out=None, crop_pct=1.0)
    assert data.notes == (
        "8 of 13 images are smaller than data.image_size=24 and are enlarged, the smallest from 8 pixels",
    )
    assert load(tmp_path / "own", held_out=None, crop_pct=1.0).notes == data.notes
    assert not [each for each in recwarn if "bomb" in str(each.message).lower()]
    images = torch.cat([data.split(name).in_memory().images for name in PARTS])
    assert int((images[:, 1] == 200).all(dim=(1, 2)).sum()) == 1


def test_a_true_bomb_is_one_line(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / "own" / name / f"{number}.png")
    Image.new("1", (20000, 20000)).save(tmp_path / "own" / "a" / "bomb.png")
    with pytest.raises(
        DataError, match=r"bomb\.png cannot be decoded \(Image size \(400000000 pixels\) exceeds"
    ) as caught:
        load(tmp_path / "own", held_out=None)
    assert "\n" not in str(caught.value)
    assert "bomb" in str(caught.value)
