"""Which files are the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwnas
from hwnas.user_code.imports import is_own


@pytest.mark.parametrize("file", sorted(Path(hwnas.__file__).parent.glob("*/*.py"))[::10])
def test_no_file_of_ours_is_the_users(file: Path) -> None:
    assert not is_own(str(file))


def test_installed_files_and_pythons_are_not_the_users(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("")
    assert is_own(str(tmp_path / "net.py"))
    assert not any(map(is_own, (np.__file__, str(tmp_path / "missing.py"), Path.__module__, pytest.__file__)))
