"""The rules for probes through tunnels; `check.py` runs them."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.ike.selectors import parse_selector, passes_echo
from gateway.model.check_tunnels import TunnelRule, Tunnels
from gateway.model.problem import Problem, shown
from gateway.model.resources import Document
from gateway.model.settings import TunnelSettings
from gateway.model.tunnels import ResolvedTunnel, inner_interface, inner_peer, selector_texts
from gateway.model.types import AnyAddress
from gateway.routing.wanted import routes_into

PROBE_KEYS = ("probe", "probe_address")


def _misplaced(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """With BGP it is BFD that watches a tunnel, and BIRD that leaves it."""
    text = 'has no meaning with routing = "bgp": there it is bfd that watches the tunnel'
    fields = TunnelSettings.model_fields
    seen = set()
    for tunnel in tunnels:
        for key in PROBE_KEYS:
            value, path = getattr(tunnel.settings, key), tunnel.path_of(key)
            if (
                tunnel.connection.routing == "bgp"
                and value != fields[key].default
                and path not in seen
            ):
                seen.add(path)
                yield Problem(path, text, shown(str(value)))


def _addresses(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Who is probed is the peer's inner address, or a host that routes lead into the tunnel."""
    for tunnel in tunnels:
        address = tunnel.settings.probe_address
        if address is None or tunnel.connection.routing == "bgp":
            continue
        text = _address_text(document, tunnel, address)
        path = tunnel.path_of("probe_address")
        if text:
            yield Problem(path, text, shown(str(address)))
        elif tunnel.settings.probe == "off":
            text = "probe is off: nothing is sent to it"
            yield Problem(path, text, shown(str(address)), is_warning=True)


def _address_text(document: Document, tunnel: ResolvedTunnel, address: AnyAddress) -> str:
    inner = inner_interface(tunnel.tunnel.inner_cidr, tunnel.tunnel.inner_local)
    if inner is None:
        return ""  # a warning says that it is not probed at all
    if inner.version != address.version:
        return f"is not of the same IP version as inner_cidr {inner.network} of {tunnel.name}"
    routed = (prefix for prefix, _ in routes_into(document, tunnel.connection, 0))
    if address == inner_peer(inner) or any(address in prefix for prefix in routed):
        return ""
    return (
        f"is neither {inner_peer(inner)}, the peer's address in {tunnel.name}, nor within a"
        f" prefix that is routed into {tunnel.connection.name}"
    )


def _unanswerable(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Warn of probes that can have no answer: the tunnel keeps its routes all the same."""
    for tunnel in tunnels:
        settings = tunnel.settings
        if settings.probe == "off" or tunnel.connection.routing == "bgp":
            continue
        inner = inner_interface(tunnel.tunnel.inner_cidr, tunnel.tunnel.inner_local)
        if inner is None:
            text = f"tunnel {tunnel.name} has no inner_cidr to probe from: it is not probed"
        else:
            target = settings.probe_address or inner_peer(inner)
            text = _selector_text(document, tunnel, inner.ip, target)
        if text:
            yield Problem(tunnel.path_of("probe"), text, shown(settings.probe), is_warning=True)


def _selector_text(
    document: Document, tunnel: ResolvedTunnel, source: AnyAddress, target: AnyAddress
) -> str:
    outside: list[AnyAddress] = []
    for sides in selector_texts(document, tunnel):
        ends = zip((source, target), sides, strict=True)
        stopped = [
            address
            for address, texts in ends
            if not passes_echo(map(parse_selector, texts), address)
        ]
        if not stopped:
            return ""
        outside += stopped
    return (
        f"{outside[0]} is outside the traffic selectors of tunnel {tunnel.name}:"
        " no probe passes, so it counts as not probed"
    )


PROBE_RULES: tuple[TunnelRule, ...] = (_misplaced, _addresses, _unanswerable)
