"""Operator chains as model files of any format, by its exporter: for kinds that have no fast writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwnas.errors import ConfigError, ExportError
from hwnas.export.config import ExportConfig
from hwnas.export.formats import model_format
from hwnas.export.request import ExportRequest
from hwnas.operators import Operator

__all__ = ["write"]

CALIBRATION_IMAGES = 16


def write(
    name: str,
    operators: Sequence[Operator],
    path: Path | str,
    seed: int = 0,
    *,
    precision: str = "fp32",
    batch: int = 1,
    target: str | None = None,
) -> Path:
    """Write the chain `operators` with random weights in the format `name`, and return the path.

    int8 ranges are those of random images. Raises ConfigError for another batch than 1, ExportError, naming the
    operators, where the format has no form for them.
    """
    if batch != 1:
        slow = next((operator for operator in operators if not operator.has_fast_writer()), operators[0])
        raise ConfigError(
            f"operator kind {slow.kind!r} is exported with one image: expected profiling.batch=1, got {batch}"
        )
    import torch

    from hwnas.supernet.wired import network_with_weights

    rng = np.random.default_rng(seed)
    module = network_with_weights(operators, torch.Generator().manual_seed(seed))
    images = rng.standard_normal((CALIBRATION_IMAGES, *operators[0].shape[1:]), dtype=np.float32)
    config = ExportConfig(tvm_target=target)
    request = ExportRequest(module, torch.from_numpy(images[:1]), precision, images, config=config, is_part=True)
    try:
        return model_format(name).export(request, path)
    except ExportError as error:
        kinds = dict.fromkeys(operator.kind for operator in operators)
        raise ExportError(f"operators of kind {', '.join(kinds)} can't be written: {error}") from error
