"""`hwnas search runs=[…]`: several supernets searched for the same budgets, and which of them wins."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hwnas.cli.compose import compose_config
from hwnas.cli.config import to_pipeline_config
from hwnas.errors import ConfigError, HwnasError, InfeasibleBudgetError, StorageError
from hwnas.pipeline.config import ExportStep, FinetuneStep, ValidateStep
from hwnas.pipeline.export.plan import planned_targets
from hwnas.pipeline.export.subjects import source_of
from hwnas.pipeline.inputs import searched_networks
from hwnas.pipeline.search.devices import STATE
from hwnas.pipeline.search.result import Searched, SearchEntry
from hwnas.pipeline.search.step import search
from hwnas.pipeline.search.supernets import of_supernet
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.units import units_of
from hwnas.progress import SILENT
from tests.narrow import present
from tests.pipeline.search.families import OFA, V4, changed, written_run
from tests.pipeline.search.test_tables import SHORT
from tests.running import run_here

QUICK = ("experiment=smoke", *SHORT)
ONE = ("runtime=onnxruntime", "search.budget_quantiles=[0.5]")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of OFA's and MobileNetV4's blocks, of which the second predicts a little more for as many MACs."""
    folder = tmp_path_factory.mktemp("runs")
    written_run(folder / "ofa", OFA, devices=("local", "phone"))
    written_run(folder / "v4", V4, devices=("local", "phone"), better=0.01)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "runs"))


def searched(runs: Path, *more: str, order: tuple[str, ...] = ("ofa", "v4"), at: str = "both/search") -> Searched:
    given = f"runs=[{','.join(str(runs / name) for name in order)}]"
    return search(to_pipeline_config(compose_config("search", [*QUICK, given, *more])), runs / at)


def alone(runs: Path, name: str, space: str, *more: str) -> Searched:
    """The search of one run, in the run."""
    asked = [*QUICK, f"space={space}", *more]
    return search(to_pipeline_config(compose_config("search", asked)), runs / name / "search")


def test_the_winner_is_the_best_of_what_each_family_has_alone(runs: Path) -> None:
    asked = ("runtime=litert", "search.budget_quantiles=[0.5,0.9]")
    found = searched(runs, *asked)
    families = present(found.families)
    ofa = alone(runs, "ofa", OFA, *asked)
    budgets = [entry.budget_ms for entry in ofa.selected]
    v4 = alone(runs, "v4", V4, "runtime=litert", f"search.budgets={budgets}")
    for one, first, second in zip(families, ofa.selected, v4.selected, strict=True):
        rivals = {OFA: first, V4: second}
        assert {best.space: (best.arch, best.latency_ms, best.accuracy) for best in one.best} == {
            name: (entry.arch, entry.latency_ms, entry.accuracy_predicted) for name, entry in rivals.items()
        }
        assert one.winner == max(rivals, key=lambda name: rivals[name].accuracy_predicted) == one.best[0].space
        assert (one.id, one.compared_by) == (first.id, "accuracy_predicted")
    assert [one.id for one in families] == [entry.id for entry in found.selected]
    for entry, one in zip(found.selected, families, strict=True):
        home = present(entry.supernet)
        assert home.name == one.winner == entry.arch["space"]
        assert Path(home.checkpoint) == runs / {OFA: "ofa", V4: "v4"}[home.name] / "train" / "supernet.safetensors"
        assert home.space["name"] == home.name
        assert entry.latency_ms <= entry.budget_ms
    assert [one.name for one in present(found.supernets)] == [OFA, V4]
    assert found.evaluations > ofa.evaluations


def test_the_result_is_read_as_it_was_written_and_another_time_not_searched(runs: Path) -> None:
    first = searched(runs)
    before = (runs / "both" / "search" / "result.json").stat().st_mtime_ns
    again = searched(runs)
    assert again == first
    assert (runs / "both" / "search" / "result.json").stat().st_mtime_ns == before
    assert list(first.to_frame()["supernet"]) == [one.winner for one in present(first.families)]


