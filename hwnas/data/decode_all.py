"""All images of a list decoded once, by threads: Pillow lets go of the interpreter while it decodes and resizes.

Shapes: N images, S = `image_size`. Images are uint8.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.data.config import ImageFolderConfig
from hwnas.data.decode import decode_sized, reason_of
from hwnas.errors import DataError
from hwnas.progress import Progress, time_in_words

__all__ = ["Chunk", "StoredImages", "decode_chunks", "decode_to_memory"]

_ROWS, _BYTES = 64, 16 << 20  # of a chunk, at most
_PER_THREAD = 2  # chunks under way or waiting


class Chunk(NamedTuple):
    """Rows from `start` on: `images` `[n, 3, S, S]`, black where broken; why, by row; and the side of each one's shown
    square before it was resized, 0 where broken.
    """

    start: int
    images: NDArray[np.uint8]
    broken: dict[int, str]
    sides: tuple[int, ...]


@dataclass(frozen=True)
class StoredImages:
    """`pixels` `[N, 3, S, S]`, black where an image is `broken`: row to reason. `smaller` of them had to be enlarged,
    the smallest from `least` pixels a side.
    """

    pixels: Tensor
    broken: dict[int, str]
    smaller: int = 0
    least: int = 0


def decode_chunks(paths: NDArray[np.bytes_], config: ImageFolderConfig, progress: Progress) -> Iterator[Chunk]:
    """The images at `paths` in order, decoded by `config.workers` threads (at least one). Tells images a second and
    the time left. Raises DataError for the first that can't be decoded, unless `config.skip_broken`.
    """
    size, began = config.image_size, time.monotonic()
    step = max(1, min(_ROWS, _BYTES // (3 * size * size)))

    def decoded(start: int) -> Chunk:
        rows = range(start, min(start + step, len(paths)))
        images = np.zeros((len(rows), 3, size, size), dtype=np.uint8)
        broken: dict[int, str] = {}
        sides = [0] * len(rows)
        for place, row in enumerate(rows):
            path = os.fsdecode(bytes(paths[row]))
            try:
                images[place], sides[place] = decode_sized(path, size, config.crop_pct)
            except DataError as error:
                if not config.skip_broken:
                    raise
                broken[row] = reason_of(error.__cause__ or error)
        return Chunk(start, images, broken, tuple(sides))

    threads = max(1, config.worker_count)
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Chunk]] = deque()
    starts = iter(range(0, len(paths), step))
    try:
        while True:
            room = _PER_THREAD * threads - len(waiting)
            waiting.extend(pool.submit(decoded, start) for start in itertools.islice(starts, room))
            if not waiting:
                break
            chunk = waiting.popleft().result()
            yield chunk
            done = chunk.start + len(chunk.images)
            speed = done / max(time.monotonic() - began, 1e-6)
            left = time_in_words((len(paths) - done) / speed)
            progress(done / len(paths), f"decoded {done} of {len(paths)} images, {speed:.0f}/s, {left} left")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decode_to_memory(paths: NDArray[np.bytes_], config: ImageFolderConfig, progress: Progress) -> StoredImages:
    """All of them at once, whatever memory they take. Raises as `decode_chunks`."""
    pixels = np.empty((len(paths), 3, config.image_size, config.image_size), dtype=np.uint8)
    broken: dict[int, str] = {}
    sides: list[int] = []
    for chunk in decode_chunks(paths, config, progress):
        pixels[chunk.start : chunk.start + len(chunk.images)] = chunk.images
        broken |= chunk.broken
        sides += chunk.sides
    return StoredImages(torch.from_numpy(pixels), broken, *enlarged(sides, config.image_size))


def enlarged(sides: list[int], size: int) -> tuple[int, int]:
    """How many images of these sides had to be enlarged, and the smallest's side; 0 stands for no image."""
    small = [side for side in sides if 0 < side < size]
    return len(small), min(small, default=0)
