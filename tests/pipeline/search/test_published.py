"""`hwnas search` with published tables and the published accuracy network."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.errors import ConfigError, TableError
from hwnas.pipeline.config import SearchStep
from hwnas.pipeline.import_table import import_published
from hwnas.pipeline.search.sources import Target, latency_targets
from hwnas.pipeline.space import resolve_space
from hwnas.spaces import OfaMbv3Config, make_space
from tests.running import run_hwnas

PUBLISHED = ("space=ofa_mbv3", "space.width_mult=1.2", "latency=table", "latency.format=ofa", "accuracy=ofa")


def sources(reference_data: Path) -> tuple[str, ...]:
    tables = reference_data / "ofa"
    return (*PUBLISHED, f"latency.path={tables}", f"accuracy.path={tables / 'accuracy_predictor.npz'}")


def test_every_budget_is_met_by_networks_of_the_space(reference_data: Path, tmp_path: Path) -> None:
    short = ("search.islands.generations=20", "search.comparison_networks=0")
    done = run_hwnas(
        "search", *sources(reference_data), "search.budgets=[20,30,40]", "seed=0", f"hydra.run.dir={tmp_path}", *short
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())["result"]
    assert [entry["budget_ms"] for entry in result["selected"]] == [20, 30, 40]
    for entry, least in zip(result["selected"], (0.79, 0.81, 0.825), strict=True):
        assert entry["device"] == "note10"
        assert entry["latency_ms"] <= entry["budget_ms"]
        assert least < entry["accuracy_predicted"] < 0.85
        assert set(entry["arch"]) == {"space", "ks", "e", "d", "r"}
        assert entry["upper_bound"] is None
    assert result["evaluations"] > 1000
    assert result["elapsed_s"] > 0
    assert result["front"][0]["pareto"]["latency_ms"] == sorted(result["front"][0]["pareto"]["latency_ms"])


@pytest.mark.slow
def test_the_published_searcher_is_beaten(reference_data: Path, tmp_path: Path) -> None:
    # Its best of three seeds of 500 generations: 0.8068, 0.8278 and 0.8403.
    done = run_hwnas(
        "search", *sources(reference_data), "search.budgets=[20,30,40]", "seed=3", f"hydra.run.dir={tmp_path}",
        "search.comparison_networks=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    selected = json.loads((tmp_path / "result.json").read_text())["result"]["selected"]
    found = [entry["accuracy_predicted"] for entry in selected]
    assert all(one > peer for one, peer in zip(found, (0.8070, 0.8285, 0.8410), strict=True)), found


def test_an_additive_predictor_gets_the_best_network_and_its_proof(reference_data: Path, tmp_path: Path) -> None:
    space = make_space(OfaMbv3Config(width_mult=1.2))
    rng = np.random.default_rng(0)
    rows = space.sample(300, rng)
    labels = 0.7 + 0.1 * space.macs(rows) / space.macs(space.extreme(largest=True)[None])
    path = AccuracyPredictor.fit(space, rows, labels, PredictorConfig(method="ridge"), rng).save(
        tmp_path / "p.safetensors"
    )
    tables = (*PUBLISHED[:-1], f"latency.path={reference_data / 'ofa'}", f"accuracy.path={path}")
    short = ("search.islands.generations=1", "search.comparison_networks=0", "search.upper_bound=true")
    done = run_hwnas("search", *tables, "search.budgets=[20,40]", f"hydra.run.dir={tmp_path / 'run'}", *short)
    assert done.returncode == 0, done.stderr
    for entry in json.loads((tmp_path / "run" / "result.json").read_text())["result"]["selected"]:
        assert entry["accuracy_predicted"] <= entry["upper_bound"] + 1e-9
        assert entry["accuracy_predicted"] > entry["upper_bound"] - 0.003


def test_an_infeasible_budget_names_the_fastest(reference_data: Path, tmp_path: Path) -> None:
    done = run_hwnas("search", *sources(reference_data), "search.budgets=[5,30]", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "meets 5 ms: the fastest takes 9.89 ms" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("latency.format=ofa", "latency.format=ofa: where are the published files"),
        ("latency.format=off", "did you mean 'ofa'"),
        ("accuracy=ofa", "accuracy.format=ofa: where are the published files"),
        ("accuracy=oaf", "did you mean 'ofa'"),
    ],
)
def test_formats_are_checked_before_anything_runs(override: str, message: str) -> None:
    register_schemas()
    with pytest.raises(ConfigError, match=message):
        to_pipeline_config(compose_config("search", [override]))


def test_tables_as_repositories_have_them_are_found(reference_data: Path, tmp_path: Path) -> None:
    for device in ("note10", "other"):
        folder = tmp_path / "tables" / f"latency_table@{device}"
        folder.mkdir(parents=True)
        for resolution in (160, 176, 192, 208, 224):
            shutil.copy(
                reference_data / "ofa" / f"note10_w12_{resolution}.yaml", folder / f"{resolution}_lookup_table.yaml"
            )
    register_schemas()

    def targets(*overrides: str) -> list[Target]:
        config = to_pipeline_config(compose_config("search", [*PUBLISHED[:-1], *overrides])).part(SearchStep)
        space = resolve_space(config)
        return [source.open() for source in latency_targets(config, tmp_path / "search", space)]

    (one,) = targets(f"latency.path={tmp_path / 'tables'}/latency_table@note10")
    assert (one.device, one.runtime) == ("note10", "published")
    assert one.estimator.fastest()[1] == pytest.approx(9.89, abs=0.005)
    both = targets(f"latency.path={tmp_path / 'tables'}", "devices=[other,note10]")
    assert [target.device for target in both] == ["other", "note10"]
    with pytest.raises(TableError, match=r"found none at .*/note9 nor at .*latency_table@note9; did you mean 'note10'"):
        targets(f"latency.path={tmp_path / 'tables'}", "devices=[note9]")


def test_a_folder_of_published_tables_is_imported(reference_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "latency_table@note10"
    folder.mkdir()
    for resolution in (160, 224):
        shutil.copy(reference_data / "ofa" / f"note10_w12_{resolution}.yaml", folder / f"{resolution}_lookup_table.yml")
    register_schemas()
    settings = (f"path={folder}", "format=ofa", "space=ofa_mbv3", "space.width_mult=1.2", "space.resolution=[160,224]")
    config = to_pipeline_config(compose_config("import-table", [*settings]))
    result = import_published(config, tmp_path / "import")
    assert (result.device, result.missing) == ("note10", ())
    assert result.operators == len(resolve_space(config).operators)
    assert set(json.loads((tmp_path / "import" / "inputs.json").read_text())["files"]) == {
        "160_lookup_table.yml", "224_lookup_table.yml"
    }  # fmt: skip
    with pytest.raises(TableError, match="no such file or folder"):
        import_published(replace(config, path=str(tmp_path / "nowhere")), tmp_path / "import")
