"""Random generators derived from (seed, purpose, step), so that a resumed run draws what an uninterrupted one does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = [
    "AUGMENTATION",
    "DROPOUT",
    "EVALUATION",
    "INITIALISATION",
    "MIXING",
    "ORDER",
    "SUBNETS",
    "dropout_drawn",
    "numpy_generator",
    "torch_generator",
]

INITIALISATION, ORDER, AUGMENTATION, SUBNETS, DROPOUT, EVALUATION, MIXING = range(7)


def numpy_generator(seed: int, purpose: int, step: int = 0) -> np.random.Generator:
    """Independent of the generators of other purposes and steps."""
    return np.random.default_rng([seed, purpose, step])


def torch_generator(seed: int, purpose: int, step: int = 0) -> torch.Generator:
    """The same for torch, on the CPU."""
    state = np.random.SeedSequence([seed, purpose, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


@contextmanager
def dropout_drawn(seed: int, place: int) -> Iterator[None]:
    """Dropout within is a function of these: it draws from torch's global generator, the only thing here that does."""
    with torch.random.fork_rng():
        torch.manual_seed(torch_generator(seed, DROPOUT, place).initial_seed())
        yield
