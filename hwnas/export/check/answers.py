"""What torch answers: what every file of a network is held against.

Shapes: N inputs, P of them compared output by output, K classes. An output is stacked, `[N, *shape]`, where `shape` is
what the network gives for one image, its own batch axis of 1 included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.errors import ExportError
from hwnas.export.check.examine import run_network
from hwnas.export.check.feed import Feed
from hwnas.export.check.predict import BATCH, predict
from hwnas.export.formats import Array, LogitsRunner, Runner
from hwnas.export.module.copies import copied
from hwnas.export.signature import Port, Signature
from hwnas.progress import Progress, no_progress

__all__ = ["Answers", "accuracy_of", "batch_size", "torch_answers"]

_COMPARED_BYTES = 256 * 2**20
_BATCH_BYTES = 64 * 2**20
_SAME = 1e-3


@dataclass(frozen=True)
class Answers:
    """`outputs`, each `[P, *shape]`, of the first inputs of `feed`; `logits` `[N, K]` of all, where there are any.

    `together`: whether the network answers several images at once as each by itself.
    """

    feed: Feed
    signature: Signature
    outputs: list[Array]
    logits: NDArray[np.float32] | None
    labels: NDArray[np.int64]
    together: bool = True

    @property
    def real(self) -> bool:
        """Whether the inputs are real images, and their labels mean something."""
        return self.feed.real

    @property
    def compared(self) -> int:
        """P."""
        return len(self.outputs[0])

    @property
    def accuracy(self) -> float | None:
        """Torch's top-1 accuracy on the images; None on noise, or without logits."""
        if self.logits is None or not self.real:
            return None
        return float((self.logits.argmax(1) == self.labels).mean())

    def accuracy_of(self, run: LogitsRunner, progress: Progress = no_progress) -> float | None:
        """The top-1 accuracy of what `run` answers to the same images; None where torch has none."""
        return None if self.accuracy is None else accuracy_of(run, self.feed, progress)

    def logits_of(self, run: Runner) -> LogitsRunner:
        """`run` for images alone, giving the logits alone. Raises TypeError without logits."""
        place = self.signature.logits_place
        if place is None:
            raise TypeError("a network without logits has no classes")
        return lambda images: np.asarray(run([images])[place][:, 0], dtype=np.float32)


@torch.no_grad()
def torch_answers(
    module: nn.Module, signature: Signature, feed: Feed, count: int, progress: Progress = no_progress
) -> Answers:
    """A copy of `module`, in eval mode on the CPU, on all of `feed` for accuracy, and on `count` for all outputs.

    Fewer than `count`, but four, where the outputs would fill the memory. A network that mixes the images of a batch,
    or has fixed their number, gets one at a time. Raises ExportError where there is no input, or where outputs are no
    numbers or differ from one call to the next; DataError where images don't fit the preprocessing.
    """
    network, place = copied(module), signature.logits_place
    count = min(count, max(4, _COMPARED_BYTES // _bytes(signature)), len(feed))
    whole = len(feed) if place is not None and feed.real else count
    together = _answers_together(network, feed, signature)
    kept: list[list[Array]] = [[] for _ in signature.outputs]
    logits, labels, seen = [], [], 0
    for inputs, right in feed.batches(batch_size(signature), whole):
        given = _stacked(network, inputs, together)
        for name, values in zip(signature.outputs, given, strict=True):
            _check_numbers(name, values, name.name == signature.logits)
        for outputs, values in zip(kept, given, strict=True):
            outputs.append(values[: max(0, count - seen)].numpy())
        if place is not None:
            logits.append(given[place][:, 0].float().numpy())
        labels.append(right.numpy())
        seen += len(right)
        progress(seen / whole, f"torch, {seen} of {whole} images")
    if not seen:
        raise ExportError("export: expected at least one image to compare files with torch on, got none")
    outputs = [np.concatenate(values) for values in kept]
    told = np.concatenate(logits) if logits else None
    return Answers(feed, signature, outputs, told, np.concatenate(labels), together)


def accuracy_of(run: LogitsRunner, feed: Feed, progress: Progress = no_progress) -> float:
    """Top-1 accuracy, in [0, 1], of what `run` answers to all of `feed`; see `predict`."""
    return predict(run, feed, progress).accuracy


def batch_size(signature: Signature) -> int:
    """How many images at once: fewer where the outputs are large."""
    return max(1, min(BATCH, _BATCH_BYTES // _bytes(signature)))


def _bytes(signature: Signature) -> int:
    """What one image's outputs take in memory."""
    return sum(8 * max(1, int(np.prod(port.shape))) for port in signature.outputs)


def _answers_together(network: nn.Module, feed: Feed, signature: Signature) -> bool:
    """Whether two images in one batch are answered as each by itself."""
    pair = feed.first(2)
    if not pair:
        return False
    single = run_network(network, [values[:1] for values in pair])
    again = run_network(network, [values[:1] for values in pair])
    for port, before, after in zip(signature.outputs, single, again, strict=True):
        if not _alike(before, after):
            raise ExportError(
                f"export: the network gives another {port.name} for the same input each time; expected one without"
                " chance or memory in eval mode, such as F.dropout(x, training=self.training)"
            )
    if len(pair[0]) < 2:
        pair = [torch.cat([values, values]) for values in pair]
    try:
        both = run_network(network, pair)
    except ExportError:
        return False
    return all(
        port.shape[:1] == (1,) and tuple(given.shape) == (2, *port.shape[1:]) and _alike(given[:1], alone)
        for port, given, alone in zip(signature.outputs, both, single, strict=True)
    )


def _alike(given: Tensor, expected: Tensor) -> bool:
    if given.shape != expected.shape:
        return False
    if not expected.is_floating_point():
        return float((given != expected).float().mean()) <= _SAME
    scale = max(1.0, float(expected.abs().nan_to_num(0, 0, 0).max())) if expected.numel() else 1.0
    return torch.allclose(given, expected, rtol=0, atol=_SAME * scale, equal_nan=True)


def _stacked(network: nn.Module, inputs: Sequence[Tensor], together: bool) -> list[Tensor]:
    if together:
        return [given[:, None] for given in run_network(network, inputs)]
    singles = [run_network(network, [values[i : i + 1] for values in inputs]) for i in range(len(inputs[0]))]
    for values in zip(*singles, strict=True):
        other = next((one for one in values if one.shape != values[0].shape), None)
        if other is not None:
            raise ExportError(
                f"export: the network gives outputs of another shape for each input, such as {list(values[0].shape)}"
                f" and {list(other.shape)}; expected fixed shapes: give all of them, and say apart which count"
            )
    return [torch.stack(values) for values in zip(*singles, strict=True)]


def _check_numbers(port: Port, values: Tensor, logits: bool) -> None:
    if values.is_floating_point() and not (torch.isfinite(values) if logits else ~torch.isnan(values)).all():
        raise ExportError(
            f"export: the network gives {'logits' if logits else port.name} that are no numbers; mend its weights, or"
            " train it again"
        )
