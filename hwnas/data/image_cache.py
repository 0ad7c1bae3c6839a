"""Decoded images on disk, mapped into memory: each folder is decoded once, and all steps of all runs read it.

A file holds the pixels of one split at one size: `[N, 3, S, S]` bytes in the order of the list, then JSON that says
what they are, then the JSON's length, its CRC and a mark. Pages of a mapped file are the kernel's: what is read twice
is in memory as long as there is room, and costs no process any.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from hwnas.data.config import ImageFolderConfig
from hwnas.data.decode import DECODE_RULE
from hwnas.data.decode_all import StoredImages, decode_chunks, enlarged
from hwnas.data.image_files import ClassFolder
from hwnas.data.user_cache import images_folder
from hwnas.errors import StorageError
from hwnas.files import atomic_path
from hwnas.progress import Progress

__all__ = ["cache_key", "cached_images"]

_MIB = 1 << 20
_ENDING, _MARK = ".images", b"hwnasim1"
_FOOTER = struct.Struct("<QI8s")  # length and CRC of the JSON, mark
_PIECE = 16 * _MIB  # of pixels under one CRC
_SPARE = 256 * _MIB  # that stays free on the disk
_DAY_S = 86400
_log = logging.getLogger(__name__)


def cache_key(folders: Sequence[ClassFolder], config: ImageFolderConfig) -> str:
    """A digest of all that the decoded images depend on: each file's class, path below the class folder, size, time of
    modification and number in the file system; the size and the share shown; the rule and Pillow's version.
    """
    digest = hashlib.sha256(f"{DECODE_RULE} {PIL.__version__} {config.image_size} {config.crop_pct!r}\0".encode())
    for folder in folders:
        digest.update(f"{folder.name}\0{len(folder.images)}\0".encode())
        for image in folder.images:
            number = image.real & (1 << 64) - 1  # the device's part changes where a disk is mounted anew
            digest.update(b"%b\0%d\0%d\0%d\0" % (os.fsencode(image.below), image.size, image.modified_ns, number))
    return digest.hexdigest()[:40]


def cached_images(
    paths: NDArray[np.bytes_], key: str, keep: Sequence[str], config: ImageFolderConfig, progress: Progress
) -> StoredImages | None:
    """The images at `paths`, of this `key`, mapped from the cache; decoded into it first where they aren't there whole.

    A second process that wants the same waits for the first. Files of others, the longest unused first, make room
    within `config.cache_mib`; those of the keys `keep` stay. None, and a line in the log, where the cache's folder
    can't be written or the disk is full. Raises DataError for an image that can't be decoded, unless
    `config.skip_broken`.
    """
    folder = images_folder()
    path = folder / f"{key}{_ENDING}"
    shape = (len(paths), 3, config.image_size, config.image_size)
    found = _read(path, key, shape)
    if found is None or (found.broken and not config.skip_broken):  # decoding says which
        try:
            with _held(path, progress):
                found = _read(path, key, shape)  # by another process, meanwhile
                if found is None or (found.broken and not config.skip_broken):
                    _make_room(folder, keep, int(np.prod(shape)), config.cache_mib * _MIB)
                    _write(path, key, shape, paths, config, progress)
                    found = _read(path, key, shape)
        except (StorageError, OSError) as error:
            _log.warning("decoded images are not kept, so each step decodes them again (data.cache_mib): %s", error)
            return None
    with suppress(OSError):
        os.utime(path)  # by which the longest unused is known
    return found


def _read(path: Path, key: str, shape: tuple[int, ...]) -> StoredImages | None:
    """What the file holds; None where it isn't there, or isn't as it was written."""
    size = int(np.prod(shape))
    try:
        with path.open("rb") as file:
            file.seek(-_FOOTER.size, os.SEEK_END)
            end = file.tell()
            length, crc, mark = _FOOTER.unpack(file.read(_FOOTER.size))
            if mark != _MARK or end != size + length:
                return None
            file.seek(size)
            text = file.read(length)
        if zlib.crc32(text) != crc:
            return None
        told: dict[str, Any] = json.loads(text)
        if told["key"] != key or told["shape"] != list(shape):
            return None
        # Copied on write: torch wants arrays that may be written, and nobody writes.
        pixels = np.memmap(path, np.uint8, mode="c", shape=shape)
    except (OSError, ValueError, KeyError, struct.error):
        return None
    flat = pixels.reshape(-1).data
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        crcs = list(pool.map(lambda start: zlib.crc32(flat[start : start + _PIECE]), range(0, size, _PIECE)))
    if crcs != told["crcs"]:
        _log.warning("%s was damaged: its images are decoded again", path)
        return None
    broken = {int(row): str(reason) for row, reason in told["broken"].items()}
    return StoredImages(torch.from_numpy(pixels), broken, int(told["smaller"]), int(told["least"]))


def _write(
    path: Path,
    key: str,
    shape: tuple[int, ...],
    paths: NDArray[np.bytes_],
    config: ImageFolderConfig,
    progress: Progress,
) -> None:
    broken: dict[int, str] = {}
    sides: list[int] = []
    crcs: list[int] = []
    filled = _PIECE  # bytes under the last CRC
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for chunk in decode_chunks(paths, config, progress):
            left = chunk.images.reshape(-1).data
            file.write(left)
            while len(left):
                if filled == _PIECE:
                    crcs.append(0)
                    filled = 0
                now = left[: _PIECE - filled]
                crcs[-1] = zlib.crc32(now, crcs[-1])
                filled, left = filled + len(now), left[len(now) :]
            broken |= chunk.broken
            sides += chunk.sides
        smaller, least = enlarged(sides, config.image_size)
        told = {"key": key, "shape": shape, "crcs": crcs, "broken": broken, "smaller": smaller, "least": least}
        text = json.dumps(told).encode()
        file.write(text + _FOOTER.pack(len(text), zlib.crc32(text), _MARK))


@contextmanager
def _held(path: Path, progress: Progress) -> Iterator[None]:
    """The right to write `path`. A process that was killed holds nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))
    while True:
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            progress(0.0, "waiting for another process, which decodes the same images")
    try:
        yield
    finally:
        lock.release()


def _make_room(folder: Path, keep: Sequence[str], needed: int, limit: int) -> None:
    """Remove files until `needed` more bytes fit `limit`. Raises StorageError where the disk has no room for them."""
    now, others, total = time.time(), [], needed
    for path in folder.iterdir():
        with suppress(OSError):  # removed by another process meanwhile
            found = path.stat()
            if path.name.startswith("."):
                if now - found.st_mtime > _DAY_S:  # of a process that was killed
                    path.unlink()
            elif path.suffix == _ENDING:
                total += found.st_size
                if path.stem not in keep:
                    others.append((found.st_mtime, found.st_size, path))
    for _, size, path in sorted(others):
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)
        total -= size
    if (free := shutil.disk_usage(folder).free) < needed + _SPARE:
        raise StorageError(
            f"{folder}: {free / _MIB:.0f} MiB are free, expected {(needed + _SPARE) / _MIB:.0f}: free space, or set"
            " HWNAS_IMAGE_CACHE to another folder"
        )
