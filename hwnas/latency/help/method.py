"""HELP as a method: meta-trained over the training devices, adapted with ten reference latencies and a few more.

Under the published protocol the target's pool range scales its latencies, and the references are measured besides.
Under the honest one the references are among the measurements, and the pool's range is taken from theirs: on the
training devices the range of these rows says what the pool's is.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hwnas.errors import CheckpointError, DataError
from hwnas.files import write_bytes
from hwnas.latency.estimate import LatencyEstimate
from hwnas.latency.fewshot.method import check_measurements
from hwnas.latency.help.network import LATENTS, REFERENCES, Encoding, Parameters, encoding_of, predict
from hwnas.latency.help.training import HelpConfig, adapted_samples, meta_train
from hwnas.latency.predictors.dataset import LatencyData
from hwnas.latency.predictors.interface import Adapted, Method, MethodBase, Target
from hwnas.progress import Progress
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["HelpMethod"]

_FORMAT = "hwnas help 2"
_LOW, _SPAN = 0.05, 0.9
_BLOCK = 4096


class HelpMethod(MethodBase):
    """HELP as a method. `file`: a meta-trained artefact to start from instead of training."""

    def __init__(self, published: bool, config: HelpConfig | None = None, file: Path | None = None) -> None:
        self.published = published
        self.config = config or HelpConfig()
        self.file = file
        self.least = 1 if published else REFERENCES
        self.extra_measurements = REFERENCES if published else 0
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @classmethod
    def make(cls, published: bool, file: Path | None) -> Method:
        return cls(published, file=file)

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:
        """Meta-train on the training devices' pool rows, or read `file`."""
        self._space, self._genotypes = data.space, data.genotypes
        self._pool = data.pool
        self._encoding = encoding_of(data.space)
        self.references = self._choose_references(data, rng)
        if missing := int(np.isnan(data.train_pool).any(axis=1).sum() if data.train_devices else 0):
            raise DataError(
                f"latency=help needs every row on every training device, and {missing} of the pool's lack some: use"
                " latency=fewshot, or leave those rows out"
            )
        self._train_ms = data.train_pool if data.train_devices else np.zeros((data.pool, 0))
        rows = np.array([data.pool_rows(device) for device in data.train_devices], dtype=np.int64)
        trimmed_ms = np.take_along_axis(self._train_ms.T, rows, axis=1) if len(rows) else self._train_ms.T
        self._ranges_ms = trimmed_ms.min(axis=1), trimmed_ms.max(axis=1)
        if self.file is not None:
            self._load(self.file, data.space)
            return
        if len(data.train_devices) < 2:
            raise DataError(
                f"latency=help learns from at least 2 of data.train_devices, got {len(data.train_devices)}: use"
                " latency=fewshot"
            )
        embeddings = np.stack([_embedding(data.column(device)[self.references]) for device in data.train_devices])
        targets = np.stack([_scaled(column, column.min(), column.max()) for column in trimmed_ms])
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        self._parameters, self._rates = meta_train(
            self._encoding, self._tensor(self._encoding.encode(data.genotypes[: data.pool])),
            torch.as_tensor(rows, device=self._device), self._tensor(targets), self._tensor(embeddings), self.config,
            generator, progress,
        )  # fmt: skip

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        """Adapt with `count` measurements; under the published protocol with the references besides."""
        references_ms = np.array([target(row) for row in self.references])
        pool = np.arange(self._pool) if target.pool_rows is None else target.pool_rows
        left = np.setdiff1d(pool, self.references)
        others = rng.choice(left, min(count - (0 if self.published else REFERENCES), len(left)), replace=False)
        measured_ms = np.array([target(int(row)) for row in others])
        rows = others if self.published else np.concatenate([self.references, others])
        latency_ms = measured_ms if self.published else np.concatenate([references_ms, measured_ms])
        check_measurements(self._space, self._genotypes[rows], latency_ms, self.least)
        low, high = target.pool_range_ms or self._estimated_range(rows, latency_ms)
        device = self._tensor(_embedding(references_ms))
        own = adapted_samples(
            self._parameters, self._rates, self._encoding.graph,
            self._tensor(self._encoding.encode(self._genotypes[rows])),
            self._tensor(_scaled(latency_ms, low, high)), device,
            self._tensor(rng.standard_normal((self.config.samples, LATENTS))), self.config.inner_steps,
        )  # fmt: skip

        def predictor(genotypes: Genotypes) -> LatencyEstimate:
            found = [
                self._predict(own, genotypes[start : start + _BLOCK], device)
                for start in range(0, len(genotypes), _BLOCK)
            ]
            mean = (np.concatenate(found) - _LOW) / _SPAN * (high - low) + low
            floor = 0.1 * float(latency_ms.min())
            return LatencyEstimate(np.maximum(mean, floor), None, np.ones(len(mean), dtype=bool))

        return predictor

    def save(self, path: Path) -> Path:
        """Write parameters and inner rates as safetensors, with space, settings and references as JSON."""
        tensors = {f"parameters.{name}": value for name, value in self._parameters.items()}
        tensors |= {f"rates.{name}": value for name, value in self._rates.items()}
        metadata = {
            "format": _FORMAT,
            "space": json.dumps(self._space.config()),
            "config": json.dumps(asdict(self.config)),
            "references": json.dumps([int(row) for row in self.references]),
            "reference_genotypes": json.dumps(self._genotypes[self.references].tolist()),
        }
        return write_bytes(path, save({name: value.cpu().contiguous() for name, value in tensors.items()}, metadata))

    def _load(self, path: Path, space: Space) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                metadata: dict[str, str] = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} is no complete meta-trained HELP ({error}): train it again") from error
        if metadata.get("format") != _FORMAT:
            raise CheckpointError(f"{path}: expected format {_FORMAT!r}, got {metadata.get('format')!r}")
        try:
            stored, references = json.loads(metadata["space"]), np.array(json.loads(metadata["references"]))
            known = json.loads(metadata["reference_genotypes"])
            config = HelpConfig(**json.loads(metadata["config"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} holds no valid HELP ({error}): train it again") from error
        if stored != space.config():
            raise CheckpointError(
                f"{path} is of space {stored.get('name')!r}, expected {space.name!r}: train HELP for this space"
            )
        if references.max() >= len(self._genotypes) or self._genotypes[references].tolist() != known:
            raise CheckpointError(f"{path} was trained with other rows in the file: train it again for these data")
        self.references, self.config = references, config
        sets: dict[str, dict[str, Tensor]] = {"parameters": {}, "rates": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            sets.setdefault(kind, {})[rest] = value.to(self._device)
        self._parameters, self._rates = sets["parameters"], sets["rates"]

    def _choose_references(self, data: LatencyData, rng: np.random.Generator) -> np.ndarray:
        """The published rows; under the honest protocol, or without them, random rows of the pool."""
        if data.pool < REFERENCES:
            raise DataError(f"latency=help needs a pool of at least {REFERENCES} architectures, got {data.pool}")
        if self.published and data.references:
            if len(data.references) != REFERENCES:
                raise DataError(f"data.references: expected {REFERENCES} rows, got {len(data.references)}")
            return np.array(data.references)
        return rng.choice(data.pool, REFERENCES, replace=False)

    def _estimated_range(self, rows: np.ndarray, latency_ms: Floats) -> tuple[float, float]:
        """The trimmed pool's smallest and largest latency, from the measured ones' as on the training devices."""
        low, high = float(latency_ms.min()), float(latency_ms.max())
        if not self._train_ms.shape[1]:
            return low, high
        seen = self._train_ms[rows]
        own_low, own_high = seen.min(axis=0), seen.max(axis=0)
        span = np.maximum(own_high - own_low, 1e-9)
        below = float(np.median((own_low - self._ranges_ms[0]) / span))
        above = float(np.median((self._ranges_ms[1] - own_high) / span))
        return max(low - below * (high - low), 0.1 * low), high + above * (high - low)

    def _predict(self, own: list[Parameters], genotypes: Genotypes, device: Tensor) -> Floats:
        with torch.no_grad():
            archs = self._tensor(self._encoding.encode(genotypes))
            found = torch.stack([predict(one, self._encoding.graph, archs, device) for one in own]).mean(dim=0)
        return np.asarray(found.cpu().numpy(), dtype=np.float64)

    def _tensor(self, values: Floats) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float32), device=self._device)

    @property
    def encoding(self) -> Encoding:
        """How the taught space's architectures are encoded."""
        return self._encoding


def _embedding(latency_ms: Floats) -> Floats:
    """Reference latencies from 0 to 1. Raises DataError where they are all the same."""
    span = float(np.ptp(latency_ms))
    if not span > 0:
        raise DataError(
            f"all {len(latency_ms)} reference architectures measure {latency_ms[0]} ms: HELP can't scale them"
        )
    return np.asarray((latency_ms - latency_ms.min()) / span)


def _scaled(latency_ms: Floats, low: float, high: float) -> Floats:
    return np.asarray((latency_ms - low) / (high - low) * _SPAN + _LOW)