def test_quantiles_are_of_the_first_run(runs: Path) -> None:
    first = [one.budget_ms for one in searched(runs).selected]
    other = [one.budget_ms for one in searched(runs, order=("v4", "ofa"), at="turned/search").selected]
    assert first == [one.budget_ms for one in alone(runs, "ofa", OFA).selected]
    assert other == [one.budget_ms for one in alone(runs, "v4", V4).selected]
    assert first != other


def test_budgets_in_ms_do_not_depend_on_the_order_of_the_runs(runs: Path) -> None:
    asked = ("search.budgets=[0.35,0.5]", "runtime=litert")
    first, other = searched(runs, *asked), searched(runs, *asked, order=("v4", "ofa"), at="turned/search")
    assert [entry.arch for entry in first.selected] == [entry.arch for entry in other.selected]
    assert first.families == other.families


def fastest_ms(runs: Path, name: str, space: str) -> float:
    with pytest.raises(InfeasibleBudgetError) as caught:
        alone(runs, name, space, "runtime=onnxruntime", "search.budgets=[1e-9]", "search.confidence=0.5")
    return float(str(caught.value).partition("the fastest takes ")[2].split()[0])


def test_a_family_without_a_network_leaves_the_budget_to_the_other(runs: Path) -> None:
    least = {OFA: fastest_ms(runs, "ofa", OFA), V4: fastest_ms(runs, "v4", V4)}
    faster, slower = sorted(least, key=lambda name: least[name])
    between = (least[OFA] + least[V4]) / 2
    loose = 3 * max(least.values())
    asked = ("runtime=onnxruntime", f"search.budgets=[{between},{loose}]", "search.confidence=0.5")
    for order, at in ((("ofa", "v4"), "both/search"), (("v4", "ofa"), "turned/search")):
        tight, wide = present(searched(runs, *asked, order=order, at=at).families)
        assert (tight.winner, [one.space for one in tight.best]) == (faster, [faster])
        assert list(tight.lacking) == [slower]
        assert f"no network of space {slower} meets" in tight.lacking[slower]
        assert {one.space for one in wide.best} == {OFA, V4}
        assert not wide.lacking
    with pytest.raises(
        InfeasibleBudgetError, match=f"no network of space {OFA} .*; no network of space {V4}"
    ) as caught:
        searched(runs, "runtime=onnxruntime", "search.budgets=[1e-9,5]", "search.evaluate_top=1")
    assert not list(runs.rglob("evaluated.csv"))
    assert "\n" not in str(caught.value)


def test_limits_leave_out_a_family_likewise(runs: Path) -> None:
    spaces = {name: resolve_space(to_pipeline_config(compose_config("search", [*QUICK, f"space={name}"])))
              for name in (OFA, V4)}  # fmt: skip
    least = {name: int(space.parameters(space.extreme(False)[None])[0]) for name, space in spaces.items()}
    smaller, larger = sorted(least, key=lambda name: least[name])
    limit = (least[OFA] + least[V4]) // 2
    asked = ("runtime=litert", "search.budgets=[5]", f"search.constraints={{parameters: {limit}}}")
    (one,) = present(searched(runs, *asked).families)
    assert one.winner == smaller
    assert list(one.lacking) == [larger]


