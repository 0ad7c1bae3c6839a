"""What drives runtimes on devices without an agent: which they refuse, and how they read what is said."""

from __future__ import annotations

import pytest

from hwnas.profiling import agent
from hwnas.profiling.drivers import make_driver, parse_benchmark


@pytest.mark.parametrize(
    ("kind", "runtime", "told"),
    [
        ("tvm_rpc", "litert", "a TVM RPC server runs TVM alone, not litert"),
        ("benchmark_model", "tvm", "benchmark_model runs LiteRT alone, not tvm; give device.python there"),
    ],
)
def test_a_runtime_that_a_driver_does_not_run_is_refused(kind: str, runtime: str, told: str) -> None:
    with pytest.raises(ImportError, match=f"^{told}$"):
        make_driver({"runtime": runtime, "threads": 1, "driver": {"kind": kind}}, agent)


def test_what_benchmark_model_says_is_read() -> None:
    warm_up = "INFO: count=1 first=9 curr=9 min=9 max=9 avg=9 std=0\n"
    old = f"{warm_up}INFO: count=50 first=4000 curr=3838 min=3822 max=4107 avg=3876.96 std=52"
    found = parse_benchmark(old)
    assert (found["ms"], found["repeats"]) == (pytest.approx(3.87696), 50)
    assert 3.822 <= found["p10"] < found["ms"] < found["p90"] <= 4.107
    new = old + " p5=3800 median=3850 p95=4000"
    assert parse_benchmark(new)["ms"] == pytest.approx(3.85)
    with pytest.raises(RuntimeError, match="gave no times: ERROR: Failed to load"):
        parse_benchmark("hello\nERROR: Failed to load the model")
