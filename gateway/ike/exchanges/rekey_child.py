"""
Rekey of a Child SA (RFC 7296 sections 1.3.3, 2.8 and 2.25.1), from either end, and what happens
when both begin.

One end alone: its initiator sends on the new Child SA from the response on, and deletes the old
one. The responder installs the new inbound SA before it answers but goes on sending on the old one
until the peer has proved that it has the new keys: by a packet on the new SA, or by the Delete of
the old one.

Both at once (2.8.1): four nonces, two in each exchange. The Child SA made with the lowest of the
four is redundant, and who initiated it deletes it; the other initiator deletes the old one.
Meanwhile all three are accepted.

If only one end notices (a message was delayed), the other's request meets TEMPORARY_FAILURE or
CHILD_SA_NOT_FOUND. Then the peer's new Child SA stands, ours is abandoned, and the Delete of the
old one is awaited.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.errors import ChildSaNotFound, PeerError, TemporaryFailure
from gateway.ike import reasons, resources, slots
from gateway.ike.child import ChildSa, Offer, Stage, Use
from gateway.ike.events import Reason
from gateway.ike.exchanges import followup, informational, negotiate
from gateway.ike.exchanges.followup import Pending
from gateway.ike.exchanges.negotiate import Agreed, Seed
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Message
from gateway.ike.payloads import Nonce, Notify
from gateway.ike.reconnect import FACTOR, JITTER
from gateway.ike.tasks import Task, Work
from gateway.ike.window import Request
from gateway.sa import Path
from gateway.secret import Secret

BUSY_S = (2.0, 10.0)  # pause after TEMPORARY_FAILURE, drawn between the two
BUSY_LOST_S = (0.1, 0.5)  # where nothing can be sent meanwhile
REFUSED_FIRST_S = 5.0  # pause after any other refusal, growing; the old SA lives on meanwhile
REFUSED_MOST_S = 300.0


# ---- responder ----


def answer_request(
    sa: IkeSa, request: Message, rekey: Notify, path: Path, now: float, digest: bytes
) -> None:
    """Answer a rekey. Raises PeerError, and then nothing has changed."""
    old = _find(sa, rekey)
    agreed, answer = negotiate.choose(sa.config, request, (old.slot,), with_group=True)
    nonce_i = request.one(Nonce).value
    key_payloads, secrets = negotiate.answer_key_exchange(sa, agreed.suite, request)
    nonce_r = sa.context.random.bytes(negotiate.NONCE_LEN)
    spi_in = resources.take_spi(sa, old.slot)

    def finish(secrets: tuple[Secret, ...], at: float) -> None:
        seed = Seed(nonce_i, nonce_r, secrets, initiated=False)
        _make_for_peer(sa, old, agreed, spi_in, seed, at)

    followup.forget(sa, followup.rival(sa, Work.REKEY_CHILD, old.spi_in))
    lowest, rekeys = min(nonce_i, nonce_r), old.spi_in
    pending = Pending(Work.REKEY_CHILD, agreed.suite, secrets, lowest, finish, spi_in, rekeys)
    between = (Nonce(nonce_r), *key_payloads, *followup.enter(sa, pending, now))
    more = resources.take(sa, request, old.slot)
    payloads = (*more, *negotiate.answer_payloads(agreed, answer, spi_in, between))
    sa.respond(request, payloads, path, now, digest)


def _make_for_peer(
    sa: IkeSa, old: ChildSa, agreed: Agreed, spi_in: int, seed: Seed, now: float
) -> None:
    """Make the Child SA that the peer has asked for. Raises TemporaryFailure."""
    if old.spi_in not in sa.children or old.stage in (Stage.DELETING, Stage.LINGERING):
        raise TemporaryFailure("the Child SA is being deleted")
    negotiate.install(sa, agreed, spi_in, seed, now, use=False, replaces=old.spi_in)
    old.replaced_by = spi_in
    if old.stage is Stage.INSTALLED:
        old.stage = Stage.REPLACED
    sa.tasks.drop(Task(Work.REKEY_CHILD, old.spi_in))
    sa.context.count("rekey_child.answered")


def _find(sa: IkeSa, rekey: Notify) -> ChildSa:
    """
    Return the Child SA that a REKEY_SA notify names by the peer's inbound SPI (section 3.10.1).
    """
    spi_out = int.from_bytes(rekey.spi[:4], "big")
    child = sa.child_by_spi_out(spi_out)
    if child is None and sa.work in informational.MAKING_CHILD:
        # It may be the one that the answer to our request, still on its way, is about.
        raise TemporaryFailure("the Child SA is not known yet")
    if rekey.protocol != ProtocolId.ESP or len(rekey.spi) != 4 or child is None:
        raise ChildSaNotFound(spi_out)
    if child.stage is Stage.DELETING:
        raise TemporaryFailure("the Child SA is being deleted")
    if followup.has_begun(sa) and child.stage is Stage.REKEYING:
        raise TemporaryFailure("our own rekey of the Child SA has gone further")
    return child


# ---- initiator ----


def begin(sa: IkeSa, spi_in: int, now: float, tries: int = 0, *, is_plain: bool = False) -> bool:
    """
    Ask to rekey a Child SA, unless it is gone or replaced; return whether a request went out.

    With `is_plain` the peer is not told what the new Child SA is for; all else is as for a rekey.
    """
    old = sa.children.get(spi_in)
    if old is None or old.stage is not Stage.INSTALLED:
        return False
    offer, payloads = negotiate.make_offer(sa, old.slot, old, with_group=True, tries=tries)
    rekey = Notify(NotifyType.REKEY_SA, protocol=ProtocolId.ESP, spi=old.spi_in.to_bytes(4, "big"))
    old.stage = Stage.REKEYING
    sa.deleted_early.clear()
    task = Task(Work.REKEY_CHILD, spi_in)
    payloads = payloads if is_plain else (rekey, *resources.told(sa.config, old.slot), *payloads)
    offer = replace(offer, is_plain=is_plain)
    sa.request(task, ExchangeType.CREATE_CHILD_SA, payloads, now, offer)
    return True


def receive_response(sa: IkeSa, request: Request, response: Message, now: float) -> None:
    """Take the answer to our rekey."""
    offer, old = request.offer, sa.children.get(request.task.spi)
    assert offer is not None
    error = negotiate.first_error(response)
    if error is not None:
        sa.context.spis.release(offer.spi_in)
        _take_refusal(sa, offer, old, error, now)
        return
    try:
        first = followup.first_answer(offer, response)
        agreed = negotiate.accept(offer, first, with_group=True)
        nonce_r = first.one(Nonce).value
        secrets = negotiate.finish_key_exchange(offer, agreed.suite, response)
        if not followup.is_complete(agreed.suite, secrets):
            if _yields(sa, old, min(offer.nonce, nonce_r)):
                sa.context.spis.release(offer.spi_in)
                _keep_busy(sa, old, now)
            else:
                followup.ask(sa, request, response, agreed.suite, secrets, now)
            return
    except PeerError as problem:
        # The peer has made a Child SA that we cannot take: delete it by the SPI we offered.
        sa.tasks.add(Task(Work.DELETE_CHILD, offer.spi_in))
        informational.report(sa, reasons.from_error(problem, "the answer to our rekey"))
        _keep_refused(sa, old, now)
        return
    if agreed.spi_out in sa.deleted_early:
        sa.context.spis.release(offer.spi_in)
        _keep_busy(sa, old, now)
        return
    if slots.is_closed(sa, offer.slot):  # meanwhile: what the peer has made is not wanted either
        sa.tasks.add(Task(Work.DELETE_CHILD, offer.spi_in))
        return
    seed = Seed(offer.nonce, nonce_r, secrets, initiated=True)
    _take_new(sa, offer, old, agreed, seed, now)
    resources.take(sa, first, offer.slot)
    slots.ask_for_missing(sa)


def _yields(sa: IkeSa, old: ChildSa | None, lowest_nonce: bytes) -> bool:
    """
    Return whether our rekey loses against one of the peer's, which is done or under way. If it
    wins, the peer goes no further with its own.
    """
    if old is None:
        return False
    rival = sa.children.get(old.replaced_by) if old.replaced_by else None
    if rival is not None and lowest_nonce < rival.lowest_nonce:
        return True
    return followup.yields(sa, Work.REKEY_CHILD, old.spi_in, lowest_nonce)


def _take_new(
    sa: IkeSa, offer: Offer, old: ChildSa | None, agreed: Agreed, seed: Seed, now: float
) -> None:
    """Install the new Child SA, and delete the one of the three (or two) that is ours to delete."""
    rival = sa.children.get(old.replaced_by) if old and old.replaced_by else None
    is_redundant = _yields(sa, old, min(seed.nonce_i, seed.nonce_r))
    use = not is_redundant and _carries_traffic(sa, old, rival)
    replaces = old.spi_in if old is not None else None
    new = negotiate.install(sa, agreed, offer.spi_in, seed, now, use=use, replaces=replaces)
    sa.context.count("rekey_child.done")
    if is_redundant:
        _delete(sa, new)
        _keep_busy(sa, old, now)
        return
    if old is not None and old.stage is Stage.REKEYING:
        old.stage = Stage.REPLACED
    if old is not None and old.stage is Stage.REPLACED:
        old.replaced_by = new.spi_in
        _delete(sa, old)


def _carries_traffic(sa: IkeSa, old: ChildSa | None, rival: ChildSa | None) -> bool:
    """Return whether what the new one replaces is what we send on."""
    return any(one is not None and one.use is Use.IN_USE for one in (old, rival))


def _delete(sa: IkeSa, child: ChildSa) -> None:
    child.stage = Stage.DELETING
    sa.tasks.add(Task(Work.DELETE_CHILD, child.spi_in))


def _take_refusal(sa: IkeSa, offer: Offer, old: ChildSa | None, error: Notify, now: float) -> None:
    if old is None or old.stage is not Stage.REKEYING:
        _not_replaced(sa, old, now)
        return
    if old.replaced_by in sa.children:
        # The peer's own rekey has succeeded; ours is pointless.
        old.stage = Stage.REPLACED
        return
    old.stage = Stage.INSTALLED
    if negotiate.take_group(sa, offer, error) and begin(
        sa, old.spi_in, now, offer.tries + 1, is_plain=offer.is_plain
    ):
        return
    if error.type == NotifyType.CHILD_SA_NOT_FOUND:
        sa.take_down(old, reasons.from_notify(error.type, "our rekey"), now)
        sa.tasks.add(Task(Work.NEW_CHILD, slot=old.slot))
    elif negotiate.is_busy(error):
        _keep_busy(sa, old, now)
    elif not offer.is_plain:
        _refused(sa, old, negotiate.refused(sa.config, old.slot, error, "ESP rekey", old), now)
    else:
        _keep_refused(sa, old, now)


def _not_replaced(sa: IkeSa, old: ChildSa | None, now: float) -> None:
    """
    Do without what our rekey was to bring. What the peer has deleted meanwhile was sent on in the
    hope of that: now it is as after any Delete.
    """
    if old is None or old.stage is not Stage.LINGERING or old.replaced_by in sa.children:
        slots.plan_missing(sa, now)
        return
    assert sa.tunnel is not None
    old.down_reason = reasons.DELETED_BY_PEER
    sa.tunnel.stop_sending(sa.context, old, old.down_reason)
    slots.plan_after_delete(sa, old, old.down_reason, now)


def _refused(sa: IkeSa, old: ChildSa, reason: Reason, now: float) -> None:
    """
    Report a rekey that the peer refuses, and keep the old Child SA.

    If our configuration has changed, the peer's may have as well, but hold for new Child SAs only
    (strongSwan's does): ask for one that is not called a rekey.
    """
    assert sa.tunnel is not None
    informational.report(sa, reason)
    sa.tunnel.refused[Work.REKEY_CHILD] = reason
    if not (sa.is_outdated and begin(sa, old.spi_in, now, is_plain=True)):
        _keep_refused(sa, old, now)


def refused_pause_s(sa: IkeSa, refusals: int) -> float:
    """Return the seconds until a rekey is tried again that was refused `refusals` times before."""
    pause = min(REFUSED_FIRST_S * FACTOR ** min(refusals, 32), REFUSED_MOST_S)
    return pause * sa.context.jitter(1 - JITTER, 1 + JITTER)


def _keep_refused(sa: IkeSa, old: ChildSa | None, now: float) -> None:
    if old is None:
        slots.plan_missing(sa, now)
        return
    pause_s = refused_pause_s(sa, old.refusals)
    old.refusals += 1
    _keep_old(sa, old, now, (pause_s, pause_s))


def _keep_busy(sa: IkeSa, old: ChildSa | None, now: float) -> None:
    is_lost = old is not None and old.is_lost
    _keep_old(sa, old, now, BUSY_LOST_S if is_lost else BUSY_S)


def _keep_old(sa: IkeSa, old: ChildSa | None, now: float, pause_s: tuple[float, float]) -> None:
    """Go on with the old Child SA and try again later, unless the peer's rekey has replaced it."""
    if old is None or old.stage not in (Stage.REKEYING, Stage.INSTALLED):
        slots.plan_missing(sa, now)
        return
    if old.replaced_by in sa.children:
        old.stage = Stage.REPLACED
        return
    old.stage = Stage.INSTALLED
    old.rekey_at = now + sa.context.jitter(*pause_s)
