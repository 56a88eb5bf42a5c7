"""
MOBIKE (RFC 4555), the responder's part: a peer that begins from any address may move to another one
and keep its IKE SA and Child SAs.

It is agreed on only for tunnels whose peer has no fixed address. A peer with fixed ones has a
tunnel for each, and one that followed it to the other's address would make both tunnels depend on
one path. Our own addresses do not change, so we never move.
"""

from __future__ import annotations

from gateway.ike.events import PathChanged
from gateway.ike.exchanges import nat_check
from gateway.ike.iana import NotifyType
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Message
from gateway.ike.payloads import Notify, Payload
from gateway.sa import Path


def agree(sa: IkeSa, request: Message) -> tuple[Payload, ...]:
    """Return what IKE_AUTH's answer says of it, now that the tunnel is known."""
    asked = request.notify(NotifyType.MOBIKE_SUPPORTED) is not None
    sa.is_mobile = asked and sa.config.remote is None
    return (Notify(NotifyType.MOBIKE_SUPPORTED),) if sa.is_mobile else ()


def answer(sa: IkeSa, request: Message, path: Path) -> tuple[Payload, ...]:
    """
    Carry out what an INFORMATIONAL request says of addresses, and return what the answer says.

    COOKIE2 is returned in any case: by it the peer knows that its new address works (section 3.7).
    """
    cookies = [one for one in request.all(Notify) if one.type == NotifyType.COOKIE2]
    told: tuple[Payload, ...] = tuple(Notify(NotifyType.COOKIE2, one.data) for one in cookies[:1])
    if request.notify(NotifyType.UPDATE_SA_ADDRESSES) is None or not sa.is_mobile:
        return told
    nat = nat_check.read_at(request, sa.spi_i, sa.spi_r, path, sa.nat.announced)
    # The sockets and the encapsulation of a tunnel are for its life.
    if path.local != sa.path.local or (nat.is_between and not sa.nat.udp_encap):
        return (*told, Notify(NotifyType.UNACCEPTABLE_ADDRESSES))
    if nat.supported:
        sa.nat.local, sa.nat.remote = nat.local, nat.remote
    if path != sa.path:
        sa.path = path
        sa.context.count("mobike.moved")
        sa.context.emit(PathChanged(sa.config.name, path))
    return (*told, *nat_check.notifies(sa.spi_i, sa.spi_r, path, None))
