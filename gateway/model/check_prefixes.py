"""The rules for prefixes of one document that overlap; `check.py` runs them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from gateway.model.locate import Path
from gateway.model.problem import Problem, shown
from gateway.model.resources import Document, namespaces_of
from gateway.model.types import AnyNetwork

PrefixRule = Callable[[Document], Iterable[Problem]]

# RFC 6890: this network, loopback, link-local; RFC 5771 and RFC 1112: multicast and reserved.
NEVER_ROUTED: tuple[AnyNetwork, ...] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
        *("::1/128", "fe80::/10", "ff00::/8"),
    )
)


@dataclass(frozen=True, slots=True)
class _Placed:
    """
    A prefix, where it stands, and whose it is.

    `group` is what may have overlapping prefixes: a customer with a line has them on both.
    """

    cidr: AnyNetwork
    path: Path
    border_gateway: str
    owner: str
    group: str


def _customers(document: Document) -> Iterator[_Placed]:
    """Yield the prefixes of all connections and lines."""
    with_line = {line.customer_gateway for line in document.direct_line}
    for at, connection in enumerate(document.vpn_connection):
        gateway, owner = connection.border_gateway, f"vpn_connection {connection.name}"
        customer = connection.customer_gateway
        group = f"customer_gateway {customer}" if customer in with_line else owner
        for tail, cidr in connection.remote_places():
            path: Path = ("vpn_connection", at, *tail)
            yield _Placed(cidr, path, gateway, owner, group)
    for at, line in enumerate(document.direct_line):
        gateway, owner = line.border_gateway, f"direct_line {line.name}"
        group = f"customer_gateway {line.customer_gateway}"
        for place, cidr in enumerate(line.remote_cidrs):
            path = ("direct_line", at, "remote_cidrs", place)
            yield _Placed(cidr, path, gateway, owner, group)


def _attachments(document: Document) -> Iterator[_Placed]:
    for at, attachment in enumerate(document.vpc_attachment):
        gateway, owner = attachment.border_gateway, f"vpc_attachment {attachment.name}"
        for place, cidr in enumerate(attachment.cidrs):
            path: Path = ("vpc_attachment", at, "cidrs", place)
            yield _Placed(cidr, path, gateway, owner, owner)


def _overlaps(document: Document) -> Iterator[Problem]:
    """Warn of prefixes within one of another attachment or customer in the same namespace."""
    places = namespaces_of(document)
    placed: dict[str, list[_Placed]] = {}
    for one in (*_attachments(document), *_customers(document)):
        placed.setdefault(places.get(one.border_gateway, ""), []).append(one)
    for prefixes in placed.values():
        yield from _overlapping(prefixes)


def _overlapping(placed: list[_Placed]) -> Iterator[Problem]:
    around: list[_Placed] = []
    for one in sorted(placed, key=lambda each: _order(each.cidr)):
        while around and not _contains(around[-1].cidr, one.cidr):
            around.pop()
        other = next((each for each in reversed(around) if each.group != one.group), None)
        if other is not None:
            text = f"overlaps {other.cidr} of {other.owner}"
            yield Problem(one.path, text, shown(str(one.cidr)), is_warning=True)
        around.append(one)


def _order(network: AnyNetwork) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


def _contains(outer: AnyNetwork, inner: AnyNetwork) -> bool:
    return outer.version == inner.version and inner.network_address in outer


def _taken_from_vpc(document: Document) -> Iterator[Problem]:
    """A customer's prefix may lie around or within one of a VPC, but not be the same."""
    ours = {(one.border_gateway, one.cidr): one.owner for one in _attachments(document)}
    named = [(one.path, one.border_gateway, one.cidr) for one in _customers(document)]
    for at, route in enumerate(document.route):
        named.append((("route", at, "prefix"), route.border_gateway, route.prefix))
    for path, gateway, cidr in named:
        if cidr.prefixlen and (gateway, cidr) in ours:
            text = f"is a prefix of {ours[gateway, cidr]} too"
            yield Problem(path, text, shown(str(cidr)), code="prefix_in_use")


def _never_routed(document: Document) -> Iterator[Problem]:
    """Refuse customers' prefixes within a range that no router forwards, inner addresses apart."""
    inner = {
        tunnel.inner_cidr
        for connection in document.vpn_connection
        for tunnel in connection.tunnel
        if tunnel.inner_cidr is not None
    }
    lengths = {network.prefixlen for network in inner}
    found = [
        (path, cidr, around)
        for path, cidr, around in _within_never_routed(document)
        if path[0] == "route" or not _is_within(cidr, inner, lengths)
    ]
    for path, cidr, around in found:
        text = f"lies in {around}, which is never routed"
        yield Problem(path, text, shown(str(cidr)), code="prefix_not_routable")


def _within_never_routed(document: Document) -> Iterator[tuple[Path, AnyNetwork, AnyNetwork]]:
    """Yield the prefixes of customers and routes that lie in such a range, with the range."""
    named = [(one.path, one.cidr) for one in _customers(document)]
    named += [(("route", at, "prefix"), one.prefix) for at, one in enumerate(document.route)]
    for path, cidr in named:
        around = next((one for one in NEVER_ROUTED if _holds(one, cidr)), None)
        if around is not None:
            yield path, cidr, around


def _is_within(
    cidr: AnyNetwork, networks: Collection[AnyNetwork], lengths: Collection[int]
) -> bool:
    """Say whether a prefix lies in one of some networks, all of which have one of these lengths."""
    fitting = (length for length in lengths if length <= cidr.prefixlen)
    return any(cidr.supernet(new_prefix=length) in networks for length in fitting)


def _holds(outer: AnyNetwork, inner: AnyNetwork) -> bool:
    return _contains(outer, inner) and inner.prefixlen >= outer.prefixlen


PREFIX_RULES: tuple[PrefixRule, ...] = (_overlaps, _taken_from_vpc, _never_routed)
