"""Memory is checked before a training's first step."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from hwnas.spaces import OfaMbv3Space
from hwnas.supernet.build import build_supernet
from hwnas.training.config import TrainingConfig
from hwnas.training.need import step_mib

LIMITED = """
import resource, sys, tempfile
from pathlib import Path
from dataclasses import replace
from hwnas.errors import TrainingError
from hwnas.memory import available_mib
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space
from hwnas.training.config import PhaseConfig
from hwnas.training.engine import train
from tests.training import tiny

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
space = OfaMbv3Space(replace(tiny.make_space().settings, resolution=(512,)))
config = replace(tiny.progressive_shrinking(), phases=(PhaseConfig("full", 1, 0.05),), batch_size=80)
try:
    train(config, space, tiny.make_data(), Path(tempfile.mkdtemp()), 0, no_progress)
except TrainingError as error:
    print(error)
"""


def test_the_need_grows_with_images_taken_at_once(space: OfaMbv3Space, config: TrainingConfig) -> None:
    network = build_supernet(space)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    settings = replace(config, batch_size=512, dropout=0.0)
    whole = step_mib(network, settings, 1)
    half = step_mib(network, replace(settings, accumulate=2), 1)
    assert half == pytest.approx(whole / 2, rel=0.1)
    assert step_mib(network, settings, 2) == pytest.approx(half)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are read from /proc")
def test_a_limited_process_says_what_is_needed_before_the_first_step() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("memory: the largest subnet's training step of 80 images at 512 pixels needs more")
    assert "training.accumulate=2" in line
