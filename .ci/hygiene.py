"""What no linter of Python sees: `python .ci/hygiene.py FILE…` names each fault, and exits 1 where there is one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

LARGEST_KIB = 1000
CONFLICT = re.compile(rb"^(<{7}|>{7}|={7})( |$)", re.MULTILINE)
BLANKS = re.compile(rb"[ \t]+$", re.MULTILINE)


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a text file, a line each."""
    content = path.read_bytes()
    if len(content) > LARGEST_KIB * 1024:
        yield f"{path}: {len(content) // 1024} KiB, expected at most {LARGEST_KIB}"
    if b"\r" in content:
        yield f"{path}: line ends of Windows: expected LF alone"
    if content and (not content.endswith(b"\n") or content.endswith(b"\n\n")):
        yield f"{path}: expected one line break at the end"
    for pattern, what in ((CONFLICT, "a mark of a merge conflict"), (BLANKS, "blanks at the end of the line")):
        for match in pattern.finditer(content):
            yield f"{path}:{content[: match.start()].count(10) + 1}: {what}"


if __name__ == "__main__":
    found = [fault for name in sys.argv[1:] for fault in faults(Path(name))]
    sys.stdout.write("".join(f"{fault}\n" for fault in found))
    sys.exit(bool(found))