def test_measured_accuracy_decides_where_networks_are_measured(runs: Path) -> None:
    found = searched(runs, *ONE, "search.evaluate_top=2")
    (one,), (entry,) = present(found.families), found.selected
    assert one.compared_by == "accuracy_measured"
    assert entry.accuracy_measured == max(best.accuracy for best in one.best) == one.best[0].value
    assert {best.space for best in one.best} == {OFA, V4}
    for place, name in enumerate((OFA, V4)):
        rows = (runs / "both" / "search" / f"{place}-{name}" / "evaluated.csv").read_text().splitlines()
        assert len(rows) == 3
        mine = next(best for best in one.best if best.space == name)
        assert mine.accuracy == max(float(row.rpartition(",")[2]) for row in rows[1:])
    # Predicted, the other order: what a family's own predictor says does not matter then.
    loser = next(name for name in (OFA, V4) if name != one.winner)
    shutil.rmtree(runs / {OFA: "ofa", V4: "v4"}[loser])
    written_run(runs / {OFA: "ofa", V4: "v4"}[loser], loser, devices=("local", "phone"), better=0.2)
    (again,) = present(searched(runs, *ONE, at="again/search").families)
    assert again.winner == loser


def test_another_objective_decides_where_it_comes_first(runs: Path) -> None:
    asked = ("search.objectives=[macs,latency_ms]", "search.constraints={accuracy: 0.62}", *ONE)
    found = searched(runs, *asked)
    (one,) = present(found.families)
    assert one.compared_by == "macs"
    assert one.best[0].value == found.selected[0].macs == min(best.value for best in one.best)


def test_the_fastest_of_any_family_where_latency_comes_first(runs: Path) -> None:
    asked = ("search.objectives=[latency_ms,accuracy]", "search.constraints={accuracy: 0.62}", *ONE)
    (one,) = present(searched(runs, *asked).families)
    assert one.compared_by == "latency_ms"
    assert one.best[0].latency_ms == one.best[0].value == min(best.value for best in one.best)


def test_devices_and_workers_change_nothing(runs: Path) -> None:
    devices = ("devices=[local,phone]", "runtime=litert")
    both = searched(runs, *devices, "executor.workers=2")
    assert [one.id for one in present(both.families)] == [
        f"{device}-litert-{budget}" for device in ("local", "phone") for budget in ("tight", "loose")
    ]
    one = searched(runs, "devices=[phone]", "runtime=litert", at="one/search")
    assert present(one.families) == present(both.families)[2:]
    assert [front["space"] for front in both.front] == [OFA, OFA, V4, V4]
    assert {entry["space"] for entry in both.history} == {OFA, V4}


def test_what_was_searched_before_a_kill_is_kept(runs: Path) -> None:
    whole, folder = searched(runs), runs / "both" / "search"
    (folder / "result.json").unlink()
    shutil.rmtree(folder / f"1-{V4}")
    first = sorted((folder / f"0-{OFA}" / STATE).iterdir())
    before = [path.stat().st_mtime_ns for path in first]
    again = searched(runs)
    assert [path.stat().st_mtime_ns for path in first] == before
    assert again.families == whole.families


def test_a_search_of_one_supernet_knows_nothing_of_it(runs: Path) -> None:
    found = alone(runs, "ofa", OFA)
    document = json.loads((runs / "ofa" / "search" / "result.json").read_text())["result"]
    assert not {"families", "supernets"} & set(document)
    assert "supernet" not in document["selected"][0]
    assert "space" not in document["front"][0]
    assert (found.families, found.selected[0].supernet) == (None, None)
    assert set(json.loads((runs / "ofa" / "search" / "inputs.json").read_text())) == {
        "version", "seed", "space", "search", "files"
    }  # fmt: skip


def test_one_run_is_searched_from_elsewhere(runs: Path) -> None:
    (one, *_) = present(searched(runs, order=("v4",)).families)
    assert (one.winner, len(one.best)) == (V4, 1)


