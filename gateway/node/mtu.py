"""How large a packet inside a tunnel may be, so that ESP around it fits the path. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.dataplane.interface import EncapKind
from gateway.ike.config import Encap
from gateway.ike.iana import TransformType
from gateway.node.plan import TunnelPlan
from gateway.sa import Encr, Integ

IP_HEADER = {4: 20, 6: 40}
UDP_HEADER = 8
ESP_HEADER = 8  # SPI and sequence number; of an ESN only the low half is on the wire
TRAILER = 2  # pad length and next header (RFC 4303 section 2)
TCP_HEADER = 20
INNER_MTU_MIN = 576  # the data plane carries no less

IV = {Encr.AES_CBC: 16, Encr.AES_GCM_16: 8, Encr.CHACHA20_POLY1305: 8}
BLOCK = {Encr.AES_CBC: 16, Encr.AES_GCM_16: 4, Encr.CHACHA20_POLY1305: 4}
ICV = {
    Integ.NONE: 16,  # the tag of an AEAD
    Integ.HMAC_SHA2_256_128: 16,
    Integ.HMAC_SHA2_384_192: 24,
    Integ.HMAC_SHA2_512_256: 32,
}


class ChildSuite(Protocol):
    """What of a Child SA decides how much room it leaves."""

    @property
    def encr(self) -> Encr: ...

    @property
    def integ(self) -> Integ: ...

    @property
    def udp_encap(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class InnerMtu:
    """The largest inner packet, and the TCP MSS over IPv4 and IPv6 that goes with it, in bytes."""

    mtu: int
    mss4: int
    mss6: int


def inner_mtu(tunnel: TunnelPlan, child: ChildSuite | None, outer_mtu: int) -> InnerMtu:
    """
    Return the MTU and MSS of a tunnel with this Child SA on a path of `outer_mtu` bytes.

    Without a Child SA it is what every suite that may be agreed on leaves, so it only grows later.
    The plan's own `mtu` makes it smaller, never larger; 576 is the least.
    """
    version = tunnel.local.version
    if child is not None:
        encap = EncapKind.UDP if child.udp_encap else EncapKind.ESP
        room = room_inside(child.encr, child.integ, encap, version, outer_mtu)
    else:
        encap = EncapKind.ESP if tunnel.ike.encap is Encap.NEVER else EncapKind.UDP
        room = min(
            room_inside(encr, integ, encap, version, outer_mtu)
            for encr, integ in _possible_suites(tunnel)
        )
    mtu = max(INNER_MTU_MIN, min(room, tunnel.mtu or room))
    return InnerMtu(mtu, tcp_mss(mtu, 4), tcp_mss(mtu, 6))


def _possible_suites(tunnel: TunnelPlan) -> set[tuple[Encr, Integ]]:
    suites = set()
    for proposal in tunnel.ike.esp_proposals:
        integs = [Integ(one.id) for one in proposal.of_type(TransformType.INTEG)]
        for one in proposal.of_type(TransformType.ENCR):
            encr = Encr(one.id)
            suites |= {(encr, integ) for integ in ([Integ.NONE] if encr.is_aead else integs)}
    return suites


def room_inside(
    encr: Encr, integ: Integ, encap: EncapKind, outer_version: int, outer_mtu: int
) -> int:
    """
    Return the largest inner packet, in bytes, whose ESP packet is no larger than `outer_mtu`.

    `outer_version` is 4 or 6. The result is negative where not even an empty packet fits.
    """
    around = IP_HEADER[outer_version] + (UDP_HEADER if encap is EncapKind.UDP else 0)
    room = outer_mtu - around - ESP_HEADER - IV[encr] - ICV[integ]
    return room - room % BLOCK[encr] - TRAILER


def tcp_mss(mtu: int, inner_version: int) -> int:
    """Return the TCP MSS, in bytes, of packets of `mtu` bytes without IP or TCP options."""
    return mtu - IP_HEADER[inner_version] - TCP_HEADER
