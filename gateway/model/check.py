"""
What one value can not show: references, unique names, addresses and routes that go together.

Each rule is a function of the document that yields its findings; `check()` runs them all.
`incomplete` names the keys of values that were taken out because they could not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator

from gateway.model.check_attachments import check_attachments
from gateway.model.check_bgp import BGP_RULES
from gateway.model.check_lines import LINE_RULES
from gateway.model.check_policy import policy_rules
from gateway.model.check_prefixes import PREFIX_RULES
from gateway.model.check_probes import PROBE_RULES
from gateway.model.check_tunnels import TUNNEL_RULES
from gateway.model.check_vpc_bgp import check_vpc_bgp
from gateway.model.locate import Path
from gateway.model.problem import Problem, shown
from gateway.model.resources import Document
from gateway.model.tunnels import ResolvedTunnel, resolve_tunnels
from gateway.model.types import AnyNetwork

TUNNELS_MAX = 8
CUSTOMER_ADDRESS_COUNTS = (1, 2, 4)

Rule = Callable[[Document], Iterable[Problem]]

# A finding about a key is not reported where a value that it was judged by is missing because it
# could not be read: that is one mistake, not two.
JUDGED_BY = {
    "public_addresses": {"public_addresses"},
    "tunnel": {"tunnel"},
    "border_gateway": {"border_gateway", "vpn_connection"},
    "customer_gateway": {"customer_gateway"},
    "vpn_connection": {"vpn_connection"},
    "remote_cidrs": {"remote_cidrs", "routing", "route", "rule"},
    "local_cidrs": {"local_cidrs", "routing", "cidrs", "vpc_attachment", "rule"},
    "rule": {"rule", "routing", "local_cidrs", "remote_cidrs"},
    "local_address": {"public_addresses", "local_address", "remote_address"},
    "remote_address": {"public_addresses", "local_address", "remote_address"},
    "remote_id": {"remote_id", "identity"},
    "start": {"public_addresses"},
    "inner_local": {"inner_cidr"},
    "child_lifetime_s": {"ike_lifetime_s"},
    "preference": {"preference"},
    "asn": {"asn", "local_asn", "customer_gateway", "border_gateway"},
    "local_asn": {"asn", "customer_gateway", "border_gateway"},
    "router_id": {"public_addresses"},
    "inner_cidr": {"inner_cidr"},
    "prefix": {"inner_cidr", "tunnel"},
    "probe": {"inner_cidr", "routing", "local_ts", "remote_ts", "probe_address"},
    "probe_address": {"inner_cidr", "routing", "remote_cidrs", "route", "probe"},
    "bgp_keepalive_s": {"bgp_hold_s"},
    "cidrs": {"cidrs", "vpc_attachment"},
    "address": {"inner_cidr"},
    "peer_address": {"address", "addresses"},
    "peer_asn": {"peer_address", "asn", "border_gateway"},
    "propagate_cidrs": {"peer_address"},
    "propagate_priority": {"peer_address"},
    "vlan": {"vlan", "parent", "veth"},
    "parent": {"vlan", "parent"},
    "veth": {"vlan", "veth"},
    "namespace": {"namespace", "border_gateway"},
}


def check(
    document: Document,
    incomplete: Collection[str] = (),
    tunnels: tuple[ResolvedTunnel, ...] | None = None,
) -> tuple[Problem, ...]:
    """
    Return all that is wrong with `document`, then what is probably not meant (warnings).

    `tunnels` are the document's, where they are known.
    """
    found = [problem for rule in RULES for problem in rule(document)]
    tunnels = resolve_tunnels(document) if tunnels is None else tunnels
    for tunnel_rule in (*TUNNEL_RULES, *BGP_RULES, *LINE_RULES, *PROBE_RULES):
        found.extend(tunnel_rule(document, tunnels))
    found.extend(_colliding_metrics(document, tunnels))
    missing = set(incomplete)
    return tuple(
        sorted(
            (problem for problem in found if not JUDGED_BY.get(_key(problem), set()) & missing),
            key=lambda problem: problem.is_warning,
        )
    )


def _key(problem: Problem) -> str:
    """Return the key that a finding is about; nothing if it is about one element of a list."""
    last = problem.path[-1]
    return last if isinstance(last, str) else ""


def _pool(document: Document) -> Iterator[Problem]:
    path: Path = ("gateway", "public_addresses")
    pool = document.gateway.public_addresses
    yield from _twice(pool, path, "is listed twice")
    if not pool:
        yield Problem(path, "is required: the addresses that tunnels use, two for two paths")
    elif len(pool) == 1 and document.vpn_connection:
        yield Problem(
            path, "one address only: no tunnel is left when its path is cut", is_warning=True
        )


def _twice(values: Iterable[Hashable], path: Path, text: str) -> Iterator[Problem]:
    seen = set()
    for at, value in enumerate(values):
        if value in seen:
            yield Problem((*path, at), text, shown(str(value)), code="duplicate_value")
        seen.add(value)


def _names(document: Document) -> Iterator[Problem]:
    lists = {
        "border_gateway": [gateway.name for gateway in document.border_gateway],
        "vpc_attachment": [attachment.name for attachment in document.vpc_attachment],
        "customer_gateway": [gateway.name for gateway in document.customer_gateway],
        "vpn_connection": [connection.name for connection in document.vpn_connection],
        "direct_line": [line.name for line in document.direct_line],
    }
    for kind, names in lists.items():
        seen: set[str] = set()
        for at, name in enumerate(names):
            if name in seen:
                text = f"another {kind} has this name"
                yield Problem((kind, at, "name"), text, shown(name))
            seen.add(name)


def _references(document: Document) -> Iterator[Problem]:
    known = {
        "border_gateway": {gateway.name for gateway in document.border_gateway},
        "customer_gateway": {gateway.name for gateway in document.customer_gateway},
        "vpn_connection": {connection.name for connection in document.vpn_connection},
    }
    uses: list[tuple[Path, str]] = []
    for at, attachment in enumerate(document.vpc_attachment):
        uses.append((("vpc_attachment", at, "border_gateway"), attachment.border_gateway))
    for at, connection in enumerate(document.vpn_connection):
        uses.append((("vpn_connection", at, "border_gateway"), connection.border_gateway))
        uses.append((("vpn_connection", at, "customer_gateway"), connection.customer_gateway))
    for at, line in enumerate(document.direct_line):
        uses.append((("direct_line", at, "border_gateway"), line.border_gateway))
        uses.append((("direct_line", at, "customer_gateway"), line.customer_gateway))
    for at, route in enumerate(document.route):
        uses.append((("route", at, "border_gateway"), route.border_gateway))
        uses.append((("route", at, "vpn_connection"), route.vpn_connection))
    for path, name in uses:
        kind = str(path[-1])
        if name not in known[kind]:
            there = ", ".join(sorted(known[kind])[:8]) or "none"
            text = f"no {kind} has this name; there is: {there}"
            yield Problem(path, text, shown(name), code="reference_not_found")


def _customers(document: Document) -> Iterator[Problem]:
    for at, customer in enumerate(document.customer_gateway):
        path: Path = ("customer_gateway", at, "public_addresses")
        addresses = customer.public_addresses
        if addresses == "any":
            continue
        yield from _twice(addresses, path, "is listed twice")
        if len(addresses) not in CUSTOMER_ADDRESS_COUNTS:
            text = f'needs 1, 2 or 4 addresses, or "any"; has {len(addresses)}'
            yield Problem(path, text, code="address_count")
        for place, address in enumerate(addresses):
            if address in document.gateway.public_addresses:
                text = "is an address of this gateway"
                yield Problem((*path, place), text, shown(str(address)))


def _connections(document: Document) -> Iterator[Problem]:
    routed = {route.vpn_connection for route in document.route}
    for at, connection in enumerate(document.vpn_connection):
        path: Path = ("vpn_connection", at)
        yield from _twice(connection.remote_cidrs, (*path, "remote_cidrs"), "is listed twice")
        yield from _tunnel_count(len(connection.tunnel), (*path, "tunnel"))
        if connection.ha_mode == "active-active" and connection.failback_s is not None:
            text = 'has a meaning with ha_mode = "active-standby" only'
            yield Problem((*path, "failback_s"), text, f"{connection.failback_s:g}")
        if connection.routing != "policy" and connection.local_cidrs:
            text = 'has a meaning with routing = "policy" only; local_ts narrows selectors'
            yield Problem((*path, "local_cidrs"), text)
        is_routed = connection.remote_cidrs or connection.rule or connection.name in routed
        if is_routed or connection.routing == "bgp":
            continue
        if connection.routing == "policy":
            text = "is required with policy routing: the customer's prefixes"
            yield Problem((*path, "remote_cidrs"), text)
        else:
            text = "no route leads into these tunnels: give the customer's prefixes"
            yield Problem((*path, "remote_cidrs"), text, is_warning=True)


def _tunnel_count(count: int, path: Path) -> Iterator[Problem]:
    if not 1 <= count <= TUNNELS_MAX:
        text = f"needs 2 tunnels, or another number from 1 to {TUNNELS_MAX}; has {count}"
        yield Problem(path, text, code="tunnel_count")
    elif count == 1:
        yield Problem(path, "one tunnel only: nothing takes over when it fails", is_warning=True)


def _routes(document: Document) -> Iterator[Problem]:
    owners = {connection.name: connection.border_gateway for connection in document.vpn_connection}
    for at, route in enumerate(document.route):
        owner = owners.get(route.vpn_connection, route.border_gateway)
        if owner != route.border_gateway:
            text = f"connection {route.vpn_connection} belongs to border gateway {owner}"
            yield Problem(("route", at, "border_gateway"), text, shown(route.border_gateway))


def _shared_table(document: Document) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for at, gateway in enumerate(document.border_gateway):
        other = first.setdefault(gateway.namespace or "", gateway.name)
        if other != gateway.name:
            text = f"shares the routing table of border_gateway {other}: they are not isolated"
            yield Problem(("border_gateway", at, "namespace"), text, is_warning=True)


def _colliding_metrics(
    document: Document, tunnels: tuple[ResolvedTunnel, ...]
) -> Iterator[Problem]:
    """Two routes to one prefix with one metric would replace each other in the kernel."""
    taken: dict[tuple[str, AnyNetwork, int], ResolvedTunnel] = {}
    extra = {
        connection.name: [r for r in document.route if r.vpn_connection == connection.name]
        for connection in document.vpn_connection
    }
    for resolved in tunnels:
        if resolved.connection.routing == "bgp":
            continue  # equal preferences share the traffic
        wanted = [(cidr, resolved.preference) for cidr in resolved.connection.remote_prefixes()]
        for route in extra[resolved.connection.name]:
            wanted.append((route.prefix, route.preference + resolved.preference))
        for prefix, metric in wanted:
            other = taken.setdefault((resolved.namespace, prefix, metric), resolved)
            if other is not resolved:
                text = f"tunnel {other.name} has a route to {prefix} with the same metric"
                yield Problem((*resolved.path, "preference"), text, str(metric))
                break


RULES: tuple[Rule, ...] = (
    _pool,
    _names,
    _references,
    _customers,
    _connections,
    _routes,
    _shared_table,
    *PREFIX_RULES,
    policy_rules,
    check_attachments,
    check_vpc_bgp,
)
