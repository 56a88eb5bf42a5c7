"""
Quick crash detection (RFC 6290): an end that has lost an IKE SA proves it, and the other need not
wait for its liveness checks to fail.

Each end gives the other a token of the IKE SA's SPIs, sealed. Who gets a message for SPIs that it
does not know answers INVALID_IKE_SPI with the token, in the clear; only who has made it can have
it. The secret that tokens are made of outlives the process. An end that has an IKE SA never says
its token in the clear.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from gateway.ike.iana import NotifyType, ProtocolId
from gateway.ike.message import Message
from gateway.ike.payloads import Notify
from gateway.secret import Secret

if TYPE_CHECKING:
    from gateway.ike.ike_sa import IkeSa

TOKEN_LENS = range(16, 129)  # RFC 6290 section 4.1


class TokenMaker:
    """Makes the token of an IKE SA from its SPIs (section 5.1)."""

    __slots__ = ("_secret",)

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def notify(self, spi_i: bytes, spi_r: bytes) -> Notify:
        """Return the notify with the token."""
        token = hmac.digest(self._secret.reveal(), spi_i + spi_r, "sha256")
        return Notify(NotifyType.QUICK_CRASH_DETECTION, token, ProtocolId.IKE)


def tell(sa: IkeSa) -> tuple[Notify, ...]:
    """Return our token of an IKE SA, for a sealed message; nothing if we make none."""
    maker = sa.context.tokens
    return (maker.notify(sa.spi_i, sa.spi_r),) if maker is not None else ()


def take(sa: IkeSa, message: Message) -> bool:
    """Keep the token in a sealed message of the peer; return whether there is one."""
    notify = message.notify(NotifyType.QUICK_CRASH_DETECTION)
    if notify is None or len(notify.data) not in TOKEN_LENS:
        return False
    sa.peer_token = Secret(notify.data)
    sa.has_tokens = True
    return True


def is_proof(sa: IkeSa, message: Message) -> bool:
    """Return whether a message in the clear proves that the peer has lost this IKE SA."""
    notify = message.notify(NotifyType.QUICK_CRASH_DETECTION)
    if notify is None or message.notify(NotifyType.INVALID_IKE_SPI) is None:
        return False
    return len(sa.peer_token) > 0 and hmac.compare_digest(sa.peer_token.reveal(), notify.data)
