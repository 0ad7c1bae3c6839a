"""The accuracy network that was published with once-for-all (Cai et al., ICLR 2020), read from its weights.

Shapes: N architectures, G genes, F features.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwnas.accuracy.encoding import Condition, gene_encoding
from hwnas.accuracy.network import GeneNetwork, Layer
from hwnas.accuracy.predictor import AccuracyEstimate
from hwnas.errors import CheckpointError
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["PublishedPredictor"]

_BLOCKS, _STAGES = 20, 5
_KERNELS, _EXPANDS, _DEPTHS, _RESOLUTIONS = (3, 5, 7), (3, 4, 6), (2, 3, 4), range(128, 225)
_FEATURES = 128


class PublishedPredictor:
    """Accuracy of OFA-MobileNetV3 subnets on ImageNet. Made by `load`; numpy only.

    `network` holds the layers and the encoding, for bounds. Its first layer has the published columns, one for each
    choice of a gene that the space has (so that two resolutions may share theirs).
    """

    def __init__(self, space: Space, network: GeneNetwork) -> None:
        self.space = space
        self.network = network

    @classmethod
    def load(cls, path: Path | str, space: Space) -> PublishedPredictor:
        """Read `accuracy_predictor.npz`: arrays named as in an nn.Sequential (`0.weight`, `0.bias`, `2.weight`, …).

        Raises CheckpointError where the file is missing, truncated or another, and for a space that the network
        wasn't made for: it knows 20 blocks in 5 stages of at most 4, kernels 3, 5, 7, expand ratios 3, 4, 6 and
        resolutions 128 to 224.
        """
        conditions, columns = _features(path, space)
        (weight, bias), *rest = _layers(path)
        return cls(space, GeneNetwork(gene_encoding(space, conditions), [(weight[:, columns], bias), *rest]))

    def predict(self, genotypes: Genotypes) -> AccuracyEstimate:
        """Mean `[N]`, without a standard deviation, for `[N, G]`."""
        return AccuracyEstimate(self.mean(genotypes), None)

    def mean(self, genotypes: Genotypes) -> Floats:
        """Predicted top-1 accuracy `[N]`."""
        return self.network(genotypes)[:, 0].astype(np.float64)


def _features(path: Path | str, space: Space) -> tuple[list[Condition], list[int]]:
    """Each choice of a gene that the network sees, and the published feature that it is."""
    expected: dict[str, Sequence[int]] = {
        **{f"ks{block}": _KERNELS for block in range(_BLOCKS)},
        **{f"e{block}": _EXPANDS for block in range(_BLOCKS)},
        **{f"d{stage}": _DEPTHS for stage in range(_STAGES)},
        "r": _RESOLUTIONS,
    }
    given = {gene.name: gene.choices for gene in space.genes}
    if given.keys() != expected.keys():
        raise CheckpointError(
            f"{path} is an accuracy predictor of another space: expected the genes of ofa_mbv3 (20 blocks, 5 depths,"
            f" r), got {len(given)} genes of {space.name}; fit one for this space with hwnas evaluate"
        )
    conditions: list[Condition] = []
    columns = []
    for gene, (name, values) in enumerate(given.items()):
        for choice, value in enumerate(values):
            if value not in expected[name]:
                known = "128 to 224" if name == "r" else ", ".join(map(str, expected[name]))
                raise CheckpointError(
                    f"{path} is an accuracy predictor of another space: expected {name} of {known}, got {value};"
                    " choose among these or fit one for this space with hwnas evaluate"
                )
            if not name.startswith("d"):
                conditions.append(((gene, choice),))
                columns.append(_column(name, value))
    return conditions, columns


def _column(name: str, value: float) -> int:
    if name == "r":
        return 120 + (int(value) - 112) // 16
    if name.startswith("ks"):
        return 3 * int(name[2:]) + _KERNELS.index(int(value))
    return 60 + 3 * int(name[1:]) + _EXPANDS.index(int(value))


def _layers(path: Path | str) -> list[Layer]:
    """Weight and bias of each linear layer, checked to fit one another."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file}
    except FileNotFoundError as error:
        raise CheckpointError(f"no accuracy predictor at {path}: give accuracy.path=PATH of an .npz file") from error
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(
            f"{path} is not a complete .npz file ({_line(error)}): copy accuracy_predictor.npz again"
        ) from error
    numbers = sorted(int(found[1]) for name in arrays if (found := re.fullmatch(r"(\d+)\.weight", name)))
    names = {f"{number}.{part}" for number in numbers for part in ("weight", "bias")}
    if not numbers or arrays.keys() != names:
        raise CheckpointError(
            f"{path} is not an accuracy network: expected arrays named 0.weight, 0.bias, 2.weight, …, got"
            f" {', '.join(sorted(arrays)[:8]) or 'none'}"
        )
    layers = [(arrays[f"{number}.weight"], arrays[f"{number}.bias"]) for number in numbers]
    width = _FEATURES
    for number, (weight, bias) in zip(numbers, layers, strict=True):
        units = 1 if number == numbers[-1] else bias.size
        if weight.shape != (units, width) or bias.shape != (units,):
            raise CheckpointError(
                f"{path} is not an accuracy network: expected layers from {_FEATURES} features to 1 output, got weight"
                f" {list(weight.shape)} and bias {list(bias.shape)} for layer {number}, which is given {width}"
            )
        if not all(np.issubdtype(part.dtype, np.floating) and np.isfinite(part).all() for part in (weight, bias)):
            raise CheckpointError(f"{path}: layer {number} holds values that are not numbers: copy the file again")
        width = units
    return [(weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers]


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
