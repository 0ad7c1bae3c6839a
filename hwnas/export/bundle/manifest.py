"""What an exported file is, as `manifest.json` beside it and inside it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hwnas.errors import ExportError
from hwnas.export.formats import ModelFormat
from hwnas.export.signature import IMAGE
from hwnas.files import read_json, write_json
from hwnas.version import __version__

__all__ = [
    "GOLDEN_NAME",
    "MANIFEST_NAME",
    "PREPROCESSING_NAME",
    "SAMPLE_NAME",
    "SUMS_NAME",
    "Manifest",
    "file_metadata",
    "package_versions",
    "read_manifest",
    "write_manifest",
]

MANIFEST_NAME = "manifest.json"
PREPROCESSING_NAME = "preprocessing.json"
GOLDEN_NAME = "golden.npz"
SAMPLE_NAME = "sample.png"
SUMS_NAME = "SHA256SUMS"


@dataclass(frozen=True)
class Manifest:
    """One exported file: what it is of, how to feed it, and what is known about it.

    `file` is the model, `files` the SHA-256 of every file of the bundle but this one. `budget` is None for a network
    that was not searched for. `arch` and `space`: the network, or `{"module": …}` and nothing. `input_shape` is in the
    file's own `input_layout`. `parity`: file against torch (see `hwnas.export.check.parity.Parity`). `accuracy`:
    `file`, `torch`, `drop` (fractions of `images` held-out images; None where there were no labelled images).
    `float_layers`: layers of a quantised file that stayed float. `metrics`: `predicted` and `measured`, each by name
    with the unit in the name. `latency`: the median on the device with the file's p10 and p90, and of the network
    measured beside it, or None with a `reason`. `preflight`: operators that some delegate will not run. `golden`:
    tolerances of the golden pair. `data`: name and licence of the images. `versions`: of the packages that made it.
    `tvm_target`: the processor that a library is for.

    `inputs` and `outputs`, in the file's order: name, shape, dtype and, of maps, layout. `input_shape` and
    `input_layout` are the first input's. `logits`: the output that tells `classes`, or None. `notes`: what else is to
    be said of the file.
    """

    name: str
    device: str
    runtime: str
    budget: str | None
    file: str
    format: str
    precision: str
    bytes: int
    sha256: str
    arch: dict[str, Any]
    space: dict[str, Any]
    classes: list[str]
    tvm_target: str | None
    input_layout: str
    input_shape: list[int]
    parity: dict[str, Any]
    accuracy: dict[str, Any]
    float_layers: list[str]
    metrics: dict[str, Any]
    latency: dict[str, Any]
    preflight: list[Any]
    golden: dict[str, Any]
    data: dict[str, Any]
    files: dict[str, str]
    versions: dict[str, str]
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    logits: str | None = "logits"
    notes: list[str] = field(default_factory=list)


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write `manifest.json` into `folder` and return its path. Raises StorageError."""
    return write_json(folder / MANIFEST_NAME, asdict(manifest))


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest in `folder`. Raises ExportError where it is missing, truncated or has other keys.

    One that was written before there were `inputs` and `outputs` is of a network of one image and its logits.
    """
    path = Path(folder) / MANIFEST_NAME
    content = read_json(path, ExportError)
    known, found = fields(Manifest), set(content) if isinstance(content, dict) else set()
    needed = {one.name for one in known if one.default is MISSING and one.default_factory is MISSING}
    if not needed <= found or not found <= {one.name for one in known}:
        unknown = found - {one.name for one in known}
        raise ExportError(f"{path}: missing {sorted(needed - found)}, unknown {sorted(unknown)}; export the file again")
    manifest = Manifest(**content)
    if manifest.inputs:
        return manifest
    image = {"name": IMAGE, "shape": manifest.input_shape, "dtype": "float32", "layout": manifest.input_layout}
    logits = {"name": "logits", "shape": [1, len(manifest.classes)], "dtype": "float32", "layout": None}
    return replace(manifest, inputs=[image], outputs=[logits])


def file_metadata(
    arch: Mapping[str, Any], space: Mapping[str, Any], classes: Sequence[str], preprocessing: Mapping[str, Any]
) -> dict[str, str]:
    """What goes into the model file itself: name to JSON text."""
    values = {"arch": dict(arch), "space": dict(space), "classes": list(classes), "preprocessing": dict(preprocessing)}
    return {"hwnas_version": __version__, **{name: json.dumps(value) for name, value in values.items()}}


def package_versions(chosen: ModelFormat) -> dict[str, str]:
    """Of hwnas, Python, torch and the format's packages, by distribution."""
    found = {"hwnas": __version__, "python": platform.python_version()}
    for package in ("torch", *chosen.packages):
        name = chosen.distributions.get(package, package.replace("_", "-"))
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout, or built under another name
            found[name] = "unknown"
    return found
