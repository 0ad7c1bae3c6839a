"""What can be an objective or a constraint: names, units and directions. Plain data: needs no numpy."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import ConfigError, choices

__all__ = ["QUANTITIES", "Quantity", "parse_quantity"]


@dataclass(frozen=True)
class Quantity:
    """Something that every network has a number of. `per_device`: differs from device to device."""

    name: str
    unit: str
    more_is_better: bool
    per_device: bool
    meaning: str

    @property
    def sign(self) -> float:
        """What a value is multiplied with for less to be better."""
        return -1.0 if self.more_is_better else 1.0

    @property
    def relation(self) -> str:
        """How a value stands to its constraint."""
        return "at least" if self.more_is_better else "at most"


QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity("accuracy", "fraction", True, False, "predicted accuracy"),
        Quantity("latency_ms", "ms", False, True, "latency of one inference"),
        Quantity("energy_mj", "mJ", False, True, "energy of one inference, of tables with that column"),
        Quantity("macs", "MACs", False, False, "multiply-accumulates of one inference"),
        Quantity("parameters", "parameters", False, False, "trainable parameters"),
        Quantity("peak_activation_bytes", "bytes", False, False, "most memory of activations at once, layer by layer"),
        Quantity("file_bytes", "bytes", False, False, "weights in the target's precision, batch norm folded"),
    )
}


def parse_quantity(key: str, text: str) -> tuple[Quantity, str | None]:
    """The quantity that `text` names, and the device after an `@`, as in `latency_ms@pixel3`.

    Raises ConfigError, naming the setting `key`, for an unknown quantity, and a device where there is none.
    """
    name, at, device = text.partition("@")
    quantity = QUANTITIES.get(name)
    if quantity is None:
        raise ConfigError(f"{key}: {name!r} unknown; {choices(name, QUANTITIES)}")
    if at and not quantity.per_device:
        raise ConfigError(f"{key}: {name} is the same on every device, got {text!r}: write {name}")
    if at and not device:
        raise ConfigError(f"{key}: expected a device after the @, got {text!r}: write {name}@DEVICE")
    return quantity, device or None
