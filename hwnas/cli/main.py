"""`hwnas <command> key=value …`: finds the command, composes its configuration, turns errors into one line."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence

from hwnas.cli.commands import COMMANDS
from hwnas.cli.words import in_settings
from hwnas.errors import HwnasError, ProcessLostError, choices
from hwnas.interrupts import Interrupted, interrupts_raised
from hwnas.training.torchrun import check_alone, is_first_process, process_counts

__all__ = ["main"]

_USAGE = "usage: hwnas <command> [key=value …] [--help]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 error, 2 wrong usage, 130 interrupted, 143 terminated."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character gets its number
            stream.reconfigure(errors="backslashreplace")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _print_help()
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from hwnas.version import __version__

        print(f"hwnas {__version__}")  # noqa: T201
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        return _fail(f"no command {command!r}: {choices(command, COMMANDS)}; see hwnas --help", status=2)
    # The matrices here are small: a second thread costs more than it brings, most of all where others use the machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Threads that wait for each other spin by default: beside another process on the same cores, a training step was
    # seen to take fifty times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        if command != "train":
            check_alone(f"hwnas {command}")
        if not COMMANDS[command].steps and not arguments[1:]:
            COMMANDS[command].load()()  # nothing to compose: it answers at once
            return 0
        logging.captureWarnings(True)  # libraries' warnings are for the log; see conf/hydra/job_logging
        from hwnas.cli import app

        with interrupts_raised():
            return app.run_command(command, arguments[1:], _say_error)
    except KeyboardInterrupt as error:
        interrupted = error if isinstance(error, Interrupted) else Interrupted()
        return _fail(interrupted.line, interrupted.status, is_lost=True) if is_first_process() else interrupted.status
    except HwnasError as error:
        if show_traceback:
            raise
        return _fail(str(error), is_lost=isinstance(error, ProcessLostError))
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe is gone; there is nobody to tell
        return 1
    except OSError as error:
        if show_traceback:
            raise
        return _fail(f"{error.filename or 'input/output'}: {error.strerror or error}; mend it, then run the same again")


def _print_help() -> None:
    width = max(len(name) for name in COMMANDS)
    lines = [_USAGE, "", "commands:", *(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())]
    lines += [
        "",
        "Every command takes its configuration as key=value; hwnas <command> --help lists the keys.",
        "hwnas run does all steps for experiment=quickstart; each step is a command of its own as well.",
    ]
    print("\n".join(lines))  # noqa: T201


def _fail(message: str, status: int = 1, is_lost: bool = False) -> int:
    if process_counts()[1] > 1:
        from hwnas.training.joining import is_said_here

        if not is_said_here(message, is_lost):
            return status
    _say_error(message)
    return status


def _say_error(message: str) -> None:
    print(f"hwnas: error: {' '.join(in_settings(message).split())}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
