"""The built wheel, installed elsewhere: it brings its configuration, profiles and tables, and answers quickly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder of its own, to be put on the path."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("hwnas-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, code: str, *arguments: str) -> str:
    """What `code` prints with the wheel first on the path, from another folder than the checkout's."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=installed, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_packaged_folders_are_the_wheels_own(installed: Path) -> None:
    for folder, file in (("conf", "config.yaml"), ("device_profiles", "local.yaml"), ("latency_tables", "README.md")):
        found = run(installed, f"import hwnas.files; print(hwnas.files.packaged({folder!r}))").strip()
        assert Path(found).is_relative_to(installed)
        assert (Path(found) / file).is_file()


def test_commands_compose_from_the_wheel(installed: Path) -> None:
    shown = run(installed, "import sys; from hwnas.cli.main import main; sys.exit(main(sys.argv[1:]))", "run", "--help")
    assert "quickstart, smoke" in shown


def test_wheel_holds_everything_and_nothing_else(installed: Path) -> None:
    tops = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"hwnas"}
    for part in ("report.html.jinja", "report.css", "report.js"):
        assert (installed / "hwnas" / "report" / part).is_file()
    code = "from hwnas.export.bundle.example import example_source; print(example_source('onnx', 'A title.'))"
    assert "def prepare_file" in run(installed, code)
    (info,) = installed.glob("*.dist-info")
    assert (info / "licenses" / "LICENSE").is_file()


HEAVY = ("torch", "onnx", "onnxruntime", "ai_edge_litert", "litert_torch", "kornia", "sklearn", "pandas", "matplotlib")


@pytest.mark.parametrize(
    "arguments", [("--help",), ("train", "--help"), ("run", "training.batch_size=0"), ("profile", "space.depths=[9,1]")]
)
def test_help_and_mistakes_import_nothing_heavy(installed: Path, arguments: tuple[str, ...]) -> None:
    code = (
        "import sys; from hwnas.cli.main import main; main(sys.argv[1:]);"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    assert "HEAVY []" in run(installed, code, *arguments)


@pytest.mark.slow
def test_base_install_searches_without_any_extra(
    installed: Path, smoke_output: tuple[Path, str], tmp_path: Path
) -> None:
    """A fresh environment with the wheel's own dependencies: nothing to train or run models with, yet it searches."""
    (wheel,) = installed.parent.glob("hwnas-*.whl")
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    run_folder = shutil.copytree(smoke_output[0], tmp_path / "run")
    shutil.rmtree(run_folder / "search")
    done = subprocess.run(
        [str(python.with_name("hwnas")), "search", "experiment=smoke", f"hydra.run.dir={run_folder / 'search'}"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (run_folder / "search" / "result.json").is_file()
    wanted = ["run", "experiment=smoke", f"hydra.run.dir={tmp_path / 'new'}"]
    done = subprocess.run([str(python.with_name("hwnas")), *wanted], capture_output=True, text=True, check=False)
    assert "pip install 'hwnas[train]'" in done.stderr
    assert done.stdout == ""  # nothing was begun
    missing = subprocess.run([str(python), "-c", "import torch"], capture_output=True, check=False)
    assert missing.returncode != 0
