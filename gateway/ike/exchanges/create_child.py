"""
CREATE_CHILD_SA (RFC 7296 section 1.3): which of its three meanings a request has, and the plain
one, a new Child SA.

While the IKE SA is being rekeyed, or is replaced, or goes, everything here is answered with
TEMPORARY_FAILURE (section 2.25.2): the peer tries again, then on the IKE SA that is left.
"""

from __future__ import annotations

from gateway.errors import NoAdditionalSas, PeerError, TemporaryFailure
from gateway.ike import reasons, resources, slots
from gateway.ike.child import ChildSa, Stage
from gateway.ike.exchanges import followup, informational, negotiate, rekey_child, rekey_ike
from gateway.ike.exchanges.followup import Pending
from gateway.ike.exchanges.negotiate import Agreed, Seed
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Message
from gateway.ike.payloads import Nonce, SecurityAssociation
from gateway.ike.tasks import Task, Work
from gateway.ike.window import Request
from gateway.sa import Path
from gateway.secret import Secret

# What a peer says that takes no more Child SAs with the same selectors.
ENOUGH = frozenset({NotifyType.TS_MAX_QUEUE, NotifyType.NO_ADDITIONAL_SAS})


def answer_request(sa: IkeSa, request: Message, path: Path, now: float, digest: bytes) -> None:
    """Answer a CREATE_CHILD_SA request. Raises PeerError, and then nothing has changed."""
    first = request.one(SecurityAssociation).proposals[0]
    if not sa.is_usable:
        raise TemporaryFailure("the IKE SA is replaced or goes")
    if first.protocol == ProtocolId.IKE:
        rekey_ike.answer_request(sa, request, path, now, digest)
        return
    if sa.work is Work.REKEY_IKE:
        raise TemporaryFailure("the IKE SA is being rekeyed")
    if len(sa.children) >= sa.context.limits.children * len(sa.config.slots):
        raise NoAdditionalSas(f"{len(sa.children)} Child SAs")
    rekey = request.notify(NotifyType.REKEY_SA)
    if rekey is not None:
        rekey_child.answer_request(sa, request, rekey, path, now, digest)
    else:
        _answer_new(sa, request, path, now, digest)


def _answer_new(sa: IkeSa, request: Message, path: Path, now: float, digest: bytes) -> None:
    places = slots.for_peer(sa, is_resource=resources.is_named(request))
    agreed, answer = negotiate.choose(sa.config, request, places, with_group=True)
    if _has_crossed(sa, agreed, now):
        raise TemporaryFailure("our request for the same has been answered meanwhile")
    if followup.has_begun(sa) and sa.asks_for(agreed.slot):
        raise TemporaryFailure("our own request for the same has gone further")
    nonce_i = request.one(Nonce).value
    key_payloads, secrets = negotiate.answer_key_exchange(sa, agreed.suite, request)
    nonce_r = sa.context.random.bytes(negotiate.NONCE_LEN)
    spi_in = resources.take_spi(sa, agreed.slot)

    more = resources.take(sa, request, agreed.slot)

    def finish(secrets: tuple[Secret, ...], at: float) -> None:
        seed = Seed(nonce_i, nonce_r, secrets, initiated=False)
        negotiate.install(sa, agreed, spi_in, seed, at, use=False)
        slots.plan_missing(sa, at, wait_s=slots.PEER_BRINGS_S)

    lowest = min(nonce_i, nonce_r)
    pending = Pending(Work.NEW_CHILD, agreed.suite, secrets, lowest, finish, spi_in, agreed.slot)
    between = (Nonce(nonce_r), *key_payloads, *followup.enter(sa, pending, now))
    payloads = (*more, *negotiate.answer_payloads(agreed, answer, spi_in, between))
    sa.respond(request, payloads, path, now, digest)


