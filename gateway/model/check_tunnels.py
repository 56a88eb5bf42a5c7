"""The rules for VPN Tunnels with their defaults filled in; `check.py` runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network

from gateway.ike.config import Start
from gateway.ike.selectors import parse_selector
from gateway.model.check_auth import auth_rule
from gateway.model.locate import Path
from gateway.model.problem import Problem, shown
from gateway.model.resources import Document, namespaces_of
from gateway.model.settings import SELECTORS_MAX, TunnelSettings
from gateway.model.tunnels import ResolvedTunnel, selector_texts
from gateway.model.types import AnyNetwork, key_of
from gateway.sa import TrafficSelector

PSK_CHARACTERS_MIN = 20  # shorter ones are guessed off line by who once played responder
PPK_BYTES_MIN = 32  # 256 bits, of which a quantum computer leaves 128 (RFC 8784 section 6)
PSK_BYTES_MIN = 16  # of a key given in hexadecimal or base64
IPV6_MTU_MIN = 1280  # RFC 8200 section 5

INNER_RANGES: tuple[AnyNetwork, ...] = tuple(
    ip_network(text)
    for text in ("169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
# Peers refuse these, and 169.254.169.252/30 holds the metadata service of every large cloud.
INNER_RESERVED: tuple[AnyNetwork, ...] = tuple(
    ip_network(f"169.254.{block}/30")
    for block in ("0.0", "1.0", "2.0", "3.0", "4.0", "5.0", "169.252")
)

_EXAMPLE = "replace-me-with-twinspan-genpsk"  # each key of docs/examples ends so

Tunnels = tuple[ResolvedTunnel, ...]
TunnelRule = Callable[[Document, Tunnels], Iterable[Problem]]


def _names(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    names: dict[str, ResolvedTunnel] = {}
    places = namespaces_of(document)
    devices = {
        (places.get(attachment.border_gateway, ""), attachment.interface): attachment.name
        for attachment in document.vpc_attachment
    }
    interfaces: dict[tuple[str, str], ResolvedTunnel] = {}
    for tunnel in tunnels:
        if names.setdefault(tunnel.name, tunnel) is not tunnel:
            path = (*tunnel.path, "name")
            yield Problem(path, "another tunnel has this name", shown(tunnel.name))
            continue
        path = (*tunnel.path, "interface")
        device = (tunnel.namespace, tunnel.interface)
        other = interfaces.setdefault(device, tunnel)
        if other is not tunnel:
            yield Problem(path, f"tunnel {other.name} has this device", shown(tunnel.interface))
        elif device in devices:
            text = f"vpc_attachment {devices[device]} has this device"
            yield Problem(path, text, shown(tunnel.interface))


def _addresses(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    pool = document.gateway.public_addresses
    for tunnel in tunnels:
        local, remote = tunnel.tunnel.local_address, tunnel.tunnel.remote_address
        if local is not None and local not in pool:
            text = "is not one of gateway.public_addresses"
            yield Problem((*tunnel.path, "local_address"), text, shown(str(local)))
        if remote is not None and tunnel.customer is not None:
            yield from _remote_belongs(tunnel, tunnel.customer.public_addresses)
        if tunnel.local and tunnel.remote and tunnel.local.version != tunnel.remote.version:
            text = f"is not of the same IP version as the remote address {tunnel.remote}"
            yield Problem((*tunnel.path, "local_address"), text, shown(str(tunnel.local)))


def _remote_belongs(tunnel: ResolvedTunnel, addresses: object) -> Iterator[Problem]:
    remote = tunnel.tunnel.remote_address
    path = (*tunnel.path, "remote_address")
    if addresses == "any":
        text = 'the customer gateway\'s addresses are "any": leave this out or name them there'
        yield Problem(path, text, shown(str(remote)))
    elif isinstance(addresses, tuple) and remote not in addresses:
        text = f"is not an address of customer_gateway {tunnel.connection.customer_gateway}"
        yield Problem(path, text, shown(str(remote)))


def _pairs(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """One pair of addresses is one tunnel; behind one NAT, peers differ by identity."""
    taken: dict[tuple[object, ...], ResolvedTunnel] = {}
    for tunnel in tunnels:
        if tunnel.local is None or tunnel.customer is None:
            continue
        pair = (tunnel.local, tunnel.remote)
        keys: list[tuple[object, ...]] = [(*pair, tunnel.remote_id)]
        if tunnel.remote is not None:
            keys.append((*pair, tunnel.connection.name))
        others = [taken.setdefault(key, tunnel) for key in keys]
        other = next((other for other in others if other is not tunnel), None)
        if other is not None:
            key = "local_address" if tunnel.tunnel.local_address else "remote_address"
            path = (*tunnel.path, key)
            text = f"tunnel {other.name} has the same pair of addresses"
            pair_text = f"{tunnel.local} - {tunnel.remote or 'any'}"
            yield Problem(path, text, pair_text, code="address_pair_in_use")


def _one_path(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Warn of a connection whose tunnels all stand on one of several local addresses."""
    locals_: dict[str, list[ResolvedTunnel]] = {}
    for tunnel in tunnels:
        locals_.setdefault(tunnel.connection.name, []).append(tunnel)
    for group in locals_.values():
        several = len(group) > 1 and len(document.gateway.public_addresses) > 1
        if several and len({tunnel.local for tunnel in group}) == 1:
            path = (*group[1].path, "local_address")
            text = "all tunnels of this connection use one address of the gateway"
            yield Problem(path, text, shown(str(group[1].local)), is_warning=True)


