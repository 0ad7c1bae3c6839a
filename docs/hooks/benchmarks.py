"""The benchmarks in the site: an index of `benchmarks/results`, its figures read from the results, and a page a result.

A headline names the cells that it quotes, `{row|column}`, a row by its first cells with `; ` between them. One whose
row or column is gone stops the build; a result without a headline is listed without.
"""

from __future__ import annotations

import json
import re
from calendar import month_name
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
INDEX = "benchmarks.md"
MOUNT = "repository/benchmarks/results"  # where docs/hooks/repository.py puts files of the repository

HEADLINES = {
    "Latency": {
        "latency_predictors_nasbench201": (
            "Devices never seen, 10 measurements: Spearman {fewshot; 10|Spearman}, {fewshot; 10|MAPE} off; HELP "
            "{help; 10|Spearman} and {help; 10|MAPE}"
        ),
        "latency_predictors_ofa": (
            "A device never seen, 10 measurements: {fewshot; 10|MAPE} off; HELP {help; 10|MAPE}"
        ),
        "latency_predictors_tables": (
            "Each table of this repository from the others, 10 measurements: Spearman {fewshot; 10|Spearman}, "
            "{fewshot; 10|MAPE} off"
        ),
        "latency_predictors_hard": (
            "Devices unlike all that teach, the mean of 40 splits: Spearman {mean|fewshot, 10} with 10 "
            "measurements, {mean|fewshot, 20} with 20; in brackets how many are within 90 % intervals"
        ),
        "latency_predictors_nasbench201_published": (
            "HELP under the protocol that it was published with: Spearman {help; 10|Spearman}"
        ),
        "latency_predictors_ofa_published": (
            "HELP under the protocol that it was published with: Spearman {help; 10|Spearman}"
        ),
        "latency_tables": "Lookup of networks in a table, and making operators' models",
    },
    "Accuracy and training": {
        "cifar10": (
            "`experiment=cifar10` as shipped: subnets {30 (as shipped)|random subnets: mean ± std (number)} in "
            "{30 (as shipped)|CPU minutes, with evaluation} CPU minutes"
        ),
        "training_methods": (
            "Subnets by BigNAS {bignas_cifar10|random subnets: mean ± std (number)}, by progressive shrinking "
            "{progressive_shrinking_cifar10|random subnets: mean ± std (number)}, on equal CPU time"
        ),
        "training_throughput": (
            "Images a second over those of the `ofa` package: {training, 160 pixels|ratio} at 160 pixels, "
            "{training, 224 pixels|ratio} at 224"
        ),
        "accuracy_predictors_quickstart": "Kendall τ of the Gaussian process on 200 subnets: {gp; 200|Kendall τ}",
        "accuracy_predictors_dynast": (
            "Kendall τ of the Gaussian process on 200 published subnets: {gp; 200|Kendall τ}"
        ),
        "photos": (
            "Photographs in half an hour, ONNX Runtime, loosest budget: {nothing; local-onnxruntime-q80|top-1} from "
            "nothing (MobileNetV3-Small as fast: {nothing; local-onnxruntime-q80|peer top-1}), "
            "{weights; local-onnxruntime-q80|top-1} at {weights; local-onnxruntime-q80|ms} ms from published weights "
            "(that network alone: {weights; local-onnxruntime-q80|peer top-1} at "
            "{weights; local-onnxruntime-q80|peer ms} ms)"
        ),
        "data_loading": "Training images a second, decoded by two workers: {train|2 workers}",
    },
    "Search": {
        "quickstart": (
            "`make run` in a fresh clone, installation included: {0|all, installation included}; ONNX Runtime, loose "
            "budget: {0; local-onnxruntime-loose|accuracy}"
        ),
        "searched_vs_designed_cifar10": (
            "ONNX Runtime: {onnxruntime; q50; small|fine-tuned} at {onnxruntime; q50; small|searched ms} ms; "
            "MobileNetV3-Small {onnxruntime; q50; small|rival} at {onnxruntime; q50; small|rival ms} ms"
        ),
        "searched_vs_designed_fashion_mnist": (
            "ONNX Runtime: {onnxruntime; q50; small|fine-tuned} at {onnxruntime; q50; small|searched ms} ms; "
            "MobileNetV3-Small {onnxruntime; q50; small|rival} at {onnxruntime; q50; small|rival ms} ms"
        ),
        "spaces_cifar10": (
            "ONNX Runtime, {onnxruntime; 0.0874|budget ms} ms: once-for-all's space "
            "{onnxruntime; 0.0874|ofa_mbv3_cifar10}, MobileNetV4's {onnxruntime; 0.0874|mobilenet_v4_32}; LiteRT, "
            "{litert; 0.0722|budget ms} ms: {litert; 0.0722|ofa_mbv3_cifar10}, {litert; 0.0722|mobilenet_v4_32}"
        ),
        "search_quality": (
            "Worst and best of 10 seeds within 25 ms: {all budgets in one run|25 ms}, once-for-all's finder "
            "{peer|25 ms}"
        ),
        "search_tabular": (
            "The best of 15,625 cells: islands {islands|found the best} runs, regularised evolution "
            "{regularized|found the best}"
        ),
    },
    "Workers, devices and GPUs": {
        "scale": "A search of 1,000 devices: {search of 1,000 devices|figure}; Ray beside processes: "
        "{Ray beside processes, items of 1 s|figure}",
        "scale_simulation": (
            "A model, no GPU measured: photographs for 100 devices with 64 GPUs, {photographs; 100; 64|as it is}; "
            "networks handed to all GPUs, {photographs; 100; 64|split}"
        ),
    },
    "Files": {
        "export_quickstart": (
            "A random net as ONNX fp32: {random; onnx; fp32|max abs} from torch, {random; onnx; fp32|/ plain} of "
            "a plain export's time; TFLite {random; tflite; fp32|/ plain}"
        ),
        "export_cifar10": (
            "A random net as ONNX fp32: {random; onnx; fp32|max abs} from torch, {random; onnx; fp32|/ plain} of "
            "a plain export's time; TFLite {random; tflite; fp32|/ plain}"
        ),
        "onnx_precisions": "Latency of ONNX files in four precisions, by operator",
        "tvm_schedules": "TVM's own pipeline, hwnas's schedules and tuned ones beside ONNX Runtime",
    },
    "Code": {
        "mutation": "Random changes that the tests of `search` notice: {`search`|after, same sample (seed 0)}",
    },
}
WIDE = "---\nhide:\n  - toc\n---"
"""Tables of results have many columns."""

