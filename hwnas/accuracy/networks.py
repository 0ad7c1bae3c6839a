"""Networks that are trained here: the once-for-all paper's, and BANANAS's ensemble.

Shapes: N architectures to predict, n training rows, G genes, K networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy.config import EnsembleConfig, MlpConfig, NetworkTrainingConfig
from hwnas.accuracy.encoding import Encoding, gene_encoding, path_encoding
from hwnas.accuracy.network import GeneNetwork, Layer
from hwnas.accuracy.training import initial_layers, train_networks
from hwnas.errors import DataError
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["FreeLabels", "Networks", "fit_ensemble", "fit_mlp", "restore_ensemble", "restore_mlp"]

FreeLabels = Mapping[str, Callable[[Genotypes], Floats]]
"""What costs nothing to know of any architecture: name to a function from `[N, G]` to positive numbers `[N]`."""

_FROZEN_SHARE = 0.25
_PRETRAINING = NetworkTrainingConfig(batch=100, weight_decay=1e-2)


class Networks:
    """The mean of K networks, each predicting standardised accuracies; with K above 1 their spread is an uncertainty.

    `arrays` holds each layer's weights `[K, out, in]` and biases `[K, out]`, and `scalars`: mean and spread of the
    labels, and the variance of a measurement around the mean of networks that agree (in units of the spread).
    """

    def __init__(self, encoding: Encoding, arrays: dict[str, NDArray[np.floating]]) -> None:
        self.arrays = arrays
        self._mean, self._spread, self._noise = (float(value) for value in arrays["scalars"])
        depth = len(arrays) // 2
        names = {f"{part}{i}" for i in range(depth) for part in ("weight", "bias")}
        if arrays.keys() != names | {"scalars"}:
            raise ValueError(f"expected arrays {sorted(names)} and scalars, got {sorted(arrays)}")
        single = {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}
        self.networks = [
            GeneNetwork(encoding, [(single[f"weight{i}"][k], single[f"bias{i}"][k]) for i in range(depth)])
            for k in range(len(arrays["weight0"]))
        ]

    def predict(self, genotypes: Genotypes, with_std: bool) -> tuple[Floats, Floats | None]:
        """Mean `[N]`, and the standard deviation of a measurement `[N]` where asked for and K is above 1."""
        each = np.stack([network(genotypes)[:, 0] for network in self.networks]).astype(np.float64)
        mean = self._mean + self._spread * each.mean(axis=0)
        if len(each) == 1 or not with_std:
            return mean, None
        return mean, self._spread * np.sqrt(each.var(axis=0, ddof=1) + self._noise)


def fit_mlp(
    space: Space, rows: Genotypes, labels: Floats, config: MlpConfig, free: FreeLabels, rng: np.random.Generator
) -> Networks:
    """The network of the once-for-all paper, pre-trained on free labels where configured (FBNetV3, Dai et al., 2021).

    Pre-training learns log MACs, log parameters and the logarithm of `free` labels of random subnets. The new last
    layer and those before it then learn the accuracies, the first layer joining after a quarter of the epochs.
    """
    encoding = gene_encoding(space)
    active = len(space.genes)
    pretrained: list[Layer] = []
    if config.pretraining_subnets:
        subnets = space.sample(config.pretraining_subnets, rng)
        targets = _free_targets(space, subnets, free)
        layers = initial_layers(encoding.features, config.hidden, targets.shape[1], active, rng)
        training = replace(_PRETRAINING, epochs=config.pretraining_epochs)
        every = np.arange(len(subnets))[None]
        [pretrained] = train_networks([layers], encoding.encode(subnets), targets, every, training, rng)
    layers = pretrained[:-1] + initial_layers(encoding.features, config.hidden, 1, active, rng)[len(pretrained[:-1]) :]
    mean, spread = float(labels.mean()), float(labels.std())
    targets = ((labels - mean) / spread).astype(np.float32)[:, None]
    trained = train_networks(
        [layers],
        encoding.encode(rows),
        targets,
        np.arange(len(rows))[None],
        config.training,
        rng,
        frozen_share=_FROZEN_SHARE if pretrained else 0.0,
    )
    return Networks(encoding, _arrays(trained, (mean, spread, 0.0)))


def fit_ensemble(
    space: Space, rows: Genotypes, labels: Floats, config: EnsembleConfig, rng: np.random.Generator
) -> Networks:
    """BANANAS's ensemble (White et al., AAAI 2021), each network trained without one fold of the rows.

    Published, all networks see all rows, and their spread alone is the uncertainty. Here the rows that each has not
    seen say by how much to stretch its predictions, and how far measurements are from them beyond the spread.
    """
    encoding = path_encoding(space)
    encoded = encoding.encode(rows)
    # Longer pieces weigh less, as they are many and rarely met; those that no row holds teach nothing.
    scale = np.array([1 / len(condition) for condition in encoding.conditions], dtype=np.float32) * encoded.any(axis=0)
    met = scale > 0
    inputs = encoded[:, met] * scale[met]
    active = float((inputs**2).sum(axis=1).mean())
    networks = [initial_layers(inputs.shape[1], config.hidden, 1, active, rng) for _ in range(config.networks)]
    mean, spread = float(labels.mean()), float(labels.std())
    targets = ((labels - mean) / spread).astype(np.float32)[:, None]
    folds = np.array_split(rng.permutation(len(rows)), config.networks)
    kept = len(rows) - max(1, len(folds[0]))
    seen = np.stack([rng.permutation(np.setdiff1d(np.arange(len(rows)), fold))[:kept] for fold in folds])
    trained = train_networks(networks, inputs, targets, seen, config.training, rng)
    for layers in trained:
        weight = np.zeros((config.hidden[0], encoding.features), dtype=np.float32)
        weight[:, met] = layers[0][0] * scale[met]
        layers[0] = (weight, layers[0][1])
    made = [GeneNetwork(encoding, layers) for layers in trained]
    unseen = np.concatenate([network(rows[fold])[:, 0] for network, fold in zip(made, folds, strict=True)])
    truth = targets[np.concatenate(folds), 0]
    stretch = float(np.clip(unseen @ truth / max(float(unseen @ unseen), 1e-9), 0.5, 2))
    held_out = float(np.mean((stretch * unseen - truth) ** 2))
    # The mean of K networks errs less than each of them, by (1 - 1/K) of their variance on networks that none has seen.
    alike = space.crossover(rows, rows[rng.permutation(len(rows))], rng)
    variance = stretch**2 * float(np.stack([network(alike)[:, 0] for network in made]).var(axis=0, ddof=1).mean())
    noise = max(held_out - (2 - 1 / len(made)) * variance, held_out / 4)
    for layers in trained:
        weight, bias = layers[-1]
        layers[-1] = (weight * np.float32(stretch), bias * np.float32(stretch))
    return Networks(encoding, _arrays(trained, (mean, spread, noise)))


def restore_mlp(space: Space, arrays: dict[str, NDArray[np.floating]]) -> Networks:
    """From what `fit_mlp`'s `arrays` held."""
    return Networks(gene_encoding(space), arrays)


