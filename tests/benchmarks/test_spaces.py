"""Spaces beside each other: which budgets they share, who is ahead, and that all are trained by one recipe."""

from __future__ import annotations

from typing import Any

import pytest
from spaces import EXPERIMENT, _phases, lead, markdown, shared_budgets

from hwnas import load_config

RANGES = {"narrow": (0.02, 0.08), "wide": (0.01, 0.4)}


def test_budgets_lie_within_what_all_spaces_have() -> None:
    # From 0.02 to 0.08: half of the way of the logarithm is twice the lower end.
    assert shared_budgets(RANGES, [0.0, 0.5, 1.0]) == [0.02, 0.04, 0.08]
    assert shared_budgets(RANGES, [0.2]) == [0.0264]  # 0.02 × 4 ** 0.2 = 0.02639


def test_spaces_without_a_latency_in_common_are_refused_with_their_ranges() -> None:
    with pytest.raises(SystemExit, match=r"no latency in common: narrow 0.02 to 0.08 ms, slow 0.1 to 0.2 ms"):
        shared_budgets({"narrow": (0.02, 0.08), "slow": (0.1, 0.2)}, [0.5])


@pytest.mark.parametrize("space", ["ofa_mbv3_cifar10", "mobilenet_v4_32"])
def test_every_space_has_the_experiments_recipe_opened_in_all(space: str) -> None:
    published = load_config([EXPERIMENT]).training.phases[0]
    phase = load_config([EXPERIMENT, f"space={space}", _phases(7.5)]).training.phases[0]
    assert (phase.epochs, phase.opens) == (7.5, ("all",))
    kept = ("learning_rate", "warmup_epochs", "subnets_per_step", "sampler", "teacher", "schedule", "ending")
    assert [getattr(phase, key) for key in kept] == [getattr(published, key) for key in kept]


def test_a_short_training_warms_up_for_a_tenth() -> None:
    assert load_config([EXPERIMENT, _phases(1.0)]).training.phases[0].warmup_epochs == 0.1


def row(space: str, accuracy: float, budget_ms: float = 0.1) -> dict[str, Any]:
    return {
        "space": space, "runtime": "litert", "budget": f"{budget_ms:g}ms", "budget_ms": budget_ms, "accuracy": accuracy,
        "predicted_ms": 0.099, "latency_ms": 0.098, "inherited": 0.7, "macs": 4_000_000, "parameters": 300_000,
        "arch": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "images", "expected"),
    [
        (0.82, 5000, ("other", 0.02, True)),  # sqrt((0.8 × 0.2 + 0.82 × 0.18) / 5000) = 0.8 points, so that 1.6 are two
        (0.79, 5000, ("one", 0.01, False)),
        (0.79, 50_000, ("one", 0.01, True)),
    ],
)
def test_a_lead_is_clear_from_two_standard_errors_on(
    other: float, images: int, expected: tuple[str, float, bool]
) -> None:
    space, gain, is_clear = lead([row("one", 0.80), row("other", other)], images)
    assert (space, round(gain, 6), is_clear) == expected


def test_the_page_has_the_spaces_side_by_side_and_who_wins() -> None:
    rows = [row("one", 0.80), row("other", 0.82), row("one", 0.83, 0.2), row("other", 0.825, 0.2)]
    trained = {"networks": 6.2e9, "epochs": 5.0, "cpu_s": 60.0, "accuracy": {"largest": 0.8, "smallest": 0.7}}
    about = {
        "date": "2026-01-01", "processor": "some", "cores": 2, "threads": "1", "load_average": 0.1, "python": "3.11",
        "versions": {"hwnas": "0.1"},
    }  # fmt: skip
    settings = {"seed": 0, "minutes_of_cpu": 1.0, "finetune_epochs": 3, "test_images": 5000}
    page = markdown({"about": about, "settings": settings, "spaces": {"one": trained, "other": trained}, "rows": rows})
    assert "| litert | 0.1 | 0.8000 | 0.8200 | other | 2.00 |" in page
    assert "- litert: 0.1 ms: other by 2.0 points; 0.2 ms: even.\n" in page
    assert "| litert | 0.2 | one | 0.0990 | 0.0980 | 0.8300 | 0.7000 | 4.00 | 300 |" in page
    for table in page.split("\n\n"):
        assert len({line.count("|") for line in table.splitlines()}) == 1 or not table.startswith("|")
