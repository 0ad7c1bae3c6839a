"""What people see: one line a step, a bar while it runs on a terminal, a short table at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment, Segments
from rich.table import Table

from hwnas.progress import Progress as ReportProgress

__all__ = ["ConsoleReporter"]


class ConsoleReporter:
    """Writes to one console. Bars only where the output is a terminal; elsewhere a status line every few seconds."""

    FIRST_LINE_S = 4.0  # then at twice the time, up to
    LINE_EVERY_S = 9.0
    FILE_WIDTH = 140  # of tables that no terminal limits

    def __init__(self, console: Console | None = None) -> None:
        if console is None:
            console = Console(highlight=False)
            if not console.is_terminal:
                console.width = self.FILE_WIDTH
        self.console = console
        self._noted: set[str] = set()

    def say(self, text: str) -> None:
        """One plain line."""
        self.console.print(escape(text), soft_wrap=True)

    def note(self, text: str) -> None:
        """One plain line, once, however many steps come upon it."""
        if text not in self._noted:
            self._noted.add(text)
            self.say(text)

    @contextmanager
    def step(self, title: str) -> Iterator[ReportProgress]:
        """Announces a step, yields the callable that moves its bar, and says how long the step took."""
        started = time.monotonic()
        name = title.partition(":")[0]
        self.console.print(f"[bold]{escape(name)}[/bold]{escape(title[len(name) :])}", soft_wrap=True)
        if self.console.is_terminal:
            with self._bar() as (bar, task):

                def move(share: float, status: str) -> None:
                    bar.update(task, completed=share, status=escape(status))

                yield move
        else:
            with _lines(self.say, self.FIRST_LINE_S, self.LINE_EVERY_S) as line:
                yield line
        self.say(f"  done in {time.monotonic() - started:.1f} s")

    @contextmanager
    def _bar(self) -> Iterator[tuple[Progress, TaskID]]:
        columns = (
            TextColumn("  "),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            yield bar, bar.add_task("", total=1.0, status="")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], left: bool = False) -> None:
        """A table; the first column is text, the rest is right-aligned unless `left`."""
        table = Table(title=title, title_justify="left", title_style="bold")
        for number, column in enumerate(columns):
            table.add_column(
                column, justify="left" if left or number == 0 else "right", overflow="fold", no_wrap=number == 0
            )
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        self.console.print(table)

    @contextmanager
    def rows(self, title: str, columns: Sequence[str], widths: Sequence[int]) -> Iterator[Callable[..., None]]:
        """A table whose rows are printed as they come: yields what prints one.

        `widths`: characters of all columns but the last, which gets the rest of the line.
        """
        rest = max(20, self.console.width - sum(widths) - 3 * len(columns) - 1)
        lines = self._lines(title, columns, (*widths, rest), [""] * len(columns))

        def add(*cells: object) -> None:
            # Between the head (its edge, its names, its rule) and the lower edge.
            self._print(self._lines(None, columns, (*widths, rest), cells)[3:-1])

        self._print(lines[:-2])
        yield add
        self._print(lines[-1:])

    def _lines(
        self, title: str | None, columns: Sequence[str], widths: Sequence[int], cells: Sequence[object]
    ) -> list[list[Segment]]:
        table = Table(title=title, title_justify="left", title_style="bold")
        for column, width in zip(columns, widths, strict=True):
            table.add_column(column, width=width, overflow="fold")
        table.add_row(*(escape(str(cell)) for cell in cells))
        return self.console.render_lines(table, pad=False)

    def _print(self, lines: Sequence[Sequence[Segment]]) -> None:
        for line in lines:
            self.console.print(Segments([*line, Segment.line()]), end="", soft_wrap=True)


@contextmanager
def _lines(say: Callable[[str], None], first_s: float, every_s: float) -> Iterator[ReportProgress]:
    """Yields the callable that takes a status. The newest is said whenever a line is due, by a thread of its own: work
    that tells nothing for a while is said to be under way, too.
    """
    started = time.monotonic()
    newest, told = (0.0, "under way", started), ""
    ended = threading.Event()

    def take(share: float, status: str) -> None:
        nonlocal newest
        newest = (share, status, time.monotonic())

    def tell() -> None:
        nonlocal told
        due = first_s
        while not ended.wait(started + due - time.monotonic()):
            due += min(due, every_s)
            share, status, since = newest
            line = f"  {share:4.0%} {status}"
            same_s = time.monotonic() - since
            say(f"{line}  (since {same_s:.0f} s)" if line == told else line)
            told = line

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield take
    finally:
        ended.set()
        teller.join()
