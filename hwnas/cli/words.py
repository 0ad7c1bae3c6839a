"""The library speaks of arguments, the command line of the settings that stand for them."""

from __future__ import annotations

__all__ = ["in_settings"]

_SETTINGS = {
    "choose another folder": "choose another folder with name=… or hydra.run.dir=…",
    "in another folder": "in another folder, with name=… or hydra.run.dir=…",
    "in the same folder": "with the same name=… or hydra.run.dir=…",
}


def in_settings(message: str) -> str:
    """A library's message, with the settings that its arguments come from."""
    for arguments, settings in _SETTINGS.items():
        message = message.replace(arguments, settings)
    return message
