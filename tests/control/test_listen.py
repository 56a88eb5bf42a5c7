"""Where the control process listens: nowhere that others reach without TLS or a proxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.control.listen import parse_listening, parse_place
from gateway.errors import ConfigError

SOCKET = Path("/run/twinspan/control.sock")
PEM = Path("/etc/twinspan/tls.pem")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:0", "127.0.0.1", 0),
        ("[::1]:443", "::1", 443),
        ("192.0.2.1:65535", "192.0.2.1", 65535),
    ],
)
def test_places(text: str, host: str, port: int) -> None:
    place = parse_place(text)
    assert (place.host, place.port) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:65536", "::1:443", "300.0.0.1:1", "[x]:1"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be ADDRESS:PORT"):
        parse_place(text)


def test_loopback_needs_nothing_more() -> None:
    listening = parse_listening(["127.0.0.1:8080", "[::1]:8080"], None, None, [], SOCKET)
    assert [str(place) for place in listening.places] == ["127.0.0.1:8080", "[::1]:8080"]
    assert listening.proxies == ()


def test_what_others_reach_needs_tls_or_a_proxy() -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0:443: others can reach it"):
        parse_listening(["0.0.0.0:443"], None, None, [], SOCKET)
    assert parse_listening(["0.0.0.0:443"], PEM, PEM, [], SOCKET).tls == (PEM, PEM)
    behind = parse_listening(["0.0.0.0:80"], None, None, ["10.0.0.0/8", "192.0.2.7"], SOCKET)
    assert behind.proxies == ("10.0.0.0/8", "192.0.2.7/32")


def test_half_of_tls_and_a_proxy_that_is_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="one needs the other"):
        parse_listening([], PEM, None, [], SOCKET)
    with pytest.raises(ConfigError, match=r"--behind-proxy: '10\.0\.0\.1/8'"):
        parse_listening([], None, None, ["10.0.0.1/8"], SOCKET)
