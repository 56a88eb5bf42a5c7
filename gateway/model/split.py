"""
One description, several gateway VMs: the document of each. Pure.

The description is a document as one VM would have it, with the public addresses of all. Each VM
gets the tunnels on its own addresses, with what they had by their position written out: name,
addresses, preference. An attachment's addresses are one for each VM. A direct line ends at one VM.
Everything else is repeated.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from gateway.errors import ConfigError
from gateway.model.document import Table
from gateway.model.resources import BorderGateway, Document, VpcAttachment
from gateway.model.tunnels import ResolvedTunnel, resolve_tunnels
from gateway.model.types import AnyAddress, AnyNetwork, parse_address


@dataclass(frozen=True, slots=True)
class Node:
    """A gateway VM: its name, its part of the public addresses, the direct lines that end at it."""

    name: str
    addresses: tuple[AnyAddress, ...]
    lines: tuple[str, ...] = ()


def nodes_of(
    document: Document, words: Sequence[str], line_words: Sequence[str] = ()
) -> tuple[Node, ...]:
    """
    Return the VMs that `words` name, each as NAME=ADDRESS,ADDRESS.

    Without words each public address is a VM, named by the gateway and its position. `line_words`
    say where each direct line ends, as LINE=NAME. Raises ConfigError where the words do not share
    out the public addresses and the lines.
    """
    pool = document.gateway.public_addresses
    if not words:
        name = document.gateway.name
        nodes = [Node(f"{name}-{at}", (address,)) for at, address in enumerate(pool, 1)]
    else:
        nodes = [_node(word) for word in words]
    problems = [] if len(nodes) > 1 else [f"node: needs two or more VMs; has {len(nodes)}"]
    problems += _shares(nodes, pool)
    ends = dict(_line_end(word) for word in line_words)
    problems += _line_mistakes(document, ends, [node.name for node in nodes])
    if problems:
        raise ConfigError(problems)
    return tuple(
        replace(node, lines=tuple(line for line, end in ends.items() if end == node.name))
        for node in nodes
    )


def _node(word: str) -> Node:
    name, equals, addresses = word.partition("=")
    if not (name and equals and addresses):
        raise ConfigError([f"node: must be NAME=ADDRESS, or NAME=ADDRESS,ADDRESS ({word})"])
    try:
        return Node(name, tuple(parse_address(text) for text in addresses.split(",")))
    except ValueError as error:
        raise ConfigError([f"node: {name}: {error} ({addresses})"]) from None


def _line_end(word: str) -> tuple[str, str]:
    line, equals, node = word.partition("=")
    if not (line and equals and node):
        raise ConfigError([f"direct-line: must be LINE=NAME ({word})"])
    return line, node


def _line_mistakes(
    document: Document, ends: Mapping[str, str], names: Sequence[str]
) -> Iterator[str]:
    lines = [line.name for line in document.direct_line]
    for line in lines:
        if line not in ends:
            yield f"direct-line: at which VM does {line} end? Give {line}=NAME"
    for line, name in ends.items():
        if line not in lines:
            there = ", ".join(lines) or "none"
            yield f"direct-line: no direct_line has this name; there is: {there} ({line})"
        if name not in names:
            yield f"direct-line: {line}: no VM has this name; there is: {', '.join(names)} ({name})"


def _shares(nodes: Sequence[Node], pool: tuple[AnyAddress, ...]) -> Iterator[str]:
    owners: dict[AnyAddress, str] = {}
    names = [node.name for node in nodes]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"node: is named twice ({name})"
    for node in nodes:
        for address in node.addresses:
            if address not in pool:
                yield f"node: {node.name}: is not one of gateway.public_addresses ({address})"
            elif address in owners:
                yield f"node: {node.name}: {owners[address]} has this address ({address})"
            owners.setdefault(address, node.name)
    for address in pool:
        if address not in owners:
            yield f"node: no VM has this address of gateway.public_addresses ({address})"


def split(raw: Table, document: Document, nodes: Sequence[Node]) -> tuple[Table, ...]:
    """
    Return the document of each VM as a table.

    `raw` is the description as it was parsed, `document` what it comes to, without mistakes. Raises
    ConfigError where an attachment has not an address for each VM.
    """
    problems = list(_address_mistakes(document, len(nodes)))
    if problems:
        raise ConfigError(problems)
    tunnels = resolve_tunnels(document)
    return tuple(_part(raw, document, node, at, tunnels) for at, node in enumerate(nodes))


def _address_mistakes(document: Document, count: int) -> Iterator[str]:
    for attachment in document.vpc_attachment:
        for network, addresses in _shared_out(attachment).items():
            if len(addresses) != count:
                text = f"need one of {network} for each VM, {count}; has {len(addresses)}"
                yield f"vpc_attachment[{attachment.name}].addresses: {text}"


def _shared_out(attachment: VpcAttachment) -> dict[AnyNetwork, list[str]]:
    """Return the addresses that are one for each VM, by their network; a veth is in the VM."""
    found: dict[AnyNetwork, list[str]] = {}
    for address in attachment.addresses if attachment.veth is None else ():
        found.setdefault(address.network, []).append(str(address))
    return found


def on_one_node(document: Document, nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Yield each connection that a single VM carries, and the VM: its loss is the connection's."""
    owners = {address: node.name for node in nodes for address in node.addresses}
    places: dict[str, set[str]] = {}
    for tunnel in resolve_tunnels(document):
        assert tunnel.local is not None
        places.setdefault(tunnel.connection.name, set()).add(owners[tunnel.local])
    for connection, names in places.items():
        if len(names) == 1:
            yield connection, names.pop()