def test_each_network_is_exported_from_its_own_supernet(runs: Path) -> None:
    searched(runs)
    path = runs / "both" / "search" / "result.json"
    document = json.loads(path.read_text())
    # As where each family wins one.
    found = [searched(runs, order=(name,), at=f"only-{name}/search") for name in ("ofa", "v4")]
    plain = [json.loads((runs / f"only-{name}" / "search" / "result.json").read_text()) for name in ("ofa", "v4")]
    document["result"]["selected"] = [plain[0]["result"]["selected"][0], plain[1]["result"]["selected"][1]]
    path.write_text(json.dumps(document))
    config = to_pipeline_config(compose_config("export", ["experiment=smoke"])).part(ExportStep)
    targets, _ = planned_targets(config, units_of(config), runs / "both" / "export")
    source = source_of(config, runs / "both" / "export", targets, SILENT.say)
    for target, one, name in zip(targets, found, (OFA, V4), strict=True):
        arch, space = source.described(target)
        assert arch["space"] == space["name"] == name
        assert arch in [entry.arch for entry in one.selected]
        assert source.resolution(target) == arch["r"]
        assert source.of(target).network(target)(torch.randn(1, 1, arch["r"], arch["r"])).shape == (1, 10)
    assert set(source.inputs["supernets"]) == {OFA, V4}
    assert {role.partition(":")[0] for role in source.files} == {OFA, V4}


def test_later_steps_say_where_a_supernet_went(runs: Path) -> None:
    searched(runs)
    entry = searched_networks(runs / "both" / "search" / "result.json", SearchEntry)[0]
    config = to_pipeline_config(compose_config("finetune", ["experiment=smoke"])).part(FinetuneStep)
    assert resolve_space(of_supernet(config, entry.supernet)).name == present(entry.supernet).name
    given = replace(config, checkpoint="x")
    with pytest.raises(ConfigError, match="of several supernets, and say of which each is: leave checkpoint out"):
        of_supernet(given, entry.supernet)
    (runs / "v4").rename(runs / "elsewhere")
    (runs / "ofa").rename(runs / "away")
    with pytest.raises(StorageError, match=r"no such file: .*run hwnas search again, with runs=\[…\] where"):
        of_supernet(config, entry.supernet)
    again = searched(runs, order=("away", "elsewhere"))  # is done again, though no file changed
    assert Path(present(again.selected[0].supernet).checkpoint).is_file()


def _without(*parts: str) -> Any:
    def change(runs: Path) -> None:
        path = runs.joinpath(*parts)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def _evaluated_on(**values: object) -> Any:
    def change(runs: Path) -> None:
        path = runs / "v4" / "evaluate" / "inputs.json"
        data = {**json.loads(path.read_text())["data"], **values}
        changed(path, data=data)

    return change


def _of_other_classes(runs: Path) -> None:
    shutil.rmtree(runs / "v4")
    written_run(runs / "v4", V4)
    path = runs / "v4" / "train" / "supernet.safetensors"
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["hwnas"])
    header |= {"classes": list("abcdefghij"), "folders": list("abcdefghij")}
    save_file(load_file(path), path, {"hwnas": json.dumps(header)})


def _with_tables_of_the_other(runs: Path) -> None:
    shutil.rmtree(runs / "v4" / "profile")
    shutil.copytree(runs / "ofa" / "profile", runs / "v4" / "profile")


def _of_no_family(runs: Path) -> None:
    path = runs / "v4" / "evaluate" / "inputs.json"
    changed(path, space={**json.loads(path.read_text())["space"], "family": "gone"})


