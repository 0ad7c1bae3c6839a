"""`hwnas export` and `hwnas verify-bundle`, as a user runs them, on a trained checkpoint."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from hwnas.export.bundle.verify import verify_files, verify_golden
from tests.cli.test_pipeline import error_line, refused, result_of, step
from tests.export.bundles import resign
from tests.running import run_hwnas

FAST = ("profiling.rounds=2", "profiling.max_rounds=2")
KEYS = {
    "id", "device", "runtime", "budget", "format", "precision", "path", "bytes", "sha256", "parity_max_abs",
    "top1_agreement", "accuracy", "accuracy_drop", "float_layers", "latency_ms", "latency_p10_ms", "latency_p90_ms",
    "latency_reason", "preflight",
}  # fmt: skip
NETS = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
"""


def exported(smoke: Path, *arguments: object) -> tuple[Path, dict[str, Any]]:
    """An arch of the smoke run, exported into a folder of its own."""
    folder, arch = smoke / "own", result_of(smoke)["targets"][0]["arch"]
    given = (f"arch={json.dumps(arch)}", f"checkpoint={smoke}/train/supernet.safetensors", *FAST, *arguments)
    done = run_hwnas("export", "experiment=smoke", f"hydra.run.dir={folder}", *given)
    assert done.returncode == 0, done.stderr
    return folder, result_of(folder)


