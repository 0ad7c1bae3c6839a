"""HELP's gradients go through its inner steps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd import gradcheck

from hwnas.latency.help.network import LATENTS, REFERENCES, encoding_of, initial_parameters, predict
from hwnas.latency.help.training import adapted
from hwnas.spaces.nasbench201 import NasBench201Space


def test_gradients_of_adapted_parameters_and_rates() -> None:
    space = NasBench201Space()
    encoding = encoding_of(space)
    generator = torch.Generator().manual_seed(0)
    drawn = {name: value.double() for name, value in initial_parameters(encoding, generator).items()}
    inner = [name for name in drawn if not name.startswith("z.")]
    archs = torch.from_numpy(encoding.encode(space.sample(9, np.random.default_rng(0)))).double()
    targets, device = (
        torch.randn(5, generator=generator).double(),
        torch.randn(REFERENCES, generator=generator).double(),
    )
    z = torch.randn(LATENTS, generator=generator).double()

    def queried(*values: Tensor) -> Tensor:
        parameters = {**drawn, **dict(zip(inner, values[: len(inner)], strict=True))}
        rates = dict(zip(inner, values[len(inner) :], strict=True))
        own = adapted(parameters, rates, encoding.graph, archs[:5], targets, device, z, steps=2)
        return predict(own, encoding.graph, archs[5:], device)

    starts = [drawn[name].clone().requires_grad_() for name in inner]
    rates = [torch.full_like(drawn[name], 0.05).requires_grad_() for name in inner]
    assert gradcheck(queried, (*starts, *rates), atol=1e-5, rtol=1e-4, fast_mode=True)
