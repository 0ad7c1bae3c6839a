"""A status line every few seconds, whatever the work does."""

from __future__ import annotations

import io
import time

from rich.console import Console

from hwnas.cli.console import ConsoleReporter


def test_work_that_tells_nothing_is_said_to_be_under_way() -> None:
    text = io.StringIO()
    reporter = ConsoleReporter(Console(file=text, width=120))
    reporter.FIRST_LINE_S, reporter.LINE_EVERY_S = 0.1, 0.2
    with reporter.step("train: a") as progress:
        time.sleep(0.15)
        progress(0.25, "loss 2.0")
        time.sleep(0.5)
    title, first, second, *others, done = text.getvalue().splitlines()
    assert title == "train: a"
    assert first == "    0% under way"
    assert second == "   25% loss 2.0"
    assert others
    assert all(line.startswith("   25% loss 2.0  (since ") for line in others)
    assert done.startswith("  done in 0.")
