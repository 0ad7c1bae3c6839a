"""The most activations that a layer holds at once, seen as it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["PeakCounter"]


class PeakCounter(TorchDispatchMode):
    """Counts `most` numbers held at once by what runs within, without the weights of `layer`.

    As in a runtime that fuses: batch norm and what works number by number overwrite an input that nobody reads again.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = {_place(one) for one in (*layer.parameters(), *layer.buffers())}
        self._kept: list[Tensor] = []  # so that no place is taken twice
        self._sizes: dict[int, int] = {}
        self._steps: list[tuple[set[int], set[int], bool]] = []

    def given(self, value: Tensor) -> None:
        """Say that `value` is there from the beginning."""
        self._note(value)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read = {_place(one) for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)} - self._weights
        # Whole numbers, such as where a maximum stands, and a number a channel are for a gradient.
        given = [one for one in tree_leaves(result) if isinstance(one, Tensor) and one.is_floating_point()]
        given = [one for one in given if one.ndim > 1]
        made = {_place(one) for one in given} - self._weights - read
        for one in given:
            self._note(one)
        in_place = torch.Tag.pointwise in func.tags or "batch_norm" in func.__name__
        self._steps.append((read, made, in_place))
        return result

    @property
    def most(self) -> int:
        """Numbers."""
        last = {place: number for number, (read, made, _) in enumerate(self._steps) for place in (*read, *made)}
        created = {place: number for number, (_, made, _) in reversed(list(enumerate(self._steps))) for place in made}
        most = 0
        for number, (read, made, in_place) in enumerate(self._steps):
            held = [place for place, end in last.items() if created.get(place, -1) <= number <= end]
            total = sum(self._sizes[place] for place in held)
            freed = [self._sizes[place] for place in read if last[place] == number] if in_place else []
            for place in made:
                if self._sizes[place] in freed:
                    freed.remove(self._sizes[place])
                    total -= self._sizes[place]
            most = max(most, total)
        return most

    def _note(self, value: Tensor) -> None:
        self._kept.append(value)
        place = _place(value)
        self._sizes[place] = max(self._sizes.get(place, 0), value.numel())


def _place(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)
