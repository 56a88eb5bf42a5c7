"""Where the control process listens, and what of it is allowed. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from gateway.errors import ConfigError

DEFAULT_LISTEN = ("127.0.0.1:8080",)
_PLACE = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)|localhost):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """An address and a TCP port of this machine; port 0 is any that is free."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where requests come in: TCP, with TLS or behind a proxy, and the Unix socket."""

    places: tuple[Place, ...]
    tls: tuple[Path, Path] | None  # certificate chain and key, PEM
    proxies: tuple[str, ...]  # whose X-Forwarded-For is believed
    socket: Path
    nodes: Place | None = None  # where nodes come in, with certificates of the own CA


def parse_place(text: str, option: str = "--listen") -> Place:
    """Return the place that `ADDRESS:PORT` names. Raises ConfigError."""
    found = _PLACE.fullmatch(text)
    host = (found[1] or found[2] or "127.0.0.1") if found else ""
    try:
        ip_address(host)
        port = int(found[3]) if found else -1
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise ConfigError([f"{option}: {text[:80]!r} must be ADDRESS:PORT, as in 127.0.0.1:8080"])
    return Place(host, port)


def parse_listening(
    listen: list[str],
    tls_cert: Path | None,
    tls_key: Path | None,
    behind_proxy: list[str],
    socket: Path,
    listen_nodes: str | None = None,
) -> Listening:
    """Return where to listen. Raises ConfigError for what would show the API to everybody."""
    places = tuple(parse_place(text) for text in listen)
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError(["--tls-cert, --tls-key: one needs the other"])
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None
    proxies = tuple(_network(text) for text in behind_proxy)
    for place in places:
        if not (place.is_loopback or tls or proxies):
            text = f"--listen {place}: others can reach it: give --tls-cert and --tls-key, or"
            raise ConfigError([f"{text} --behind-proxy with the proxy's address"])
    nodes = parse_place(listen_nodes, "--listen-nodes") if listen_nodes is not None else None
    return Listening(places, tls, proxies, socket, nodes)


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ConfigError([f"--behind-proxy: {text[:80]!r} must be an address or prefix"]) from None


def parse_prometheus(text: str) -> str:
    """Return the address of a Prometheus, without a slash at its end. Raises ConfigError."""
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_good = is_good and not (parts.query or parts.fragment or parts.username is not None)
    except ValueError:
        is_good = False
    if not is_good or not text.isprintable() or " " in text:
        shape = "must be as http://HOST:PORT, without user, query and fragment"
        raise ConfigError([f"--prometheus: {text[:80]!r} {shape}"])
    return text.rstrip("/")