def restore_ensemble(space: Space, arrays: dict[str, NDArray[np.floating]]) -> Networks:
    """From what `fit_ensemble`'s `arrays` held."""
    return Networks(path_encoding(space), arrays)


def _arrays(trained: list[list[Layer]], scalars: tuple[float, float, float]) -> dict[str, NDArray[np.floating]]:
    arrays: dict[str, NDArray[np.floating]] = {"scalars": np.array(scalars)}
    for number, layer in enumerate(zip(*trained, strict=True)):
        arrays[f"weight{number}"] = np.stack([weight for weight, _ in layer])
        arrays[f"bias{number}"] = np.stack([bias for _, bias in layer])
    return arrays


def _free_targets(space: Space, subnets: Genotypes, free: FreeLabels) -> NDArray[np.float32]:
    """Standardised logarithms `[n, O]`."""
    values = {"macs": space.macs(subnets), "parameters": space.parameters(subnets)}
    values.update({name: np.asarray(label(subnets), dtype=np.float64) for name, label in free.items()})
    for name, value in values.items():
        if value.shape != (len(subnets),) or not (np.isfinite(value) & (value > 0)).all():
            raise DataError(f"free label {name!r}: expected one positive number for each of {len(subnets)} subnets")
    logarithms = np.log(np.stack(list(values.values()), axis=1, dtype=np.float64))
    spread = logarithms.std(axis=0)
    standard: NDArray[np.float32] = ((logarithms - logarithms.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(
        np.float32
    )
    return standard
