"""The network that becomes files, and the images that these are checked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from hwnas.data.image_set import LabelledImages
from hwnas.data.preprocess import Preprocessing
from hwnas.errors import ExportError
from hwnas.export.check.answers import Answers, torch_answers
from hwnas.export.check.examine import examined
from hwnas.export.check.feed import Feed, NoiseFeed, PixelFeed, noise_images
from hwnas.export.config import ExportConfig
from hwnas.export.signature import IMAGE, Port, Signature, given_inputs
from hwnas.progress import Progress

__all__ = ["Examples", "Subject"]


@dataclass(frozen=True)
class Examples:
    """The images that files are checked with. `held_out` None: there are none, and noise stands in.

    int8 reads ranges off `training` images, and accuracy is measured on `held_out` ones: no file is judged by the
    images that it was made with.
    """

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    training: LabelledImages | None
    held_out: LabelledImages | None

    @property
    def channels(self) -> int:
        return len(self.preprocessing.mean)

    def feed(self, ports: Sequence[Port], count: int, noise: bool = False, foreign: bool = False) -> Feed:
        """What networks that take `ports` are compared on: the held-out images; without any, `count` of noise.

        `foreign`: see `PixelFeed`.
        """
        size = ports[0].shape[2:]
        if noise or (self.held_out is None and size[0] != size[1]):
            return NoiseFeed(ports, count, None if noise else self.preprocessing)
        images = noise_images(count, self.channels, size[0]) if self.held_out is None else self.held_out
        return PixelFeed(images, size[0], self.preprocessing, self.held_out is not None, foreign)


@dataclass(frozen=True)
class Subject:
    """The network that becomes files: with BatchNorm calibrated, and what torch answers to the held-out images.

    `notes`: what is to be said of it.
    """

    module: nn.Module
    arch: dict[str, Any]
    space: dict[str, Any]
    answers: Answers
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()

    @property
    def signature(self) -> Signature:
        return self.answers.signature

    @property
    def resolution(self) -> int:
        """Of the image that goes in, which is square."""
        return self.signature.inputs[0].shape[-1]

    @classmethod
    def of(
        cls,
        module: nn.Module,
        resolution: int | tuple[int, int],
        arch: Mapping[str, Any],
        space: Mapping[str, Any],
        examples: Examples,
        config: ExportConfig,
        progress: Progress,
    ) -> Subject:
        """The network examined by torch, on an image of `resolution`, or height and width, or on `config.inputs`.

        Raises ExportError where it fails, or gives one number of logits and the data have another of classes.
        """
        sides = (resolution, resolution) if isinstance(resolution, int) else resolution
        given, count = given_inputs(config.inputs), config.parity_images
        image = Port(IMAGE, (1, examples.channels, *sides))

        def feed(ports: Sequence[Port]) -> Feed:
            return examples.feed(ports, count, given is not None, not space)

        network, signature, notes = examined(
            module, given, image, lambda ports: feed(ports).first(), len(examples.classes)
        )
        answers = torch_answers(network, signature, feed(signature.inputs), count, progress)
        classes = _classes(signature, examples.classes)
        return cls(network, dict(arch), dict(space), answers, classes, examples.preprocessing, tuple(notes))


def _classes(signature: Signature, known: Sequence[str]) -> tuple[str, ...]:
    place = signature.logits_place
    if place is None:
        return ()
    count = signature.outputs[place].shape[1]
    if known and len(known) != count:
        raise ExportError(
            f"export: the network gives {count} logits, the data have {len(known)} classes: give the data that it was"
            " trained on, or data=none with its data.image_size to have it checked on noise"
        )
    return tuple(known) or tuple(f"class {number}" for number in range(count))
