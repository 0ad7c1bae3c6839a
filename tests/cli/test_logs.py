"""What commands print is hwnas's own; libraries' log lines and warnings are in the log of the run directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devices.servers import lacking, sshd
from tests.running import run_hwnas, run_program

NOISY = """
import logging, sys, warnings
from hwnas.cli.commands import report
from hwnas.cli.main import main
def run(config, folder):
    warnings.warn("a library warns")
    logging.getLogger("paramiko.transport").info("Connected (version 2.0, client OpenSSH_9)")
    logging.getLogger("matplotlib.font_manager").warning("building the font cache")
    logging.getLogger("hwnas.data.lazy").warning("passed over")
    logging.getLogger("hwnas.export.quiet").debug("what an exporter printed")
report.run = run
sys.exit(main(["report", "folder=x", "hydra.run.dir=" + sys.argv[1], *sys.argv[2:]]))
"""
LIBRARIES = ("a library warns", "Connected", "font cache")


def noisy(folder: Path, *settings: str, code: str = NOISY) -> tuple[str, str]:
    """What a command with talkative libraries prints, and what is in its log."""
    done = run_program(code, folder, *settings, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    log = folder / "report.log"
    return done.stdout + done.stderr, log.read_text() if log.exists() else ""


def test_libraries_go_to_the_log_alone(tmp_path: Path) -> None:
    said, log = noisy(tmp_path)
    assert said.count("\n") == 1
    assert "[hwnas.data.lazy][WARNING] - passed over" in said
    for text in (*LIBRARIES, "passed over"):
        assert text in log
    assert "what an exporter printed" not in log


def test_hydras_settings_of_logging_keep_working(tmp_path: Path) -> None:
    said, log = noisy(tmp_path / "v", "hydra.verbose=hwnas")
    assert "what an exporter printed" in said
    assert "what an exporter printed" in log
    assert not any(text in said for text in LIBRARIES)
    said, log = noisy(tmp_path / "all", "hydra.verbose=true")
    assert "what an exporter printed" in log
    assert not any(text in said for text in LIBRARIES)
    assert noisy(tmp_path / "d", "hydra/job_logging=disabled") == ("", "")
    assert "Connected" in noisy(tmp_path / "h", "hydra/job_logging=default")[0]  # asked for


def test_a_first_plot_prints_nothing_of_its_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "empty"))
    draws = "def run(config, folder):\n    from hwnas.report.plots import plot_search; import matplotlib.font_manager\n"
    said, log = noisy(
        tmp_path / "out", code=NOISY[: NOISY.index("def run")] + draws + NOISY[NOISY.index("report.run =") :]
    )
    assert said == ""
    assert "[matplotlib.font_manager][INFO] - generated new fontManager" in log


@pytest.mark.skipif(lacking("ssh") is not None, reason=str(lacking("ssh")))
def test_profiling_over_ssh_prints_nothing_of_paramiko(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server:
        device = server.config()
        done = run_hwnas(
            "profile", "experiment=smoke", "space.depths=[1]", "space.kernel_sizes=[3]", "space.expand_ratios=[3]",
            "space.resolution=[16]", "runtime=[onnxruntime]", "profiling.rounds=2", f"hydra.run.dir={tmp_path / 'out'}",
            *(f"device.{key}={getattr(device, key)}" for key in ("transport", "folder", "python", "key_file")),
            f"device.known_hosts={device.known_hosts}", f"device.address='{device.address}'",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "paramiko" not in done.stdout + done.stderr
    assert "Authentication" not in done.stdout + done.stderr
    assert "paramiko.transport" in (tmp_path / "out" / "profile.log").read_text()
