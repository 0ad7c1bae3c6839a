"""Which devices a step is of, which unit of a model is asked, and what is asked of several at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.fleet import FleetConfig, Unit
from hwnas.devices.profile import load_profile
from hwnas.errors import ConfigError, DeviceError, ExecutorError, HwnasError
from hwnas.executors.config import ExecutorConfig
from hwnas.pipeline.config import DevicesStep
from hwnas.pipeline.export.plan import check_formats
from hwnas.pipeline.on_device import of_asked_devices
from hwnas.pipeline.on_units import Answer, Order, ask_units
from hwnas.pipeline.search.result import SearchEntry
from hwnas.pipeline.units import (
    asked_models,
    by_model,
    called,
    device_inputs,
    left_out_units,
    names_of,
    own_folder,
    trusted,
    units_inputs,
    units_named,
    units_of,
)
from hwnas.progress import Progress, no_progress


def board(folder: Path, name: str = "board", runtimes: str = "{onnxruntime: [fp32]}", address: str = "me@b:22") -> str:
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\ndescription: one\ntransport: ssh\naddress: {address}\nruntimes: {runtimes}\n")
    return str(path)


def unit(address: str, name: str = "raspberry_pi_5") -> Unit:
    return Unit(DeviceConfig(name, "ssh", address), load_profile(name))


def test_one_of_several_is_as_one_alone(tmp_path: Path) -> None:
    alone = units_of(DevicesStep(device=DeviceConfig("raspberry_pi_5", address="pi@x")))
    listed = units_of(DevicesStep(devices=("raspberry_pi_5",), device=DeviceConfig(address="pi@x")))
    assert alone == listed
    assert units_inputs(alone) == {"device": device_inputs(DeviceConfig("raspberry_pi_5", address="pi@x"))}
    two = units_of(DevicesStep(devices=("local", board(tmp_path))))
    assert [one.profile.name for one in two] == ["local", "board"]
    assert units_inputs(two)["units"] == [device_inputs(one.device) for one in two]
    assert names_of(two) == "local, board"
    assert asked_models(DevicesStep(devices=("local", board(tmp_path)))) == ("local", "board")
    assert asked_models(DevicesStep()) == ()


def test_boards_whose_profiles_have_no_address_are_told_apart() -> None:
    """Each is reached by an address that `connect` asks for: no two are taken for one."""
    units = units_of(DevicesStep(devices=("raspberry_pi_5", "raspberry_pi_4")))
    assert list(by_model(units)) == ["raspberry_pi_5", "raspberry_pi_4"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (DevicesStep(devices=("local", "moon")), "no device profile 'moon'"),
        (DevicesStep(devices=("local",), fleet=FleetConfig("rack.yaml")), "fleet and devices: give one of them"),
        (DevicesStep(devices=("local", "raspberry_pi_5"), device=DeviceConfig(address="x")), "of which of several"),
    ],
)
def test_what_is_no_list_of_devices(step: DevicesStep, said: str) -> None:
    with pytest.raises(HwnasError, match=said):
        units_of(step)


def test_a_device_is_there_once(tmp_path: Path) -> None:
    names = (board(tmp_path, "a"), "local", board(tmp_path, "b"))
    with pytest.raises(DeviceError, match=r"devices: units 1 and 3 are one device \(ssh, me@b:22\)"):
        units_of(DevicesStep(devices=names))


def test_two_models_have_two_names(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, alike = board(tmp_path), board(tmp_path / "other", address="me@c:22")
    assert names_of(units_of(DevicesStep(devices=(first, alike)))) == "2 × board"
    board(tmp_path / "other", runtimes="{litert: [fp32]}", address="me@c:22")
    with pytest.raises(DeviceError, match="devices: two profiles that differ are called board"):
        units_of(DevicesStep(devices=(first, alike)))


def test_settings_of_one_device_are_what_they_were() -> None:
    assert not {"devices", "fleet"} & DevicesStep(fleet=FleetConfig(tolerance=0.5)).settings().keys()
    assert DevicesStep(devices=("local", "board")).settings()["devices"] == ["local", "board"]
    assert DevicesStep(fleet=FleetConfig("rack.yaml")).settings()["fleet"] == {"file": "rack.yaml", "tolerance": 0.1}


def test_models_of_a_fleet_are_searched_for(tmp_path: Path) -> None:
    entries = [{"device": "raspberry_pi_5", "address": f"pi@{host}"} for host in "ab"]
    fleet = tmp_path / "rack.yaml"
    fleet.write_text(json.dumps([*entries, {"device": "local"}]))
    step = DevicesStep(fleet=FleetConfig(str(fleet)))
    assert asked_models(step) == ("raspberry_pi_5", "local")
    units = units_of(step)
    assert names_of(units) == "2 × raspberry_pi_5, local"
    pies = units_named(units, "raspberry_pi_5")
    assert [one.address for one in pies] == ["pi@a", "pi@b"]
    assert called(pies[1], pies) == "raspberry_pi_5 at pi@b"
    assert called(units[2], units[2:]) == "local"
    (stranger,) = units_named(units, "pixel_8")
    assert (stranger.profile.name, stranger.device) == ("pixel_8", DeviceConfig("pixel_8"))
    with pytest.raises(DeviceError, match="no device profile 'moon'"):
        units_named(units, "moon")


def test_a_unit_that_was_left_out_of_a_table_is_not_trusted(tmp_path: Path) -> None:
    a, b = unit("pi@a"), unit("pi@b")
    assert left_out_units(tmp_path) == frozenset()
    tables = [
        {"units": None},
        {"units": [{"unit": a.name, "left_out": "common models take 2 ×"}, {"unit": b.name, "left_out": ""}]},
        {"units": [{"unit": a.name, "left_out": ""}, {"unit": b.name, "left_out": ""}]},
    ]
    (tmp_path / "result.json").write_text(json.dumps({"result": {"tables": tables}}))
    left_out = left_out_units(tmp_path)
    assert left_out == {a.name}
    assert trusted((a, b), left_out) == (b,)
    assert trusted((a,), left_out) == (a,)
    (tmp_path / "result.json").write_text("{")
    assert left_out_units(tmp_path) == frozenset()


def test_units_of_a_model_keep_what_they_measure_apart(tmp_path: Path) -> None:
    a, b = unit("pi@a:22"), unit("pi@b:22")
    assert own_folder(tmp_path, (a,))(a) == tmp_path
    folders = [own_folder(tmp_path, (a, b))(one) for one in (a, b)]
    assert len(set(folders)) == 2
    assert all(folder.parent == tmp_path for folder in folders)


# ---- asking


def answered(failing: dict[str, str], folder: Path, one: Unit, progress: Progress) -> str:
    """By address; what is not failing."""
    progress(0.5, "half")
    (folder / f"{time.monotonic_ns()}-{one.address}").touch()
    if problem := failing.get(str(one.address)):
        raise DeviceError(problem)
    return str(one.address)


Ask = Callable[..., tuple[list[Answer[str]], list[str], list[str]]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    def asking(
        *orders: Sequence[Unit], executor: ExecutorConfig | None = None, **failing: str
    ) -> tuple[list[Answer[str]], list[str], list[str]]:
        said: list[str] = []
        work = partial(answered, failing, tmp_path)
        given = [Order(units, work) for units in orders]
        answers = ask_units("asking", given, executor or ExecutorConfig(), said.append, no_progress)
        return answers, said, sorted(path.name.partition("-")[2] for path in tmp_path.iterdir())

    return asking


def test_the_next_unit_is_asked_where_one_fails(ask: Ask) -> None:
    answers, said, asked = ask([unit("a"), unit("b"), unit("c")], a="gone")
    assert answers[0].settled() == "b"
    assert answers[0].unit.address == "b"
    assert said == ["raspberry_pi_5 at a: gone; raspberry_pi_5 at b is asked instead"]
    assert asked == ["a", "b"]


def test_where_all_fail_the_last_problem_is_told(ask: Ask) -> None:
    answers, _, _ = ask([unit("a"), unit("b")], a="gone", b="gone too")
    with pytest.raises(DeviceError, match="gone too"):
        answers[0].settled()


def test_several_are_asked_by_workers(ask: Ask) -> None:
    answers, said, asked = ask([unit("a"), unit("b")], [unit("c")], [unit("d", "raspberry_pi_4")], a="gone", d="full")
    assert [answer.found for answer in answers] == ["b", "c", None]
    assert len(said) == 1
    assert asked == ["a", "b", "c", "d"]
    with pytest.raises(DeviceError, match="full"):
        answers[2].settled()


def test_hosts_are_a_clusters(ask: Ask) -> None:
    away = Unit(DeviceConfig("local"), load_profile("local"), "rack1")
    with pytest.raises(ExecutorError, match="workers on rack1: only a cluster has hosts"):
        ask([away])


# ---- formats and networks of several devices


def test_a_format_that_one_does_not_run_names_the_device(tmp_path: Path) -> None:
    units = units_of(DevicesStep(devices=("local", board(tmp_path))))
    check_formats(units, ("onnx",))
    check_formats(units[1:], ("tflite",))  # of one alone files are written that it does not run
    with pytest.raises(DeviceError, match="formats: device board does not run tflite: valid: onnx; leave formats"):
        check_formats(units, ("onnx", "tflite"))


def chosen(*devices: str) -> list[SearchEntry]:
    return [
        SearchEntry(
            id=f"{device}-onnxruntime-tight", device=device, runtime="onnxruntime", precision="fp32", threads=1,
            budget="tight", arch={}, budget_ms=1.0, latency_ms=1.0, accuracy_predicted=0.5, macs=1, parameters=1,
        )
        for device in devices
    ]  # fmt: skip


def test_networks_of_the_devices_that_are_asked_for_are_validated(tmp_path: Path) -> None:
    both, said = chosen("local", "board"), list[str]()
    units = units_of(DevicesStep(devices=("local", board(tmp_path))))
    assert of_asked_devices(both, units, tmp_path, said.append) == both
    assert not said
    assert of_asked_devices(both, units[:1], tmp_path, said.append) == both[:1]
    assert said == ["validate: networks for board are left out: give device=[local,board]"]
    assert of_asked_devices(both[1:], units[:1], tmp_path, said.append) == both[1:]
    with pytest.raises(ConfigError, match="was chosen for local: valid: board, phone; or run"):
        of_asked_devices(chosen("board", "phone"), units[:1], tmp_path, said.append)
    assert len(said) == 1
    with pytest.raises(ConfigError, match="was chosen for board: valid: local; or run hwnas search with all devices"):
        of_asked_devices(both[:1], units, tmp_path, said.append)
