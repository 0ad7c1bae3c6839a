"""Runs of two families, without the training: supernets with the weights that they begin with, tables by formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.files import write_json
from hwnas.pipeline.inputs import data_inputs
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.plain import to_plain
from hwnas.supernet.supernet import Supernet
from hwnas.training.checkpoint import save_supernet
from tests.pipeline.search.test_tables import written_table

__all__ = ["OFA", "V4", "written_run"]

OFA, V4 = "ofa_mbv3_smoke", "mobilenet_v4_smoke"


def written_run(
    folder: Path, space_name: str, *settings: str, devices: tuple[str, ...] = ("local",), better: float = 0.0
) -> Path:
    """A run's folder as `hwnas train`, `evaluate` and `profile` leave it. Accuracies rise with multiplications, and are
    `better` by so much.
    """
    register_schemas()
    config = to_pipeline_config(compose_config("evaluate", ["experiment=smoke", f"space={space_name}", *settings]))
    space, rng = resolve_space(config), np.random.default_rng(0)
    rows = space.unique(space.sample(60, rng))
    macs = np.log(space.macs(rows))
    labels = 0.6 + better + 0.1 * (macs - macs.min()) / (macs.max() - macs.min())
    predictor = AccuracyPredictor.fit(space, rows, labels, PredictorConfig(), rng)
    (folder / "evaluate").mkdir(parents=True)
    predictor.save(folder / "evaluate" / "predictor.safetensors")
    asked = {
        "space": space.config(), "seed": config.seed, "data": data_inputs(config.images),
        "evaluation": to_plain(config.evaluation),
    }  # fmt: skip
    write_json(folder / "evaluate" / "inputs.json", asked)
    trained = {
        "classes": list("0123456789"), "folders": list("0123456789"), "identity": {"seed": config.seed},
        "preprocessing": {"mean": [0.3], "std": [0.4], "image_size": config.images.image_size, "crop_pct": 1.0},
    }  # fmt: skip
    (folder / "train").mkdir()
    save_supernet(folder / "train" / "supernet.safetensors", Supernet(space), trained)
    for number, device in enumerate(devices):
        for runtime, slowdown in (("onnxruntime", 0.0), ("litert", 0.4)):
            path = folder / "profile" / device / f"{runtime}-fp32-1t.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            written_table(space, path, runtime, slowdown, device, number)
    return folder


def changed(path: Path, **values: object) -> None:
    """A JSON file with other values for some of its keys."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
