"""ESP SAs of the native module's pure functions, and scapy beside them as the judge."""

from __future__ import annotations

import socket
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway._native import ffi, lib
from gateway.sa import Encr, Integ

with warnings.catch_warnings():
    # scapy names ciphers that cryptography is about to drop.
    warnings.simplefilter("ignore")
    from scapy.compat import raw
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.ipsec import ESP, SecurityAssociation, _ESPPlain

if TYPE_CHECKING:
    from gateway._native import CData

SPI = 0x01020304
WINDOW = 1024
PACKET_MAX = 65535


@dataclass(frozen=True, slots=True)
class Suite:
    """One ESP suite: its keys in bytes, and scapy's names for it."""

    name: str
    encr: Encr
    encr_key_len: int
    integ: Integ
    integ_key_len: int
    iv_len: int
    icv_len: int
    block: int
    scapy_encr: str
    scapy_integ: str | None

    @property
    def encr_key(self) -> bytes:
        return bytes(0x40 + i for i in range(self.encr_key_len))

    @property
    def integ_key(self) -> bytes:
        return bytes(0x90 + i for i in range(self.integ_key_len))


def _aead(name: str, encr: Encr, key_len: int, scapy_name: str) -> Suite:
    return Suite(name, encr, key_len + 4, Integ.NONE, 0, 8, 16, 4, scapy_name, None)


def _cbc(key_len: int, integ: Integ, icv_len: int) -> Suite:
    bits = icv_len * 16
    return Suite(
        f"aes{key_len * 8}-sha{bits}",
        Encr.AES_CBC,
        key_len,
        integ,
        icv_len * 2,
        16,
        icv_len,
        16,
        "AES-CBC",
        f"SHA2-{bits}-{icv_len * 8}",
    )


SUITES = [
    _aead("aes128gcm16", Encr.AES_GCM_16, 16, "AES-GCM"),
    _aead("aes192gcm16", Encr.AES_GCM_16, 24, "AES-GCM"),
    _aead("aes256gcm16", Encr.AES_GCM_16, 32, "AES-GCM"),
    _aead("chacha20poly1305", Encr.CHACHA20_POLY1305, 32, "CHACHA20-POLY1305"),
    *(
        _cbc(key_len, integ, icv_len)
        for integ, icv_len in [
            (Integ.HMAC_SHA2_256_128, 16),
            (Integ.HMAC_SHA2_384_192, 24),
            (Integ.HMAC_SHA2_512_256, 32),
        ]
        for key_len in (16, 24, 32)
    ),
]
BY_NAME = {suite.name: suite for suite in SUITES}
GCM = BY_NAME["aes256gcm16"]
CBC = BY_NAME["aes256-sha256"]
BACKENDS = [
    backend
    for backend in (lib.GW_BACKEND_OPENSSL, lib.GW_BACKEND_IPSECMB)
    if lib.gw_backend_name(Encr.AES_GCM_16, Integ.NONE, 20, backend) != ffi.NULL
]


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening gave: an `enum gw_err`, the inner packet, the trailer's next header."""

    err: int
    inner: bytes
    next_header: int


@dataclass(frozen=True, slots=True)
class EspState:
    """One `struct gw_esp`: the cryptographic state of an SA, one direction."""

    pointer: CData

    def seal(self, seq: int, packet: bytes) -> bytes:
        err, sealed = self.try_seal(seq, packet)
        assert err == lib.GW_OK, err
        return sealed

    def try_seal(self, seq: int, packet: bytes, room: int = PACKET_MAX) -> tuple[int, bytes]:
        out, out_len = ffi.new("uint8_t[]", room), ffi.new("size_t *")
        err = lib.gw_esp_seal_packet(self.pointer, seq, packet, len(packet), out, room, out_len)
        return err, bytes(ffi.buffer(out, out_len[0]))

    def open(self, packet: bytes, room: int | None = None) -> Opened:
        room = len(packet) if room is None else room
        out, out_len = ffi.new("uint8_t[]", room), ffi.new("size_t *")
        next_header = ffi.new("uint8_t *")
        err = lib.gw_esp_open_packet(
            self.pointer, packet, len(packet), out, room, out_len, next_header
        )
        return Opened(err, bytes(ffi.buffer(out, out_len[0])), next_header[0])


