"""Whether a bundle is what was exported: every file's hash, and what model and preprocessing compute."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ExportError, HwnasError
from hwnas.export.bundle.example.preprocess import prepare_file, takes_image_files
from hwnas.export.bundle.manifest import (
    GOLDEN_NAME,
    MANIFEST_NAME,
    PREPROCESSING_NAME,
    SAMPLE_NAME,
    SUMS_NAME,
    Manifest,
    package_versions,
    read_manifest,
)
from hwnas.export.check.compare import difference
from hwnas.export.formats import ModelFormat, model_format
from hwnas.export.signature import Port
from hwnas.files import read_json, sha256_of_file

__all__ = ["GoldenCheck", "runs_here", "verify_files", "verify_golden"]

_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\]+)")
_AGAIN = "don't use this bundle; export it again, or copy it again"


@dataclass(frozen=True)
class GoldenCheck:
    """The largest differences from the golden pair. `output_max_abs` is None for a library that is compiled for another
    processor than this one's, `input_max_abs` where Pillow is not installed, or no image file goes in. `outputs`: the
    difference of each; of integers, the share that differs.
    """

    output_max_abs: float | None
    input_max_abs: float | None
    outputs: dict[str, float]


def verify_files(folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`, once every file has the hash that is listed for it.

    Raises ExportError that names the file which is missing, altered or not listed.
    """
    sums = _listed(folder)
    for name, digest in sums.items():
        path = folder / name
        if not path.is_file():
            raise ExportError(f"{path} is missing, which {SUMS_NAME} lists: {_AGAIN}")
        if (found := sha256_of_file(path)) != digest:
            raise ExportError(f"{path} was altered: its sha256 is {found}, expected {digest}: {_AGAIN}")
    if MANIFEST_NAME not in sums:
        raise ExportError(f"{folder / SUMS_NAME} was altered: it does not list {MANIFEST_NAME}: {_AGAIN}")
    manifest = read_manifest(folder)
    expected = {MANIFEST_NAME: sums[MANIFEST_NAME], **manifest.files}
    if sums != expected or manifest.sha256 != manifest.files.get(manifest.file):
        different = sorted(name for name in {*sums, *expected} if sums.get(name) != expected.get(name))
        raise ExportError(
            f"{folder}: {SUMS_NAME} and {MANIFEST_NAME} differ on {', '.join(different) or manifest.file}: {_AGAIN}"
        )
    return manifest


def verify_golden(folder: Path, manifest: Manifest) -> GoldenCheck:
    """The bundle's file run in its runtime here, and its preprocessing, against the golden pair.

    Raises ExportError where a difference is over the manifest's tolerance, or the runtime refuses the file: with the
    versions, where this one is older than the one that the file was checked with. Raises MissingExtraError.
    """
    chosen = model_format(manifest.format)
    model = folder / manifest.file
    try:
        found = _differences(folder, manifest, chosen)
    except HwnasError as error:
        here = package_versions(chosen)
        others = [
            f"{name} {then} (here: {here[name]})"
            for name, then in manifest.versions.items()
            if name in here and name not in ("hwnas", "python", "torch") and here[name] != then
        ]
        if others:
            raise ExportError(
                f"{error}; it was checked with {', '.join(others)}: install that or a newer one"
            ) from error
        raise
    limits = manifest.golden
    for name, one in found.outputs.items():
        most = limits.get("outputs", {}).get(name, limits["output_tolerance"])
        if not one <= most:
            raise ExportError(
                f"{model} gives another output than when it was exported: {name} differs by {one:.3g} from the golden"
                f" one, at most {most:.3g} expected"
            )
    if found.input_max_abs is not None and not found.input_max_abs <= limits["input_tolerance"]:
        raise ExportError(
            f"{folder / PREPROCESSING_NAME} gives another input than training did: it differs by"
            f" {found.input_max_abs:.3g}, at most {limits['input_tolerance']:.3g} expected"
        )
    return found


def runs_here(manifest: Manifest) -> bool:
    """Whether the file may be run on this machine's kind of processor."""
    return manifest.tvm_target is None or manifest.tvm_target.startswith(f"{platform.machine()}-")


def _differences(folder: Path, manifest: Manifest, chosen: ModelFormat) -> GoldenCheck:
    ports, outputs = [Port.of(one) for one in manifest.inputs], [Port.of(one) for one in manifest.outputs]
    inputs, expected = read_golden(folder, manifest)
    found: dict[str, float] = {}
    if runs_here(manifest):
        pairs = zip(ports, inputs, strict=True)
        given = chosen.open(folder / manifest.file, 1)([port.from_file(one, chosen.layout) for port, one in pairs])
        if len(given) != len(outputs):
            raise ExportError(f"{folder / manifest.file} gives {len(given)} outputs, expected {len(outputs)}: {_AGAIN}")
        found = {
            port.name: _largest(port, one[0], golden)
            for port, one, golden in zip(outputs, given, expected, strict=True)
        }
    largest = max(found.values()) if found else None
    path = folder / PREPROCESSING_NAME
    try:
        steps = read_json(path, ExportError)
        if find_spec("PIL") is None or not takes_image_files(steps):
            return GoldenCheck(largest, None, found)
        sample = prepare_file(folder / SAMPLE_NAME, steps)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ExportError(f"{path} can't be followed ({type(error).__name__}: {error}): {_AGAIN}") from error
    return GoldenCheck(largest, _largest(ports[0], sample, inputs[0]), found)


def read_golden(folder: Path, manifest: Manifest) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """The golden inputs and outputs, in the file's order and layout. Raises ExportError where one is missing."""
    with np.load(folder / GOLDEN_NAME) as golden:
        kept = {name: golden[name] for name in golden.files}
    found = []
    for kind, ports in (("input", manifest.inputs), ("output", manifest.outputs)):
        keys = [kind if len(ports) == 1 else f"{kind}.{port['name']}" for port in ports]
        if missing := [key for key in keys if key not in kept]:
            raise ExportError(f"{folder / GOLDEN_NAME} has no {missing[0]!r}: {_AGAIN}")
        found.append([kept[key] for key in keys])
    return found[0], found[1]


def _largest(port: Port, found: NDArray[Any], expected: NDArray[Any]) -> float:
    return difference(port, found, expected) if found.shape == expected.shape else float("inf")


def _listed(folder: Path) -> dict[str, str]:
    path = folder / SUMS_NAME
    if not folder.is_dir():
        raise ExportError(f"no such folder: {folder}; expected a bundle, as hwnas export writes it below deploy/")
    if not path.is_file():
        raise ExportError(f"{folder} is no bundle: it has no {SUMS_NAME}; expected a folder such as deploy/local/tight/"
                          "onnx-fp32, as hwnas export writes it")  # fmt: skip
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found = [_LINE.fullmatch(line) for line in lines[:-1]]
    if lines[-1] or not found or not all(found):
        raise ExportError(f"{path} was altered: expected lines of a sha256, two spaces and a file's name: {_AGAIN}")
    return {match[2]: match[1] for match in found if match}