def _part(
    raw: Table, document: Document, node: Node, at: int, tunnels: Sequence[ResolvedTunnel]
) -> Table:
    part = copy.deepcopy(raw)
    gateway = part.get("gateway")
    assert isinstance(gateway, dict)  # it has public addresses
    gateway |= {"name": node.name, "public_addresses": [str(a) for a in node.addresses]}
    for border, found in zip(_list(part, "border_gateway"), document.border_gateway, strict=True):
        router_id = _router_id(found, document, node, at)
        if router_id is not None:
            border["router_id"] = str(router_id)
    for attachment, one in zip(_list(part, "vpc_attachment"), document.vpc_attachment, strict=True):
        if shared := _shared_out(one):
            attachment["addresses"] = [addresses[at] for addresses in shared.values()]
    connections = _list(part, "vpn_connection")
    for place, connection in enumerate(connections):
        mine = [t for t in tunnels if t.connection_path[-1] == place and t.local in node.addresses]
        connection["tunnel"] = [_tunnel(connection["tunnel"], tunnel) for tunnel in mine]
    gone = {connection["name"] for connection in connections if not connection["tunnel"]}
    lines = _list(part, "direct_line")
    lines[:] = [line for line in lines if line["name"] in node.lines]
    routes = _list(part, "route")
    routes[:] = [route for route in routes if route["vpn_connection"] not in gone]
    connections[:] = [connection for connection in connections if connection["tunnel"]]
    return part


def _list(table: Table, key: str) -> list[Table]:
    found = table.get(key, [])
    assert isinstance(found, list)
    return found


def _router_id(
    border: BorderGateway, document: Document, node: Node, at: int
) -> IPv4Address | None:
    """
    Return the router id that is to stand in the document of the VM at that position, if any.

    Two VMs with one would be one router to their neighbours (RFC 6286). A VM's own public IPv4
    address is one by itself; what was given, or taken from the whole pool, is counted up.
    """
    own = [address for address in node.addresses if address.version == 4]
    if border.router_id is None and own:
        return None
    shared = (a for a in document.gateway.public_addresses if isinstance(a, IPv4Address))
    base = border.router_id or next(shared, None)
    return IPv4Address((int(base) + at) % 2**32) if base is not None else None


def _tunnel(written: object, tunnel: ResolvedTunnel) -> Table:
    """Return a tunnel as it was written, with what it had by its position."""
    position = tunnel.path[-1]
    assert isinstance(written, list)
    assert isinstance(position, int)
    placed: Table = {"name": tunnel.name, "local_address": str(tunnel.local)}
    if tunnel.remote is not None:
        placed["remote_address"] = str(tunnel.remote)
    return {**placed, **written[position], "preference": tunnel.preference}
