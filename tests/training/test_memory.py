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

def fresh_mib():
    faults = []
    for _ in range(20):
        torch.empty(16 * 2**20).fill_(1.0)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    return (faults[-1] - faults[-11]) * resource.getpagesize() / 2**20 / 10

before = fresh_mib()
if not keep_freed_memory(make_space(OfaMbv3Config(resolution=[224])), 64):
    sys.exit(3)
print(before, fresh_mib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library has no mallopt")
def test_large_tensors_are_not_mapped_anew() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, kept = map(float, done.stdout.split())
    # Of 64 MiB a tensor; now and then a block moves and its place is mapped after all.
    assert kept < before / 2
