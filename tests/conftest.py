"""Fixtures for every folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

# On a busy machine OpenBLAS's threads wait for each other, and small matrix products take twenty times as long as on
# one thread. Pytest's plugins have loaded numpy by now, so its threads are limited in place; scipy's are by variable.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
threadpool_limits(1, user_api="blas")


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Published tables, labels and networks, which the project doesn't ship: tests that need them skip without."""
    folder = Path(os.environ.get("HWNAS_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(
            f"no reference data at {folder}: set HWNAS_REFERENCE_DATA to the folder that holds ofa/ and dynast/"
        )
    return folder
