"""
What the control plane chooses: public addresses, pairs, inner networks, keys, devices. Pure.

Choices are made on a view and claimed in the same commit, so two control processes that choose the
same at once do not both get it: one of them chooses again.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.control.changes.view import View
from gateway.control.problems import ApiProblem
from gateway.control.resources.kinds import KINDS, make_id
from gateway.control.resources.parents import CLAIM, claim_id
from gateway.control.resources.record import Record
from gateway.model.tunnels import pairs_in_turn
from gateway.model.types import AnyNetwork, parse_address, parse_network

INNER_RANGES = ("169.254.0.0/16",)
INNER_RANGES_6 = ("fd74:7370::/48",)
# What clouds and their metadata services keep in 169.254.0.0/16, and the blocks peers refuse.
INNER_RESERVED = tuple(
    ipaddress.ip_network(text)
    for text in ("169.254.0.0/21", "169.254.169.0/24", "169.254.195.0/24", "169.254.255.0/24")
)
PUBLIC_ADDRESSES = 2  # of a connection, for two paths
PSK_BYTES = 32


@dataclass(frozen=True, slots=True)
class Draw:
    """Where random things come from: `noise` returns that many random bytes."""

    noise: Callable[[int], bytes]

    def id(self, kind: str) -> str:
        """Return a new id of a kind."""
        return make_id(KINDS[kind], self.noise(16))

    def psk(self) -> str:
        """Return a pre-shared key of 256 bits as both ends write it: 0x and hexadecimal."""
        return "0x" + self.noise(PSK_BYTES).hex()


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """A public address that connections may get, the node that has it, and how much it is used."""

    address: str
    node: str
    exclusive: bool
    load: int


def public_addresses(
    offered: Iterable[PublicAddress], view: View, version: int | None
) -> list[PublicAddress]:
    """
    Return two of the addresses for a new connection: the least used, on two nodes when there are
    two.

    Nodes that are known to be lost come last. Fewer than two only if there are no more. Raises
    ApiProblem 409 if there is none.
    """
    found = [one for one in offered if version in (None, 6 if ":" in one.address else 4)]
    if not found:
        kind = f"IPv{version} " if version else ""
        text = f"no {kind}public address is free: add one to a node, or to an address pool"
        raise ApiProblem(409, "no_public_address", text)
    found.sort(key=lambda one: (not _alive(view, one.node), one.load, one.address))
    first = found[0]
    others = sorted(found[1:], key=lambda one: one.node == first.node)
    return [first, *others[: PUBLIC_ADDRESSES - 1]]


def offered(view: View, tenant: str, gateway: Record) -> dict[str, PublicAddress]:
    """Return the public addresses that a new connection of a Border Gateway may have now."""
    nodes = {
        str(address): node
        for node in view.of_kind("node")
        for address in node.spec.get("public_addresses", ())
    }
    own = gateway.spec.get("address_pool")
    pools = [one for one in view.of_kind("address_pool") if own in (None, one.id)]
    load = Counter(str(tunnel.of("local_address")) for tunnel in view.of_kind("vpn_tunnel"))
    from_pools: dict[str, bool] = {}
    for pool in pools:
        if not pool.spec.get("tenants") or tenant in pool.spec["tenants"]:
            from_pools |= dict.fromkeys(pool.spec["addresses"], bool(pool.spec.get("exclusive")))
    found = {}
    for address in from_pools if pools else nodes:
        node = nodes.get(address)
        exclusive = from_pools.get(address, False)
        taken = exclusive and view.get(CLAIM, claim_id(f"address:{address}")) is not None
        if node is not None and not node.spec.get("cordoned") and not taken:
            found[address] = PublicAddress(address, node.id, exclusive, load[address])
    return found


def _alive(view: View, node: str) -> bool:
    return view.get("lease", f"node:{node}") is not None


def node_of(view: View, address: str) -> str | None:
    """Return the id of the node that has a public address."""
    for node in view.of_kind("node"):
        if address in node.spec.get("public_addresses", ()):
            return node.id
    return None


def next_pair(
    view: View, locals_: Sequence[str], remotes: Sequence[str], taken: set[tuple[str, str]]
) -> tuple[str, str] | None:
    """
    Return the next pair of outer addresses without a tunnel; both change as long as it goes.

    `taken` are those of the same connection, which may not be in the view yet.
    """
    ours = [parse_address(one) for one in locals_]
    theirs = [parse_address(one) for one in remotes]
    for local, remote in pairs_in_turn(ours, theirs) if ours and theirs else ():
        pair = (str(local), str(remote))
        free = pair not in taken and view.get(CLAIM, claim_id(f"pair:{local}:{remote}")) is None
        if free and local.version == remote.version:
            return pair
    return None


def inner_network(view: View, places: Sequence[str], version: int, taken: set[str]) -> str:
    """
    Return a free /30 or /126 for inner addresses, in all the places where it is to be unique.

    `taken` are those of the same connection, which may not be in the view yet. The search begins
    where it ends if none was ever given back. Raises ApiProblem 409 when all are in use.
    """
    length = 30 if version == 4 else 126
    begin = view.count("vpn_tunnel")
    for text in inner_ranges(view, version):
        for network in _networks(parse_network(text), length, begin):
            name = str(network)
            claims = (claim_id(f"inner:{place}:{name}") for place in places)
            if name in taken or any(view.get(CLAIM, claim) is not None for claim in claims):
                continue
            return name
    raise ApiProblem(409, "no_inner_network", f"every /{length} for inner addresses is in use")


def inner_ranges(view: View, version: int) -> Sequence[str]:
    """Return the ranges that inner networks come from, the setting's or our own."""
    setting = view.get("setting", "allocation")
    named: dict[str, Any] = dict(setting.spec) if setting is not None else {}
    if version == 4:
        return named.get("inner_ranges") or INNER_RANGES
    return named.get("inner_ranges_6") or INNER_RANGES_6