def verify(bundle: Path, tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run_hwnas("verify-bundle", bundle, f"hydra.run.dir={tmp_path / 'verified'}", *arguments)


def test_search_targets_become_bundles(smoke_output: tuple[Path, str], tmp_path: Path) -> None:
    folder = smoke_output[0] / "export"
    files = result_of(folder)["files"]
    assert [(file["runtime"], file["budget"]) for file in files] == [
        (runtime, budget) for runtime in ("onnxruntime", "litert") for budget in ("tight", "loose")
    ]
    for file in files:
        assert set(file) >= KEYS
        bundle = (folder / file["path"]).parent
        assert bundle == folder / "deploy" / "local" / file["budget"] / f"{file['format']}-fp32"
        manifest = verify_files(bundle)
        verify_golden(bundle, manifest)
        assert file["latency_reason"] is None
        assert 0 < file["latency_p10_ms"] <= file["latency_ms"] <= file["latency_p90_ms"]
        assert file["accuracy"] > 0.5
        assert abs(file["accuracy_drop"]) < 0.01
        assert file["top1_agreement"] == 1.0
        assert manifest.sha256 == file["sha256"]
        assert manifest.metrics["measured"] == {"latency_ms": file["latency_ms"], "accuracy": file["accuracy"]}
        assert set(manifest.metrics["predicted"]) == {"latency_ms", "accuracy", "budget_ms", "macs", "parameters"}
    assert not (folder / "state").exists()


def test_good_bundle_and_altered_ones(smoke: Path, tmp_path: Path) -> None:
    # A minute's noise of a shared machine is no fault of the bundle: the tolerance is not what is tested here.
    bundle = smoke / "export" / "deploy" / "local" / "tight" / "onnx-fp32"
    done = verify(bundle, tmp_path, *FAST, "verify.latency_tolerance=20")
    assert done.returncode == 0, done.stderr
    assert "good" in done.stdout.splitlines()
    result = result_of(tmp_path / "verified")
    assert result["latency"]["ratio"] > 0
    assert result["output_max_abs"] <= 1e-5
    for name in ("model.onnx", "manifest.json"):
        altered = Path(shutil.copytree(bundle, tmp_path / "with spaces and 'quotes'"))
        content = bytearray((altered / name).read_bytes())
        content[len(content) // 2] ^= 1
        (altered / name).write_bytes(content)
        assert f"{name} was altered" in error_line(verify(altered, tmp_path, "verify.latency=false"))
        shutil.rmtree(altered)
    assert "no such folder" in error_line(verify(tmp_path / "nothing", tmp_path))
    assert "give its folder" in error_line(run_hwnas("verify-bundle", f"hydra.run.dir={tmp_path}"))


def test_slower_than_the_manifest_says(smoke: Path, tmp_path: Path) -> None:
    bundle = smoke / "export" / "deploy" / "local" / "tight" / "onnx-fp32"
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["latency"]["median_ms"] /= 50  # as if the machine had been fifty times faster then
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    resign(bundle)
    message = error_line(verify(bundle, tmp_path, *FAST))
    assert "times the manifest's" in message
    assert "verify.latency_tolerance" in message
    assert verify(bundle, tmp_path, *FAST, "verify.latency=false").returncode == 0


def test_a_bundle_is_measured_where_and_how_it_is_asked(smoke: Path, tmp_path: Path) -> None:
    bundle = smoke / "export" / "deploy" / "local" / "tight" / "onnx-fp32"
    unreachable = ("device=raspberry_pi_5", "device.address=pi@127.0.0.1:9")
    message = error_line(verify(bundle, tmp_path, *unreachable))
    assert "raspberry_pi_5 was asked for" in message
    assert "127.0.0.1:9) does not answer" in message
    assert "profiling.precision=int8: the file in" in error_line(verify(bundle, tmp_path, "profiling.precision=int8"))
    assert "is of onnxruntime" in error_line(verify(bundle, tmp_path, "profiling.runtime=litert"))
    own = tmp_path / "my_board.yaml"
    own.write_text("name: my_board\ndescription: mine\ntransport: local\nruntimes: {onnxruntime: [fp32]}\n")
    done = verify(bundle, tmp_path, *FAST, f"device={own}", "profiling.threads=2")
    assert done.returncode == 0, done.stderr
    latency = result_of(tmp_path / "verified")["latency"]
    assert (latency["device"], latency["threads"], latency["ratio"]) == ("my_board", 2, None)
    assert latency["latency_ms"] > 0
    assert "are of local with 1 threads: not comparable" in latency["reason"]


@pytest.mark.slow
def test_several_processes_write_what_one_does(smoke: Path) -> None:
    both = []
    for processes in (2, 1):
        done = step(
            "export", smoke, "precisions=[fp32,fp16]", f"export.processes={processes}", "hydra.verbose=hwnas", *FAST
        )
        assert done.returncode == 0, done.stderr
        assert "tflite export, convert printed:" in (smoke / "export" / "export.log").read_text()
        both.append(
            [{key: file[key] for key in KEYS if "latency" not in key} for file in result_of(smoke / "export")["files"]]
        )
        assert len(both[-1]) == 8
        shutil.rmtree(smoke / "export")
    assert both[0] == both[1]


@pytest.mark.slow
def test_interrupted_processes_end_and_what_they_made_is_kept(smoke: Path) -> None:
    shutil.rmtree(smoke / "export")
    command = [
        sys.executable, "-m", "hwnas.cli.main", "export", "experiment=smoke", f"hydra.run.dir={smoke / 'export'}",
        "precisions=[fp32,int8]", "export.processes=2", *FAST,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list((smoke / "export" / "state").glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    group = psutil.Process(process.pid).children(recursive=True)
    assert len(group) >= 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert "leaked" not in errors
    _, alive = psutil.wait_procs(group, timeout=30)
    assert not alive
    assert list((smoke / "export" / "state").glob("*.json"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_device_out_of_reach_is_said_not_hidden(smoke: Path, tmp_path: Path) -> None:
    folder, result = exported(smoke, "formats=[onnx]", "device=raspberry_pi_5")
    (file,) = result["files"]
    assert (file["device"], file["budget"], file["latency_ms"]) == ("raspberry_pi_5", None, None)
    assert "device.address=" in file["latency_reason"]
    assert file["path"] == "deploy/raspberry_pi_5/arch/onnx-fp32/model.onnx"
    done = verify((folder / file["path"]).parent, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not measured" in done.stdout


@pytest.mark.slow
def test_file_over_the_devices_limit(smoke: Path, tmp_path: Path) -> None:
    profile = tmp_path / "tiny_board.yaml"
    profile.write_text(
        "name: tiny_board\ndescription: a board\ntransport: ssh\nruntimes: {onnxruntime: [fp32]}\n"
        "max_file_mib: 0.01\nsources: [https://example.org]\n"
    )
    arch = json.dumps(result_of(smoke)["targets"][0]["arch"])
    arguments = (
        "experiment=smoke", f"hydra.run.dir={smoke / 'own'}", f"arch={arch}", f"device={profile}",
        f"checkpoint={smoke}/train/supernet.safetensors", "formats=[onnx]",
    )  # fmt: skip
    before = run_hwnas("export", *arguments)  # its weights, before anything is written
    assert "tiny_board has 0.01 MiB" in error_line(before)
    written = run_hwnas("export", *arguments, "export.allow_unsupported=true")  # the file itself
    assert "tiny_board takes 0.01 MiB" in error_line(written)
    assert not list((smoke / "own").rglob("manifest.json"))


def test_bad_input_is_one_line(smoke: Path) -> None:
    assert "precisions: 'int4' unknown" in refused("export", smoke, "precisions=[int4]")
    assert "unknown model format 'onx'" in refused("export", smoke, "formats=[onx]")
    arch = {**result_of(smoke)["targets"][0]["arch"], "d": [9, 9]}
    (smoke / "bad.json").write_text(json.dumps(arch))
    assert "valid: " in refused("export", smoke, f"arch={smoke}/bad.json")
    assert "another space" in refused("export", smoke, "space.kernel_sizes=[3,5,7,9]")
    for file in (smoke / "export").rglob("SHA256SUMS"):
        verify_files(file.parent)


def test_module_by_path(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    arguments = ("experiment=smoke", "formats=[onnx]", f"hydra.run.dir={tmp_path / 'out'}", *FAST)
    done = run_hwnas("export", "module=nets:make", *arguments, "data.licence=CC0-1.0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = result_of(tmp_path / "out")["files"]
    assert file["path"] == "deploy/local/make/onnx-fp32/model.onnx"
    assert file["real_images"]
    assert file["parity_max_abs"] < 1e-4
    manifest = verify_files((tmp_path / "out" / file["path"]).parent)
    assert manifest.data == {"name": "digits", "licence": "CC0-1.0", "real_images": True}
    assert manifest.arch == {"module": "nets:make"}


def test_module_without_images_says_so(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    arguments = ("data=none", "data.channels=1", "data.image_size=20", "formats=[onnx]")
    done = run_hwnas(
        "export", f"module={tmp_path}/nets.py:make", *arguments, f"hydra.run.dir={tmp_path / 'out'}",
        "export.measure_latency=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not of real images" in done.stdout
    (file,) = result_of(tmp_path / "out")["files"]
    assert (file["real_images"], file["accuracy"], file["accuracy_drop"]) == (False, None, None)
    assert file["latency_reason"] == "export.measure_latency=false"
    bundle = (tmp_path / "out" / file["path"]).parent
    assert not verify_files(bundle).parity["real"]
    assert verify_files(bundle).input_shape == [1, 1, 20, 20]


OWN = """
import torch
from torch import nn
from backbone import WIDTH

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, WIDTH, 3, 2), nn.Linear(WIDTH + 5, 4)

    def forward(self, image, meta):
        print("printed by forward")
        mapped = self.conv(image)
        return {"map": mapped, "logits": self.linear(torch.cat([mapped.mean((2, 3)), meta], 1)), "loss": None}

def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(196, 10))
"""


@pytest.mark.parametrize("formats", ["onnx", pytest.param("onnx,tflite", marks=pytest.mark.slow)])
def test_module_of_several_inputs_and_outputs(tmp_path: Path, formats: str) -> None:
    (tmp_path / "my_net.py").write_text(OWN)
    (tmp_path / "backbone.py").write_text("WIDTH = 4\n")
    arguments = (
        "export.inputs={image: [1,3,24,40], meta: [1,5]}", f"formats=[{formats}]", "export.parity_images=8",
        f"hydra.run.dir={tmp_path / 'out'}", *FAST,
    )  # fmt: skip
    done = run_hwnas("export", "module=my_net.py:Net", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "printed by forward" not in done.stdout + done.stderr
    for line in (
        "not in the files, since no tensors: loss (NoneType)", "outputs map, logits: classes are told by logits",
        "data=fashion_mnist is not read", *(("TRANSPOSE", "keepdim=True") if "tflite" in formats else ()),
    ):  # fmt: skip
        assert line in done.stdout
    files = result_of(tmp_path / "out")["files"]
    assert [file["format"] for file in files] == formats.split(",")
    for file in files:
        assert set(file) >= KEYS
        assert (file["parity_images"], file["parity_max_abs"] < 1e-5, file["accuracy"]) == (8, True, None)
        assert file["latency_ms"] > 0, file["latency_reason"]
        assert [port["name"] for port in file["outputs"]] == ["map", "logits"]
        bundle = (tmp_path / "out" / file["path"]).parent
        assert verify_files(bundle).data == {"name": "none", "licence": None, "real_images": False}
        verified = verify(bundle, tmp_path, *FAST, "verify.latency_tolerance=20")
        assert verified.returncode == 0, verified.stderr
        assert "none: arrays go in, not image files" in verified.stdout
        assert result_of(tmp_path / "verified")["latency"]["ratio"] > 0
    # The same file by another spelling is the same net; another file beside it makes another.
    again = run_hwnas("export", f"module={tmp_path}/./my_net.py:Net", *arguments)
    assert "up to date" in again.stdout
    (tmp_path / "backbone.py").write_text("WIDTH = 6\n")
    again = run_hwnas("export", "module=my_net.py:Net", *arguments, cwd=tmp_path)
    assert "files.module's backbone.py changed" in again.stdout
    changed = verify_files((tmp_path / "out" / result_of(tmp_path / "out")["files"][0]["path"]).parent)
    assert changed.outputs[0]["shape"] == [1, 6, 11, 19]


@pytest.mark.parametrize(("name", "arguments", "message"), [
    ("Net", (), "forward takes 2 inputs (image, meta): give their shapes, a batch of one, as export.inputs='{image: "
     "[1, 3, 224, 224], meta: [1, …]}'"),
    ("small", (), "it takes [1, 3, 224, 224]: give data=none data.image_size=224, or data of such images"),
    ("smal", (), "my_net.py has no 'smal': did you mean 'small'?"),
    ("small", ("data=none", "data.image_size=[24,40,3]"), "data.image_size: expected 1 or more pixels, or [height"),
    ("small", ("data=none", "precisions=[int8]"), "int8 needs real, labelled images"),
])  # fmt: skip
def test_module_that_does_not_fit_is_told(name: str, arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(OWN)
    (tmp_path / "backbone.py").write_text("WIDTH = 4\n")
    given = ("formats=[onnx]", "export.parity_images=4", *arguments, f"hydra.run.dir={tmp_path / 'out'}")
    assert message in error_line(run_hwnas("export", f"module=my_net.py:{name}", *given, cwd=tmp_path))


@pytest.mark.parametrize("formats", ["onnx", pytest.param("onnx,tflite", marks=pytest.mark.slow)])
def test_module_of_a_size_that_is_not_square(tmp_path: Path, formats: str) -> None:
    (tmp_path / "my_net.py").write_text(OWN)
    (tmp_path / "backbone.py").write_text("WIDTH = 4\n")
    done = run_hwnas(
        "export", "module=my_net.py:small", "data=none", "data.image_size=[96,160]", f"formats=[{formats}]",
        "export.parity_images=8", f"hydra.run.dir={tmp_path / 'out'}", *FAST, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shapes = {}
    for file in result_of(tmp_path / "out")["files"]:
        manifest = verify_files((tmp_path / "out" / file["path"]).parent)
        shapes[file["format"]] = manifest.input_shape
        assert file["latency_ms"] > 0
        assert len(manifest.classes) == 10
    layouts = {"onnx": [1, 3, 96, 160], "tflite": [1, 96, 160, 3]}
    assert shapes == {name: layouts[name] for name in formats.split(",")}


@pytest.mark.slow
def test_killed_export_leaves_whole_bundles_and_goes_on(smoke: Path) -> None:
    folder = smoke / "export"
    shutil.rmtree(folder)
    command = [
        sys.executable, "-m", "hwnas.cli.main", "export", "experiment=smoke", f"hydra.run.dir={folder}",
        "precisions=[fp32,fp16]", "export.processes=2",
    ]  # fmt: skip
    draw = random.Random(0)
    kept: dict[str, int] = {}
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(4, 14))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for sums in folder.glob("deploy/*/[!.]*/[!.]*/SHA256SUMS"):
            verify_files(sums.parent)
        for bundle in folder.glob("deploy/*/[!.]*/[!.]*"):
            verify_files(bundle)
        now = {path.name: path.stat().st_mtime_ns for path in folder.glob("state/*.json")}
        assert {name: now.get(name, when) for name, when in kept.items()} == kept  # what was done is not done again
        kept |= now
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = result_of(folder)["files"]
    assert len(files) == 8
    for file in files:
        verify_files((folder / file["path"]).parent)
    assert not list(folder.rglob(".*partial*"))
