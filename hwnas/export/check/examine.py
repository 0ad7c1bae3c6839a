"""A user's network tried out once: what it takes and gives, and what its forward fails with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hwnas.errors import ExportError
from hwnas.export.module.copies import copied
from hwnas.export.module.forward import Bound, Leaf, bind, first_channels, flat_network, is_tensor, leaves, output_ports
from hwnas.export.quiet import quiet
from hwnas.export.signature import Port, Signature
from hwnas.user_code.told import told

__all__ = ["examined", "run_network"]

_SHAPES = re.compile(
    r"shape|size|[Dd]imension|channels|\b[1-5]D\b|must match|too small|in_features|broadcast|number of elements"
)
_BATCHES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64)
_SIZES = (224, 32, 28, 64, 96, 128, 256, 299, 384, 512)


@torch.no_grad()
def examined(
    module: nn.Module,
    given: tuple[Port, ...] | None,
    image: Port,
    first: Callable[[Sequence[Port]], list[Tensor]],
    classes: int,
) -> tuple[nn.Module, Signature, list[str]]:
    """The network as it is to be exported, its signature, and what is to be said of it.

    It takes `image`, or what was `given`; `first` gives an input for each port. `classes`: how many its logits tell
    apart, 0 for unknown. Raises ExportError where forward does not take such inputs, fails, or gives no tensor.
    """
    bound = bind(module, given, image)
    inputs = first(bound.ports)
    notes = []
    if kinds := {str(one.dtype).removeprefix("torch.") for one in module.parameters() if _is_other_float(one)}:
        floats = copied(module).float()
        if _tried(floats, bound, inputs):  # else its forward casts, and counts on their type
            module = floats
            notes.append(f"weights of {', '.join(sorted(kinds))} are exported as float32")
    if any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        _call(module, bound, inputs)  # makes the weights: for good, and the same for every copy
    found = list(leaves(_call(copied(module), bound, inputs)))
    kept = [leaf for leaf in found if is_tensor(leaf)]
    left_out = [f"{leaf.name or 'the output'} ({_kind(leaf.value)})" for leaf in found if not is_tensor(leaf)]
    if not kept:
        raise ExportError(
            f"export: expected a network that gives tensors, got {', '.join(left_out) or 'nothing'} from its forward"
        )
    outputs = output_ports(kept, bound.ports)
    signature = Signature(bound.ports, outputs, _logits(outputs, classes))
    if left_out:
        notes.append(f"not in the files, since no tensors: {', '.join(left_out)}")
    if len(outputs) > 1:
        told_by = f"classes are told by {signature.logits}" if signature.logits else "none of them tells classes"
        notes.append(f"outputs {', '.join(port.name for port in outputs)}: {told_by}")
    return flat_network(module, bound, kept), signature, notes


def run_network(network: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What a network of `examined` gives, in the order of its signature. Raises ExportError where its code fails."""
    try:
        with quiet("forward"):
            given = network(*inputs)
    except Exception as error:  # the user's own code
        raise ExportError(f"export: the network's forward failed with {told(error)}") from error
    return list(given) if isinstance(given, (tuple, list)) else [given]


def _kind(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__


def _is_other_float(parameter: nn.Parameter) -> bool:
    return parameter.is_floating_point() and parameter.dtype != torch.float32


def _logits(outputs: Sequence[Port], classes: int) -> str | None:
    """The output called logits, else the first `[1, K]` of floats; of several, K is the number of classes if known."""
    fitting = [
        port for port in outputs if len(port.shape) == 2 and port.shape[0] == 1 and port.dtype.startswith("float")
    ]
    if len(outputs) > 1 and classes:
        fitting = [port for port in fitting if port.shape[1] == classes]
    return next((port.name for port in sorted(fitting, key=lambda port: port.name != "logits")), None)


def _call(module: nn.Module, bound: Bound, inputs: Sequence[Tensor]) -> Any:
    try:
        return _forward(module, bound, inputs)
    except Exception as error:  # the user's own code
        raise ExportError(_reason(module, bound, inputs, error)) from error


def _forward(module: nn.Module, bound: Bound, inputs: Sequence[Tensor]) -> Any:
    pairs = list(zip(inputs, bound.keywords, strict=True))
    with quiet("forward"):
        return module(*(value for value, key in pairs if key is None), **{key: value for value, key in pairs if key})


def _reason(module: nn.Module, bound: Bound, inputs: Sequence[Tensor], error: Exception) -> str:
    """What is to be said where forward fails: by its shapes, by a batch that it has fixed, or otherwise."""
    what, text = told(error), " ".join(str(error).split())
    raised = re.match(r"raise\b|assert\b", what.line)
    if size := _fixed_batch(module, bound, inputs):
        return (
            f"export: the network takes {size} images at a time and no other number, and files take one ({what}): write"
            " its forward for any number, such as x.flatten(1) or x.reshape(len(x), -1)"
        )
    shapes = isinstance(error, (RuntimeError, ValueError, IndexError)) and not raised and _SHAPES.search(text)
    image = len(inputs) == 1 and inputs[0].ndim == 4 and inputs[0].is_floating_point()
    if shapes and "index out of range in self" not in text:
        if not image:
            given = ", ".join(f"{port.name} {list(port.shape)}" for port in bound.ports)
            return f"export: the network does not take inputs {given} ({what}): mend their shapes in export.inputs"
        taken = _advice(module, bound, inputs[0])
        return f"export: the network does not take images {list(inputs[0].shape)} ({what}): {taken}"
    advice = ""
    if re.search(r"scalar type|indices|dtype", text) and image:
        advice = (
            "; give inputs that are no images as export.inputs='{"
            + bound.ports[0].name
            + ": {shape: [1, 16], dtype: int64}}'"
        )
    elif "index out of range in self" in text:
        advice = "; give the range of integers as export.inputs='{name: {shape: …, dtype: int64, high: …}}'"
    return f"export: the network's forward failed with {what}{advice}"


def _fixed_batch(module: nn.Module, bound: Bound, inputs: Sequence[Tensor]) -> int | None:
    """The number of images without which forward fails."""
    for size in _BATCHES:
        found = _tried(module, bound, [values[:1].expand(size, *values.shape[1:]) for values in inputs])
        tensors = [leaf.value for leaf in found if is_tensor(leaf)]
        if tensors and all(len(value.shape) and value.shape[0] == size for value in tensors):
            return size
    return None


def _advice(module: nn.Module, bound: Bound, image: Tensor) -> str:
    """The settings that the network would take, where a few usual ones are among them."""
    channels = first_channels(module) or image.shape[1]
    # Where the images have other channels, their size was meant for another network too.
    sizes = [(size, size) for size in _SIZES]
    for height, width in sizes if channels != image.shape[1] else [tuple(image.shape[2:]), *sizes]:
        if _tried(module, bound, [torch.zeros(1, channels, height, width)]):
            size = str(height) if height == width else f"[{height},{width}]"
            more = "" if channels == 3 else f" data.channels={channels}"
            return (
                f"it takes [1, {channels}, {height}, {width}]: give data=none data.image_size={size}{more}, or data of"
                " such images, such as data=image_folder data.root=…"
            )
    return "give its size as data.image_size, and data of its number of channels (or data=none data.channels=…)"


def _tried(module: nn.Module, bound: Bound, inputs: Sequence[Tensor]) -> list[Leaf]:
    try:
        return list(leaves(_forward(copied(module), bound, inputs)))
    except Exception:  # noqa: BLE001 - the user's own code
        return []
