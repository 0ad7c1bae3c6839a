"""Numbers as the page shows them; what is missing is a dash."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["FILTERS", "count", "duration", "ms", "percent", "plain", "size"]


def ms(value: float | None) -> str:
    """Milliseconds, three significant digits and never fewer than two decimals below 100."""
    if value is None:
        return "–"
    if value >= 1 or value <= 0:
        return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(value))}f}"


def percent(value: float | None, decimals: int = 2) -> str:
    """A fraction in percent."""
    return "–" if value is None else f"{100 * value:.{decimals}f} %"


def size(value: int | None) -> str:
    """Bytes as KiB or MiB."""
    if value is None:
        return "–"
    return f"{value / 1024:.0f} KiB" if value < 1 << 20 else f"{value / (1 << 20):.2f} MiB"


def count(value: float | None) -> str:
    """1,234, 1.23 million, 3.4e+12: the form that is read fastest."""
    if value is None:
        return "–"
    if value < 1e6:
        return f"{value:,.0f}"
    for limit, name in ((1e9, "million"), (1e12, "billion")):
        if value < limit:
            return f"{value / limit * 1e3:.3g} {name}"
    return f"{value:.2g}"


def duration(seconds: float | None) -> str:
    """Hours and minutes, minutes and seconds, or seconds."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def plain(value: object) -> str:
    """Any JSON value in words."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    return "–" if value is None else str(value)


FILTERS = {"ms": ms, "percent": percent, "size": size, "count": count, "duration": duration, "plain": plain}
"""Those that the page's template uses, by name."""
