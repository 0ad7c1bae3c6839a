"""A real `hwnas train`, killed at random moments."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.running import run_hwnas

PHASE = (
    "{name: bignas, epochs: 1, learning_rate: 0.005, subnets_per_step: 3, sampler: sandwich, teacher: in_place,"
    " schedule: exponential, ending: 0.05, kernel_sizes: [3, 5], depths: [1, 2], expand_ratios: [3, 4]}"
)
ARGUMENTS = (
    "train", "experiment=smoke", "training=bignas_smoke", f"training.phases=[{PHASE}]", "training.accelerator=cpu",
    "training.shards=2", "training.accumulate=2", "training.optimiser=adamw", "training.ema_decay=0.99",
    "training.gradient_clip=1.0", "training.checkpoint_every=3", "training.log_every=2", "training.random_subnets=1",
    "training.evaluate_every_epochs=0.5",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run_hwnas(*ARGUMENTS, f"hydra.run.dir={tmp_path / 'whole' / 'train'}")
    took_s = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    moments = random.Random(0)
    command = [sys.executable, "-m", "hwnas.cli.main", *ARGUMENTS, f"hydra.run.dir={tmp_path / 'cut' / 'train'}"]
    killed = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=moments.uniform(0.2, 0.8) * took_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed > 0
    done = run_hwnas(*ARGUMENTS, f"hydra.run.dir={tmp_path / 'cut' / 'train'}")
    assert done.returncode == 0, done.stderr
    whole, cut = (load_file(tmp_path / name / "train" / "supernet.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(value.equal(cut[name]) for name, value in whole.items())
    rows = [
        [line.split(",")[:3] for line in (tmp_path / name / "train" / "training.csv").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert rows[0] == rows[1]
