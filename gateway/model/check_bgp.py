"""The rules for BGP, and for routes that BIRD chooses among; `check.py` runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from gateway.model.lines import chosen_by_bird
from gateway.model.locate import Path
from gateway.model.problem import Problem, shown
from gateway.model.resources import BorderGateway, CustomerGateway, Document, VpnConnection
from gateway.model.settings import BgpSettings, TunnelSettings
from gateway.model.tunnels import ResolvedTunnel
from gateway.routing.order import STATIC_SUM_MAX

Tunnels = tuple[ResolvedTunnel, ...]
BgpRule = Callable[[Document, Tunnels], Iterable[Problem]]


def _connections(document: Document) -> Iterator[tuple[Path, VpnConnection]]:
    for at, connection in enumerate(document.vpn_connection):
        if connection.routing == "bgp":
            yield ("vpn_connection", at), connection


def _border_gateway(document: Document, name: str) -> tuple[int, BorderGateway] | None:
    found = (item for item in enumerate(document.border_gateway) if item[1].name == name)
    return next(found, None)


def _customer(document: Document, name: str) -> tuple[int, CustomerGateway] | None:
    found = (item for item in enumerate(document.customer_gateway) if item[1].name == name)
    return next(found, None)


def _asns(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """EBGP needs an AS number at each end, and two different ones (RFC 4271 section 1.1)."""
    for path, connection in _connections(document):
        customer = _customer(document, connection.customer_gateway)
        gateway = _border_gateway(document, connection.border_gateway)
        if customer is None or gateway is None:
            continue
        place: Path = ("customer_gateway", customer[0], "asn")
        ours = connection.local_asn or gateway[1].asn
        if customer[1].asn is None:
            yield Problem(place, f'is required: {connection.name} has routing = "bgp"')
        elif customer[1].asn == ours:
            text = f"is also our AS number in connection {connection.name}: give two different ones"
            where = (*path, "local_asn") if connection.local_asn else place
            yield Problem(where, text, str(ours), code="asn_conflict")


def _router_ids(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    if any(address.version == 4 for address in document.gateway.public_addresses):
        return
    for name in sorted(chosen_by_bird(document)):
        gateway = _border_gateway(document, name)
        if gateway is not None and gateway[1].router_id is None:
            text = "is required: we have no public IPv4 address to take it from"
            yield Problem(("border_gateway", gateway[0], "router_id"), text)


def _inner(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    for tunnel in tunnels:
        if tunnel.connection.routing == "bgp" and tunnel.tunnel.inner_cidr is None:
            text = 'is required with routing = "bgp": the session runs between its two addresses'
            yield Problem((*tunnel.path, "inner_cidr"), text)


def _misplaced(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Settings for BGP where there is none were meant for another connection."""
    for at, connection in enumerate(document.vpn_connection):
        if connection.routing == "bgp":
            continue
        path: Path = ("vpn_connection", at)
        if connection.local_asn is not None:
            yield Problem((*path, "local_asn"), _FOR_BGP)
        for key in _changed(connection):
            yield Problem((*path, key), _FOR_BGP)
        for place, tunnel in enumerate(connection.tunnel):
            for key in _changed(tunnel):
                yield Problem((*path, "tunnel", place, key), _FOR_BGP)


_FOR_BGP = 'has a meaning with routing = "bgp" only'


def _changed(settings: TunnelSettings) -> list[str]:
    """Return the BGP settings that are not as they are by themselves."""
    fields = BgpSettings.model_fields
    return [key for key in fields if getattr(settings, key) != fields[key].default]


