"""Freed memory stays with the process where the C library can do that."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from hwnas.spaces import OfaMbv3Config, make_space
from hwnas.training.memory import keep_freed_memory

space = make_space(OfaMbv3Config(resolution=[224]))
if sys.argv[1] == "keep" and not keep_freed_memory(space, 64):
    sys.exit(3)
faults = []
for _ in range(40):
    torch.empty(16 * 2**20).fill_(1.0)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print((faults[-1] - faults[-11]) * resource.getpagesize() / 2**20 / 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library has no mallopt")
def test_large_tensors_are_not_mapped_anew() -> None:
    fresh_mib = {}
    for mode in ("default", "keep"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
        fresh_mib[mode] = float(done.stdout)
    # Of 64 MiB a tensor; now and then a block moves and its place is mapped after all.
    assert fresh_mib["keep"] < fresh_mib["default"] / 2
