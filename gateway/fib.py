"""
The kernel's routes of one network namespace, read whole or asked for one flow.

What is asked is what `ip route get SRC ... ipproto ... dport ...` asks: the kernel's own decision,
with its hash where several next hops share a route. Nothing is changed here.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from gateway.rtnl import GETROUTE, NEWROUTE, RawNetlink, attribute, attributes
from gateway.sa import Address

Network = IPv4Network | IPv6Network

MAIN_TABLE = 254
PROTOCOLS = {1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 12: "bird", 16: "dhcp"}
PROTOCOLS |= {85: "twinspan", 186: "frr"}
_KINDS = {1: "unicast", 2: "local", 3: "broadcast", 5: "multicast", 6: "blackhole"}
_KINDS |= {7: "unreachable", 8: "prohibit", 9: "throw"}

# linux/rtnetlink.h
_RTMSG = struct.Struct("=8BI")
_NEXTHOP = struct.Struct("=HBBi")
_UINT = struct.Struct("=I")
_DST, _SRC, _IIF, _OIF, _GATEWAY, _PRIORITY, _MULTIPATH = 1, 2, 3, 4, 5, 6, 9
_TABLE, _VIA, _IP_PROTO, _SPORT, _DPORT = 15, 18, 27, 28, 29
_FIB_MATCH = 0x2000
_CLONED = 0x200  # a route's entry for one destination, as path MTU discovery leaves it
_LINK_DOWN, _DEAD = 16, 1


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where a route leads: an interface by its index, and a gateway there if any."""

    index: int
    via: Address | None = None
    weight: int = 1
    is_down: bool = False  # it has no carrier, or is not up


@dataclass(frozen=True, slots=True)
class FibRoute:
    """One route of the kernel. `hops` are none where it leads nowhere, as `kind` then says."""

    prefix: Network
    table: int
    protocol: str
    kind: str
    metric: int
    hops: tuple[NextHop, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """What the kernel is asked for. Ports need the IP protocol number; 0 stands for not given."""

    source: Address | None
    destination: Address
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0
    came_by: int = 0  # index of the interface it is received by; 0: it is our own


def all_routes(link: RawNetlink) -> tuple[FibRoute, ...]:
    """Return the routes of all tables, without broadcast and multicast. Raises OSError."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for kind, body in link.dump(GETROUTE, request):
            flags = _RTMSG.unpack_from(body)[-1]
            if kind == NEWROUTE and not flags & _CLONED:
                found.append(_route_of(body))
    return tuple(route for route in found if route.kind not in ("broadcast", "multicast"))


def matching(link: RawNetlink, flow: Flow) -> FibRoute:
    """Return the route that a flow matches, with all its next hops. Raises OSError without one."""
    return _ask(link, flow, _FIB_MATCH)


def chosen(link: RawNetlink, flow: Flow) -> FibRoute:
    """
    Return what the kernel makes of a flow: one next hop, picked by its hash. Raises OSError if
    nothing carries it.
    """
    return _ask(link, flow, 0)


def _ask(link: RawNetlink, flow: Flow, flags: int) -> FibRoute:
    family = socket.AF_INET if flow.destination.version == 4 else socket.AF_INET6
    bits = flow.destination.max_prefixlen
    body = _RTMSG.pack(family, bits, bits if flow.source else 0, 0, 0, 0, 0, 0, flags)
    body += b"".join(attribute(kind, value) for kind, value in _words(flow))
    (answer,) = (found for kind, found in link.ask(GETROUTE, body) if kind == NEWROUTE)
    return _route_of(answer)


def _words(flow: Flow) -> Iterator[tuple[int, bytes]]:
    yield _DST, flow.destination.packed
    if flow.source:
        yield _SRC, flow.source.packed
    if flow.came_by:
        yield _IIF, _UINT.pack(flow.came_by)
    if flow.protocol:
        yield _IP_PROTO, bytes([flow.protocol])
    if flow.source_port:
        yield _SPORT, struct.pack("!H", flow.source_port)
    if flow.destination_port:
        yield _DPORT, struct.pack("!H", flow.destination_port)


def _route_of(body: bytes) -> FibRoute:
    """Return the route in the body of a RTM_NEWROUTE message."""
    family, length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(body)
    found = attributes(body, _RTMSG.size)
    nowhere = bytes(4 if family == socket.AF_INET else 16)
    prefix = ip_network((found.get(_DST, nowhere), length))
    hops = _hops(found, flags) if kind in (1, 2) else ()
    return FibRoute(
        prefix,
        _number(found, _TABLE) or table,
        PROTOCOLS.get(protocol, str(protocol)),
        _KINDS.get(kind, str(kind)),
        _number(found, _PRIORITY),
        hops,
    )


def _hops(found: dict[int, bytes], flags: int) -> tuple[NextHop, ...]:
    if _MULTIPATH in found:
        return tuple(_many(found[_MULTIPATH]))
    if _OIF not in found:
        return ()
    return (NextHop(_number(found, _OIF), _via(found), 1, bool(flags & (_LINK_DOWN | _DEAD))),)


def _many(data: bytes) -> Iterator[NextHop]:
    """Yield the next hops of a route that has several (struct rtnexthop)."""
    at = 0
    while at + _NEXTHOP.size <= len(data):
        length, flags, weight, index = _NEXTHOP.unpack_from(data, at)
        inner = attributes(data[at : at + length], _NEXTHOP.size)
        yield NextHop(index, _via(inner), weight + 1, bool(flags & (_LINK_DOWN | _DEAD)))
        at += max(_NEXTHOP.size, (length + 3) & ~3)


def _via(found: dict[int, bytes]) -> Address | None:
    if _GATEWAY in found:
        return ip_address(found[_GATEWAY])
    return ip_address(found[_VIA][2:]) if _VIA in found else None  # of the other IP version


def _number(found: dict[int, bytes], kind: int) -> int:
    return int(_UINT.unpack(found[kind])[0]) if kind in found else 0
