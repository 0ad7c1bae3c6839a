"""Predicts the accuracy of architectures from a few hundred that were measured.

Shapes: N architectures, n training rows, G genes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hwnas.accuracy.config import PredictorConfig, config_from_dict
from hwnas.accuracy.known import Known
from hwnas.accuracy.labels import checked_rows, distinct_rows
from hwnas.accuracy.methods import Model, fit_model, restore_model
from hwnas.accuracy.network import GeneNetwork
from hwnas.accuracy.networks import FreeLabels, Networks
from hwnas.errors import CheckpointError, HwnasError
from hwnas.files import write_bytes
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["AccuracyEstimate", "AccuracyPredictor"]

_FORMAT = "hwnas accuracy predictor 2"


@dataclass(frozen=True)
class AccuracyEstimate:
    """Accuracy of N architectures, as fractions.

    `mean` `[N]` isn't clipped to [0, 1], which would make ties. `std` `[N]` is of a measurement, its noise included;
    None for methods without an uncertainty.
    """

    mean: Floats
    std: Floats | None


class AccuracyPredictor:
    """A fitted predictor for one space: made by `fit` or `load`. Predicting needs numpy and scipy only."""

    def __init__(self, space: Space, config: PredictorConfig, model: Model, rows: int) -> None:
        self.space = space
        self.config = config
        self.rows = rows
        self._model = model

    @property
    def networks(self) -> list[GeneNetwork]:
        """The networks of `mlp` and `ensemble`, whose outputs are a rising linear function of accuracy; else none."""
        return self._model.networks if isinstance(self._model, Networks) else []

    @classmethod
    def fit(
        cls,
        space: Space,
        genotypes: Genotypes,
        accuracies: Floats,
        config: PredictorConfig,
        rng: np.random.Generator,
        free: FreeLabels | None = None,
    ) -> AccuracyPredictor:
        """Fit to measured `accuracies` `[n]` of `genotypes` `[n, G]`; repeated networks count once, with their mean.

        `free`: what is known of any architecture for free beside MACs and parameters, such as latency on a device:
        names to functions of genotypes, for `mlp` to be pre-trained on.

        Raises ArchError and DataError for labels that can't be learnt from (see `hwnas.accuracy.labels`), and
        MissingExtraError where the method needs torch or scikit-learn and it isn't installed.
        """
        rows, labels = distinct_rows(space, genotypes, accuracies)
        return cls(space, config, fit_model(space, rows, labels, config, free or {}, rng), len(rows))

    @classmethod
    def known(
        cls, space: Space, genotypes: Genotypes, accuracies: Floats, config: PredictorConfig
    ) -> AccuracyPredictor:
        """One that has learnt nothing: it looks up the `accuracies` `[n]` of `genotypes` `[n, G]`; elsewhere, the mean.

        Right where all accuracies are equal, or all networks of the space were measured. Raises ArchError and DataError
        for labels that are none.
        """
        rows, labels = checked_rows(space, genotypes, accuracies)
        return cls(space, config, Known({"known_rows": rows, "known_labels": labels}), len(rows))

    @property
    def equal_accuracy(self) -> float | None:
        """The accuracy of every network, where all that were measured had one and the same."""
        return self._model.equal if isinstance(self._model, Known) else None

    @property
    def is_lookup(self) -> bool:
        """Whether it is made by `known`."""
        return isinstance(self._model, Known)

    def predict(self, genotypes: Genotypes) -> AccuracyEstimate:
        """Mean and, where the method has one, standard deviation for `[N, G]`."""
        return AccuracyEstimate(*self._model.predict(genotypes, with_std=True))

    def mean(self, genotypes: Genotypes) -> Floats:
        """`predict(genotypes).mean` `[N]` alone, which is quicker: what a search asks for."""
        return self._model.predict(genotypes, with_std=False)[0]

    def save(self, path: Path | str) -> Path:
        """Write a safetensors file with the space, the config and the number of rows as JSON in its metadata."""
        metadata = {
            "format": _FORMAT,
            "space": json.dumps(self.space.config()),
            "config": json.dumps(asdict(self.config)),
            "rows": json.dumps(self.rows),
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in self._model.arrays.items()}
        return write_bytes(path, save(arrays, metadata))

    @classmethod
    def load(cls, path: Path | str, space: Space) -> AccuracyPredictor:
        """What `save` wrote. Raises CheckpointError where the file is missing, truncated or of another space."""
        try:
            with safe_open(path, framework="numpy") as file:
                metadata: dict[str, str] = file.metadata() or {}
                arrays: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError as error:
            raise CheckpointError(f"no accuracy predictor at {path}: fit one with hwnas evaluate") from error
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{path} is not a complete accuracy predictor ({error}): delete it and fit it again with hwnas evaluate"
            ) from error
        if metadata.get("format") != _FORMAT:
            raise CheckpointError(
                f"{path} is not an accuracy predictor: expected format {_FORMAT!r}, got {metadata.get('format')!r}"
            )
        try:
            stored_space: dict[str, Any] = json.loads(metadata["space"])
            config = config_from_dict(json.loads(metadata["config"]))
            rows = int(json.loads(metadata["rows"]))
        except (KeyError, TypeError, ValueError, AttributeError, HwnasError) as error:
            raise CheckpointError(f"{path} holds no valid accuracy predictor ({error}): fit it again") from error
        _check_space(path, stored_space, space)
        try:
            model = restore_model(config.method, space, arrays)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} holds no valid accuracy predictor ({error}): fit it again") from error
        return cls(space, config, model, rows)


def _check_space(path: Path | str, stored: dict[str, Any], space: Space) -> None:
    expected = space.config()
    differing = sorted(key for key in stored.keys() | expected.keys() if stored.get(key) != expected.get(key))
    if differing:
        key = differing[0]
        raise CheckpointError(
            f"{path} is an accuracy predictor of another space: expected {key} {expected.get(key)!r}, got"
            f" {stored.get(key)!r}; fit one for this space with hwnas evaluate"
        )
