"""Boards that run while the tests of a file do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.boards.board import Board, running_board
from tests.boards.root import MACHINE, let_qemu_run


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Board, Board]]:
    """Two units of one model: `board.config()` or `board.arguments` reach one."""
    try:
        let_qemu_run()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the kernel does not let QEMU run programs of {MACHINE}: {error}")
    with ExitStack() as running:
        first, second = (running.enter_context(running_board(tmp_path_factory.mktemp("board"))) for _ in range(2))
        yield first, second


@pytest.fixture
def board(boards: tuple[Board, Board]) -> Board:
    return boards[0]
