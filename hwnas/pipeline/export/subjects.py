"""Where the networks that `hwnas export` writes come from: a supernet's subnets, or a module of the user's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.data.config import NoDataConfig
from hwnas.devices.profile import DeviceProfile
from hwnas.export.module.load import module_title
from hwnas.export.preflight import Finding, preflight
from hwnas.pipeline.config import ExportStep
from hwnas.pipeline.export.plan import Target
from hwnas.pipeline.inputs import data_inputs, load_images, load_network, trained_checkpoint
from hwnas.pipeline.search.supernets import by_supernet, of_supernet
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.plain import to_plain
from hwnas.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from hwnas.data.load import ImageData
    from hwnas.export.deploy import Examples, Subject

__all__ = ["Source", "source_of"]

_LOADED = ("data", "examples", "_supernet", "_network")


class Source(ABC):
    """Networks to export, and the images to check them with. Nothing is read before it is asked for."""

    def __init__(self, config: ExportStep, say: Callable[[str], None]) -> None:
        self.config, self.say = config, say

    def __getstate__(self) -> dict[str, Any]:
        # Another process loads images and weights itself, and says nothing.
        return {key: value for key, value in vars(self).items() if key not in _LOADED} | {"say": silent}

    @property
    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """What the networks depend on, files apart."""

    @property
    @abstractmethod
    def files(self) -> dict[str, Path]:
        """The files that they depend on, by role."""

    @abstractmethod
    def resolution(self, target: Target) -> int | tuple[int, int]:
        """Height and width of the network's image, or both where they differ."""

    @abstractmethod
    def described(self, target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
        """The network's arch and space, for the manifest."""

    @abstractmethod
    def preflight(self, target: Target, precision: str, runtime: str, profile: DeviceProfile) -> list[Finding]:
        """What of the network the device will not run well, as far as that is known before it is a file."""

    @abstractmethod
    def network(self, target: Target) -> nn.Module:
        """The network, in eval mode."""

    @abstractmethod
    def load_data(self) -> ImageData | None:
        """The images; None for data=none."""

    def of(self, target: Target) -> Source:  # noqa: ARG002
        """What `target` is a network of, with the images that it is checked with."""
        return self

    @cached_property
    def data(self) -> ImageData | None:
        return self.load_data()

    @cached_property
    def examples(self) -> Examples:
        """The images that files are checked with, as many of the held-out ones as accuracy is measured on."""
        from hwnas.data.preprocess import Preprocessing
        from hwnas.export.deploy import Examples

        settings = self.config.data
        if self.data is None and isinstance(settings, NoDataConfig):
            height, width = settings.size
            stored = height if height == width else 0
            preprocessing = Preprocessing(settings.channel_mean, settings.channel_std, stored)
            return Examples((), preprocessing, None, None)
        if self.data is None:
            raise TypeError("only data=none has no images")
        limit = self.config.evaluation.measure.images
        held_out = self.data.held_out.first(limit) if limit else self.data.held_out
        return Examples(self.data.classes, self.data.preprocessing, self.data.train, held_out)

    def subject(self, target: Target, progress: Progress) -> Subject:
        """The network, examined by torch. Raises ExportError where it gives no logits of the data's classes."""
        from hwnas.export.deploy import Subject

        arch, space = self.described(target)
        network, resolution = self.network(target), self.resolution(target)
        return Subject.of(network, resolution, arch, space, self.examples, self.config.export, progress)


class _Subnets(Source):
    """Subnets of a trained supernet, fine-tuned or with its weights, BatchNorm calibrated anew for each."""

    def __init__(self, config: ExportStep, folder: Path, targets: list[Target], say: Callable[[str], None]) -> None:
        super().__init__(config, say)
        self.space = resolve_space(config)
        self.checkpoint = trained_checkpoint(config.checkpoint, config, folder)
        self.genotypes = {target.id: self.space.genotype(target.arch or {}) for target in targets}
        self.own = {target.id: target.checkpoint for target in targets if target.checkpoint is not None}

    @property
    def inputs(self) -> dict[str, Any]:
        measure = to_plain(self.config.evaluation.measure)
        return {"space": self.space.config(), "data": data_inputs(self.config.images), "measure": measure}

    @property
    def files(self) -> dict[str, Path]:
        return {"checkpoint": self.checkpoint} | {f"checkpoint of {name}": path for name, path in self.own.items()}

    def resolution(self, target: Target) -> int:
        resolution: int = self.space.arch(self.genotypes[target.id]).values["r"]
        return resolution

    def described(self, target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.space.arch(self.genotypes[target.id]).to_dict(), self.space.config()

    def preflight(self, target: Target, precision: str, runtime: str, profile: DeviceProfile) -> list[Finding]:
        return preflight(self.space, self.genotypes[target.id], precision, runtime, profile)

    def network(self, target: Target) -> nn.Module:
        from hwnas.accuracy.measure import calibrate_subnet

        if self.data is None:
            raise TypeError("subnets are calibrated on images")
        network = load_network(self.own[target.id], self.space) if target.id in self.own else self._supernet
        return calibrate_subnet(network, self.genotypes[target.id], self.data, self.config.evaluation.measure)

    def load_data(self) -> ImageData:
        return load_images(self.config, self.space, self.say, self.checkpoint)

    @cached_property
    def _supernet(self) -> Any:
        return load_network(self.checkpoint, self.space)


class _Supernets(Source):
    """Subnets of several supernets, each with a source of its own."""

    def __init__(self, config: ExportStep, folder: Path, targets: list[Target], say: Callable[[str], None]) -> None:
        super().__init__(config, say)
        self.sources = {
            supernet.name: _Subnets(of_supernet(config, supernet), folder, own, say)
            for supernet, own in by_supernet(targets)
            if supernet is not None
        }

    def of(self, target: Target) -> Source:
        return self.sources[target.supernet.name if target.supernet else ""]

    @property
    def inputs(self) -> dict[str, Any]:
        return {"supernets": {name: source.inputs for name, source in self.sources.items()}}

    @property
    def files(self) -> dict[str, Path]:
        return {f"{name}: {role}": path for name, one in self.sources.items() for role, path in one.files.items()}

    def resolution(self, target: Target) -> int | tuple[int, int]:
        return self.of(target).resolution(target)

    def described(self, target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.of(target).described(target)

    def preflight(self, target: Target, precision: str, runtime: str, profile: DeviceProfile) -> list[Finding]:
        return self.of(target).preflight(target, precision, runtime, profile)

    def network(self, target: Target) -> nn.Module:
        return self.of(target).network(target)

    def load_data(self) -> ImageData | None:
        raise TypeError("each supernet has images of its own")


class _Module(Source):
    """A plain torch module by import path, as it is; its input is of the data's image size."""

    @property
    def inputs(self) -> dict[str, Any]:
        settings = self.config.data
        data = to_plain(settings) if isinstance(settings, NoDataConfig) else data_inputs(self.config.images)
        measure = to_plain(self.config.evaluation.measure)
        return {"module": module_title(self._path), "data": data, "measure": measure}

    @property
    def files(self) -> dict[str, Path]:
        """With all that the network's code imports, for which it is run."""
        from hwnas.export.module.load import module_files

        _ = self._network
        checkpoint = {} if self._checkpoint is None else {"checkpoint": self._checkpoint}
        return {f"module's {name}": file for name, file in module_files(self._path).items()} | checkpoint

    def resolution(self, target: Target) -> int | tuple[int, int]:  # noqa: ARG002 (of any network of its own)
        settings = self.config.data
        if isinstance(settings, NoDataConfig):
            height, width = settings.size
            return height if height == width else (height, width)
        return self.config.images.image_size

    def described(self, target: Target) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ARG002
        return {"module": self.config.module}, {}

    def preflight(self, target: Target, precision: str, runtime: str, profile: DeviceProfile) -> list[Finding]:  # noqa: ARG002
        return []  # its file will tell

    def network(self, target: Target) -> nn.Module:  # noqa: ARG002
        return self._network

    def subject(self, target: Target, progress: Progress) -> Subject:
        from hwnas.export.module.copies import copied
        from hwnas.export.module.load import check_static

        subject = super().subject(target, progress)
        check_static(copied(subject.module), subject.answers.feed.first())
        return subject

    def load_data(self) -> ImageData | None:
        return None if isinstance(self.config.data, NoDataConfig) else load_images(self.config, None, self.say)

    @cached_property
    def _network(self) -> nn.Module:
        from hwnas.export.module.load import load_module

        return load_module(self._path, self._checkpoint, self.config.seed)

    @property
    def _path(self) -> str:
        return str(self.config.module)

    @property
    def _checkpoint(self) -> Path | None:
        return Path(self.config.checkpoint).expanduser() if self.config.checkpoint else None


def source_of(config: ExportStep, folder: Path, targets: list[Target], say: Callable[[str], None]) -> Source:
    """What `targets` are networks of. Raises StorageError for a missing checkpoint, ArchError for a foreign arch."""
    if config.module is not None:
        return _Module(config, say)
    kind = _Supernets if any(target.supernet for target in targets) else _Subnets
    return kind(config, folder, targets, say)
