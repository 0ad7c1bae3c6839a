"""A network as a checked file: exported, compared with torch, described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwnas.data.image_set import LabelledImages
from hwnas.data.preprocess import Preprocessing
from hwnas.export.config import ExportConfig
from hwnas.export.formats import ExportRequest, model_format
from hwnas.export.manifest import Manifest, file_metadata, write_manifest
from hwnas.export.parity import check_parity

__all__ = ["export_network"]


def export_network(
    module: nn.Module,
    format_name: str,
    folder: Path | str,
    *,
    arch: Mapping[str, Any],
    space: Mapping[str, Any],
    classes: Sequence[str],
    preprocessing: Preprocessing,
    resolution: int,
    images: LabelledImages,
    config: ExportConfig,
    metrics: Mapping[str, Any],
) -> Manifest:
    """Write `model.<suffix>` and `manifest.json` into `folder` and return the manifest.

    `images` are real ones, for the comparison with `module`. A file that differs from it by more than `config` allows
    is deleted, and ExportError raised. Raises MissingExtraError and StorageError too.
    """
    chosen = model_format(format_name)
    example = torch.zeros(1, len(preprocessing.mean), resolution, resolution)
    described = file_metadata(arch, space, classes, preprocessing.to_dict())
    request = ExportRequest(module, example, metadata=described, config=config)
    path = chosen.export(request, Path(folder) / f"model{chosen.suffix}")
    try:
        parity = check_parity(path, module, images, resolution, preprocessing, config)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return write_manifest(
        path,
        arch=arch,
        space=space,
        classes=classes,
        input_shape=example.shape,
        preprocessing=preprocessing.to_dict(),
        parity=parity.to_dict(),
        metrics=metrics,
    )
