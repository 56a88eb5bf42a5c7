"""What a state looks like: a word, a symbol and a class for the style sheet. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Look:
    """Colour alone tells nothing to who can not see it, so there is a symbol and a word."""

    word: str
    symbol: str
    style: str


LOOKS: Mapping[str, Look] = {
    "up": Look("up", "●", "up"),
    "connecting": Look("connecting", "◐", "connecting"),
    "down": Look("down", "▲", "down"),
    "unknown": Look("unknown", "?", "unknown"),
    "admin_down": Look("taken down", "■", "off"),
    "redundancy": Look("redundant", "●", "up"),
    "no_redundancy": Look("not redundant", "◐", "connecting"),
    "lost": Look("lost", "▲", "down"),
    "reporting": Look("reporting", "●", "up"),
    "new": Look("not registered", "◌", "unknown"),
}
# Which of several to show first, and what a group of them comes to.
WORST_FIRST = ("down", "lost", "unknown", "connecting", "admin_down", "up")


def state_of(tunnel: Mapping[str, Any]) -> str:
    """Return the state of a tunnel's answer as a key of LOOKS."""
    status = tunnel.get("status") or {}
    if status.get("admin") == "down":
        return "admin_down"
    found = status.get("operational", "unknown")
    return found if found in LOOKS else "unknown"


def node_state(node: Mapping[str, Any]) -> str:
    """Return how a node looks: whether it reports."""
    found = str((node.get("status") or {}).get("operational", "new"))
    return "reporting" if found == "up" else found


def look_of(state: str) -> Look:
    """Return how a state looks; one that is not known as itself."""
    return LOOKS.get(state) or Look(state, "?", "unknown")


def worst(states: Iterable[str]) -> str:
    """Return the state that a group of tunnels is shown with: the worst, unknown without any."""
    found = set(states)
    return next((state for state in WORST_FIRST if state in found), "unknown")


def together(states: Collection[str]) -> str:
    """Return the state of a connection: while one of its tunnels is up it is not down."""
    found = worst(states)
    return "no_redundancy" if found != "up" and "up" in states else found


def counted(tunnels: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Return how many tunnels are in each state."""
    return Counter(state_of(tunnel) for tunnel in tunnels)


# How people write what keys write in small letters; a unit at the end stands in brackets.
_CAPITALS = (
    *("AS", "BFD", "BGP", "CA", "CIDR", "DNS", "DPD", "DSCP", "ESP", "HA", "ICMP", "IKE", "IP"),
    *("MSS", "MTU", "NAT", "PPK", "PSK", "PSS", "RSA", "TCP", "TLS", "URL", "VPC", "VPN"),
)
_WORDS = {word.lower(): word for word in _CAPITALS} | {
    "asn": "AS number",
    "asns": "AS numbers",
    "cidrs": "CIDRs",
}
_UNITS = {"s": "(s)", "ms": "(ms)", "mbps": "(Mbit/s)", "bytes": "(bytes)"}


def label(key: str) -> str:
    """Return a key of a resource as people read it: `bgp_hold_s` is `BGP hold (s)`."""
    first, *rest = key.split("_")
    words = [_WORDS.get(first, first.capitalize()), *(_WORDS.get(one, one) for one in rest)]
    if rest and rest[-1] in _UNITS:
        words[-1] = _UNITS[rest[-1]]
    return " ".join(words)


def bits(per_s: float | None) -> str:
    """Return a rate in bits per second as people read it."""
    return _scaled(per_s, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"))


def size(octets: float | None) -> str:
    """Return a number of bytes as people read it."""
    return _scaled(octets, ("B", "kB", "MB", "GB", "TB"))


def _scaled(value: float | None, units: tuple[str, ...]) -> str:
    if value is None:
        return "-"
    at = 0
    while value >= 1000 and at < len(units) - 1:
        value, at = value / 1000, at + 1
    return f"{value:.0f} {units[0]}" if at == 0 else f"{value:.3g} {units[at]}"


def span(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None:
        return "-"
    rest = max(0, round(seconds))
    parts = []
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
