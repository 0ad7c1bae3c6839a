"""Subnets measured by an executor's workers: what one process measures, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.accuracy.measure import measure_accuracy
from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.accuracy.sharded import measure_sharded
from hwnas.data.config import AugmentConfig
from hwnas.data.load import ImageData, ImageSet
from hwnas.errors import ArchError, DataError
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig
from hwnas.executors.executor import Executor
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.supernet import Supernet

SMALL = MeasureConfig(calibration_images=40, calibration_batch=20, batch_size=16)


def load() -> tuple[Supernet, ImageData]:
    """The same in every process."""
    config = OfaMbv3Config(
        name="tiny", resolution=(8, 12), widths=(8, 8, 8, 16, 16, 16), stem_stride=1, strides=(2, 1, 2),
        activations=("relu", "relu", "h_swish"), se=(False, False, True), kernel_sizes=(3, 5), expand_ratios=(2, 3),
        depths=(1, 2), in_channels=1, classes=3,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    train, held_out, test = (
        ImageSet(
            torch.randint(0, 256, (count, 1, 12, 12), generator=generator, dtype=torch.uint8),
            torch.randint(0, 3, (count,), generator=generator),
        )
        for count in (20, 70, 2400)  # 1.3 MiB of floats at 12×12, 0.6 at 8×8
    )
    data = ImageData("tiny", train, held_out, test, ("a", "b", "c"), (0.5,), (0.3,), AugmentConfig())
    return build_supernet(OfaMbv3Space(config), generator=torch.Generator().manual_seed(0)).eval(), data


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        pytest.importorskip("ray", reason="ray is not installed: pip install 'hwnas[ray]'")
    with open_executor(ExecutorConfig(kind=request.param, workers=2)) as opened:
        yield opened


# Workers import torch each time. Those that are streamed go through more of the code than others; int8 is in
# test_measure.py too.
@pytest.mark.parametrize(
    ("streamed", "int8"),
    [(True, False), *(pytest.param(False, int8, marks=pytest.mark.slow) for int8 in (False, True))],
)
def test_it_is_what_one_process_measures(executor: Executor, streamed: bool, int8: bool) -> None:
    supernet, data = load()
    genotypes = np.array([supernet.space.extreme(True), *supernet.space.sample(8, np.random.default_rng(0))])
    config = replace(SMALL, memory_limit_mib=1) if streamed else SMALL
    known = np.array([np.nan] * 8 + [0.25])
    told: dict[int, float] = {}
    shares: list[float] = []
    expected = measure_accuracy(supernet, genotypes, data, "test", config, no_progress, known, int8=int8)
    found = measure_sharded(
        executor, load, supernet.space, data, genotypes, "test", config, lambda share, _: shares.append(share), known,
        told.__setitem__, int8,
    )  # fmt: skip
    assert found.tolist() == expected.tolist()
    assert told == dict(enumerate(expected[:8].tolist()))
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert len(shares) == 8 if not streamed else len(shares) < 8  # the larger images are read once for several
    assert np.isnan(known[0])


def test_bad_input_is_refused_here(executor: Executor) -> None:
    supernet, data = load()
    genotypes = supernet.space.extreme(True)[None]
    for wrong, split, error in ((genotypes + 9, "test", ArchError), (genotypes, "validation", DataError)):
        with pytest.raises(error):
            measure_sharded(
                executor, load, supernet.space, data, wrong, split, SMALL, no_progress, np.full(1, np.nan), print
            )