def _networks(around: AnyNetwork, length: int, begin: int) -> Iterator[AnyNetwork]:
    """Yield the networks of a length but for the reserved blocks, from position `begin` on."""
    step = 1 << (around.max_prefixlen - length)
    spans = list(_spans(around))
    total = sum((last + 1 - first) // step for first, last in spans)
    for turn in range(total):
        at = (begin + turn) % total
        for first, last in spans:
            count = (last + 1 - first) // step
            if at < count:
                yield type(around)((first + at * step, length))
                break
            at -= count


def _spans(around: AnyNetwork) -> Iterator[tuple[int, int]]:
    """Yield first and last address of each part of a range between the reserved blocks."""
    first, end = int(around.network_address), int(around.broadcast_address)
    for block in INNER_RESERVED:
        if block.version == around.version and first <= int(block.broadcast_address) <= end:
            if first < int(block.network_address):
                yield first, int(block.network_address) - 1
            first = max(first, int(block.broadcast_address) + 1)
    if first <= end:
        yield first, end


def routing_table(view: View, gateway: Record) -> str:
    """Return whose routing table a Border Gateway uses: its namespace's; "" is the VM's own."""
    named = gateway.spec.get("namespace")
    if named:
        return str(named)
    tenant = view.get("tenant", gateway.tenant)
    own = tenant is not None and bool(tenant.spec.get("own_namespaces", True))
    return gateway.id if own else ""


def tunnel_device(id: str) -> str:
    """Return the name of the device of a new tunnel, from its id: 13 characters."""
    return "ts-" + id.partition("-")[2]


def customer_addresses(customer: Record) -> list[str]:
    """Return the addresses of a Customer Gateway; none where they are "any"."""
    named = customer.spec.get("public_addresses")
    return [] if named in (None, "any") else [str(one) for one in named]
