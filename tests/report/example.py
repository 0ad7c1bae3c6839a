"""A made-up result, plausible in its numbers, for the tests of plots and report. Nothing in it was measured."""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCKS, STAGES = 9, 3


def example_result(seed: int = 0) -> dict[str, Any]:
    """A result of two runtimes with two budgets each, every optional part present."""
    rng = np.random.default_rng(seed)
    targets, fronts, tables = [], [], []
    for runtime, scale, budgets in (("onnxruntime", 1.0, (0.32, 0.55)), ("litert", 1.6, (0.5, 0.9))):
        latency = scale * rng.gamma(12, 0.036, 400) + 0.12 * scale
        accuracy = _accuracy(latency / scale) - np.abs(rng.normal(0, 0.004, 400)) - 0.002
        grid = np.linspace(latency.min(), latency.max(), 30)
        fronts.append(
            {
                "device": "local",
                "runtime": runtime,
                "random": {"latency_ms": latency.tolist(), "accuracy": accuracy.tolist()},
                "pareto": {"latency_ms": grid.tolist(), "accuracy": (_accuracy(grid / scale)).tolist()},
            }
        )
        predicted = np.sort(rng.choice(latency, 40, replace=False))
        tables.append(
            {
                "device": "local",
                "runtime": runtime,
                "runtime_version": "1.30.0" if runtime == "onnxruntime" else "2.2.0",
                "precision": "fp32",
                "threads": 1,
                "operators": 214,
                "file": f"latency_tables/local/{runtime}-fp32-1t.csv",
                "noise": 0.021,
                "networks": {
                    "predicted_ms": predicted.tolist(),
                    "measured_ms": (predicted * rng.normal(1.01, 0.03, 40)).tolist(),
                },
            }
        )
        targets += [_target(runtime, budget, budget / scale, rng) for budget in budgets]
    measured = 0.885 + 0.03 * rng.random(60)
    return {
        "title": "Fashion-MNIST on this machine",
        "version": "0.1.0",
        "seed": 0,
        "created": "2025-01-31 12:00",
        "elapsed_s": 1063.4,
        "targets": targets,
        "front": fronts,
        "tables": tables,
        "accuracy_predictor": {
            "kendall_tau": 0.79,
            "trained_on": 240,
            "measured": measured.tolist(),
            "predicted": (measured + rng.normal(0, 0.0025, 60)).tolist(),
        },
        "history": _history(rng),
        "data": {
            "name": "fashion_mnist",
            "classes": [str(label) for label in range(10)],
            "channels": 1,
            "image_size": 32,
            "images": {"train": 55_000, "held_out": 5_000, "test": 10_000},
        },
        "supernet": {
            "space": "ofa_mbv3",
            "subnets": 3.2e9,
            "parameters": 412_000,
            "train_s": 512.0,
            "accuracy_largest": 0.921,
            "accuracy_smallest": 0.893,
        },
        "search": {"evaluations": 50_000, "generations": 200, "elapsed_s": 3.1},
        "provenance": {
            "Machine": {"processor": "a processor of two cores", "cores": 2, "memory": "8 GiB", "system": "Linux"},
            "Versions": {"hwnas": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "onnxruntime": "1.30.0"},
            "Noise": {"test–retest, onnxruntime": 0.021, "test–retest, litert": 0.034, "rounds": 5},
        },
    }


def _accuracy(latency: Any) -> Any:
    return 0.924 - 0.035 * np.exp(-np.asarray(latency) / 0.16)


def _target(runtime: str, budget: float, relative: float, rng: np.random.Generator) -> dict[str, Any]:
    accuracy = float(_accuracy(relative))
    drift = float(rng.normal(1.02, 0.02))
    return {
        "device": "local",
        "runtime": runtime,
        "budget_ms": budget,
        "predicted_ms": budget * 0.99,
        "measured_ms": budget * 0.99 * drift * float(rng.normal(1.0, 0.02)),
        "drift": drift,
        "accuracy_predicted": accuracy,
        "accuracy_torch": accuracy - 0.003,
        "accuracy_exported": accuracy - 0.003,
        "accuracy_inherited": accuracy - 0.005,
        "accuracy_random": accuracy - 0.009,
        "parity_max_abs": 2.4e-6,
        "file": f"export/{runtime}-{budget}ms.{'onnx' if runtime == 'onnxruntime' else 'tflite'}",
        "bytes": int(700_000 * relative + 300_000),
        "macs": int(9e6 * relative),
        "parameters": int(2e5 * relative + 80_000),
        "arch": {
            "space": "ofa_mbv3",
            "ks": rng.choice([3, 5, 7], BLOCKS).tolist(),
            "e": rng.choice([3, 4, 6], BLOCKS).tolist(),
            "d": rng.choice([1, 2, 3], STAGES).tolist(),
            "r": 28,
        },
    }


def _history(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    step = 0
    for phase, length, start in (("full", 1200, 2.2), ("kernel", 400, 0.9), ("depth", 400, 1.0), ("expand", 500, 1.1)):
        for within in range(0, length, 10):
            loss = 0.72 + (start - 0.72) * np.exp(-within / 150) + rng.normal(0, 0.03)
            rows.append({"event": "steps", "phase": phase, "step": step + within, "loss": float(loss)})
        step += length
        smallest = {"full": 0.917, "kernel": 0.911, "depth": 0.903, "expand": 0.893}[phase]
        ends = {"largest_accuracy": 0.917 + step * 2e-6, "smallest_accuracy": smallest}
        rows.append({"event": "phase_end", "phase": phase, "step": step, **ends})
    return rows