def _has_crossed(sa: IkeSa, agreed: Agreed, now: float) -> bool:
    """
    Return whether the peer can have asked for this before it answered our request for the same,
    which is not IKE_AUTH.

    Only the peer knows both requests then, so that the rule of the lowest nonce would leave two.
    """
    since = max(now - sum(sa.config.timers.retransmit_after), sa.established_at)
    asked_for = [one for one in _same(sa, agreed) if one.lowest_nonce != sa.lowest_nonce]
    return any(one.initiated and one.is_live and one.up_at >= since for one in asked_for)


def _same(sa: IkeSa, one: Agreed | ChildSa) -> list[ChildSa]:
    """Return the Child SAs in the same slot with the same selectors."""
    wanted = one.slot, one.local_ts, one.remote_ts
    children = sa.children.values()
    return [child for child in children if (child.slot, child.local_ts, child.remote_ts) == wanted]


def begin_new(sa: IkeSa, slot: int, now: float, tries: int = 0) -> bool:
    """Ask for the Child SA of a slot, unless there is one; return whether a request went out."""
    if slot in slots.live(sa):
        return False
    offer, payloads = negotiate.make_offer(sa, slot, None, with_group=True, tries=tries)
    sa.deleted_early.clear()
    task = Task(Work.NEW_CHILD, slot=slot)
    payloads = (*resources.told(sa.config, slot), *payloads)
    sa.request(task, ExchangeType.CREATE_CHILD_SA, payloads, now, offer)
    return True


def receive_new(sa: IkeSa, request: Request, response: Message, now: float) -> None:
    """Take the answer to our request for a new Child SA."""
    offer, tunnel = request.offer, sa.tunnel
    assert offer is not None
    assert tunnel is not None
    error = negotiate.first_error(response)
    if error is not None:
        sa.context.spis.release(offer.spi_in)
        if negotiate.take_group(sa, offer, error):
            begin_new(sa, offer.slot, now, offer.tries + 1)
            return
        if sa.config.resource_of(offer.slot) and error.type in ENOUGH:
            resources.refused(sa)
            return
        if negotiate.is_busy(error) and offer.slot in slots.live(sa):
            return  # the peer's own request was first
        reason = negotiate.refused(sa.config, offer.slot, error, "ESP")
        informational.child_failed(sa, offer.slot, reason, now)
        return
    try:
        first = followup.first_answer(offer, response)
        agreed = negotiate.accept(offer, first, with_group=True)
        nonce_r = first.one(Nonce).value
        secrets = negotiate.finish_key_exchange(offer, agreed.suite, response)
        if not followup.is_complete(agreed.suite, secrets):
            if followup.yields(sa, Work.NEW_CHILD, offer.slot, min(offer.nonce, nonce_r)):
                sa.context.spis.release(offer.spi_in)
                slots.plan_missing(sa, now, (offer.slot,))
                return
            followup.ask(sa, request, response, agreed.suite, secrets, now)
            return
    except PeerError as problem:
        sa.tasks.add(Task(Work.DELETE_CHILD, offer.spi_in))
        reason = reasons.from_error(problem, "the answer to our Child SA")
        informational.child_failed(sa, offer.slot, reason, now)
        return
    if agreed.spi_out in sa.deleted_early:
        sa.context.spis.release(offer.spi_in)
        slots.plan_missing(sa, now)
        return
    seed = Seed(offer.nonce, nonce_r, secrets, initiated=True)
    use = offer.slot not in tunnel.in_use
    new = negotiate.install(sa, agreed, offer.spi_in, seed, now, use=use)
    _sort_twins(sa, new)
    resources.take(sa, first, offer.slot)
    slots.ask_for_missing(sa)


def _sort_twins(sa: IkeSa, new: ChildSa) -> None:
    """
    Delete what we have just made if the peer has asked for the same meanwhile, and ours has the
    lowest nonce: as with rekeys that collide (section 2.8.1). Otherwise the peer deletes the other.
    """
    twins = [one for one in _same(sa, new) if one.is_live]
    if any(new.lowest_nonce < twin.lowest_nonce for twin in twins):
        new.stage = Stage.DELETING
        sa.tasks.add(Task(Work.DELETE_CHILD, new.spi_in))
