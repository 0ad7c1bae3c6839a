"""What `verify_files` and `verify_golden` notice."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hwnas.errors import ExportError, HwnasError
from hwnas.export.bundle.manifest import MANIFEST_NAME, SUMS_NAME
from hwnas.export.bundle.verify import verify_files, verify_golden
from tests.export.bundles import resign, write


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole"), "onnx")


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def test_one_byte_anywhere_is_noticed(whole: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = sorted(path.name for path in whole.iterdir())
    for name in names:
        for _ in range(5):
            copy = Path(shutil.copytree(whole, tmp_path / "copy"))
            content = bytearray((copy / name).read_bytes())
            content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
            (copy / name).write_bytes(content)
            with pytest.raises(ExportError, match=r"was altered|is missing|differ on"):
                verify_files(copy)
            shutil.rmtree(copy)


def test_a_board_without_torch_verifies(bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"  # as where it is not installed
        "from hwnas.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    arguments = ["verify-bundle", str(bundle), "verify.latency=false", f"hydra.run.dir={tmp_path / 'verified'}"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("good\n")


def test_altered_file_is_named(bundle: Path) -> None:
    (bundle / "labels.txt").write_text("others\n")
    with pytest.raises(ExportError, match=r"labels\.txt was altered: its sha256 is"):
        verify_files(bundle)
    (bundle / "labels.txt").unlink()
    with pytest.raises(ExportError, match=r"labels\.txt is missing"):
        verify_files(bundle)


def test_white_space_in_the_manifest_is_noticed(bundle: Path) -> None:
    path = bundle / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(ExportError, match=r"manifest\.json was altered"):
        verify_files(bundle)


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST_NAME])
def test_file_that_is_listed_no_more_is_noticed(name: str, bundle: Path) -> None:
    path = bundle / SUMS_NAME
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if name not in line))
    (bundle / name).write_bytes((bundle / name).read_bytes() + b" ")
    with pytest.raises(ExportError, match=name.replace(".", r"\.")):
        verify_files(bundle)


@pytest.mark.parametrize("text", ["", "\n", "nonsense\n", "0" * 64 + "  ../model.onnx\n", "0" * 64 + " model.onnx\n"])
def test_list_that_is_none_is_refused(text: str, bundle: Path) -> None:
    (bundle / SUMS_NAME).write_text(text)
    with pytest.raises(ExportError, match=r"SHA256SUMS was altered: expected lines"):
        verify_files(bundle)


def test_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no such folder"):
        verify_files(tmp_path / "nothing")
    with pytest.raises(ExportError, match="is no bundle"):
        verify_files(tmp_path)


def test_manifest_of_other_keys_is_refused(bundle: Path) -> None:
    resign(bundle)
    verify_files(bundle)  # resigning is no alteration by itself
    content = json.loads((bundle / MANIFEST_NAME).read_text())
    content["extra"] = content.pop("latency")
    (bundle / MANIFEST_NAME).write_text(json.dumps(content))
    resign(bundle)
    with pytest.raises(ExportError, match=r"missing \['latency'\], unknown \['extra'\]"):
        verify_files(bundle)


def test_model_of_other_weights_is_noticed_by_what_it_computes(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    weights = model.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.1, weights.name))
    onnx.save(model, bundle / "model.onnx")
    resign(bundle)
    with pytest.raises(ExportError, match=r"gives another output .* differs by"):
        verify_golden(bundle, verify_files(bundle))


@pytest.mark.parametrize(("step", "key", "value"), [
    ("normalise", "mean", [0.5, 0.48, 0.44]), ("crop", "share_of_shorter_side", 0.8), ("resize", "size", 30),
    ("decode", "mode", "L"), ("resize_to_input", "size", 30), ("layout", "order", "NHWC"),
])  # fmt: skip
def test_other_preprocessing_is_noticed(step: str, key: str, value: object, bundle: Path) -> None:
    path = bundle / "preprocessing.json"
    content = json.loads(path.read_text())
    (found,) = [entry for entry in content["steps"] if entry["step"] == step]
    assert found[key] != value
    found[key] = value
    path.write_text(json.dumps(content))
    resign(bundle)
    with pytest.raises(ExportError, match=r"gives another input than training did"):
        verify_golden(bundle, verify_files(bundle))


def test_runtime_that_is_too_old_is_named(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    model.ir_version = 99  # of an ONNX that is to come
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    manifest["versions"]["onnxruntime"] = "99.0"
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))
    resign(bundle)
    with pytest.raises(ExportError, match=r"it was checked with onnxruntime 99\.0 \(here: "):
        verify_golden(bundle, verify_files(bundle))


def test_broken_model_is_an_error_of_ours(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"nonsense")
    resign(bundle)
    with pytest.raises(HwnasError, match="can't load"):
        verify_golden(bundle, verify_files(bundle))


def test_library_for_another_processor_is_not_run_here(bundle: Path) -> None:
    for target, runs in (("vax-linux-gnu generic", False), (f"{platform.machine()}-linux-gnu generic", True)):
        manifest = json.loads((bundle / MANIFEST_NAME).read_text())
        manifest["tvm_target"] = target
        (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))
        resign(bundle)
        found = verify_golden(bundle, verify_files(bundle))
        assert (found.output_max_abs is not None) == runs
        assert found.input_max_abs is not None
