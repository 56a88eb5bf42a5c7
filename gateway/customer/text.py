"""Templates, and how names, times and keys stand in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.customer.sheet import SheetTunnel
from gateway.model.tunnels import interface_name
from gateway.model.types import AnyAddress, key_of


@cache
def templates() -> Environment:
    """Return Jinja2 with the templates of this package and the filters that they use."""
    made = Environment(
        loader=PackageLoader("gateway.customer"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # configurations of devices, not HTML
    )
    made.filters["label"] = label
    made.filters["whole"] = whole
    made.filters["hms"] = _hms
    made.filters["interface"] = interface_name
    made.filters["groupby_address"] = _by_device_address
    return made


def _by_device_address(
    tunnels: Sequence[SheetTunnel],
) -> list[tuple[AnyAddress | None, list[SheetTunnel]]]:
    """Return the tunnels by the device's outer address, in the order of the first ones."""
    found: dict[AnyAddress | None, list[SheetTunnel]] = {}
    for tunnel in tunnels:
        found.setdefault(tunnel.device_address, []).append(tunnel)
    return list(found.items())


def label(name: str, most: int = 32, pattern: str = "A-Za-z0-9_-") -> str:
    """
    Return a name as a device may have it: of so many characters, of those kinds.

    One that must be changed gets the beginning and a hash, so it depends on the name alone.
    """
    mark = "-" if pattern.endswith("-") else "_"
    plain = re.sub(f"[^{pattern}]", mark, name)
    if plain == name and len(name) <= most:
        return name
    return f"{plain[: most - 6]}{mark}{sha256(name.encode()).hexdigest()[:5]}"


def text_or_hex(key: str, allowed: str) -> tuple[str, bool]:
    """Return a key as characters, or as hexadecimal digits, and whether it is the latter."""
    if re.fullmatch(allowed, key) and not key.startswith(("0x", "0s")):
        return key, False
    return key_of(key).hex(), True


def whole(seconds: float, least: int = 1, most: int = 1 << 31) -> int:
    """Return a time as whole seconds between two limits."""
    return max(least, min(most, round(seconds)))


def _hms(seconds: int) -> str:
    """Return a time in hours, minutes and seconds: `1h12m`."""
    parts = ((seconds // 3600, "h"), (seconds % 3600 // 60, "m"), (seconds % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def commented(lines: Iterable[str], mark: str) -> str:
    """Return lines as comments behind `mark`, with the line's end."""
    return "".join(f"{mark} {line}".rstrip() + "\n" for line in lines)
