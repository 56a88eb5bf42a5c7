"""
A stored response that goes out again because its request has come again (RFC 7296 section 2.1).

Whoever has seen a request can send it again, as often as they like and with any source address. So
each IKE SA repeats its response only so often, and to another address than the one that was
answered first only where it is no longer than what asks for it. Another port of that address is
what a NAT gives a peer in the middle of an exchange, and nobody else gets what is sent there.
"""

from __future__ import annotations

from gateway.ike import fragments
from gateway.ike.drops import DropReason
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Header
from gateway.ike.window import digest
from gateway.sa import Path

EVERY_S = 0.2  # sooner than any peer resends
AT_ONCE = 5
BURST_S = EVERY_S * (AT_ONCE - 0.5)  # half of one to spare: times are binary fractions


def is_repeated(sa: IkeSa, header: Header, datagram: bytes) -> bool:
    """
    Return whether a datagram asks for the stored response: the request that it answers, unchanged,
    or fragment 1 of it, cut anew since larger fragments seem to get lost (RFC 7383 sections 2.5.2
    and 2.6.1).
    """
    if sa.window.is_repeated(header.message_id, digest(datagram)):
        return True
    if header.message_id + 1 != sa.window.expected or sa.asked_with is None:
        return False
    return fragments.is_first(datagram, header, sa.asked_with)


def repeat(sa: IkeSa, asked: bytes, path: Path, now: float) -> None:
    """Send the stored response again, for a datagram that asks for it."""
    sa.drop(DropReason.REPLAYED, path)
    response = sa.window.response
    is_elsewhere = path.remote != (sa.answered_on or sa.path).remote
    if is_elsewhere and sum(map(len, response)) > len(asked):
        return
    free_at = max(sa.repeats_free_at, now)
    if free_at > now + BURST_S:
        return
    sa.repeats_free_at = free_at + EVERY_S
    sa.context.count("retransmission.response")
    sa.send(response, path, now)
