"""
Traffic selectors: narrowing (RFC 7296 section 2.9), comparison, and their form in a text.

A selector is a box: a range of addresses of one family, one protocol or any, a range of ports. The
ports 65535 to 0 mean OPAQUE, "ports can not be seen", which is a part of "any port" and of nothing
else (RFC 4301 section 4.4.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range

from gateway.errors import TsUnacceptable
from gateway.sa import Address, TrafficSelector

ANY4 = TrafficSelector(IPv4Address(0), IPv4Address(0xFFFFFFFF))
ANY6 = TrafficSelector(IPv6Address(0), IPv6Address((1 << 128) - 1))

SELECTORS_MAX = 32  # of one side of a Child SA, as in csrc/gw_dp.h
_PARTS_MAX = 4 * SELECTORS_MAX  # that are compared with each other: bounds the work a peer causes

_OPAQUE = (65535, 0)
_ANY_PORT = (0, 65535)
_ICMP = {1, 58}
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "ipv6-icmp": 58, "icmpv6": 58}
_PROTOCOLS |= {"ospf": 89, "sctp": 132}
_PROTOCOL_NAMES = {number: name for name, number in reversed(_PROTOCOLS.items())}


def narrow(
    offered: tuple[TrafficSelector, ...], allowed: tuple[TrafficSelector, ...]
) -> tuple[TrafficSelector, ...]:
    """
    Return the part of `offered` that `allowed` permits (RFC 7296 section 2.9).

    Both describe one side of a Child SA. An initiator may put first the selector of the packet that
    made it begin: the answer then begins with the largest selector that contains it. At most 32
    remain, the earliest. Raises TsUnacceptable if nothing does.
    """
    parts = (_intersection(theirs, ours) for theirs in offered for ours in allowed)
    common = list(dict.fromkeys(part for part in parts if part))[:_PARTS_MAX]
    if not common:
        raise TsUnacceptable(f"offered {_texts(offered)}; allowed {_texts(allowed)}")
    largest = [_largest_around(one, common) for one in common]
    return tuple(dict.fromkeys(largest))[:SELECTORS_MAX]


def _largest_around(one: TrafficSelector, among: list[TrafficSelector]) -> TrafficSelector:
    """Return a selector that contains `one` and is contained in no other."""
    for other in among:
        if contains(other, one):
            one = other
    return one


def passes_echo(selectors: Iterable[TrafficSelector], address: Address) -> bool:
    """Return whether echo requests and replies of an address may be within selectors of a side."""
    return any(
        one.protocol in (0, *_ICMP)
        and one.first.version == address.version
        and int(one.first) <= int(address) <= int(one.last)
        for one in selectors
    )


def is_subset(inner: tuple[TrafficSelector, ...], outer: tuple[TrafficSelector, ...]) -> bool:
    """Return whether each selector of `inner` lies within the union of `outer`."""
    return all(_is_covered(one, outer) for one in inner)


def _is_covered(one: TrafficSelector, outer: tuple[TrafficSelector, ...]) -> bool:
    """
    Return whether `outer` together covers `one`.

    Only ranges of addresses are joined: a peer may merge two adjacent networks into one range.
    Protocols and ports must fit in each selector that is used.
    """
    if one in outer:
        return True  # most often: both ends name the same networks
    ranges = sorted(
        (int(part.first), int(part.last))
        for part in (_intersection(one, other) for other in outer)
        if part and _same_ports(part, one)
    )
    reached = int(one.first)
    for first, last in ranges:
        if first > reached:
            return False
        reached = max(reached, last + 1)
    return reached > int(one.last)


def contains(outer: TrafficSelector, inner: TrafficSelector) -> bool:
    """Return whether every packet that `inner` selects is selected by `outer`."""
    return _intersection(outer, inner) == inner


def _same_ports(one: TrafficSelector, other: TrafficSelector) -> bool:
    return (one.protocol, one.first_port, one.last_port) == (
        other.protocol,
        other.first_port,
        other.last_port,
    )


def _intersection(one: TrafficSelector, other: TrafficSelector) -> TrafficSelector | None:
    if one.first.version != other.first.version:
        return None
    if one.protocol != other.protocol and 0 not in (one.protocol, other.protocol):
        return None
    first = max(one.first, other.first, key=int)
    last = min(one.last, other.last, key=int)
    ports = _common_ports((one.first_port, one.last_port), (other.first_port, other.last_port))
    if int(first) > int(last) or ports is None:
        return None
    return TrafficSelector(first, last, one.protocol or other.protocol, *ports)


def _common_ports(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int] | None:
    if _OPAQUE in (one, other):
        return _OPAQUE if {one, other} <= {_OPAQUE, _ANY_PORT} else None
    first, last = max(one[0], other[0]), min(one[1], other[1])
    return (first, last) if first <= last else None


# ---- texts ----

_TEXT = re.compile(r"(?P<range>[0-9a-fA-F:./-]+)(?:\[(?P<proto>[^/\]]+)(?:/(?P<port>[^\]]+))?\])?")


@lru_cache(maxsize=4096)  # thousands of tunnels have the same few
def parse_selector(text: str) -> TrafficSelector:
    """
    Return the selector that `text` names.

    "10.0.0.0/8", "10.0.0.1-10.0.0.9", "2001:db8::/32[tcp/80]", "10.0.0.0/8[udp/5000-5010]",
    "10.0.0.0/8[icmp/8(0)]" (type and code), "10.0.0.0/8[17/opaque]". Raises ValueError.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no traffic selector, as in 10.0.0.0/8 or 10.0.0.0/8[tcp/80]")
    first, last = _parse_range(text, match["range"])
    protocol = _parse_protocol(text, match["proto"] or "any")
    ports = _parse_ports(text, protocol, match["port"] or "any")
    return TrafficSelector(first, last, protocol, *ports)


