"""Cookies (RFC 7296 section 2.6) and NAT detection hashes (section 2.23)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.ike.cookie import EPOCH_S, CookieJar
from gateway.ike.nat import detection_hash
from gateway.ike.payloads import Notify
from gateway.sa import Path

SPI, NONCE = b"initiate", b"n" * 32
PATH = Path(ip_address("192.0.2.1"), 500, ip_address("198.51.100.7"), 500)
JAR = CookieJar(b"s" * 32)


def test_a_cookie_is_accepted_for_its_own_request() -> None:
    cookie = JAR.make(SPI, NONCE, PATH, 100.0)
    assert len(cookie) == 33
    assert JAR.accepts(cookie, SPI, NONCE, PATH, 100.0)
    assert Notify(16390, cookie).serialise()


@pytest.mark.parametrize(
    ("spi", "nonce", "address"),
    [
        (b"initiatE", NONCE, "198.51.100.7"),
        (SPI, b"m" * 32, "198.51.100.7"),
        (SPI, NONCE + b"n", "198.51.100.7"),
        (SPI, NONCE, "198.51.100.8"),
        (SPI, NONCE, "::c633:6407"),
    ],
)
def test_a_cookie_is_refused_for_any_other_request(spi: bytes, nonce: bytes, address: str) -> None:
    cookie = JAR.make(SPI, NONCE, PATH, 100.0)
    other = replace(PATH, remote=ip_address(address))
    assert not JAR.accepts(cookie, spi, nonce, other, 100.0)


def test_a_nat_may_change_the_port_meanwhile() -> None:
    cookie = JAR.make(SPI, NONCE, PATH, 100.0)
    assert JAR.accepts(cookie, SPI, NONCE, replace(PATH, remote_port=4711), 101.0)


def test_a_cookie_lives_for_its_epoch_and_the_next() -> None:
    cookie = JAR.make(SPI, NONCE, PATH, 10 * EPOCH_S)
    assert JAR.accepts(cookie, SPI, NONCE, PATH, 12 * EPOCH_S - 0.001)
    assert not JAR.accepts(cookie, SPI, NONCE, PATH, 12 * EPOCH_S)
    assert not JAR.accepts(cookie, SPI, NONCE, PATH, 266 * EPOCH_S)
    assert not JAR.accepts(cookie, SPI, NONCE, PATH, 9 * EPOCH_S)


def test_a_jar_keeps_the_keys_of_the_two_epochs_whose_cookies_it_takes() -> None:
    jar = CookieJar(b"s" * 32)
    for epoch in range(20, 25):
        assert not jar.accepts(bytes(33), SPI, NONCE, PATH, epoch * EPOCH_S)
        assert jar._keys.keys() == {epoch - 1, epoch}
    kept = jar._keys[24]
    jar.make(SPI, NONCE, PATH, 25 * EPOCH_S)
    assert jar._keys.keys() == {24, 25}
    jar.make(SPI, NONCE, PATH, 24 * EPOCH_S)
    assert jar._keys[24] is kept


def test_a_jar_with_another_secret_refuses_it() -> None:
    cookie = JAR.make(SPI, NONCE, PATH, 100.0)
    assert not CookieJar(b"t" * 32).accepts(cookie, SPI, NONCE, PATH, 100.0)


def test_the_time_may_begin_at_zero() -> None:
    assert JAR.accepts(JAR.make(SPI, NONCE, PATH, 0.0), SPI, NONCE, PATH, 1.0)


def test_a_short_secret_is_our_own_mistake() -> None:
    with pytest.raises(UsageError, match="31 bytes"):
        CookieJar(bytes(31))


@given(st.binary(max_size=70))
def test_no_other_bytes_are_accepted(cookie: bytes) -> None:
    expected = JAR.make(SPI, NONCE, PATH, 100.0)
    assert JAR.accepts(cookie, SPI, NONCE, PATH, 100.0) == (cookie == expected)


def test_a_truncated_or_longer_cookie_is_refused() -> None:
    cookie = JAR.make(SPI, NONCE, PATH, 100.0)
    for wrong in [cookie[:length] for length in range(33)] + [cookie + b"\0"]:
        assert not JAR.accepts(wrong, SPI, NONCE, PATH, 100.0)


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_the_detection_hash_covers_spis_address_and_port(address: str) -> None:
    host = ip_address(address)
    expected = hashlib.sha1(SPI + bytes(8) + host.packed + b"\x01\xf4").digest()
    assert detection_hash(SPI, bytes(8), host, 500) == expected
    assert detection_hash(SPI, bytes(8), host, 4500) != expected
    assert detection_hash(SPI, SPI, host, 500) != expected
