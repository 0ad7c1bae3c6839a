"""Once-for-all's public checkpoints, read into supernets of the same space.

The public code names layers otherwise, in an older and a newer way: segments of a key that repeat (`conv.conv`) or say
`mobile_inverted_conv` are made one before keys are compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hwnas.errors import CheckpointError
from hwnas.spaces import Space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.file_kinds import describe_file, is_foreign, is_torch_file
from hwnas.supernet.state_dicts import plain_names, read_state_dict, unwrap
from hwnas.supernet.supernet import Supernet

__all__ = [
    "family_of", "is_ofa_checkpoint", "load_ofa_checkpoint", "load_ofa_state_dict", "own_name", "published_tensors",
]  # fmt: skip

_CLASSIFIER = ("classifier.linear.weight", "classifier.linear.bias")

_MOBILE_SLOTS = {
    "stem": "first_conv",
    "first_block": "blocks.0.conv",
    "final_expand": "final_expand_layer",
    "feature_mix": "feature_mix_layer",
    "classifier": "classifier.linear",
}
_RESNET_SLOTS = {
    "stem": "input_stem.0",
    "stem_residual": "input_stem.1.conv",
    "stem_out": "input_stem.2",
    "classifier": "classifier.linear",
}
_PARTS = (
    ("expansion.", "inverted_bottleneck."),
    ("depthwise.", "depth_conv."),
    ("se.", "depth_conv.se.fc."),
    ("projection.", "point_linear."),
    ("downsample.project.", "downsample."),
)
_FAMILIES = {
    "input_stem.0.conv.weight": "ofa_resnet50",
    "final_expand_layer.conv.weight": "ofa_mbv3",
    "first_conv.conv.weight": "ofa_proxyless",
}
"""A key that tells a family from those after it."""


def is_ofa_checkpoint(path: Path) -> bool:
    """Whether `path` may be a public checkpoint: a file of `torch.save`, or of safetensors that hwnas did not write."""
    path = Path(path)
    if not path.is_file():
        return False
    return is_torch_file(path) or (describe_file(path) == "safetensors" and is_foreign(path))


def load_ofa_checkpoint(path: Path, space: Space, dropout: float = 0.0, classifier: bool = True) -> Supernet:
    """The supernet of `space` with the weights of a public checkpoint, in eval mode on the CPU.

    Nothing in the file is run. Raises CheckpointError as `load_ofa_state_dict` and `read_state_dict` do.
    """
    loaded = read_state_dict(path)
    supernet = build_supernet(space, dropout)
    try:
        load_ofa_state_dict(supernet, loaded, classifier)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return supernet.eval()


@torch.no_grad()
def load_ofa_state_dict(supernet: Supernet, state_dict: Mapping[str, Any], classifier: bool = True) -> None:
    """Copy the weights of a once-for-all network, as the public code saves them, into `supernet`.

    `state_dict` may be wrapped, as `{"state_dict": …}`, and its keys have `module.` and the like before them. With
    `classifier=False` the supernet keeps its own classifier, for another number of classes. Raises CheckpointError,
    before anything is copied, for missing or unknown keys, and for weights of another shape: another family, width or
    number of classes.
    """
    given = published_tensors(state_dict)
    space = supernet.space
    own = {_published_name(space, key): value for key, value in supernet.state_dict().items()}
    own = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    if not classifier:
        own = {name: value for name, value in own.items() if name not in _CLASSIFIER}
        given = {name: value for name, value in given.items() if name not in _CLASSIFIER}
    _check_keys(space, own, given)
    _check_shapes(space, own, given)
    for name, value in own.items():
        value.copy_(given[name])


def published_tensors(state_dict: Any) -> dict[str, Tensor]:
    """Published names, in their common form, to weights: those of `state_dict`, without counters of BatchNorm."""
    plain = {_common(name): value for name, value in plain_names(unwrap(state_dict)).items()}
    return {name: value for name, value in plain.items() if not name.endswith("num_batches_tracked")}


def _common(key: str) -> str:
    segments = ["conv" if segment == "mobile_inverted_conv" else segment for segment in key.split(".")]
    return ".".join(segment for segment, _ in groupby(segments))


def _published_name(space: Space, key: str) -> str:
    """The published name, in its common form, of a key of `Supernet.state_dict()`."""
    resnet = "stem_out" in {slot.name for slot in space.slots}
    _, slot, rest = key.split(".", 2)
    rest = rest.removeprefix("full.")
    if transform := re.fullmatch(r"transforms\.(\d+to\d+)", rest):
        rest = f"depthwise.conv.{transform[1]}_matrix"
    if block := re.fullmatch(r"block(\d+)", slot):
        prefix = f"blocks.{block[1]}" if resnet else f"blocks.{int(block[1]) + 1}.conv"
    else:
        prefix = (_RESNET_SLOTS if resnet else _MOBILE_SLOTS)[slot]
    for own, published in _PARTS:
        if rest.startswith(own):
            rest = published + rest.removeprefix(own)
    return _common(f"{prefix}.{rest}".replace(".norm.", ".bn."))


def own_name(family: str, name: str) -> tuple[str, str]:
    """Slot and name in its static layer of what is published as `name`: undoes `_published_name`.

    Raises CheckpointError for a name that is none of the family's.
    """
    resnet = family == "ofa_resnet50"
    if block := re.fullmatch(r"blocks\.(\d+)\.(.+)" if resnet else r"blocks\.(\d+)\.conv\.(.+)", name):
        number, rest = int(block[1]), block[2]
        slot = f"block{number}" if resnet else f"block{number - 1}" if number else "first_block"
    else:
        known = sorted((_RESNET_SLOTS if resnet else _MOBILE_SLOTS).items(), key=lambda one: -len(one[1]))
        found = next((one for one in known if name.startswith(f"{one[1]}.")), None)
        if found is None:
            raise CheckpointError(f"a weight named {name}, which no network of {family} has")
        slot, rest = found[0], name.removeprefix(f"{found[1]}.")
    for own, published in sorted(_PARTS, key=lambda part: -len(part[1])):
        if rest.startswith(published):
            rest = own + rest.removeprefix(published)
            break
    rest = re.sub(r"(^|\.)bn\.", r"\1norm.", rest)
    if transform := re.fullmatch(r"depthwise\.conv\.(\d+to\d+)_matrix", rest):
        rest = f"transforms.{transform[1]}"
    return slot, rest


def family_of(names: Mapping[str, Any]) -> str:
    """The family whose published names these are, in their common form. Raises CheckpointError for any others."""
    found = _family(names)
    if found is None:
        raise CheckpointError(_foreign(names))
    return found


def _family(names: Mapping[str, Any]) -> str | None:
    return next((family for key, family in _FAMILIES.items() if key in names), None)


def _foreign(names: Mapping[str, Any]) -> str:
    return (
        f"{len(names)} weights named as {next(iter(names), 'nothing')}, none as once-for-all's: expected a supernet"
        " as hwnas train writes it, or a file that once-for-all published; a network of your own is exported with"
        " hwnas export module=FILE.py:NAME checkpoint=…"
    )


def _check_keys(space: Space, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    missing, extra = [sorted(set(one) - set(other)) for one, other in ((own, given), (given, own))]
    if not missing and not extra:
        return
    expected, found = (_family(keys) for keys in (own, given))
    if found is not None and found != expected:
        raise CheckpointError(f"weights of {found}, expected those of {expected}: choose space={found}")
    if not set(own) & set(given):
        raise CheckpointError(_foreign(given))
    parts = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in (("missing", missing), ("unknown", extra)) if keys]
    raise CheckpointError(
        f"not the weights of space {space.name}: {'; '.join(parts)}; expected once-for-all's names and as many blocks,"
        " kernels and depths as the space has"
    )


def _check_shapes(space: Space, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    wrong = [name for name, value in own.items() if value.shape != given[name].shape]
    if not wrong:
        return
    shapes = f"{wrong[0]} is {list(given[wrong[0]].shape)}, expected {list(own[wrong[0]].shape)}"
    if set(wrong) <= set(_CLASSIFIER):
        raise CheckpointError(
            f"weights for {len(given[wrong[0]])} classes, expected {space.classes}: give"
            f" space.classes={len(given[wrong[0]])}, or load all but the classifier"
            " (load_ofa_state_dict(…, classifier=False)) and train that"
        )
    raise CheckpointError(
        f"weights of another width than space {space.name}: {shapes} ({len(wrong)} differ); set space.width_mult,"
        " space.widths and space.expand_ratios to the checkpoint's"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
