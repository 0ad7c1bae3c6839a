"""What a file, or whatever else runs, puts images into. N images, K classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.data.by_class import RightByClass
from hwnas.errors import ExportError
from hwnas.export.check.feed import Feed
from hwnas.export.formats import LogitsRunner
from hwnas.progress import Progress, no_progress

__all__ = ["BATCH", "Predictions", "predict"]

BATCH = 256


@dataclass(frozen=True)
class Predictions:
    """Of each image `[N]`: its class in `labels`, the one that it is put into, and the `probability` of that one, by
    softmax.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        """The share that is put into its class."""
        return float((self.predicted == self.labels).mean())

    @property
    def balanced_accuracy(self) -> float:
        """The mean of that share over the classes that have images."""
        predicted, labels = torch.from_numpy(self.predicted), torch.from_numpy(self.labels)
        return RightByClass.count(predicted, labels, 1).balanced


def predict(run: LogitsRunner, feed: Feed, progress: Progress = no_progress) -> Predictions:
    """What `run` answers to all of `feed`. Ties go to the lower class. Raises ExportError for no images."""
    labels, predicted, probability = [], [], []
    right = seen = 0
    for (inputs,), expected in feed.batches(BATCH):
        logits = run(inputs.numpy()).astype(np.float64)
        chosen = logits.argmax(1)
        with np.errstate(invalid="ignore"):  # an infinite logit, less itself
            probability.append(1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1))
        predicted.append(chosen)
        labels.append(expected.numpy())
        right, seen = right + int((chosen == labels[-1]).sum()), seen + len(chosen)
        progress(seen / len(feed), f"accuracy {right / seen:.3f}")
    if not seen:
        raise ExportError("expected images to measure accuracy on, got none")
    return Predictions(*map(np.concatenate, (labels, predicted, probability)))
