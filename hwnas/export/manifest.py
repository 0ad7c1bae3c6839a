"""What an exported file is, as `manifest.json` beside it (one folder, one file, one manifest) and inside it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hwnas import __version__
from hwnas.errors import ExportError
from hwnas.export.formats import format_of_file
from hwnas.files import read_json, sha256_of_file, write_json

__all__ = ["MANIFEST_NAME", "Manifest", "file_metadata", "read_manifest", "write_manifest"]

MANIFEST_NAME = "manifest.json"

# Import names to distributions, where these differ.
_DISTRIBUTIONS = {"ai_edge_litert": "ai-edge-litert", "litert_torch": "litert-torch", "tvm": "apache-tvm"}


@dataclass(frozen=True)
class Manifest:
    """One exported file: what it is of, how to feed it, and what is known about it.

    `input_shape` is in the file's own `input_layout`. `metrics` holds what the caller predicted and measured, by name
    with the unit in the name (`latency_ms`, `accuracy`).
    """

    file: str
    format: str
    precision: str
    bytes: int
    sha256: str
    arch: dict[str, Any]
    space: dict[str, Any]
    classes: list[str]
    input_layout: str
    input_shape: list[int]
    preprocessing: dict[str, Any]
    parity: dict[str, Any]
    metrics: dict[str, Any]
    versions: dict[str, str]

    def verify(self, folder: Path | str) -> Path:
        """The path of the file in `folder`; ExportError where it is missing or not the one described."""
        path = Path(folder) / self.file
        if not path.is_file():
            raise ExportError(f"no such file: {path}, which {MANIFEST_NAME} describes; export it again")
        if (found := sha256_of_file(path)) != self.sha256:
            raise ExportError(f"{path} was altered: sha256 is {found}, expected {self.sha256}; export it again")
        return path


def write_manifest(
    file: Path | str,
    *,
    arch: Mapping[str, Any],
    space: Mapping[str, Any],
    classes: Sequence[str],
    input_shape: Sequence[int],
    preprocessing: Mapping[str, Any],
    parity: Mapping[str, Any],
    metrics: Mapping[str, Any],
    precision: str = "fp32",
) -> Manifest:
    """Write `manifest.json` beside `file` and return it; size, hash, layout and versions are filled in here.

    `input_shape` is `[1, C, H, W]`, as for torch. Raises ExportError where the file is missing, StorageError where the
    manifest can't be written.
    """
    file = Path(file)
    model_format = format_of_file(file)
    if not file.is_file():
        raise ExportError(f"no such file: {file}; export it before its manifest is written")
    sizes = dict(zip("NCHW", input_shape, strict=True))
    manifest = Manifest(
        file=file.name,
        format=model_format.name,
        precision=precision,
        bytes=file.stat().st_size,
        sha256=sha256_of_file(file),
        arch=dict(arch),
        space=dict(space),
        classes=list(classes),
        input_layout=model_format.layout,
        input_shape=[sizes[axis] for axis in model_format.layout],
        preprocessing=dict(preprocessing),
        parity=dict(parity),
        metrics=dict(metrics),
        versions={
            "hwnas": __version__,
            "python": platform.python_version(),
            **_versions(("torch", *model_format.packages)),
        },
    )
    write_json(file.with_name(MANIFEST_NAME), asdict(manifest))
    return manifest


def file_metadata(
    arch: Mapping[str, Any], space: Mapping[str, Any], classes: Sequence[str], preprocessing: Mapping[str, Any]
) -> dict[str, str]:
    """What goes into the model file itself: name to JSON text."""
    values = {"arch": dict(arch), "space": dict(space), "classes": list(classes), "preprocessing": dict(preprocessing)}
    return {"hwnas_version": __version__, **{name: json.dumps(value) for name, value in values.items()}}


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest in `folder`. Raises ExportError where it is missing, truncated or has other keys."""
    path = Path(folder) / MANIFEST_NAME
    content = read_json(path, ExportError)
    expected = set(Manifest.__dataclass_fields__)
    if not isinstance(content, dict) or set(content) != expected:
        found = set(content) if isinstance(content, dict) else set()
        raise ExportError(
            f"{path}: missing {sorted(expected - found)}, unknown {sorted(found - expected)}; export the file again"
        )
    return Manifest(**content)


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        name = _DISTRIBUTIONS.get(package, package)
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout, or built under another name
            found[name] = "unknown"
    return found
