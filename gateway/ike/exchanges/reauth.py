"""
What a peer may ask of us about our authentication: to repeat it in time (AUTH_LIFETIME, RFC 4478),
which we do by a new IKE SA beside the old one, make before break.
"""

from __future__ import annotations

from gateway.ike.iana import NotifyType
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Message

EARLY = (0.8, 0.9)  # part of the lifetime after which we begin, drawn between the two
LEAST_S = 10.0  # a peer that asks for less is asked as often as this
AGAIN_S = 40.0  # longer than an attempt takes to fail


def take(sa: IkeSa, message: Message, now: float) -> None:
    """
    Note when the peer wants us to authenticate again, if it says so.

    It is for who has begun the first IKE SA of the line, and is counted from now.
    """
    notify = message.notify(NotifyType.AUTH_LIFETIME)
    if notify is None or len(notify.data) != 4 or sa.birth is None or not sa.birth.initiated:
        return
    lifetime_s = int.from_bytes(notify.data, "big")
    sa.reauth_at = now + max(lifetime_s * sa.context.jitter(*EARLY), LEAST_S)
    sa.context.count("auth_lifetime")


def on_time(sa: IkeSa, now: float) -> None:
    """Begin to authenticate again, if it is time; once more if that has come to nothing."""
    if sa.reauth_at > now or sa.tunnel is None:
        return
    sa.reauth_at = now + AGAIN_S
    sa.tunnel.is_reauth_due = True
    sa.tunnel.beside_at = now
