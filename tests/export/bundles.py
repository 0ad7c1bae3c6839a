"""A bundle of each format, made as `hwnas export` makes it, and the means to look at it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hwnas.data.image_set import ImageSet
from hwnas.data.preprocess import Preprocessing
from hwnas.export.bundle.manifest import MANIFEST_NAME, SUMS_NAME, Manifest, package_versions, read_manifest
from hwnas.export.bundle.write import write_bundle
from hwnas.export.config import ExportConfig
from hwnas.export.deploy import Examples, Subject, export_checked
from hwnas.export.formats import model_format
from hwnas.export.signature import Port, Signature
from hwnas.files import sha256_of_file
from hwnas.progress import no_progress

__all__ = [
    "CLASSES",
    "STORED",
    "examples",
    "resign",
    "run_example",
    "small_network",
    "write",
    "write_again",
    "write_of",
]

STORED = 40
RESOLUTION = 24
CLASSES = ("cat", "dog  and\nbone", "ñandú", "d", "e")

# Stands for an environment in which only the runtime and numpy are installed.
_BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
"""


def small_network(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, len(CLASSES)),
    ).eval()  # fmt: skip


def examples(channels: int = 3, crop_pct: float = 0.875) -> Examples:
    """Smooth pictures with noise on them, `STORED` pixels square."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (30, channels, 5, 5)))
    smooth = nn.functional.interpolate(coarse, (STORED, STORED), mode="bicubic") + torch.from_numpy(
        rng.normal(0, 8, (30, channels, STORED, STORED))
    )
    images = ImageSet(smooth.clamp(0, 255).to(torch.uint8), torch.from_numpy(rng.integers(0, len(CLASSES), 30)))
    mean, std = (0.49, 0.48, 0.44)[:channels], (0.2, 0.21, 0.22)[:channels]
    return Examples(CLASSES, Preprocessing(mean, std, STORED, crop_pct), images, images)


def write(folder: Path, format_name: str, channels: int = 3, precision: str = "fp32") -> Path:
    """The bundle, `folder/bundle`."""
    given, config = examples(channels), ExportConfig(calibration_images=20)
    return write_of(small_network(channels), folder, format_name, given, RESOLUTION, config, precision)


def write_of(
    module: nn.Module,
    folder: Path,
    format_name: str,
    given: Examples,
    size: int | tuple[int, int],
    config: ExportConfig,
    precision: str = "fp32",
) -> Path:
    """The bundle of any module, `folder/bundle`."""
    chosen = model_format(format_name)
    subject = Subject.of(module, size, {"module": "x:y"}, {}, given, config, no_progress)
    model = folder / f"made{chosen.suffix}"
    checked = export_checked(subject, format_name, precision, model, given, config, no_progress)
    signature = checked.signature
    inputs = [port.described(chosen.layout) for port in signature.inputs]
    manifest = Manifest(
        name="local-small", device="local", runtime=chosen.runtime, budget=None, file="", format=format_name,
        precision=precision, bytes=checked.bytes, sha256=checked.sha256, arch=checked.arch, space={},
        classes=checked.classes, tvm_target=None, input_layout=chosen.layout, input_shape=inputs[0]["shape"],
        parity=checked.parity, accuracy=checked.accuracy, float_layers=checked.float_layers, metrics={},
        latency={"median_ms": None, "threads": 1, "reason": "not asked for"}, preflight=[], golden={},
        data={"name": "pictures", "licence": None, "real_images": True}, files={}, versions=package_versions(chosen),
        inputs=inputs, outputs=[port.described("NCHW") for port in signature.outputs], logits=checked.logits,
        notes=checked.notes,
    )  # fmt: skip
    feed = given.feed(signature.inputs, 1, noise=config.inputs is not None)
    write_bundle(folder / "bundle", model, manifest, given.preprocessing, signature, feed, config)
    return folder / "bundle"


def write_again(bundle: Path, folder: Path) -> None:
    """Another bundle of the same model, in `folder`."""
    given, manifest = examples(), read_manifest(bundle)
    ports = [[Port.of(one) for one in described] for described in (manifest.inputs, manifest.outputs)]
    signature = Signature(tuple(ports[0]), tuple(ports[1]), manifest.logits)
    feed = given.feed(signature.inputs, 1)
    write_bundle(folder, bundle / manifest.file, manifest, given.preprocessing, signature, feed, ExportConfig())


def resign(folder: Path) -> None:
    """New hashes for whatever was changed in the bundle: what a careful forger, or an honest mistake, would do."""
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["files"] = {name: sha256_of_file(folder / name) for name in manifest["files"]}
    manifest["sha256"] = manifest["files"][manifest["file"]]
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    sums = {**manifest["files"], MANIFEST_NAME: sha256_of_file(folder / MANIFEST_NAME)}
    (folder / SUMS_NAME).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def run_example(
    bundle: Path, *arguments: object, blocked: tuple[str, ...] = ("torch", "torchvision", "hwnas"), script: str = ""
) -> subprocess.CompletedProcess[str]:
    """The bundle's `run.py` (or `script`) in a process of its own, elsewhere, where `blocked` can't be imported."""
    folder = bundle.parent / "blocker"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_BLOCKER.format(blocked=set(blocked)))
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *(["-c", script] if script else [str(bundle / "run.py")]), *map(str, arguments)]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
