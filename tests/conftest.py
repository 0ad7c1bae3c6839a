"""Fixtures for every folder."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from tests.running import start_hwnas
from tests.shared import common_folder, made_once

# On a busy machine the threads of OpenBLAS and OpenMP wait for each other, and small operations take twenty times as
# long as on one thread. Pytest's plugins have loaded numpy by now, so its threads are limited in place; those of scipy
# and torch, and of the processes that tests start, by variable. Two processes test at once: with a second thread each,
# training the smoke run's supernet takes half as much processor time again.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
threadpool_limits(1, user_api="blas")

# Decoded images are kept apart from the user's, also by the processes that tests start.
_kept_images = tempfile.TemporaryDirectory(prefix="hwnas-images-")
os.environ["HWNAS_IMAGE_CACHE"] = _kept_images.name

# Ray stays on the loopback interface, whichever test imports it first.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Published tables, labels and networks, which the project doesn't ship: tests that need them skip without."""
    folder = Path(os.environ.get("HWNAS_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(
            f"no reference data at {folder}: set HWNAS_REFERENCE_DATA to the folder that holds ofa/ and dynast/"
        )
    return folder


def pytest_configure() -> None:
    """Undo what would reach over from outside or from one test into the next."""
    # A shell or nohup ignores Ctrl-C and hang-ups, and programs started from here would inherit that.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    # Exporters import absl, whose log handler takes the stderr of that moment, which is pytest's, and closes it when
    # Hydra sets up logging anew.
    try:
        from absl import logging as absl_logging
    except ImportError:
        return
    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__


def pytest_collection_finish() -> None:
    """What was imported stays: garbage is not looked for among 700,000 objects again and again.

    Composing a configuration takes three quarters of the time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def smoke_output(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished `hwnas run experiment=smoke`, and what it printed."""
    base = common_folder(tmp_path_factory) / "smoke"
    folder, printed = base / "run", base / "printed.txt"

    def run() -> None:
        done = start_hwnas("run", "experiment=smoke", f"hydra.run.dir={folder}")
        assert done.returncode == 0, done.stderr[-3000:]
        printed.write_text(done.stdout)

    return folder, made_once(printed, run).read_text()


@pytest.fixture
def smoke(smoke_output: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished smoke run, which a test may change."""
    return Path(shutil.copytree(smoke_output[0], tmp_path / "run"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With HWNAS_REQUIRE_ALL set, as in CI, a test fails that was skipped for want of something to install.

    What cannot be installed (published data that the project doesn't ship, another user's rights) may lack there too.
    """
    report = yield
    if report.skipped and os.environ.get("HWNAS_REQUIRE_ALL"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        installable = "install" in reason or "could not import" in reason
        if installable and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, and HWNAS_REQUIRE_ALL is set: {reason}"
    return report