def _parse_range(text: str, shown: str) -> tuple[Address, Address]:
    try:
        if "-" not in shown:
            network = ip_network(shown)
            return network.network_address, network.broadcast_address
        first, last = (ip_address(part) for part in shown.split("-"))
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    if first.version != last.version or int(first) > int(last):
        raise ValueError(f"{text!r}: {first} to {last} is no range")
    return first, last


def _parse_protocol(text: str, shown: str) -> int:
    if shown == "any":
        return 0
    number = _PROTOCOLS.get(shown.lower())
    if shown.isdecimal() and int(shown) < 256:  # which is no name
        number = int(shown)
    if number is None:
        raise ValueError(f"{text!r}: unknown protocol {shown!r}")
    return number


def _parse_ports(text: str, protocol: int, shown: str) -> tuple[int, int]:
    if shown in ("any", "opaque"):
        return _ANY_PORT if shown == "any" else _OPAQUE
    if protocol == 0:
        raise ValueError(f"{text!r}: port {shown!r} without a protocol")
    if protocol in _ICMP:
        return _parse_icmp(text, shown)
    parts = shown.split("-")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) < 65536 for part in parts):
        raise ValueError(f"{text!r}: {shown!r} is no port or range of ports")
    first, last = int(parts[0]), int(parts[-1])
    if first > last:
        raise ValueError(f"{text!r}: ports {first} to {last} are no range")
    return first, last


def _parse_icmp(text: str, shown: str) -> tuple[int, int]:
    """Return the "ports" of an ICMP type, or type and code (RFC 7296 section 3.13.1)."""
    number = r"(\d{1,3})"
    match = re.fullmatch(rf"{number}(?:\({number}\)(?:-{number}\({number}\))?)?", shown)
    values = [int(one) for one in match.groups() if one is not None] if match else [256]
    if max(values) > 255:
        raise ValueError(f"{text!r}: {shown!r} is no ICMP type and code, as in 8 or 3(4)")
    if len(values) == 1:
        return values[0] << 8, values[0] << 8 | 255
    first, last = values[0] << 8 | values[1], values[-2] << 8 | values[-1]
    if first > last:
        raise ValueError(f"{text!r}: {shown!r} is no range")
    return first, last


@lru_cache(maxsize=4096)
def selector_text(ts: TrafficSelector) -> str:
    """Return the text that `parse_selector` reads back."""
    networks = list(summarize_address_range(ts.first, ts.last))
    shown = str(networks[0]) if len(networks) == 1 else f"{ts.first}-{ts.last}"
    ports = (ts.first_port, ts.last_port)
    if ts.protocol == 0 and ports == _ANY_PORT:
        return shown
    protocol = _PROTOCOL_NAMES.get(ts.protocol, str(ts.protocol)) if ts.protocol else "any"
    return f"{shown}[{protocol}{_ports_text(ts.protocol, ports)}]"


def _ports_text(protocol: int, ports: tuple[int, int]) -> str:
    first, last = ports
    if ports == _ANY_PORT:
        return ""
    if ports == _OPAQUE:
        return "/opaque"
    if protocol in _ICMP and first & 255 == 0 and last == first | 255:
        return f"/{first >> 8}"
    ends = dict.fromkeys(
        f"{port >> 8}({port & 255})" if protocol in _ICMP else str(port) for port in ports
    )
    return "/" + "-".join(ends)


def _texts(selectors: tuple[TrafficSelector, ...]) -> str:
    """Return selectors as one text for an error; the first twenty."""
    shown = " ".join(selector_text(one) for one in selectors[:20])
    return shown + (" ..." if len(selectors) > 20 else "") or "nothing"
