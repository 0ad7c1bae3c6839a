"""The simulation behind docs/scale.md: small cases by hand, and the model that it checks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scale_costs import ASSUMED, STEPS, Site, measured
from scale_events import Task, simulate
from scale_simulation import expected, simulated


def test_places_are_given_in_turn() -> None:
    # Three pieces of 2, 3 and 1 s on two cores: the third starts at 2, when the first has ended.
    assert simulate([Task("core", 2), Task("core", 3), Task("core", 1)], {"core": 2}) == [2, 3, 3]
    # On one core they follow each other.
    assert simulate([Task("core", 2), Task("core", 3), Task("core", 1)], {}) == [2, 5, 6]


def test_what_waits_for_others_starts_when_all_have_ended() -> None:
    tasks = [
        Task("core", 1),
        Task("core", 4),
        Task("device", 2, (0,)),
        Task("core", 1, (1, 2)),
        Task("device", 1, (0,)),
    ]
    # Written at 1, measured 1..3; the last waits for the device until 3; the fourth waits for the second until 4.
    assert simulate(tasks, {"core": 2}) == [1, 4, 3, 5, 4]


def test_tasks_that_wait_for_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 tasks wait"):
        simulate([Task("core", 1), Task("core", 1, (1,))], {})


def test_a_small_site_by_hand() -> None:
    load = replace(
        measured()["quickstart"],
        images=6400, train_images_s=1.0, decode_core_s=0.0, gradient_bytes=0, subnets=5, subnet_core_s=2.0,
        models=10, runtimes=1, write_core_s=0.5, measure_s=1.0, search_core_s=1.0,
        networks=2, finetune_s=40.0, files=1, file_core_s=3.0, validate_s=20.0,
    )  # fmt: skip
    given = replace(ASSUMED, gpu_over_cpu=20.0, cores_per_gpu=2, batch=64, spread=0.0, worker_start_s=0.0)
    site = Site(devices=3, gpus=1)
    # 100 steps of 64 images at 20 a second; five subnets in three turns of two; the models of three devices on a core
    # (5 s), then 10 s of measuring on each at once; three searches in two turns; six networks of 2 s; six files in
    # three turns; six networks of 1 s.
    by_hand = {"train": 320.0, "evaluate": 6.0, "profile": 15.0, "search": 2.0, "finetune": 12.0, "export": 9.0,
               "validate": 6.0}  # fmt: skip
    assert simulated(load, given, site, split=False) == pytest.approx(by_hand, rel=0.01)
    assert set(by_hand) == set(STEPS)
    # Where pieces take equally long, the model is what happens.
    assert expected(load, given, site, split=False) == pytest.approx(by_hand)
    # Split over two GPUs, networks are trained on two at a time.
    two = simulated(load, given, Site(devices=3, gpus=2), split=True)
    assert two["finetune"] == pytest.approx(6.0)


def test_decoding_or_the_network_may_be_what_training_waits_for() -> None:
    load = replace(measured()["photographs"], images=64_000, train_images_s=50.0)
    given = replace(ASSUMED, spread=0.0)
    slow = replace(load, decode_core_s=0.1)  # 8 cores: 80 images a second, of 1,000 that the GPU could take
    site = Site(devices=1, gpus=1)
    assert simulated(slow, given, site, split=False)["train"] == pytest.approx(64_000 / 80, rel=0.05)
    wide = replace(load, decode_core_s=0.0, gradient_bytes=8e9)
    alone, many = (expected(wide, given, Site(1, gpus), split=False)["train"] for gpus in (1, 8))
    # Nothing to exchange alone; of eight, each step sends 2 · 7/8 of 8 GB at 10 GB/s.
    assert alone == pytest.approx(64.0)
    assert many == pytest.approx(64.0 / 8 + 125 * 1.4)
    assert simulated(wide, given, Site(1, 8), split=False)["train"] == pytest.approx(many, rel=0.05)


def test_figures_are_those_of_committed_results() -> None:
    loads = measured()
    assert set(loads) == {"quickstart", "photographs"}
    for load in loads.values():
        assert load.sources
        for step, seconds in expected(load, ASSUMED, Site(1000, 64), split=False).items():
            assert seconds > 0, step
