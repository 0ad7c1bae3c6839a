"""The model files that a table is measured with: every operator alone, whole networks, and the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from hwnas.devices.profile import DeviceProfile
from hwnas.executors.executor import Executor
from hwnas.files import sha256_of_json
from hwnas.operators import Operator
from hwnas.profiling.agent import REFERENCE
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.networks import input_shape, nested_networks, reference_network
from hwnas.profiling.runtimes import ModelWriter, model_writer, runtime_named
from hwnas.progress import Progress
from hwnas.spaces import Space
from hwnas.version import __version__

__all__ = ["TableModels", "write_models"]


class TableModels:
    """Files below `folder` by name (`o<position>` operators, `n<position>` networks), and the reference's.

    `genotypes` `[N, G]` are the networks'; `shapes` what the models take, by name, the reference's among them. Files
    that a killed run wrote are whole, and stay; settings that change no file, such as threads, share them.
    """

    def __init__(self, space: Space, device: DeviceProfile, config: ProfilingConfig, folder: Path, seed: int) -> None:
        runtime = runtime_named(config.runtime)
        self.genotypes = nested_networks(space, config.networks, np.random.default_rng(seed))
        self._parts: dict[str, Sequence[Operator]] = {
            f"o{i}": [one] for i, one in enumerate(space.operators) if not one.is_free
        }
        self._parts |= {f"n{i}": space.operators_of(genotype) for i, genotype in enumerate(self.genotypes)}
        self._parts[REFERENCE] = space.operators_of(reference_network(space))
        target = runtime.target(device.tvm_target)
        of = [space.config(), runtime.format, runtime.installed_version, config.precision, config.batch,
              len(self.genotypes), target, seed, __version__]  # fmt: skip
        self.folder = folder / sha256_of_json(of)[:16]
        self._writer, self._seed = model_writer(config, device.tvm_target), seed
        self.files = {name: self.folder / f"{name}{runtime.suffix}" for name in self._parts}
        self.reference = self.files.pop(REFERENCE)
        self.shapes = {name: input_shape(operators[0], config.batch) for name, operators in self._parts.items()}

    def write(self, progress: Progress, executor: Executor | None = None) -> None:
        """Writes the files that are not there yet (see `write_models`)."""
        paths = {**self.files, REFERENCE: self.reference}
        models = {path: self._parts[name] for name, path in paths.items()}
        write_models(models, self._writer, self._seed, progress, executor)


def write_models(
    models: Mapping[Path, Sequence[Operator]],
    write: ModelWriter,
    seed: int,
    progress: Progress,
    executor: Executor | None = None,
) -> None:
    """Writes the file of each chain of operators that is not there yet: with `executor`, or one after another."""
    items = [(operators, path) for path, operators in models.items() if not path.exists()]
    make, done = partial(_written, write, seed), len(models) - len(items)
    if executor is None:
        written: Iterable[object] = map(make, items)
    else:
        written = executor.each("writing models", make, items)
    for number, _ in enumerate(chain([None], written), done):
        progress(number / len(models), f"writing models {number}/{len(models)}")


def _written(write: ModelWriter, seed: int, item: tuple[Sequence[Operator], Path]) -> Path:
    return write(*item, seed)
