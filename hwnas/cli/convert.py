"""From a composed Hydra configuration to plain frozen dataclasses: nothing past this file sees a DictConfig."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from hwnas.errors import ConfigError

__all__ = ["from_hydra", "schema"]

T = TypeVar("T")


def schema(kind: type) -> DictConfig:
    """A structured config for a dataclass, open to overrides although the class is frozen."""
    config: DictConfig = OmegaConf.structured(kind)
    _thaw(config)
    return config


def from_hydra(config: DictConfig, kind: type[T]) -> T:
    """The dataclass instance that `config` describes; lists become tuples. Raises ConfigError."""
    try:
        made = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: a value is needed: give {error.full_key}=…") from error
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    if not isinstance(made, kind):
        raise TypeError(f"expected a config of {kind.__name__}, got {type(made).__name__}")
    checked: T = _with_tuples(made)
    return checked


def _with_tuples(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_with_tuples(entry) for entry in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {f.name: _with_tuples(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **changes)
    return value


def _thaw(node: Any) -> None:
    # OmegaConf marks the nodes of frozen dataclasses read-only, and Hydra could then override nothing in them.
    children: list[Any] = []
    if isinstance(node, DictConfig):
        children = [node._get_node(key) for key in node]
        if node._metadata.object_type is dict:
            node._set_flag("struct", False)  # a plain mapping takes new keys
    elif isinstance(node, ListConfig):
        children = [node._get_node(index) for index in range(len(node))]
    else:
        return
    node._set_flag("readonly", False)
    for child in children:
        _thaw(child)
