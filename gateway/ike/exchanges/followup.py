"""
IKE_FOLLOWUP_KE (RFC 9370 section 2.2.4): the additional key exchanges of a CREATE_CHILD_SA, one
each; the SA is made when the last is done.

    I: CREATE_CHILD_SA { SA, Ni, KEi }       R: { SA, Nr, KEr, N(ADDITIONAL_KEY_EXCHANGE)(1) }
    I: IKE_FOLLOWUP_KE { KEi(1), N(..)(1) }  R: { KEr(1), N(..)(2) }
    I: IKE_FOLLOWUP_KE { KEi(2), N(..)(2) }  R: { KEr(2) }

The responder keeps what is under way by the link in the notify, for a time and not much of it; what
it does not know it answers with STATE_NOT_FOUND, and the initiator begins again. While the peer is
in the middle, we begin nothing that makes an SA.

Both at once (as strongSwan does it): who sees by the answer to its CREATE_CHILD_SA that its own has
the lowest nonce goes no further, and the peer forgets it. Who has gone further answers
TEMPORARY_FAILURE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.errors import StateNotFound, TemporaryFailure, WireError
from gateway.ike.child import Offer, Partial
from gateway.ike.dh import KeyPair, answer
from gateway.ike.iana import ExchangeType, NotifyType
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Message
from gateway.ike.payloads import KeyExchange, Notify, Payload
from gateway.ike.proposals import EspSuite, IkeSuite
from gateway.ike.tasks import Work
from gateway.ike.window import Request
from gateway.sa import Path
from gateway.secret import Secret

LINK_LEN = 8
KEPT_S = 30.0  # as long as a peer resends; meanwhile our own rekeys wait
MOST_KEPT = 4  # of one IKE SA; a peer with a window of one has one


# ---- initiator ----


def is_complete(suite: IkeSuite | EspSuite, secrets: tuple[Secret, ...]) -> bool:
    """Return whether all key exchanges of a suite are made."""
    return len(secrets) >= len(suite.further) + (suite.group is not None)


def ask(
    sa: IkeSa,
    request: Request,
    response: Message,
    suite: IkeSuite | EspSuite,
    secrets: tuple[Secret, ...],
    now: float,
) -> None:
    """
    Begin the next key exchange, `response` being the answer to the one before. Raises WireError.
    """
    offer = request.offer
    assert offer is not None
    link = response.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
    if link is None:
        raise WireError(f"answer with {suite} and without ADDITIONAL_KEY_EXCHANGE")
    group = suite.further[len(secrets) - 1].id
    key_pair = KeyPair.generate(group, sa.context.random.private_key(group))
    partial = Partial(first_answer(offer, response), secrets)
    payloads = (
        KeyExchange(group, key_pair.public),
        Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, link.data),
    )
    offer = replace(offer, key_pair=key_pair, partial=partial)
    sa.request(request.task, ExchangeType.IKE_FOLLOWUP_KE, payloads, now, offer)
    outstanding = sa.window.outstanding
    assert outstanding is not None
    outstanding.is_outdated = request.is_outdated


def first_answer(offer: Offer, response: Message) -> Message:
    """Return the answer to CREATE_CHILD_SA, of which `response` may be a later one."""
    return offer.partial.response if offer.partial is not None else response


def has_begun(sa: IkeSa) -> bool:
    """Return whether our outstanding request is an additional key exchange."""
    request = sa.window.outstanding
    return request is not None and request.exchange == ExchangeType.IKE_FOLLOWUP_KE


# ---- responder ----


@dataclass(slots=True)
class Pending:
    """
    An SA that the peer asked for and that is made when its additional key exchanges are.

    `finish` makes it of all secrets; it raises TemporaryFailure if that can not be any more.
    `spi_in` is taken for it, 0 for an IKE SA; `about` is the inbound SPI of the Child SA it is to
    replace, or the slot of a new one.
    """

    work: Work
    suite: IkeSuite | EspSuite
    secrets: tuple[Secret, ...]
    lowest_nonce: bytes
    finish: Callable[[tuple[Secret, ...], float], None]
    spi_in: int = 0
    about: int = 0
    until: float = 0.0


def enter(sa: IkeSa, pending: Pending, now: float) -> tuple[Payload, ...]:
    """
    Make the SA if no key exchange is to come, else keep it; return what the answer says of that.
    """
    if is_complete(pending.suite, pending.secrets):
        pending.finish(pending.secrets, now)
        return ()
    link = sa.context.random.bytes(LINK_LEN)
    pending.until = now + KEPT_S
    sa.pending[link] = pending
    for oldest in list(sa.pending)[:-MOST_KEPT]:
        _forget(sa, oldest)
    return (Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, link),)


def answer_request(sa: IkeSa, request: Message, path: Path, now: float, digest: bytes) -> None:
    """Answer an additional key exchange. Raises PeerError, and then nothing has changed."""
    if not sa.is_usable:
        raise TemporaryFailure("the IKE SA is replaced or goes")
    notify = request.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
    link = notify.data if notify is not None else b""
    pending = sa.pending.get(link)
    if pending is None:
        raise StateNotFound("no key exchange is under way with this link")
    group = pending.suite.further[len(pending.secrets) - 1].id
    key_exchange = request.one(KeyExchange)
    if key_exchange.group != group:
        raise WireError(f"KE of method {key_exchange.group}, need {group}")
    public, shared = answer(group, key_exchange.public, sa.context.random.private_key(group))
    del sa.pending[link]
    pending.secrets = (*pending.secrets, shared)
    try:
        more = enter(sa, pending, now)
    except TemporaryFailure:
        sa.context.spis.release(pending.spi_in)
        raise
    sa.respond(request, (KeyExchange(group, public), *more), path, now, digest)


def rival(sa: IkeSa, work: Work, about: int = 0) -> Pending | None:
    """Return what the peer has under way to the same end."""
    found = (one for one in sa.pending.values() if (one.work, one.about) == (work, about))
    return next(found, None)


def yields(sa: IkeSa, work: Work, about: int, lowest_nonce: bytes) -> bool:
    """
    Return whether our exchange loses against one that the peer has under way to the same end. If it
    wins, the peer goes no further with its own.
    """
    pending = rival(sa, work, about)
    if pending is not None and lowest_nonce < pending.lowest_nonce:
        return True
    forget(sa, pending)
    return False


def forget(sa: IkeSa, pending: Pending | None) -> None:
    """Give up what the peer will not continue."""
    for link, one in tuple(sa.pending.items()):
        if one is pending:
            _forget(sa, link)


def forget_all(sa: IkeSa) -> None:
    """Give up everything that is under way."""
    for link in tuple(sa.pending):
        _forget(sa, link)


def on_time(sa: IkeSa, now: float) -> None:
    """Give up what the peer has not continued in time."""
    for link, one in tuple(sa.pending.items()):
        if one.until <= now:
            _forget(sa, link)


def _forget(sa: IkeSa, link: bytes) -> None:
    sa.context.spis.release(sa.pending.pop(link).spi_in)