TOLD = {"latency_tables": "latency_tables.md", "onnx_precisions": "quantisation.md", "tvm_schedules": "tvm.md"}
"""Results that have no page of their own, and the page that speaks of them."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Puts the table into the index, and a page for each result."""
    index = files.get_file_from_path(INDEX)
    if index is None:
        raise PluginError(f"docs/{INDEX}: expected the page that the table of results goes into")
    content = f"{index.content_string.rstrip()}\n\n{table()}"
    files.remove(index)
    files.append(File.generated(config, INDEX, content=content))
    for path in sorted(RESULTS.glob("*.md")):
        inclusion = InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, f"{MOUNT}/{path.name}", content=page(path), inclusion=inclusion))
    return files


def table() -> str:
    """All results by subject, each with its headline, its date and machine, and its files."""
    names = sorted({path.stem for path in RESULTS.iterdir() if path.suffix in (".md", ".json")})
    known = [name for group in HEADLINES.values() for name in group]
    if gone := [name for name in known if name not in names]:
        raise PluginError(f"docs/hooks/benchmarks.py: headlines of results that are not there: {', '.join(gone)}")
    groups = {group: list(those) for group, those in HEADLINES.items()}
    if others := [name for name in names if name not in known]:
        groups["Others"] = others
    lines = []
    for group, those in groups.items():
        lines += [f"## {group}", "", "| what | figures | when, on what | data |", "|---|---|---|---|"]
        lines += [row(name, HEADLINES.get(group, {}).get(name, "")) for name in those] + [""]
    return "\n".join(lines)


def row(name: str, headline: str) -> str:
    """A line of the index."""
    page_path, data_path = RESULTS / f"{name}.md", RESULTS / f"{name}.json"
    text = page_path.read_text("utf-8") if page_path.exists() else ""
    link = f"../benchmarks/results/{name}.md" if text else TOLD.get(name, f"../benchmarks/results/{name}.json")
    data = f"[JSON](../benchmarks/results/{name}.json)" if data_path.exists() else ""
    where = measured(text) if text else measured_by(json.loads(data_path.read_text("utf-8")))
    what = title(name, text).replace("|", "\\|")
    return f"| [{what}]({link}) | {quoted(headline, text, name)} | {where} | {data} |"


def page(path: Path) -> str:
    """A result as a page: with a title, its picture, and its data."""
    text = path.read_text("utf-8")
    parts = [text.rstrip()] if text.startswith("# ") else [f"# {title(path.stem, text)}", text.rstrip()]
    if path.with_suffix(".png").exists():
        parts.append(f"![The same as a picture]({path.stem}.png)")
    data = f"; all figures: [{path.stem}.json]({path.stem}.json)" if path.with_suffix(".json").exists() else ""
    parts.append(f"[All benchmarks](../../docs/{INDEX}){data}.")
    return "\n\n".join([WIDE, *parts, ""])


def title(name: str, text: str) -> str:
    """The first heading, else the name in words."""
    found = re.match(r"# (.*)", text)
    return found[1] if found else name.replace("_", " ").capitalize()


def measured(text: str) -> str:
    """Date and machine, as far as a page says them."""
    found = re.search(r"(\d{4}-\d\d-\d\d)(?:; ([^;.]*?cores)|, (x86_64, \d+ cores))?", text)
    if found:
        return ", ".join(part for part in found.groups() if part)
    spoken = re.search(rf"\d+\s+(?:{'|'.join(filter(None, month_name))})\s+\d{{4}}", text)
    return " ".join(spoken[0].split()) if spoken else "–"


def measured_by(data: dict[str, Any]) -> str:
    """Date and machine, as far as a JSON file says them."""
    machine = data.get("machine", data)
    said = machine if isinstance(machine, dict) else data
    processor = said.get("processor") or (machine if isinstance(machine, str) else "")
    cores = f"{said['cores']} cores" if "cores" in said else ""
    return ", ".join(part for part in (said.get("date", "–"), processor, cores) if part)


def quoted(headline: str, text: str, name: str) -> str:
    """`headline` with the cells that it names, of the tables in `text`."""

    def cell(match: re.Match[str]) -> str:
        key, column = match[1].split("; "), match[2]
        for header, cells in rows(text):
            if column in header and all(map(same, key, cells)):
                return cells[header.index(column)]
        raise PluginError(f"benchmarks/results/{name}.md: expected a row {match[1]!r} and a column {column!r} to quote")

    return re.sub(r"\{([^|}]+)\|([^}]+)\}", cell, headline)


def same(part: str, cell: str) -> bool:
    """Whether a cell is meant: by all of it, or by what stands before a colon or a factor."""
    return cell == part or cell.startswith((f"{part}:", f"{part} ×"))


def rows(text: str) -> list[tuple[list[str], list[str]]]:
    """Each row of each table, with its table's header."""
    found, header = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if header is None:
            header = cells
        elif set(line) - set("|-: "):
            found.append((header, cells))
    return found
