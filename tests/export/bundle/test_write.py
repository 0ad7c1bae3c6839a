"""Bundles: whole or absent, and enough by themselves."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.data.decode import decode
from hwnas.data.preprocess import Preprocessing, prepare
from hwnas.errors import StorageError
from hwnas.export.bundle.example.preprocess import prepare_file
from hwnas.export.bundle.golden import preprocessing_steps
from hwnas.export.bundle.names import bundle_folder
from hwnas.export.bundle.verify import verify_files, verify_golden
from hwnas.export.formats import model_format
from tests.export.bundles import CLASSES, STORED, run_example, small_network, write
from tests.export.conftest import each_format
from tests.running import run_program

CONTENT = [
    "SHA256SUMS", "golden.npz", "labels.txt", "manifest.json", "preprocessing.json", "run.py", "sample.png",
]  # fmt: skip


@pytest.fixture(scope="module", params=each_format(slow={"executorch"}))
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = model_format(request.param)
    if missing := [package for package in chosen.packages if find_spec(package) is None]:
        pytest.skip(f"{', '.join(missing)} missing: pip install 'hwnas[{chosen.extra}]'")
    return write(tmp_path_factory.mktemp("of"), request.param)


@pytest.fixture(scope="module")
def onnx_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("of"), "onnx")


def test_bundle_is_whole_and_good(bundle: Path) -> None:
    manifest = verify_files(bundle)
    assert sorted(path.name for path in bundle.iterdir()) == sorted([*CONTENT, manifest.file])
    found = verify_golden(bundle, manifest)
    assert found.output_max_abs is not None
    assert found.output_max_abs <= 1e-6
    assert found.input_max_abs is not None
    assert found.input_max_abs <= 1e-5
    assert manifest.classes == list(CLASSES)
    assert "unknown" not in manifest.versions.values()
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def test_coreutils_agree(onnx_bundle: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=onnx_bundle, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


# Importing ExecuTorch takes four seconds, TVM one, and each case does it.
@pytest.mark.parametrize("bundle", each_format(), indirect=True)
def test_example_needs_only_the_runtime_and_numpy(bundle: Path) -> None:
    # ExecuTorch's runtime for Python is built on torch.
    blocked = ("hwnas",) if verify_files(bundle).format == "executorch" else ("torch", "torchvision", "hwnas")
    for name in blocked:
        assert run_example(bundle, script=f"import {name}").returncode == 1  # the blocker does block
    done = run_example(bundle, "--check", blocked=blocked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "good"
    assert "preprocessing: differs by" in done.stdout
    done = run_example(bundle, "--check", blocked=(*blocked, "PIL"))
    assert done.returncode == 0, done.stderr
    assert "preprocessing: not checked" in done.stdout
    done = run_example(bundle, blocked=("torch", "hwnas", "onnxruntime", "ai_edge_litert", "tvm", "executorch"))
    assert done.returncode == 1
    assert "is not installed" in done.stderr


@pytest.mark.parametrize("bundle", each_format(slow={"executorch"}), indirect=True)
def test_example_names_the_classes(bundle: Path) -> None:
    done = run_example(bundle, bundle / "sample.png", "--top", 3, blocked=("hwnas",))
    assert done.returncode == 0, done.stderr
    lines = [line.strip().split("%  ") for line in done.stdout.splitlines()]
    shares = [float(share) / 100 for share, _ in lines]
    assert [label for _, label in lines if label not in {"cat", "dog and bone", "ñandú", "d", "e"}] == []
    with np.load(bundle / "golden.npz") as golden:
        logits = golden["output"][0].astype(np.float64)
        image = golden["input"]
    expected = np.exp(logits) / np.exp(logits).sum()
    assert shares == pytest.approx(np.sort(expected)[::-1][:3], abs=2e-3)
    # The file's answer is the network's.
    layout = json.loads((bundle / "manifest.json").read_text())["input_layout"]
    given = image.transpose(0, 3, 1, 2) if layout == "NHWC" else image
    with torch.no_grad():
        answer = small_network()(torch.from_numpy(np.ascontiguousarray(given)))[0]
    np.testing.assert_allclose(logits, answer, atol=1e-4)


def test_example_says_what_is_no_image(onnx_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    for path in (tmp_path / "a.jpg", tmp_path / "absent.jpg"):
        done = run_example(onnx_bundle, path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"run.py: {path} cannot be read as an image: ")
        assert done.stderr.count("\n") == 1


def test_example_tells_an_altered_file(onnx_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in onnx_bundle.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with np.load(copy / "golden.npz") as golden:
        np.savez(copy / "golden.npz", input=golden["input"], output=golden["output"] + 0.01)
    done = run_example(copy, "--check")
    assert done.returncode == 1
    assert "NOT as exported" in done.stdout
    (copy / "model.onnx").write_bytes(b"nonsense")
    done = run_example(copy)
    assert done.returncode == 1
    assert "can't be loaded" in done.stderr
    assert "onnxruntime " in done.stderr  # the version that it was made with


def picture(folder: Path, mode: str, size: tuple[int, int]) -> Path:
    """An image file of that mode: a gradient with noise, so that every pixel counts."""
    rng = np.random.default_rng(size[0])
    width, height = size
    base = np.linspace(0, 200, width)[None, :, None] * np.linspace(0.3, 1, height)[:, None, None]
    pixels = (base + rng.uniform(0, 55, (height, width, 4))).astype(np.uint8)
    path = folder / f"{mode.replace(';', '')}{width}.png"
    if mode == "I;16":
        Image.fromarray((pixels[..., 0].astype(np.uint16) << 8) + 77).save(path)
    elif mode == "12 bits":
        Image.fromarray(pixels[..., 0].astype(np.uint16) << 4).save(path)
    elif mode == "F":
        path = path.with_suffix(".tif")
        Image.fromarray(pixels[..., 0].astype(np.float32) / 255).save(path)
    elif mode == "broken EXIF":
        path = path.with_suffix(".jpg")
        Image.fromarray(pixels[..., :3]).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\2\0\0\0x", quality=95)
    elif mode == "P transparent":
        Image.fromarray(pixels[..., :3]).quantize(32).save(path, transparency=3)
    elif mode == "rotated":
        path = path.with_suffix(".jpg")
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels[..., :3]).save(path, exif=exif, quality=95)
    elif mode == "CMYK":
        path = path.with_suffix(".jpg")
        Image.fromarray(pixels[..., :3]).convert("CMYK").save(path)
    elif mode == "RGBA":
        Image.fromarray(pixels).save(path)
    else:
        Image.fromarray(pixels[..., :3]).convert(mode).save(path)
    return path


MODES = ("RGB", "L", "1", "P", "P transparent", "LA", "RGBA", "I;16", "12 bits", "F", "CMYK", "rotated", "broken EXIF")


@pytest.mark.parametrize(("size", "resolution", "crop_pct"), [(STORED, 24, 0.875), (STORED, 64, 1.0), (33, 33, 1.0)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["onnx", "tflite"])  # one of each layout
def test_preprocessing_is_trainings(
    name: str, mode: str, size: int, resolution: int, crop_pct: float, onnx_bundle: Path, tmp_path: Path
) -> None:
    preprocessing = Preprocessing((0.49, 0.48, 0.44), (0.2, 0.21, 0.22), size, crop_pct)
    chosen = model_format(name)
    description = json.loads(json.dumps(preprocessing_steps(preprocessing, resolution, chosen)))
    example = load_example(onnx_bundle)
    for shape in ((97, 61), (31, 200), (640, 479), (1, 3)):
        path = picture(tmp_path, mode, shape)
        stored = torch.from_numpy(decode(path, size, crop_pct).copy())[None]
        expected = prepare(stored, resolution, preprocessing).numpy()
        for function in (example.prepare_file, prepare_file):
            given = function(path, description)
            assert given.dtype == np.float32
            found = given.transpose(0, 3, 1, 2) if chosen.layout == "NHWC" else given
            assert found.shape == (1, 3, resolution, resolution)
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)  # a pixel's step is 0.018


def test_grey_networks_take_grey_images(tmp_path: Path) -> None:
    bundle = write(tmp_path, "onnx", channels=1)
    manifest = verify_files(bundle)
    assert manifest.input_shape == [1, 1, 24, 24]
    done = run_example(bundle, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_example(bundle, picture(tmp_path, "RGB", (50, 30))).returncode == 0


def load_example(bundle: Path) -> ModuleType:
    spec: Any = importlib.util.spec_from_file_location("example_of_bundle", bundle / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_folder_names_are_plain() -> None:
    assert bundle_folder("local", "tight", "onnx", "int8") == Path("deploy/local/tight/onnx-int8")
    assert bundle_folder("a b/../c", "..", "onnx", "int8") == Path("deploy/a-b-..-c/network/onnx-int8")


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("a file is in the way")
    with pytest.raises(StorageError, match=r"cannot write .*bundle"):
        write(tmp_path, "onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "made.onnx"]


# Each child ends, as if by SIGKILL, at another of the file operations that writing a bundle consists of. The parent
# imports and computes nothing: a fork of a process whose libraries have started threads may wait for them forever.
_KILLED = """
import os, sys
from pathlib import Path
import onnxruntime, torch, PIL.Image
import hwnas.export.bundle.write, hwnas.export.onnx.format
from tests.export import bundles
first, folder = map(Path, sys.argv[1:])
calls = [0]
def child(stop):
    def count(event, arguments):
        if event in ("open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.rmdir", "shutil.rmtree") and any(
            str(folder / "killed") in str(argument) for argument in arguments
        ):
            calls[0] += 1
            if calls[0] == stop:
                os._exit(9)
    sys.addaudithook(count)
    bundles.write_again(first, folder / "killed" / "bundle")
    os._exit(0)
for stop in range(1, 1000):
    process = os.fork()
    if process == 0:
        child(stop)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    whole = sorted(path.name for path in (folder / "killed" / "bundle").glob("*"))
    print(stop, status, ",".join(whole), flush=True)
    if status == 0:
        break
"""


def test_killed_at_any_file_operation_no_half_bundle_is_left(onnx_bundle: Path, tmp_path: Path) -> None:
    done = run_program(_KILLED, onnx_bundle, tmp_path, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert len(rows) > 20
    assert [status for _, status, _ in rows] == ["9"] * (len(rows) - 1) + ["0"]
    assert {content for _, _, content in rows} <= {"", ",".join(sorted([*CONTENT, "model.onnx"]))}
    verify_golden(tmp_path / "killed" / "bundle", verify_files(tmp_path / "killed" / "bundle"))
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["bundle"]  # what the killed ones left is gone
