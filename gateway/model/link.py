"""
Joins two of our own gateways: what each document gets, so that the two match. Pure.

`link()` reads two documents without mistakes and returns the Customer Gateway and the VPN
Connection that each of them needs. What is not asked for is chosen: outer addresses in turn, inner
networks that are free in both documents, the first tunnel preferred at both ends, the first
document's gateway to begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from itertools import islice
from typing import Literal

from gateway.errors import ConfigError
from gateway.model.check_tunnels import INNER_RESERVED
from gateway.model.document import Table
from gateway.model.resources import BorderGateway, Document
from gateway.model.tunnels import FIRST_PREFERENCE, pairs_in_turn, resolve_tunnels
from gateway.model.types import AnyAddress, AnyNetwork

INNER_RANGE = ip_network("169.254.64.0/18")  # what the documents of this guide leave free
TUNNELS = 2
_SIZE = 4  # addresses of a /30 and of a /126

Pair = tuple[AnyAddress, AnyAddress]
Tables = dict[str, list[Table]]


@dataclass(frozen=True, slots=True)
class End:
    """One of the two gateways: its document, and what is asked for at this end."""

    source: str  # what messages call the document
    document: Document
    border_gateway: str | None = None  # None: the only one
    asn: int | None = None  # None: the Border Gateway's


@dataclass(frozen=True, slots=True)
class Wish:
    """How the connection is to be; None is chosen. `settings` are for all its tunnels."""

    name: str | None = None
    routing: Literal["bgp", "static"] = "bgp"
    tunnels: int | None = None
    inner: AnyNetwork = INNER_RANGE
    psk_file: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """What was made: the tables for each of the two documents, in their order."""

    name: str
    psk_file: str  # relative to each document, unless absolute
    tables: tuple[Tables, Tables]


@dataclass(frozen=True, slots=True)
class _Side:
    """One end with what was found in its document."""

    end: End
    border: BorderGateway
    cidrs: tuple[AnyNetwork, ...]

    @property
    def asn(self) -> int:
        return self.end.asn or self.border.asn


def link(a: End, b: End, wish: Wish) -> Link:
    """
    Return what joins two gateways; `a`'s begins. Raises ConfigError with what stands against it.

    The tables go behind the documents. Whether the documents are free of mistakes then is for
    `check()` to say: a name may be taken.
    """
    first, second = _side(a), _side(b)
    _refuse_second_link(first, second)
    _judge_routes(first, second, wish)
    name = wish.name or _name(first, second)
    pairs = _pairs(first, second, wish.tunnels)
    inner = _inner(first, second, wish.inner, len(pairs))
    psk_file = wish.psk_file or f"{name}.psk"
    shared = {"routing": wish.routing, "psk_file": psk_file, **wish.settings}
    tunnels = [
        _tunnel(f"{name}-{number + 1}", FIRST_PREFERENCE + number, pair, network)
        for number, (pair, network) in enumerate(zip(pairs, inner, strict=True))
    ]
    begins: Table = {**shared, "start": "initiate", "tunnel": [ours for ours, _ in tunnels]}
    answers: Table = {**shared, "start": "respond", "tunnel": [theirs for _, theirs in tunnels]}
    tables = _tables(name, first, second, begins), _tables(name, second, first, answers)
    return Link(name, psk_file, tables)


def _side(end: End) -> _Side:
    found = end.document.border_gateway
    if end.border_gateway is not None:
        found = tuple(one for one in found if one.name == end.border_gateway)
    if len(found) != 1:
        names = ", ".join(one.name for one in end.document.border_gateway) or "none"
        if end.border_gateway is not None:
            text = f"no border_gateway has this name; there is: {names} ({end.border_gateway})"
        else:
            text = f"border_gateway: which one is to be linked? There is: {names}"
        raise ConfigError([f"{end.source}: {text}"])
    cidrs = tuple(
        cidr
        for attachment in end.document.vpc_attachment
        if attachment.border_gateway == found[0].name
        for cidr in attachment.cidrs
    )
    return _Side(end, found[0], cidrs)


def _refuse_second_link(a: _Side, b: _Side) -> None:
    """Two Border Gateways that share a pair of outer addresses are linked already."""
    mirrored = {
        (tunnel.remote, tunnel.local)
        for tunnel in resolve_tunnels(b.end.document)
        if tunnel.connection.border_gateway == b.border.name
    }
    for tunnel in resolve_tunnels(a.end.document):
        is_here = tunnel.connection.border_gateway == a.border.name
        if is_here and (tunnel.local, tunnel.remote) in mirrored:
            text = (
                f"border_gateway[{a.border.name}] is linked to {b.border.name} of {b.end.source}"
                f" already, by vpn_connection {tunnel.connection.name}"
            )
            raise ConfigError([f"{a.end.source}: {text}"])


def _judge_routes(a: _Side, b: _Side, wish: Wish) -> None:
    problems = []
    for side in (a, b):
        if wish.routing == "static" and side.end.asn is not None:
            text = f"an AS number has a meaning with bgp only ({side.end.asn})"
            problems.append(f"{side.end.source}: {text}")
        if wish.routing == "static" and not side.cidrs:
            text = "no vpc_attachment of it has cidrs: nothing can be routed toward it"
            problems.append(f"{side.end.source}: border_gateway[{side.border.name}]: {text}")
    if wish.routing == "bgp" and a.asn == b.asn:
        text = f"border_gateway[{b.border.name}].asn: is that of {a.end.source} too"
        problems.append(f"{b.end.source}: {text}: give one of them another ({b.asn})")
    for cidr in sorted(set(a.cidrs) & set(b.cidrs), key=str):
        problems.append(f"{b.end.source}: cidrs: {a.end.source} has the same ({cidr})")
    if problems:
        raise ConfigError(problems)


def _name(a: _Side, b: _Side) -> str:
    ours, theirs = a.end.document.gateway.name, b.end.document.gateway.name
    if ours == theirs:
        text = f"gateway.name: is that of {a.end.source} too: rename one, or name the connection"
        raise ConfigError([f"{b.end.source}: {text} ({theirs})"])
    return f"{ours}-{theirs}"


def _pairs(a: _Side, b: _Side, wanted: int | None) -> list[Pair]:
    """Return the outer addresses of each tunnel, ours of `a` first: those that no tunnel has."""
    pools = [_pool(side.end.document) for side in (a, b)]
    taken = {(tunnel.local, tunnel.remote) for tunnel in resolve_tunnels(a.end.document)}
    taken |= {(tunnel.remote, tunnel.local) for tunnel in resolve_tunnels(b.end.document)}
    free = [
        pair
        for pair in pairs_in_turn(*pools)
        if pair[0].version == pair[1].version and pair not in taken
    ]
    count = min(TUNNELS, len(free)) if wanted is None else wanted
    if not 0 < count <= len(free):
        text = f"can not make {count} tunnels: the public addresses of both leave {len(free)} pairs"
        raise ConfigError([f"{a.end.source}, {b.end.source}: {text}"])
    return free[:count]


def _pool(document: Document) -> tuple[AnyAddress, ...]:
    """Return the public addresses: as many as a Customer Gateway of the other end may have."""
    pool = document.gateway.public_addresses
    return pool[: next(count for count in (4, 2, 1) if count <= len(pool))]


def _inner(a: _Side, b: _Side, within: AnyNetwork, count: int) -> list[AnyNetwork]:
    taken = {*INNER_RESERVED, *_networks(a.end.document), *_networks(b.end.document)}
    found = list(islice(free_networks(within, taken), count))
    if len(found) < count:
        text = f"has room for {len(found)} networks inside that are free at both ends, need {count}"
        raise ConfigError([f"{a.end.source}, {b.end.source}: {within} {text}"])
    return found


def free_networks(within: AnyNetwork, taken: Iterable[AnyNetwork]) -> Iterator[AnyNetwork]:
    """Yield the /30 or /126 networks of `within` that overlap none of `taken`, in order."""
    length = 30 if within.version == 4 else 126
    blocks = sorted(
        (int(block.network_address), int(block.broadcast_address))
        for block in taken
        if block.version == within.version
    )
    at, end = int(within.network_address), int(within.broadcast_address) + 1
    for first, last in [*blocks, (end, end)]:
        while at + _SIZE <= min(first, end):
            yield type(within)((at, length))
            at += _SIZE
        at = max(at, last + _SIZE - last % _SIZE)


def _networks(document: Document) -> Iterator[AnyNetwork]:
    """Yield all networks that a document names, but default routes."""
    named = [route.prefix for route in document.route]
    for attachment in document.vpc_attachment:
        named += [*attachment.cidrs, *(address.network for address in attachment.addresses)]
    for connection in document.vpn_connection:
        named += [*connection.remote_prefixes(), *connection.local_cidrs]
        named += [cidr for rule in connection.rule for cidr in rule.local_cidrs]
        named += [tunnel.inner_cidr for tunnel in connection.tunnel if tunnel.inner_cidr]
    for line in document.direct_line:
        named += [*line.remote_cidrs, line.address.network]
    return (network for network in named if network.prefixlen)


def _tunnel(name: str, preference: int, pair: Pair, network: AnyNetwork) -> tuple[Table, Table]:
    """Return a tunnel as the first document has it, and as the second has it."""
    ends = zip(pair, reversed(pair), (network[1], network[2]), strict=True)
    first, second = (
        {
            "name": name,
            "local_address": str(local),
            "remote_address": str(remote),
            "inner_cidr": str(network),
            "inner_local": str(inner),
            "preference": preference,
        }
        for local, remote, inner in ends
    )
    return first, second


def _tables(name: str, here: _Side, there: _Side, connection: Table) -> Tables:
    tunnels = connection["tunnel"]
    assert isinstance(tunnels, list)
    customer: Table = {
        "name": name,
        "public_addresses": list(dict.fromkeys(tunnel["remote_address"] for tunnel in tunnels)),
    }
    head: Table = {"name": name, "border_gateway": here.border.name, "customer_gateway": name}
    head["remote_cidrs"] = [str(cidr) for cidr in there.cidrs]
    if connection["routing"] == "bgp":
        customer["asn"] = there.asn
        if here.asn != here.border.asn:
            head["local_asn"] = here.asn
    return {"customer_gateway": [customer], "vpn_connection": [{**head, **connection}]}
