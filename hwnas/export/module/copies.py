"""Copies of networks to export, of those too that can't simply be copied."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["copied"]

_MODULES = ("_modules", "_parameters", "_buffers")


def copied(module: nn.Module) -> nn.Module:
    """A copy on the CPU, in eval mode, whose weights are plain tensors: weight and spectral norm are computed once.

    What can't be copied, such as a lock or an open file, is shared; where the network forbids copies, it is itself
    given back, on the CPU.
    """
    copy = _copy(module).cpu().eval()
    for part in copy.modules():
        _make_plain(part)
    return copy


def _copy(module: nn.Module) -> nn.Module:
    try:
        return deepcopy(module)
    except Exception:  # noqa: BLE001 - objects refuse with anything
        shared = {id(value): stand_in for value, stand_in in _not_copyable(module)}
    try:
        return deepcopy(module, shared)
    except Exception:  # noqa: BLE001
        return module


def _not_copyable(module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Attributes that can't be copied, with what stands for each in the copy."""
    for part in module.modules():
        tensors = [*part._parameters.values(), *part._buffers.values()]
        for value in [*tensors, *(value for name, value in vars(part).items() if name not in _MODULES)]:
            if isinstance(value, Tensor) and not value.is_leaf:  # computed of parameters, as weight norm does
                yield value, value.detach().clone()
                continue
            try:
                deepcopy(value)
            except Exception:  # noqa: BLE001
                yield value, value


def _make_plain(part: nn.Module) -> None:
    if parametrize.is_parametrized(part):
        # torch's own removal changes the class, which is that of the original too.
        lists: Any = part._modules["parametrizations"]
        values = {
            name: (getattr(part, name).detach().clone(), any(True for _ in lists[name].parameters())) for name in lists
        }
        part.__class__ = type(part).__bases__[0]
        del part._modules["parametrizations"]
        for name, (value, learnt) in values.items():
            if learnt:
                part.register_parameter(name, nn.Parameter(value))
            else:
                part.register_buffer(name, value)
    for key, hook in list(part._forward_pre_hooks.items()):
        if type(hook).__name__ in ("WeightNorm", "SpectralNorm") and type(hook).__module__.startswith("torch.nn.utils"):
            hook.remove(part)  # type: ignore[attr-defined]
            del part._forward_pre_hooks[key]
