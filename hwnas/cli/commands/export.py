"""`hwnas export`: chosen networks as checked model files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.cli.commands.train import CHECKPOINT
from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.convert import to_plain
from hwnas.cli.inputs import data_inputs, given_arch, input_path, load_images, load_network, resolve_space
from hwnas.cli.steps import files_digest, read_result, run_step
from hwnas.progress import no_progress

__all__ = ["run", "step"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = Reporter()
    result = step(config, folder, reporter)
    rows = [
        (entry["id"], entry["format"], f"{entry['bytes'] / 1024:.0f}", f"{entry['parity_max_abs']:.1e}",
         f"{entry['top1_agreement']:.1%}")
        for entry in result["files"]
    ]  # fmt: skip
    reporter.table("exported files", ("target", "format", "KiB", "parity", "same class"), rows)
    for entry in result["files"]:
        reporter.say(f"file: {folder / entry['path']}")


def step(config: PipelineConfig, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """The files' summary, made or read (see `hwnas.cli.steps`)."""
    space = resolve_space(config)
    checkpoint = input_path(config.checkpoint, folder, "train", CHECKPOINT, "checkpoint")
    files = {"checkpoint": checkpoint}
    if config.arch is None:
        files["targets"] = input_path(config.targets, folder, "search", "result.json", "targets")
        targets = read_result(files["targets"])["selected"]
    else:
        targets = [_target(config.arch, runtime) for runtime in config.runtimes]
    rows = {target["id"]: space.genotype(target["arch"]) for target in targets}
    inputs = {
        "space": space.config(),
        "data": data_inputs(config.data_config),
        "measure": to_plain(config.evaluation.measure),
        "export": to_plain(config.export),
        "targets": [[target["id"], target["runtime"], target["arch"]] for target in targets],
        "files": files_digest(files),
    }

    def work() -> dict[str, Any]:
        from hwnas.accuracy.measure import calibrate_subnet
        from hwnas.export.deploy import export_network
        from hwnas.export.formats import format_of_runtime

        entries = []
        with reporter.step(f"export: {len(targets)} networks, checked against torch on real images") as progress:
            supernet = load_network(checkpoint, space)
            data = load_images(config, space, no_progress)
            for number, target in enumerate(targets):
                progress(number / len(targets), target["id"])
                genotype = rows[target["id"]]
                metrics = {
                    key: target[key]
                    for key in ("device", "runtime", "budget_ms", "latency_ms", "accuracy_predicted")
                    if key in target
                }
                manifest = export_network(
                    calibrate_subnet(supernet, genotype, data, config.evaluation.measure),
                    format_of_runtime(target["runtime"]).name,
                    folder / target["id"],
                    arch=space.arch(genotype).to_dict(),
                    space=space.config(),
                    classes=data.classes,
                    preprocessing=data.preprocessing,
                    resolution=space.arch(genotype).values["r"],
                    images=data.test,
                    config=config.export,
                    metrics=metrics,
                )
                entries.append(
                    {
                        "id": target["id"],
                        "runtime": target["runtime"],
                        "format": manifest.format,
                        "precision": manifest.precision,
                        "path": f"{target['id']}/{manifest.file}",
                        "bytes": manifest.bytes,
                        "sha256": manifest.sha256,
                        "parity_max_abs": manifest.parity["max_abs"],
                        "top1_agreement": manifest.parity["top1_agreement"],
                    }
                )
        return {"files": entries}

    return run_step("export", folder, inputs, config.seed, work, reporter.say)


def _target(arch: Any, runtime: str) -> dict[str, Any]:
    """A target for an arch given by hand."""
    return {"id": f"{runtime}-arch", "runtime": runtime, "arch": given_arch(arch)}
