"""A bundle: a model file with its manifest, its preprocessing, a golden pair and an example, in one folder.

The folder is written beside its place and renamed when it is whole: there is never half a bundle.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hwnas.data.preprocess import Preprocessing
from hwnas.errors import StorageError
from hwnas.export.bundle.example import example_source
from hwnas.export.bundle.golden import steps_to_input, write_golden
from hwnas.export.bundle.manifest import MANIFEST_NAME, PREPROCESSING_NAME, SUMS_NAME, Manifest, write_manifest
from hwnas.export.check.feed import Feed
from hwnas.export.config import ExportConfig
from hwnas.export.formats import model_format
from hwnas.export.signature import Signature
from hwnas.files import sha256_of_file, write_json, write_text

__all__ = ["write_bundle"]

_PARTIAL = ".partial-"


def write_bundle(
    folder: Path,
    model: Path,
    manifest: Manifest,
    preprocessing: Preprocessing,
    signature: Signature,
    feed: Feed,
    config: ExportConfig,
    runnable: Path | None = None,
) -> Manifest:
    """Write the bundle of the file `model` into `folder`, and return its manifest.

    `manifest` says what the caller knows; `file`, `golden` and `files` are filled in here. `feed`: the first of it
    becomes the golden input, and a sample image where it is a picture. `runnable` is run for the golden output where
    `model` is for another processor. An earlier bundle in `folder` is replaced. Raises StorageError where the folder
    can't be written, ExportError where the file does not run.
    """
    chosen = model_format(manifest.format)
    with _whole_folder(folder) as temporary:
        name = f"model{chosen.suffix}"
        _link(model, temporary / name)
        steps = steps_to_input(preprocessing, signature, feed, chosen)
        write_json(temporary / PREPROCESSING_NAME, steps)
        golden = write_golden(
            temporary, runnable or model, chosen, manifest.precision, signature, feed, preprocessing, config
        )
        write_text(temporary / "labels.txt", "".join(f"{' '.join(label.split())}\n" for label in manifest.classes))
        title = f"{manifest.name}: the {manifest.precision} {manifest.format} file in {manifest.runtime}."
        write_text(temporary / "run.py", example_source(manifest.format, title))
        sums = {path.name: sha256_of_file(path) for path in sorted(temporary.iterdir())}
        manifest = replace(manifest, file=name, golden=golden, files=sums)
        sums[MANIFEST_NAME] = sha256_of_file(write_manifest(manifest, temporary))
        write_text(temporary / SUMS_NAME, "".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())))
    return manifest


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place in the end, and is removed where anything fails."""
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{folder.name}{_PARTIAL}*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}{_PARTIAL}"))
        temporary.chmod(0o755)
        yield temporary
        _replace(temporary, folder)
    except OSError as error:
        raise StorageError(
            f"cannot write {folder}: {error.strerror or error}; free space or choose another folder,"
            " then run the same again"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _replace(temporary: Path, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is in its place")
    if folder.exists():  # a folder that is not empty can't be renamed over
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}{_PARTIAL}"))
        folder.rename(old / folder.name)
        temporary.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(folder)
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(model: Path, target: Path) -> None:
    """A hard link where the file system has them: the file stays where it was until the bundle is whole."""
    try:
        os.link(model, target)
    except OSError:
        shutil.copyfile(model, target)