def fill_sa(
    suite: Suite,
    *,
    spi: int = SPI,
    encr_key: bytes | None = None,
    integ_key: bytes | None = None,
    esn: bool = False,
    backend: int = 0,
    window: int = WINDOW,
) -> CData:
    """Return a `struct gw_sa` with the suite's own keys if none are given."""
    encr_key = suite.encr_key if encr_key is None else encr_key
    integ_key = suite.integ_key if integ_key is None else integ_key
    sa = ffi.new("struct gw_sa *")
    sa.spi = spi
    sa.encr, sa.encr_key_len = suite.encr, len(encr_key)
    sa.integ, sa.integ_key_len = suite.integ, len(integ_key)
    sa.esn, sa.backend, sa.replay_window = int(esn), backend, window
    ffi.memmove(sa.encr_key, encr_key, len(encr_key))
    ffi.memmove(sa.integ_key, integ_key, len(integ_key))
    return sa


def try_new(sa: CData, outbound: bool) -> tuple[int, EspState]:
    """Return the error and the state of an SA; its pointer is NULL on error."""
    out = ffi.new("struct gw_esp **")
    err = lib.gw_esp_new(sa, outbound, out)
    return err, EspState(ffi.gc(out[0], lib.gw_esp_free) if err == lib.GW_OK else out[0])


def outbound(suite: Suite, *, esn: bool = False, backend: int = 0) -> EspState:
    err, state = try_new(fill_sa(suite, esn=esn, backend=backend), True)
    assert err == lib.GW_OK, err
    return state


def inbound(suite: Suite, *, esn: bool = False, backend: int = 0, window: int = WINDOW) -> EspState:
    err, state = try_new(fill_sa(suite, esn=esn, backend=backend, window=window), False)
    assert err == lib.GW_OK, err
    return state


def inner4(size: int) -> bytes:
    """Return an IPv4 packet of UDP, `size` bytes in all (28 or more)."""
    payload = bytes(i % 251 for i in range(size - 28))
    return raw(IP(src="10.1.0.1", dst="10.2.0.2") / UDP(sport=1, dport=2) / payload)


def inner6(size: int) -> bytes:
    """Return an IPv6 packet of UDP, `size` bytes in all (48 or more)."""
    payload = bytes(i % 241 for i in range(size - 48))
    return raw(IPv6(src="fd00:1::1", dst="fd00:2::2") / UDP(sport=1, dport=2) / payload)


class ScapySa:
    """scapy's implementation of the same SA, with its tunnel header, encapsulated in UDP or not."""

    def __init__(self, suite: Suite, *, esn: bool = False, udp: bool = False) -> None:
        self._outer: Any = IP(src="192.0.2.1", dst="192.0.2.2")
        self._udp: Any = UDP(sport=4500, dport=4500) if udp else None
        self._esn = esn
        self._sa: Any = SecurityAssociation(  # type: ignore[no-untyped-call]  # scapy has no types here
            ESP,
            spi=SPI,
            crypt_algo=suite.scapy_encr,
            crypt_key=suite.encr_key,
            auth_algo=suite.scapy_integ,
            auth_key=suite.integ_key or None,
            tunnel_header=self._outer,
            nat_t_header=self._udp,
            esn_en=esn,
        )

    def seal(self, seq: int, inner: bytes) -> bytes:
        """Return SPI .. ICV of scapy's ESP packet, taken from the bytes of the whole packet."""
        cls = IP if inner[0] >> 4 == 4 else IPv6
        sealed = self._sa.encrypt(cls(inner), seq_num=seq & 0xFFFFFFFF, esn=seq >> 32)
        datagram = raw(sealed)
        return datagram[28:] if self._udp is not None else datagram[20:]

    def open(self, seq: int, esp: bytes) -> bytes:
        """Return the inner packet that scapy finds in our ESP packet on the wire."""
        outer = self._outer / self._udp / esp if self._udp is not None else self._outer / esp
        if self._udp is None:
            outer.proto = socket.IPPROTO_ESP
        return raw(self._sa.decrypt(IP(raw(outer)), esn=seq >> 32))

    def seal_text(
        self, seq: int, data: bytes, padding: bytes, pad_len: int, next_header: int
    ) -> bytes:
        """Return SPI .. ICV of a packet whose trailer says what it should not, with a right ICV."""
        algorithm = self._sa.crypt_algo
        plain = _ESPPlain(
            spi=SPI,
            seq=seq & 0xFFFFFFFF,
            iv=algorithm.generate_iv(),
            data=data,
            padding=padding,
            padlen=pad_len,
            nh=next_header,
        )
        sealed = algorithm.encrypt(
            self._sa, plain, self._sa.crypt_key, esn_en=self._esn, esn=seq >> 32
        )
        self._sa.auth_algo.sign(sealed, self._sa.auth_key, esn_en=self._esn, esn=seq >> 32)
        return raw(sealed)
