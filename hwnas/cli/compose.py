"""Composing a command's configuration, with errors that name the key, the valid choices and the next step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hwnas.cli.commands import COMMANDS, COMMON_KEYS
from hwnas.cli.config import CONFIG_FOLDER
from hwnas.errors import ConfigError, choices

__all__ = ["command_help", "compose_config", "with_own_experiment"]


def compose_config(command: str, overrides: Sequence[str]) -> DictConfig:
    """The composed configuration of a command. Raises ConfigError, one line, for whatever is wrong with it."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(f"{_first_line(error)}; write settings as key=value") from error
    for override in parsed:
        _check_group_choice(override)
        _check_used(command, override)
    try:
        return _compose([*overrides, f"hydra.job.name={command}"])
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(parsed, error)) from error


def with_own_experiment(command: str, arguments: Sequence[str]) -> list[str]:
    """`arguments`, with `experiment=none` where the data are no images, which experiments configure."""
    given = any(argument.startswith("experiment=") for argument in arguments)
    without_images = command == "evaluate-latency" or "data=none" in arguments
    return ["experiment=none", *arguments] if without_images and not given else [*arguments]


def command_help(command: str) -> str:
    """The text of `hwnas <command> --help`: the keys that the command uses, with their defaults."""
    entry = COMMANDS[command]
    config = _compose([])
    used = {key: config[key] for key in entry.keys if key in config}
    groups = [f"  {group}: {', '.join(_options(group))}" for group in _groups() if group in (*entry.keys, "experiment")]
    lines = [
        f"usage: hwnas {command} {f'{entry.positional.upper()} ' if entry.positional else ''}[key=value …]",
        "",
        f"{entry.summary}.",
        "",
        "choices (key=choice):",
        *groups,
        "",
        "settings and their defaults (key=value, nested as a.b=value):",
        *_setting_lines(used),
        "",
        "hydra.run.dir=FOLDER moves the output; -m runs several values; HYDRA_FULL_ERROR=1 shows tracebacks.",
    ]
    return "\n".join(lines)


def _setting_lines(settings: Any, indent: str = "  ") -> list[str]:
    """One line a setting, as YAML; one line an entry where the entries of a list have settings themselves."""
    lines = []
    for key, value in settings.items():
        if isinstance(value, DictConfig):
            lines += [f"{indent}{key}:", *_setting_lines(value, indent + "  ")]
        elif isinstance(value, ListConfig) and any(isinstance(entry, DictConfig) for entry in value):
            lines += [f"{indent}{key}:", *(f"{indent}- {_on_one_line(entry)}" for entry in value)]
        else:
            lines.append(f"{indent}{key}: {_on_one_line(value)}")
    return lines


def _on_one_line(value: Any) -> str:
    plain = OmegaConf.to_container(value) if isinstance(value, (DictConfig, ListConfig)) else value
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000).split("\n...")[0].strip()


def _compose(overrides: Sequence[str]) -> DictConfig:
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def _groups() -> list[str]:
    return sorted(folder.name for folder in CONFIG_FOLDER.iterdir() if folder.is_dir())


def _options(group: str) -> list[str]:
    return sorted(Path(file).stem for file in (CONFIG_FOLDER / group).glob("*.yaml"))


def _check_group_choice(override: Override) -> None:
    key, value = override.key_or_group, override.value()
    if key in _groups() and isinstance(value, str) and value not in _options(key):
        raise ConfigError(f"{key}={value}: {choices(value, _options(key))}")


def _check_used(command: str, override: Override) -> None:
    top = override.key_or_group.split(".")[0].split("@")[0]
    used = (*COMMON_KEYS, *COMMANDS[command].keys)
    if top in used or top.startswith("hydra"):
        return
    users = [name for name, entry in COMMANDS.items() if top in entry.keys]
    note = f" (it belongs to hwnas {', '.join(users)})" if users else ""
    raise ConfigError(f"hwnas {command} has no setting {override.key_or_group!r}{note}: {choices(top, used)}")


def _explain(overrides: Sequence[Override], error: Exception) -> str:
    """The first override whose key does not exist, with its siblings; else the innermost cause and its key."""
    groups = [f"{o.key_or_group}={o.value()}" for o in overrides if o.key_or_group in _groups()]
    try:
        known = _compose(groups)
    except (HydraException, OmegaConfBaseException):  # the choices don't go together: the cause says why
        known, overrides = None, ()
    for override in overrides:
        if override.key_or_group in _groups() or override.key_or_group.startswith("hydra"):
            continue
        node: Any = known
        parts = override.key_or_group.split(".")
        for depth, part in enumerate(parts):
            if isinstance(node, ListConfig):
                name = ".".join(parts[:depth])
                return f"{override.key_or_group}: {name} is a list, which is set as a whole: {name}=[…]"
            if not isinstance(node, DictConfig):
                break
            if part not in node:
                return f"no setting {override.key_or_group!r}: {choices(part, [str(key) for key in node])}"
            node = None if OmegaConf.is_missing(node, part) else node[part]
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
    return f"{key}: {_first_line(cause)}" if key else _first_line(cause)


def _first_line(error: BaseException) -> str:
    first, *rest = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{first} {rest[0]}" if first.endswith(":") and rest else first
