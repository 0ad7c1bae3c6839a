"""A rough latency from public facts alone, for devices that nobody has measured: the roofline.

Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009: a kernel takes at least its arithmetic over the
peak throughput and its bytes over the memory's bandwidth, whichever is longer. Real kernels take longer, by a factor
that differs from one to the next: good for a first idea, not for a budget.
"""

from __future__ import annotations

import numpy as np

from hwnas.devices.profile import DeviceProfile
from hwnas.errors import DeviceError
from hwnas.latency.estimate import LatencyEstimate, LatencyEstimator
from hwnas.operators import Operator
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.elimination import Factor
from hwnas.spaces.space import Floats

__all__ = ["RooflineEstimator"]

_BYTES = 4  # float32


class RooflineEstimator(LatencyEstimator):
    """A LatencyEstimator: the sum over operators of each kernel's roofline, float32, batch 1, on `threads` cores.

    Raises DeviceError where the profile lacks a fact that it takes.

    >>> space = hwnas.make_space("ofa_mbv3", resolution=(160, 192, 224))
    >>> rough = hwnas.RooflineEstimator(hwnas.load_profile("raspberry_pi_5"), space)
    >>> smallest, largest = (space.extreme(largest=size)[None] for size in (False, True))
    >>> bool(rough.latency_ms(smallest)[0] < rough.latency_ms(largest)[0])
    True
    """

    def __init__(self, profile: DeviceProfile, space: Space, threads: int = 1) -> None:
        lacking = [key for key in ("peak_gmacs", "bandwidth_gb_s") if getattr(profile, key) is None]
        if profile.peak_gmacs is None or profile.bandwidth_gb_s is None:
            raise DeviceError(
                f"no roofline of device {profile.name}: its profile lacks {' and '.join(lacking)}, which nobody has"
                " published; write a profile of your own (a .yaml file's path as device), or measure it"
            )
        if profile.cores is not None and threads > profile.cores:
            raise DeviceError(f"device {profile.name} has {profile.cores} cores, got profiling.threads={threads}")
        self.device = profile.name
        self.space = space
        per_ms = np.array([profile.peak_gmacs * 1e6 * threads, profile.bandwidth_gb_s * 1e6])
        self._costs = np.array([_latency_ms(operator, per_ms) for operator in space.operators])

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Each slot's genes and latencies, which add up to the mean."""
        return self.space.factors(self._costs)

    def estimate(self, genotypes: Genotypes) -> LatencyEstimate:
        """The roofline of `[N, G]` genotypes; no standard deviation, since how far it is off is not known."""
        mean = self.space.sum_over_operators(genotypes, self._costs)
        return LatencyEstimate(mean, None, np.ones(len(genotypes), dtype=bool))

    def fastest(self) -> tuple[Genotypes, float]:
        """The network `[G]` with the lowest estimate, and that in ms. Exact."""
        return self.space.minimise_over_operators(self._costs)


def _latency_ms(operator: Operator, per_ms: Floats) -> float:
    return float(sum(max((macs, moved * _BYTES) / per_ms) for macs, moved in operator.kernels))