def _timers(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    seen = set()
    for tunnel in tunnels:
        keepalive, hold = tunnel.settings.bgp_keepalive_s, tunnel.settings.bgp_hold_s
        path = tunnel.path_of("bgp_keepalive_s")
        if keepalive is not None and keepalive >= hold and path not in seen:
            seen.add(path)
            yield Problem(path, f"must be less than bgp_hold_s {hold}", str(keepalive))


def _keys(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """A way to use a password, or the number of a key, is of no use without the other."""
    found: dict[Path, Problem] = {}  # what stands on a connection is told once
    for settings, path_of in _sessions(document, tunnels):
        if settings.bgp_auth != "md5" and settings.bgp_password is None:
            text, path = "has a meaning with bgp_password only", path_of("bgp_auth")
            found[path] = Problem(path, text, shown(settings.bgp_auth))
        if settings.bgp_auth == "md5" and settings.bgp_key_id:
            text, path = "has a meaning with TCP-AO only: see bgp_auth", path_of("bgp_key_id")
            found[path] = Problem(path, text, str(settings.bgp_key_id))
    yield from found.values()


def _sessions(
    document: Document, tunnels: Tunnels
) -> Iterator[tuple[BgpSettings, Callable[[str], Path]]]:
    """Yield the settings of every BGP session, with what says where a key of them stands."""
    for tunnel in tunnels:
        if tunnel.connection.routing == "bgp":
            yield tunnel.settings, tunnel.path_of
    for at, line in enumerate(document.direct_line):
        if line.routing == "bgp":
            yield line, partial(_path, "direct_line", at)
    for at, attachment in enumerate(document.vpc_attachment):
        if attachment.peer_address is not None:
            yield attachment, partial(_path, "vpc_attachment", at)


def _path(kind: str, at: int, key: str) -> Path:
    return kind, at, key


def _families(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """A session carries the routes of its own addresses' IP version."""
    for path, connection in _connections(document):
        versions = _versions(connection)
        for at, cidr in enumerate(connection.remote_cidrs):
            if versions and cidr.version not in versions:
                yield Problem((*path, "remote_cidrs", at), _NO_FAMILY, shown(str(cidr)))
    by_name = {connection.name: connection for _, connection in _connections(document)}
    for at, route in enumerate(document.route):
        owner = by_name.get(route.vpn_connection)
        if owner is not None and _versions(owner) and route.prefix.version not in _versions(owner):
            yield Problem(("route", at, "prefix"), _NO_FAMILY, shown(str(route.prefix)))


_NO_FAMILY = "no tunnel of the connection has an inner_cidr of this IP version"


def _versions(connection: VpnConnection) -> set[int]:
    return {tunnel.inner_cidr.version for tunnel in connection.tunnel if tunnel.inner_cidr}


def _route_preferences(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    chosen = chosen_by_bird(document)
    highest: dict[str, int] = {}
    for tunnel in tunnels:
        if tunnel.connection.border_gateway in chosen:
            name = tunnel.connection.name
            highest[name] = max(highest.get(name, 0), tunnel.preference)
    for at, route in enumerate(document.route):
        most = STATIC_SUM_MAX - highest.get(route.vpn_connection, 0)
        if route.preference > most and route.vpn_connection in highest:
            text = f"must be at most {most}: with the tunnels' preference at most {STATIC_SUM_MAX}"
            yield Problem(("route", at, "preference"), text, str(route.preference))


def _nothing_to_say(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Warn where BGP works but is not what people expect of it."""
    announcing = {a.border_gateway for a in document.vpc_attachment if a.cidrs}
    speaking = [(path, one.border_gateway) for path, one in _connections(document)]
    for at, line in enumerate(document.direct_line):
        if line.routing == "bgp":
            speaking.append((("direct_line", at), line.border_gateway))
    for path, gateway in speaking:
        if gateway not in announcing:
            text = "no vpc_attachment of it has cidrs: nothing of ours is announced by BGP"
            yield Problem((*path, "border_gateway"), text, is_warning=True)
    for path, connection in _connections(document):
        if not connection.remote_cidrs:
            text = (
                "anything but a default route is learned, and packets to it are not kept from"
                " leaving in clear when all tunnels are down: give the customer's prefixes"
            )
            yield Problem((*path, "remote_cidrs"), text, is_warning=True)


BGP_RULES: tuple[BgpRule, ...] = (
    _asns,
    _router_ids,
    _inner,
    _misplaced,
    _timers,
    _keys,
    _families,
    _route_preferences,
    _nothing_to_say,
)