def _of_one_name(runs: Path) -> None:
    shutil.rmtree(runs / "v4")
    shutil.copytree(runs / "ofa", runs / "v4")


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (None, ("runs=[nowhere]",), "runs: no such folder: nowhere; expected folders of runs"),
        (_without("v4", "train"), (), "v4 has no train/supernet.safetensors: run hwnas train hydra.run.dir="),
        (_without("v4", "evaluate", "predictor.safetensors"), (), "v4 has no evaluate/predictor.safetensors"),
        (_without("v4", "evaluate", "inputs.json"), (), "expected what hwnas evaluate was asked for"),
        (_without("v4", "profile"), (), "v4 has no profile/: run hwnas profile"),
        (_without("v4", "profile", "local", "litert-fp32-1t.csv"), (), "no such file: "),
        (_without("ofa", "profile", "local"), (), "v4 has no latencies of phone-onnxruntime, phone-litert, and "),
        (_of_one_name, (), f"are of one space, {OFA}: expected a name for each; space.name=NAME"),
        (_evaluated_on(held_out=200), (), "other images are held out in"),
        (_evaluated_on(name="fashion_mnist"), (), "data.name is digits in the first and fashion_mnist in"),
        (lambda runs: changed(runs / "v4/evaluate/inputs.json", seed=3), (), "seed is 0 in the first and 3 in"),
        (
            lambda runs: changed(runs / "v4/evaluate/inputs.json", evaluation={"measure": {"images": 50}}), (),
            "evaluation.measure.images is 0 in the first and 50 in the second",
        ),
        (_of_other_classes, (), "was trained on 10 classes (a, b, c, d, e, f and 4 more)"),
        (None, ("data.held_out=150", "search.evaluate_top=1"), "data.held_out is 300 in the first and 150"),
        (None, ("checkpoint=x",), "runs and checkpoint: each of the runs has its own: leave checkpoint out"),
        (None, ("latency.path=x",), "runs and latency.path: each of the runs has its own"),
        (None, ("accuracy=ofa", "accuracy.path=x"), "runs and accuracy.path: each of the runs has its own"),
        (None, ("devices=[moon]",), "no such file"),
        (_with_tables_of_the_other, (), "v4: the latency table lacks "),
        (_of_no_family, (), "v4: space config: missing or unknown family 'gone'"),
        (lambda runs: (runs / "v4/train/supernet.safetensors").write_bytes(b"no"), ("search.evaluate_top=1",),
         "is no checkpoint of hwnas"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_together_is_refused_in_one_line(
    runs: Path, change: Any, more: tuple[str, ...], message: str
) -> None:
    if change is not None:
        change(runs)
    given = () if more and more[0].startswith("runs=") else (f"runs=[{runs / 'ofa'},{runs / 'v4'}]",)
    with pytest.raises(HwnasError) as caught:
        search(to_pipeline_config(compose_config("search", [*QUICK, *given, *more])), runs / "both" / "search")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is no run: expected a folder with train, evaluate, profile"):
        search(to_pipeline_config(compose_config("search", [*QUICK, f"runs=[{tmp_path}]"])), tmp_path / "search")


def test_settings_that_images_do_not_depend_on_may_differ(runs: Path) -> None:
    _evaluated_on(image_size=64, augment={"flip": True})(runs)
    assert present(searched(runs, *ONE).families)


def test_images_are_cut_as_for_each_supernets_own_training(runs: Path) -> None:
    shutil.rmtree(runs / "v4")
    written_run(runs / "v4", V4, "data.image_size=24", better=0.1)
    found = searched(runs, *ONE, "search.evaluate_top=1")
    inputs = json.loads((runs / "both" / "search" / "inputs.json").read_text())["supernets"]
    assert {name: own["data"]["image_size"] for name, own in inputs.items()} == {OFA: 32, V4: 24}
    config = to_pipeline_config(compose_config("validate", ["experiment=smoke"])).part(ValidateStep)
    for one in present(found.supernets):
        assert of_supernet(config, one).images.image_size == {OFA: 32, V4: 24}[one.name]


def test_the_command_says_who_wins_in_one_line_each(runs: Path) -> None:
    given = f"runs=[{runs / 'ofa'},{runs / 'v4'}]"
    done = run_here("search", *QUICK, given, f"hydra.run.dir={runs / 'both' / 'search'}")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if " wins at " in line]
    result = json.loads((runs / "both" / "search" / "result.json").read_text())["result"]
    assert [line.split()[0] for line in lines] == [one["winner"] for one in result["families"]]
    assert all("on local, " in line for line in lines)
    assert "Compared by what each supernet's own predictor says" in done.stdout
    twice = run_here("search", *QUICK, f"runs=[{runs / 'ofa'},{runs / 'ofa'}]")
    assert "runs: expected distinct folders of runs, got" in twice.stderr