def _identities(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    for tunnel in tunnels:
        if tunnel.customer is None or tunnel.customer.public_addresses != "any":
            continue
        if tunnel.remote_id is None:
            text = 'is required where the customer gateway\'s addresses are "any", and not "any"'
            yield Problem(tunnel.path_of("remote_id"), text)
        if tunnel.start is Start.INITIATE:
            text = "we can not begin toward a customer gateway whose addresses are any"
            yield Problem(tunnel.path_of("start"), text, shown("initiate"))


def _secrets(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Judge pre-shared keys; a key that stands on the connection is reported once."""
    seen = set()
    for tunnel in (one for one in tunnels if one.settings.auth == "psk"):
        path = tunnel.path_of("psk")
        if not any("psk" in one.model_fields_set for one in tunnel.connection.tunnel):
            path = (*tunnel.connection_path, path[-1])
        if path in seen:
            continue
        seen.add(path)
        if text := _psk_text(tunnel):
            yield Problem(path, text, code="psk_invalid")
        elif tunnel.settings.psk and _EXAMPLE in tunnel.settings.psk.get_secret_value():
            text = "is that of an example, which everybody knows: twinspan genpsk prints a new one"
            yield Problem(path, text, is_warning=True)


def _psk_text(tunnel: ResolvedTunnel) -> str:
    if tunnel.settings.psk is None:
        has_file = tunnel.settings.psk_file is not None  # it could not be read, which is reported
        return "" if has_file else "is required: psk or psk_file"
    text = tunnel.settings.psk.get_secret_value()
    try:
        key = key_of(text)
    except ValueError as error:
        return str(error)
    if text != text.strip() or not text.isprintable():
        return "has white space at an end, or characters that do not print"
    is_coded = text.startswith(("0x", "0s"))
    if not key:
        return "is empty"
    if tunnel.settings.allow_weak_psk:
        return ""
    if is_coded and len(key) < PSK_BYTES_MIN:
        return f"has {len(key)} bytes, need {PSK_BYTES_MIN} (or allow_weak_psk = true)"
    if not is_coded and len(text) < PSK_CHARACTERS_MIN:
        return f"has {len(text)} characters, need {PSK_CHARACTERS_MIN} (or allow_weak_psk = true)"
    return ""


def _ppks(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Judge post-quantum pre-shared keys; the same finding at one place is reported once."""
    seen: set[Path] = set()
    for tunnel in tunnels:
        settings = tunnel.settings
        found = {"ppk": _ppk_text(settings), "ppk_id": ""}
        if settings.ppk is not None and settings.ppk_id is None:
            found["ppk"] = "needs ppk_id beside it"
        if settings.ppk is None and settings.ppk_id is not None:
            found["ppk_id"] = "needs ppk beside it"
        for key, text in found.items():
            path = tunnel.path_of(key)
            if text and path not in seen:
                seen.add(path)
                yield Problem(path, text)


def _ppk_text(settings: TunnelSettings) -> str:
    if settings.ppk is None:
        return ""
    text = settings.ppk.get_secret_value()
    try:
        key = key_of(text)
    except ValueError as error:
        return str(error)
    if text != text.strip() or not text.isprintable():
        return "has white space at an end, or characters that do not print"
    if len(key) < PPK_BYTES_MIN:
        return f"has {len(key)} bytes, need {PPK_BYTES_MIN}"
    if settings.psk is not None and text == settings.psk.get_secret_value():
        return "is the same as psk, so it adds nothing"
    return ""


def _inner(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    taken: dict[tuple[str, AnyNetwork], ResolvedTunnel] = {}
    for tunnel in tunnels:
        network, local = tunnel.tunnel.inner_cidr, tunnel.tunnel.inner_local
        path = (*tunnel.path, "inner_cidr")
        if network is None:
            if local is not None:
                yield Problem((*tunnel.path, "inner_local"), "needs inner_cidr beside it")
            continue
        text = _inner_text(network)
        other = taken.setdefault((tunnel.namespace, network), tunnel)
        if text:
            yield Problem(path, text, shown(str(network)), code="inner_cidr_invalid")
        elif other is not tunnel:
            text = f"tunnel {other.name} has the same"
            yield Problem(path, text, shown(str(network)), code="inner_cidr_in_use")
        elif local is not None and local not in (network[1], network[2]):
            text = f"is neither {network[1]} nor {network[2]}, the two addresses of inner_cidr"
            path = (*tunnel.path, "inner_local")
            yield Problem(path, text, shown(str(local)), code="inner_local_invalid")


def _inner_text(network: AnyNetwork) -> str:
    length = 30 if network.version == 4 else 126
    if network.prefixlen != length:
        return f"needs prefix length {length}"
    if not any(
        place.version == network.version and network.network_address in place
        for place in INNER_RANGES
    ):
        return "must lie in " + ", ".join(
            str(place) for place in INNER_RANGES if place.version == network.version
        )
    return "is a block that clouds keep for themselves" if network in INNER_RESERVED else ""


def _limits(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Judge numbers that depend on another; one that stands on the connection is reported once."""
    seen = set()
    for tunnel in tunnels:
        for key, text in _limit_texts(document, tunnel):
            path = tunnel.path_of(key)
            if path not in seen:
                seen.add(path)
                shown_value = shown(getattr(tunnel.settings, key))
                yield Problem(path, text, shown_value, code="limit_conflict")


def _limit_texts(document: Document, tunnel: ResolvedTunnel) -> Iterator[tuple[str, str]]:
    settings, workers = tunnel.settings, document.gateway.workers
    if settings.child_lifetime_s >= settings.ike_lifetime_s:
        yield "child_lifetime_s", f"must be less than ike_lifetime_s {settings.ike_lifetime_s:g}"
    inside = (*tunnel.connection.remote_prefixes(), tunnel.tunnel.inner_cidr)
    has_ipv6 = any(network is not None and network.version == 6 for network in inside)
    if settings.mtu and settings.mtu < IPV6_MTU_MIN and has_ipv6:
        yield "mtu", f"must be at least {IPV6_MTU_MIN} with IPv6 inside"
    if settings.fragment_size < IPV6_MTU_MIN and tunnel.local and tunnel.local.version == 6:
        yield "fragment_size", f"must be at least {IPV6_MTU_MIN} over IPv6"
    if workers and settings.workers > workers:
        yield "workers", f"must not be more than gateway.workers {workers}"
    if settings.per_resource_sas and settings.workers < 2:
        yield "per_resource_sas", "needs workers of at least 2"
    elif settings.per_resource_sas and len(selector_texts(document, tunnel)) > 1:
        yield "per_resource_sas", "must be false where rules make several Child SAs"


def _selectors(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    seen = set()
    for tunnel in tunnels:
        if tunnel.connection.rule:
            continue
        ((local, remote),) = selector_texts(document, tunnel)
        for key, texts in (("local_ts", local), ("remote_ts", remote)):
            path = tunnel.path_of(key)
            if path in seen:
                continue
            seen.add(path)
            if len(texts) > SELECTORS_MAX:
                text = f"gives {len(texts)} traffic selectors, at most {SELECTORS_MAX}"
                yield Problem(path, text)
            if not texts and key == "local_ts":
                text = "policy routing needs local_cidrs, or cidrs of a vpc_attachment"
                yield Problem((*tunnel.connection_path, "local_cidrs"), text)
        if tunnel.settings.remote_ts:
            yield from _unreachable_routes(tunnel, remote)


def _unreachable_routes(tunnel: ResolvedTunnel, remote: tuple[str, ...]) -> Iterator[Problem]:
    """Warn of a prefix that is routed into a tunnel whose selectors do not let it pass."""
    selectors = [parse_selector(text) for text in remote]
    for at, cidr in enumerate(tunnel.connection.remote_cidrs):
        if not any(_overlap(selector, cidr) for selector in selectors):
            path = (*tunnel.connection_path, "remote_cidrs", at)
            text = f"is outside the remote_ts of tunnel {tunnel.name}: nothing will pass"
            yield Problem(path, text, shown(str(cidr)), is_warning=True)


def _overlap(selector: TrafficSelector, network: AnyNetwork) -> bool:
    if selector.first.version != network.version:
        return False
    first, last = int(network.network_address), int(network.broadcast_address)
    return int(selector.first) <= last and first <= int(selector.last)


def _outer_in_tunnel(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """
    Warn of a remote address in a prefix that goes through a tunnel: ESP would enter itself.

    ESP leaves from the VM's own network namespace, so not where the tunnel is in another.
    """
    for tunnel in (tunnel for tunnel in tunnels if not tunnel.namespace):
        for tail, cidr in tunnel.connection.remote_places():
            remote = tunnel.remote
            if remote is not None and remote.version == cidr.version and remote in cidr:
                path = (*tunnel.connection_path, *tail)
                text = f"holds the remote address {remote}: it needs a route of its own outside"
                yield Problem(path, text, shown(str(cidr)), is_warning=True)


TUNNEL_RULES: tuple[TunnelRule, ...] = (
    _names,
    _addresses,
    _pairs,
    _one_path,
    _identities,
    _secrets,
    auth_rule,
    _ppks,
    _inner,
    _limits,
    _selectors,
    _outer_in_tunnel,
)
