"""Labelled images as network inputs, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hwnas.data.image_set import LabelledImages
from hwnas.data.preprocess import Preprocessing, prepare

__all__ = ["network_inputs"]


def network_inputs(
    images: LabelledImages,
    resolution: int,
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Prepared images `[B, C, r, r]`, channels last, and labels `[B]`, all in order, on `device` (default: the CPU).

    One batch at a time is in memory, but for images that are kept there. Raises DataError where images don't fit the
    preprocessing or can't be decoded.
    """
    for stored, labels in images.batches(batch_size):
        if not len(labels):  # all of them broken, and passed over
            continue
        moved = stored if device is None else stored.to(device)
        prepared = prepare(moved, resolution, preprocessing).contiguous(memory_format=torch.channels_last)
        yield prepared, labels if device is None else labels.to(device)
