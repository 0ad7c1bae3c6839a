"""A device measured into latency tables, one a runtime."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.latency.tables.table import LatencyTable
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.inputs import device_inputs, resolve_space, tables_of
from hwnas.pipeline.plain import to_plain
from hwnas.pipeline.steps import run_step
from hwnas.progress import SILENT, Reporter

__all__ = ["profile"]


def profile(config: PipelineConfig, folder: Path, reporter: Reporter = SILENT) -> dict[str, Any]:
    """The tables' summary, made or read (see `hwnas.pipeline.steps`). What was measured before a kill is kept."""
    space = resolve_space(config)
    inputs = {
        "space": space.config(),
        "device": device_inputs(config.device),
        "runtimes": list(config.runtimes),
        "profiling": to_plain(config.profiling),
    }

    def work() -> dict[str, Any]:
        from hwnas.devices.connect import connect
        from hwnas.devices.profile import load_profile
        from hwnas.profiling.build import build_table
        from hwnas.profiling.networks import networks_at_most

        device = load_profile(config.device.name)
        started, entries = time.monotonic(), []
        for runtime, path in tables_of(config, folder).items():
            settings = replace(config.profiling, runtime=runtime)
            title = (
                f"profile: {len(space.operators)} operators and {networks_at_most(space, settings.networks)} whole"
                f" networks on {device.name}, {settings.setting}"
            )
            with reporter.step(title) as progress, connect(device, config.device) as transport:
                table = build_table(space, device, transport, settings, folder, config.seed, progress)
            entries.append(_summary(table, str(path.relative_to(folder))))
        # One runtime's figures stand on top as well: the common case of profiling one.
        return {**entries[0], "tables": entries, "elapsed_s": round(time.monotonic() - started, 2)}

    return run_step("profile", folder, inputs, config.seed, work, reporter.say)


def _summary(table: LatencyTable, file: str) -> dict[str, Any]:
    facts = table.provenance
    correction = facts["correction"] or {}
    held_out = correction.get("mape_corrected") is not None
    return {
        "device": facts["device"],
        "runtime": facts["runtime"],
        "runtime_version": facts["runtime_version"],
        "precision": facts["precision"],
        "threads": facts["threads"],
        "file": file,
        "operators": facts["operators"],
        "covered": facts["operators"] - facts["rejected_operators"],
        "measured_networks": facts["networks"],
        "mape_raw": correction.get("mape_raw"),
        "mape_corrected": correction.get("mape_corrected"),
        "mape_test_retest": facts["noise"]["mape_test_retest_networks"],
        "noise": facts["noise"]["mape_test_retest_networks"],
        "spearman": correction.get("spearman_corrected"),
        "elapsed_s": facts["elapsed_s"],
        "networks": {
            "predicted_ms": table.networks.held_out_ms.tolist() if held_out else [],
            "measured_ms": table.networks.median_ms.tolist() if held_out else [],
        },
    }
