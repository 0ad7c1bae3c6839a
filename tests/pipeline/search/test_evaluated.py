"""What `hwnas search` does with a supernet and with imported tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwnas.accuracy.measure import measure_accuracy
from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.cli.console import ConsoleReporter
from hwnas.errors import ConfigError
from hwnas.latency.tables.table import read_table
from hwnas.pipeline.import_table import import_published
from hwnas.pipeline.inputs import load_images, load_network, resolve_space
from hwnas.pipeline.profile import profile
from hwnas.pipeline.search.step import HISTORY, MEASURED, search
from hwnas.pipeline.store.plain import to_plain
from hwnas.progress import no_progress

PUBLISHED = ("space=ofa_mbv3", "space.width_mult=1.2")


def test_the_best_by_measured_accuracy_is_chosen(smoke: Path) -> None:
    register_schemas()
    settings = (
        "experiment=smoke", "runtime=litert", "search.budget_quantiles=[0.5]", "search.comparison_networks=0",
        "search.islands.generations=5", "search.evaluate_top=3",
    )  # fmt: skip
    config = to_pipeline_config(compose_config("search", settings))
    (entry,) = search(config, smoke / "again").selected
    measured = entry.evaluated.accuracy_measured
    assert len(measured) == len(entry.evaluated.accuracy_predicted) == 3
    assert entry.accuracy_measured == max(measured)
    assert entry.accuracy_measured_as == "fp32"
    place = measured.index(max(measured))
    assert entry.latency_ms == pytest.approx(entry.evaluated.latency_ms[place])
    assert entry.accuracy_predicted == pytest.approx(entry.evaluated.accuracy_predicted[place])
    assert len((smoke / "again" / MEASURED[False]).read_text().splitlines()) == 4


def test_what_is_searched_for_int8_is_judged_as_int8(smoke: Path) -> None:
    """From a table of int8 files, measured here, to the target's precision and accuracy in the search's result."""
    register_schemas()
    common = ("experiment=smoke", "runtime=onnxruntime", "profiling.precision=int8")
    quick = ("profiling.networks=10", "profiling.rounds=2", "profiling.max_rounds=2", "profiling.slice_ms=0.5")
    profiled = profile(
        to_pipeline_config(compose_config("profile", [*common, *quick])), smoke / "tables", ConsoleReporter()
    )
    assert (profiled.precision, Path(profiled.file).name) == ("int8", "onnxruntime-int8-1t.csv")
    settings = (
        *common, f"latency.path={smoke / 'tables'}", "search.budget_quantiles=[0.5]", "search.comparison_networks=0",
        "search.islands.generations=5", "search.evaluate_top=3",
    )  # fmt: skip
    config = to_pipeline_config(compose_config("search", settings))
    (entry,) = search(config, smoke / "int8").selected
    assert entry.precision == "int8"
    assert entry.id == f"{entry.device}-onnxruntime-int8-{entry.budget}"
    assert entry.accuracy_measured_as == "int8"
    space = resolve_space(config)
    supernet, data = (
        load_network(smoke / "train" / "supernet.safetensors", space),
        load_images(config, space, no_progress),
    )
    row = space.genotype(entry.arch)[None]
    as_int8, as_float = (
        measure_accuracy(supernet, row, data, "held_out", config.evaluation.measure, no_progress, int8=int8)[0]
        for int8 in (True, False)
    )
    assert entry.accuracy_measured == pytest.approx(as_int8)
    assert entry.accuracy_measured == max(entry.evaluated.accuracy_measured)
    assert abs(as_int8 - as_float) < 0.1
    assert (smoke / "int8" / MEASURED[True]).is_file()
    assert not (smoke / "int8" / MEASURED[False]).exists()


def test_an_imported_table_is_searched_with(reference_data: Path, tmp_path: Path) -> None:
    register_schemas()
    published = reference_data / "ofa"
    asked = ("format=ofa", f"path={published}", *PUBLISHED)
    summary = import_published(
        to_pipeline_config(compose_config("import-table", asked)), tmp_path / "tables", ConsoleReporter()
    )
    assert (summary.device, summary.missing) == ("note10", ())
    assert len(read_table(tmp_path / "tables" / summary.file).operators.operators) == summary.operators
    settings = (
        *PUBLISHED, f"latency.path={tmp_path / 'tables'}", "accuracy=ofa", "search.islands.generations=5",
        f"accuracy.path={published / 'accuracy_predictor.npz'}", "search.budgets=[25]", "search.comparison_networks=0",
    )  # fmt: skip
    result = search(to_pipeline_config(compose_config("search", settings)), tmp_path / "search")
    (entry,) = result.selected
    assert entry.id == "note10-published-25ms"
    assert 20 < entry.latency_ms <= 25
    assert json.loads((tmp_path / "search" / "result.json").read_text())["result"]["selected"] == to_plain(
        result.selected
    )
    assert (tmp_path / "search" / HISTORY).stat().st_size > 1000


@pytest.mark.parametrize(("asked", "message"), [(("path=x",), "format: expected one of"), (("format=csv",), "path:")])
def test_what_is_to_be_imported_must_be_said(asked: tuple[str, ...], message: str, tmp_path: Path) -> None:
    register_schemas()
    with pytest.raises(ConfigError, match=message):
        import_published(
            to_pipeline_config(compose_config("import-table", [*PUBLISHED, *asked])),
            tmp_path / "tables",
            ConsoleReporter(),
        )
