"""The whole way on real runtimes: what a run writes, what the next run does not do again, and each step alone."""

from __future__ import annotations

import base64
import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hwnas.export.bundle.verify import verify_files
from tests.running import Forked, held_by_another, run_here, run_hwnas

STEPS = ("train", "evaluate", "profile", "search", "export", "validate", "report")


def result_of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert set(document) == {"command", "version", "seed", "elapsed_s", "result"}
    result: dict[str, Any] = document["result"]
    return result


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed command prints."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("hwnas: error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def step(command: str, run: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One step on the files of `run`."""
    return run_hwnas(command, "experiment=smoke", f"hydra.run.dir={run / command}", *arguments)


def refused(command: str, run: Path, *arguments: str) -> str:
    """The one line that a step on the files of `run` is refused with."""
    return error_line(run_here(command, "experiment=smoke", f"hydra.run.dir={run / command}", *arguments))


def test_every_target_is_verified(smoke_output: tuple[Path, str]) -> None:
    folder, printed = smoke_output
    result = result_of(folder)
    assert [(t["runtime"], t["budget"]) for t in result["targets"]] == [
        (runtime, budget) for runtime in ("onnxruntime", "litert") for budget in ("tight", "loose")
    ]
    for target in result["targets"]:
        assert target["predicted_ms"] <= target["budget_ms"]
        assert target["measured_ms"] > 0
        assert 0.3 < target["drift"] < 3
        assert target["accuracy_exported"] == pytest.approx(target["accuracy_torch"], abs=0.002)
        assert target["parity_max_abs"] < 1e-3
        assert target["random_networks"] >= 10
        assert target["finetuned"] == (target["accuracy_torch"] != target["accuracy_inherited"])
        assert Path(target["file"]).is_file()
        assert set(target["arch"]) == {"space", "ks", "e", "d", "r"}
        assert target["id"] in printed
    assert -1 <= result["accuracy_predictor"]["kendall_tau"] <= 1


def test_what_each_file_predicts_is_kept(smoke_output: tuple[Path, str]) -> None:
    folder, printed = smoke_output
    validated = json.loads((folder / "validate" / "result.json").read_text())["result"]
    assert validated["classes"] == list("0123456789")
    assert {name: sum(counts) for name, counts in validated["images_by_class"].items()}["test"] == 359
    for target in validated["targets"]:
        with (folder / "validate" / target["predictions"]).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert sorted(int(row["image"]) for row in rows) == list(range(359))
        right: dict[str, list[bool]] = {label: [] for label in "0123456789"}
        for row in rows:
            right[row["label"]].append(row["label"] == row["predicted"])
            assert 0.1 <= float(row["probability"]) <= 1
        assert target["accuracy_exported"] == pytest.approx(sum(map(sum, right.values())) / 359)
        balanced = sum(sum(each) / len(each) for each in right.values()) / 10
        assert target["balanced_accuracy_exported"] == pytest.approx(balanced)
        assert target["balanced_accuracy_torch"] == pytest.approx(balanced, abs=0.01)
    page = (folder / "report" / "report.html").read_text()
    assert page.count('class="card answers"') == 4
    assert "no picture" not in page
    assert page.count('<li class="tile') == page.count('alt="test image') > 50
    assert "balanced" not in printed + page  # the digits are of ten classes of like size


def test_a_run_before_predictions_were_kept_is_reported(smoke: Path) -> None:
    file = smoke / "validate" / "result.json"
    document = json.loads(file.read_text())
    for key in ("classes", "images_by_class"):
        del document["result"][key]
    for target in document["result"]["targets"]:
        for key in ("predictions", "balanced_accuracy_torch", "balanced_accuracy_exported"):
            del target[key]
    file.write_text(json.dumps(document))
    done = run_here("report", "experiment=smoke", f"hydra.run.dir={smoke / 'report'}")
    assert done.returncode == 0, done.stderr
    page = (smoke / "report" / "report.html").read_text()
    assert "get right and wrong" not in page
    assert "Which file to take" in page


def test_files_are_described(smoke_output: tuple[Path, str]) -> None:
    for target in result_of(smoke_output[0])["targets"]:
        file = Path(target["file"])
        manifest = verify_files(file.parent)
        assert file.name == manifest.file
        assert manifest.arch == target["arch"]
        assert manifest.classes == list("0123456789")


def test_report_is_one_page(smoke_output: tuple[Path, str]) -> None:
    page = (smoke_output[0] / "report" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    for plot in (smoke_output[0] / "report").glob("*.png"):
        assert base64.b64encode(plot.read_bytes()).decode() in page, plot.name


def test_second_run_does_nothing_again(smoke: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()}
    before = {path: when for path, when in before.items() if ".hydra" not in path.parts and path.suffix != ".log"}
    steps = [json.loads((smoke / name / "result.json").read_text())["elapsed_s"] for name in (*STEPS[:-1], "finetune")]
    assert json.loads((smoke / "result.json").read_text())["elapsed_s"] == pytest.approx(sum(steps))
    done = run_here("run", "experiment=smoke", f"hydra.run.dir={smoke}")
    assert done.returncode == 0, done.stderr
    for name in STEPS:
        assert f"{name}: up to date" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["device=pixel9"], "no device profile 'pixel9'"),
        (["device=raspberry_pi_5"], "give device.address="),
        (["device=raspberry_pi_5", "device.address=pi@127.0.0.1:9"], "does not answer"),
        (["device=pixel_8", "device.address=1_2345678"], "no phone '1_2345678'"),
        (["runtime=tvm", "profiling.precision=int8"], "tvm is not written in int8"),
        (["formats=onnx", "precisions=int3"], "'int3' unknown"),
        (["device.python=/nonexistent/python"], "cannot start /nonexistent/python"),
    ],
)  # fmt: skip
def test_what_a_run_lacks_is_said_before_it_trains(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = run_here("run", "experiment=smoke", f"hydra.run.dir={tmp_path / 'run'}", *arguments)
    assert expected in error_line(done)
    assert "train:" not in done.stdout


def test_a_run_holds_the_folders_of_all_its_steps(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "export" / ".lock"):
        done = run_hwnas("run", "experiment=smoke", f"hydra.run.dir={tmp_path}")
    assert f"{tmp_path / 'export'} is being written by another hwnas process" in error_line(done)
    assert "train:" not in done.stdout


def test_a_step_that_has_no_folder_is_said_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "export").write_text("a file")
    done = run_hwnas("run", "experiment=smoke", f"hydra.run.dir={tmp_path}")
    assert f"cannot write {tmp_path / 'export'}" in error_line(done)
    assert "train:" not in done.stdout


def test_changed_budget_redoes_only_what_follows(smoke: Path) -> None:
    changes = ("search.budget_quantiles=[0.5]", "finetune.epochs=0")
    done = run_here("run", "experiment=smoke", f"hydra.run.dir={smoke}", *changes)
    assert done.returncode == 0, done.stderr
    for name in ("train", "evaluate", "profile"):
        assert f"{name}: up to date" in done.stdout
    assert "search: search.budget_quantiles changed" in done.stdout
    targets = result_of(smoke)["targets"]
    assert [target["budget"] for target in targets] == ["q50", "q50"]
    for target in targets:  # the supernet's weights: none were tuned for these budgets
        assert not target["finetuned"]
        assert target["accuracy_torch"] == target["accuracy_inherited"]
    assert result_of(smoke / "superseded" / "search-1")["selected"][0]["budget"] == "tight"


def test_export_of_an_arch_of_ones_own(smoke: Path) -> None:
    arch = result_of(smoke)["targets"][0]["arch"]
    folder = smoke / "own"
    arguments = ("runtime=onnxruntime", f"arch={json.dumps(arch)}", f"hydra.run.dir={folder}")
    done = run_hwnas("export", "experiment=smoke", *arguments, f"checkpoint={smoke}/train/supernet.safetensors")
    assert done.returncode == 0, done.stderr
    assert (folder / result_of(folder)["files"][0]["path"]).is_file()
    (smoke / "bad.json").write_text(json.dumps({**arch, "r": 17}))
    assert "r is 17, valid: 16, 24" in error_line(step("export", smoke, f"arch={smoke}/bad.json"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("space", "kinds", "settings"),
    [
        ("mobilenet_v4_smoke", {"uib", "fused_mbconv"}, ()),
        ("mobileone_smoke", {"rep_conv"}, ()),
        ("nasbench201_smoke", {"relu_conv", "identity", "avg_pool"}, ("profiling.networks=10",)),
        ("darts_smoke", {"sep_conv", "factorized_reduce", "max_pool"}, ("profiling.networks=10",)),
    ],
)
def test_another_space_goes_the_whole_way(
    tmp_path: Path, space: str, kinds: set[str], settings: tuple[str, ...]
) -> None:
    done = run_hwnas("run", "experiment=smoke", f"space={space}", *settings, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    targets = result_of(tmp_path)["targets"]
    assert [target["runtime"] for target in targets] == ["onnxruntime"] * 2 + ["litert"] * 2
    for target in targets:
        assert target["predicted_ms"] <= target["budget_ms"]
        assert target["accuracy_exported"] == pytest.approx(target["accuracy_torch"], abs=0.002)
    table = tmp_path / "profile" / "local" / "onnxruntime-fp32-1t.csv"
    assert kinds <= {row["kind"] for row in csv.DictReader(table.open())}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_space_of_ones_own_goes_the_whole_way(tmp_path: Path) -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "ghost_space.py"
    chosen = ("experiment=smoke", f"space={example}:make", "profiling.networks=10")
    done = run_hwnas("run", *chosen, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    for target in result_of(tmp_path)["targets"]:
        assert target["predicted_ms"] <= target["budget_ms"]
        assert target["accuracy_exported"] == pytest.approx(target["accuracy_torch"], abs=0.002)
    done = run_hwnas("export", *chosen, "formats=[executorch]", f"hydra.run.dir={tmp_path / 'export'}")
    assert done.returncode == 0, done.stderr
    assert {Path(file["path"]).suffix for file in result_of(tmp_path / "export")["files"]} == {".pte"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_files_that_do_not_say_what_goes_in_are_validated(smoke: Path) -> None:
    """TVM's libraries, as ExecuTorch's programs, are fed what they are told to be."""
    runtime = "tvm"
    pytest.importorskip("tvm", reason="tvm missing: pip install 'hwnas[tvm]'")
    shutil.rmtree(smoke / "finetune")
    few = ("profiling.networks=10", "profiling.rounds=2", "profiling.max_rounds=2")
    for command in ("profile", "search", "export", "validate"):
        done = step(command, smoke, f"runtime={runtime}", *few)
        assert done.returncode == 0, done.stderr
    targets = json.loads((smoke / "validate" / "result.json").read_text())["result"]["targets"]
    assert [target["runtime"] for target in targets] == [runtime, runtime]
    assert all(target["measured_ms"] > 0 for target in targets)


def test_infeasible_budget_names_the_fastest(smoke: Path) -> None:
    message = refused("search", smoke, "search.budgets=[0.0001]")
    assert "0.0001 ms" in message
    assert "the fastest takes" in message


@pytest.mark.parametrize("file", ["supernet.safetensors", "predictor.safetensors"])
def test_truncated_artefact(smoke: Path, file: str) -> None:
    command = "evaluate" if file.startswith("supernet") else "search"
    (path,) = smoke.glob(f"[a-z]*/{file}")
    path.write_bytes(path.read_bytes()[:1000])
    message = refused(command, smoke)
    assert str(path) in message
    assert "again" in message


def test_checkpoint_of_another_space(smoke: Path) -> None:
    message = refused("evaluate", smoke, "space.kernel_sizes=[3,5]")
    assert "another space" in message
    assert "kernel_sizes" in message


def test_table_without_an_operator(smoke: Path) -> None:
    (table,) = (smoke / "profile").glob("*/onnxruntime-fp32-1t.csv")
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    provenance = table.with_suffix(".json")
    facts = json.loads(provenance.read_text())
    facts["operators"] -= 1
    provenance.write_text(json.dumps(facts))
    table.write_text("\n".join(",".join(row) for row in rows[:-1]) + "\n")
    message = refused("search", smoke)
    assert f"lacks 1 operators: {rows[-1][0]} " in message
    assert "hwnas profile" in message


def test_truncated_table(smoke: Path) -> None:
    (table,) = (smoke / "profile").glob("*/litert-fp32-1t.csv")
    text = table.read_text()
    table.write_text(text[: len(text) // 2])
    message = refused("search", smoke)
    assert str(table) in message


def test_missing_step_is_named(tmp_path: Path) -> None:
    message = refused("evaluate", tmp_path)
    assert "run hwnas train first, or give checkpoint=PATH" in message


def test_traceback_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    done = step("evaluate", tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


# How SIGTERM differs from SIGINT is tested in test_interrupts.py, and a killed training in training/test_engine.py.
@pytest.mark.parametrize(
    "name", [signal.SIGINT, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGTERM, signal.SIGKILL))]
)
def test_interrupted_run_goes_on(tmp_path: Path, name: signal.Signals) -> None:
    phases = "training.phases=[{name: full, epochs: 5, learning_rate: 0.1}]"  # about 90 steps
    arguments = [
        "train", "experiment=smoke", f"hydra.run.dir={tmp_path / 'train'}", "training.checkpoint_every=5", phases,
        "training.random_subnets=1",
    ]  # fmt: skip
    checkpoints = tmp_path / "train" / "checkpoints"
    with Forked(None, arguments) as process:
        deadline = time.monotonic() + 120
        while not list(checkpoints.glob("step-*.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, name)
        done = process.finish()
    assert "Traceback" not in done.stderr
    if name is not signal.SIGKILL:
        assert done.returncode == 128 + name
        assert "training is kept up to step " in done.stderr
        assert "the same command goes on from there" in done.stderr
    assert not (tmp_path / "train" / "result.json").exists()
    assert list(checkpoints.glob("step-*.safetensors"))
    assert run_hwnas(*arguments).returncode == 0
    assert (tmp_path / "train" / "supernet.safetensors").is_file()


def test_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    size = "size=150k,mode=755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        done = step("train", folder)
        assert "cannot write" in error_line(done)
        assert "No space left" in error_line(done)
        assert not [path for path in folder.rglob("*.safetensors") if path.stat().st_size == 0]
    finally:
        subprocess.run(["umount", str(folder)], check=True)
