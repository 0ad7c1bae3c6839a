"""`hwnas search` of many simulated devices in one call, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from simulated_devices import write_devices, write_predictor

import hwnas
from hwnas.files import read_json
from hwnas.pipeline.space import resolve_space

__all__ = ["searched"]

_EXPERIMENT = "experiment=quickstart"


def searched(devices: int, workers: int) -> dict[str, Any]:
    """Seconds by the clock and of the CPU, and the largest process, of one call; tables are written before."""
    with tempfile.TemporaryDirectory(prefix="hwnas-scale-") as place:
        folder = Path(place)
        write_devices(folder / "tables", devices)
        write_predictor(folder / "predictor.safetensors", resolve_space(hwnas.load_config([_EXPERIMENT])))
        command = [
            sys.executable, "-m", "hwnas.cli.main", "search", _EXPERIMENT, f"latency.path={folder / 'tables'}",
            f"accuracy.path={folder / 'predictor.safetensors'}", "runtime=onnxruntime", f"executor.workers={workers}",
            f"hydra.run.dir={folder / 'search'}",
        ]  # fmt: skip
        began = time.monotonic()
        with (folder / "said").open("w+") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
            _, status, used = os.wait4(process.pid, 0)  # of it and its workers, none of ours
        wall_s = time.monotonic() - began
        if status:
            raise SystemExit((folder / "said").read_text())
        selected = read_json(folder / "search" / "result.json")["result"]["selected"]
        return {
            "devices": len({entry["device"] for entry in selected}),
            "networks": len(selected),
            "distinct_networks": len({json.dumps(entry["arch"]) for entry in selected}),
            "workers": workers,
            "wall_s": round(wall_s, 1),
            "cpu_s": round(used.ru_utime + used.ru_stime, 1),
            "largest_process_mib": round(used.ru_maxrss / 2**10),
            "result_mb": round((folder / "search" / "result.json").stat().st_size / 1e6, 1),
        }
