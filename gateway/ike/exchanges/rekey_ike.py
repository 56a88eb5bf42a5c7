"""
Rekey of an IKE SA (RFC 7296 sections 1.3.2, 2.8, 2.18 and 2.25.2), from either end, and what
happens when both begin.

The new IKE SA has new SPIs and keys and empty windows; its original initiator is who initiated the
rekey. It takes over the Child SAs, and who initiated the rekey deletes the old one.

Both at once: an IKE SA made by the peer's request while ours is outstanding is a `rival`, parked
until our answer shows all four nonces. The IKE SA with the lowest nonce is redundant and deleted by
its initiator; the other takes over. If our answer is an error, or the peer deletes the old IKE SA
meanwhile, the rival takes over.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace as replace_fields

from gateway.errors import (
    InvalidKePayload,
    NoProposalChosen,
    PeerError,
    TemporaryFailure,
    WireError,
)
from gateway.ike import dh, reasons
from gateway.ike.child import Offer
from gateway.ike.dh import KeyPair
from gateway.ike.events import Reason
from gateway.ike.exchanges import followup, informational, negotiate
from gateway.ike.exchanges.followup import Pending
from gateway.ike.exchanges.groups import only, only_group
from gateway.ike.exchanges.rekey_child import BUSY_S, refused_pause_s
from gateway.ike.iana import ExchangeType, NotifyType, TransformType
from gateway.ike.ike_sa import IkeSa, Keys
from gateway.ike.keymat import rederive_ike
from gateway.ike.message import Message
from gateway.ike.payloads import KeyExchange, Nonce, Payload, SecurityAssociation
from gateway.ike.proposals import (
    IkeSuite,
    Proposal,
    check_answer_ike,
    groups_of,
    select_ike,
)
from gateway.ike.states import On, State
from gateway.ike.tasks import Task, Work
from gateway.ike.window import Request
from gateway.sa import Path
from gateway.secret import Secret

SPI_LEN = 8
BESIDE_S = (1.0, 3.0)  # until an IKE SA is begun beside one that the peer will not rekey
ABOUT_CHILDREN = frozenset({Work.DELETE_CHILD, Work.REKEY_CHILD, Work.NEW_CHILD})
REPLACED_S = (
    120.0  # a replaced IKE SA waits so long for the peer's Delete: longer than its retransmissions
)


# ---- responder ----


def answer_request(sa: IkeSa, request: Message, path: Path, now: float, digest: bytes) -> None:
    """Answer the rekey of this IKE SA. Raises PeerError, and then nothing has changed."""
    if sa.work in ABOUT_CHILDREN or sa.rival is not None:
        raise TemporaryFailure("an exchange about a Child SA is under way")
    if followup.has_begun(sa):
        raise TemporaryFailure("our own rekey of the IKE SA has gone further")
    offered = request.one(SecurityAssociation).proposals
    key_exchange, nonce_i = request.one(KeyExchange), request.one(Nonce).value
    suite, answer = _choose(sa, offered, key_exchange.group)
    if key_exchange.group != suite.group:
        raise InvalidKePayload(suite.group)
    spi_i = _peer_spi(offered, answer.number)
    private = sa.context.random.private_key(suite.group)
    public, shared = dh.answer(suite.group, key_exchange.public, private)
    nonces = nonce_i, sa.context.random.bytes(negotiate.NONCE_LEN)
    spis = spi_i, sa.context.new_ike_spi()

    def finish(secrets: tuple[Secret, ...], at: float) -> None:
        _make_for_peer(sa, suite, secrets, nonces, spis, at)

    followup.forget(sa, followup.rival(sa, Work.REKEY_IKE))
    pending = Pending(Work.REKEY_IKE, suite, (shared,), min(nonces), finish)
    payloads = (
        SecurityAssociation((answer.with_spi(spis[1]),)),
        Nonce(nonces[1]),
        KeyExchange(suite.group, public),
        *followup.enter(sa, pending, now),
    )
    sa.respond(request, payloads, path, now, digest)


def _make_for_peer(
    sa: IkeSa,
    suite: IkeSuite,
    secrets: tuple[Secret, ...],
    nonces: tuple[bytes, bytes],
    spis: tuple[bytes, bytes],
    now: float,
) -> None:
    """Make the IKE SA that the peer has asked for. Raises TemporaryFailure."""
    if sa.work in ABOUT_CHILDREN or spis[1] in sa.context.sas:
        raise TemporaryFailure("an exchange about a Child SA is under way")
    new = _successor(sa, suite, secrets, nonces, spis, False, now)
    if sa.work is Work.REKEY_IKE:
        sa.rival = new
        _establish(new, sa, now, parked=True)
    else:
        _establish(new, sa, now, parked=False)
        replace(sa, new, now)
        _bound_replaced(new, now)
    sa.context.count("rekey_ike.answered")


def _bound_replaced(new: IkeSa, now: float) -> None:
    """End the oldest of those that a peer has replaced and does not delete."""
    assert new.tunnel is not None
    replaced = [one for one in new.tunnel.sas if one.state is State.REKEYED]
    for one in replaced[: -new.context.limits.ike_sas_per_tunnel]:
        one.end(reasons.REKEYED, now)


def _choose(sa: IkeSa, offered: tuple[Proposal, ...], group: int) -> tuple[IkeSuite, Proposal]:
    """Return what to take: the PRF in use and the group of the key if that can be."""
    allowed = sa.config.ike_proposals
    same_prf = _of_prf_in_use(sa, offered)
    for some in (only_group(same_prf, group), same_prf, only_group(offered, group)):
        with contextlib.suppress(NoProposalChosen):
            return select_ike(some, allowed)
    return select_ike(offered, allowed)


def _of_prf_in_use(sa: IkeSa, proposals: tuple[Proposal, ...]) -> tuple[Proposal, ...]:
    """
    Return the proposals with the PRF that the IKE SA has.

    With another one the new keys are of the new PRF (section 2.18), but strongSwan's of the old:
    such a rekey makes an IKE SA on which the two do not understand each other.
    """
    assert sa.suite is not None
    return only(proposals, TransformType.PRF, sa.suite.prf)


def _peer_spi(proposals: tuple[Proposal, ...], number: int) -> bytes:
    for at, one in enumerate(proposals, 1):
        if (one.number or at) == number:
            if len(one.spi) == SPI_LEN and any(one.spi):
                return one.spi
            raise WireError(f"IKE proposal {number}: SPI {one.spi.hex()}")
    raise WireError(f"no IKE proposal {number}")


# ---- initiator ----


def begin(sa: IkeSa, now: float, tries: int = 0) -> bool:
    """Ask to rekey this IKE SA; return whether a request went out."""
    if not sa.is_usable:
        return False
    proposals, random = _offered(sa), sa.context.random
    if not proposals:
        _begin_beside(sa, now)
        return False
    groups = groups_of(proposals)
    group = sa.ke_group if sa.ke_group in groups else _first_group(sa, groups)
    key_pair = KeyPair.generate(group, random.private_key(group))
    spi, nonce = sa.context.new_ike_spi(), random.bytes(negotiate.NONCE_LEN)
    offer = Offer(spi, nonce, proposals, key_pair, tries=tries)
    payloads: tuple[Payload, ...] = (
        SecurityAssociation(tuple(one.with_spi(spi) for one in proposals)),
        Nonce(nonce),
        KeyExchange(group, key_pair.public),
    )
    sa.request(Task(Work.REKEY_IKE), ExchangeType.CREATE_CHILD_SA, payloads, now, offer)
    return True


def _offered(sa: IkeSa) -> tuple[Proposal, ...]:
    """Return what we ask for: the PRF in use alone, unless only the peer can begin a new IKE SA."""
    proposals = sa.config.ike_proposals
    same_prf = tuple(replace_fields(one, number=0) for one in _of_prf_in_use(sa, proposals))
    return same_prf if same_prf or sa.config.remote is not None else proposals


def _begin_beside(sa: IkeSa, now: float) -> None:
    """Have a new IKE SA take over, since a rekey can not give what is wanted now."""
    tunnel = sa.tunnel
    assert tunnel is not None
    reason = reasons.no_proposal(sa.config.ike_proposals, None, "IKE rekey", str(sa.suite))
    tunnel.refused[Work.REKEY_IKE] = reason
    tunnel.beside_at = min(tunnel.beside_at, now)
    sa.rekey_at = now + refused_pause_s(sa, sa.refusals)
    sa.refusals += 1


def _first_group(sa: IkeSa, groups: tuple[int, ...]) -> int:
    """
    Return the group in use, which the peer is known to take, if it is still allowed; but the best
    one where the proposals have changed.
    """
    if sa.suite is not None and sa.suite.group in groups and not sa.is_outdated:
        return int(sa.suite.group)
    return groups[0]


def receive_response(sa: IkeSa, request: Request, response: Message, now: float) -> None:
    """Take the answer to our rekey."""
    offer, rival = request.offer, sa.rival
    assert offer is not None
    sa.rival = None
    if rival is not None and rival.state is not State.ESTABLISHED:
        rival = None  # the peer has found it redundant already
    error = negotiate.first_error(response)
    if error is not None:
        if rival is not None:
            replace(sa, rival, now)
        elif negotiate.take_group(sa, offer, error) and begin(sa, now, offer.tries + 1):
            pass
        elif negotiate.is_busy(error):
            sa.rekey_at = now + sa.context.jitter(*BUSY_S)
        elif sa.is_usable:
            _take_refusal(sa, error.type, now)
        return
    try:
        new = _take_answer(sa, request, response, rival, now)
    except PeerError as problem:
        # The peer holds an IKE SA that we cannot compute: nothing but a new beginning helps.
        reason = reasons.from_error(problem, "the answer to our rekey of the IKE SA")
        sa.rival = rival  # goes with it
        informational.close(sa, reason, now)
        return
    if new is not None:
        sa.context.count("rekey_ike.done")
        _resolve(sa, new, rival, now)


def _take_refusal(sa: IkeSa, notify: int, now: float) -> None:
    reason = reasons.from_notify(notify, "our rekey of the IKE SA")
    if notify == NotifyType.NO_PROPOSAL_CHOSEN:
        proposals = sa.config.ike_proposals
        reason = reasons.no_proposal(proposals, None, "IKE rekey", str(sa.suite))
    informational.report(sa, reason)
    tunnel = sa.tunnel
    assert tunnel is not None
    tunnel.refused[Work.REKEY_IKE] = reason
    if sa.is_outdated and tunnel.config.remote is not None:
        # The peer's configuration may have changed as well, but hold for new IKE SAs only.
        tunnel.beside_at = min(tunnel.beside_at, now + sa.context.jitter(*BESIDE_S))
    sa.rekey_at = now + refused_pause_s(sa, sa.refusals)
    sa.refusals += 1


def _take_answer(
    sa: IkeSa, request: Request, response: Message, rival: IkeSa | None, now: float
) -> IkeSa | None:
    """Return the new IKE SA; None if more key exchanges are to be made, or the peer's is better."""
    offer = request.offer
    assert offer is not None
    first = followup.first_answer(offer, response)
    answer = first.one(SecurityAssociation).proposals
    suite = check_answer_ike(answer, offer.proposals)
    spi_r, nonce_r = _peer_spi(answer, answer[0].number or 1), first.one(Nonce).value
    secrets = negotiate.finish_key_exchange(offer, suite, response)
    if not followup.is_complete(suite, secrets):
        if sa.is_usable and not _yields(sa, min(offer.nonce, nonce_r), rival, now):
            followup.ask(sa, request, response, suite, secrets, now)
            sa.rival = rival
        return None
    return _successor(sa, suite, secrets, (offer.nonce, nonce_r), (offer.spi, spi_r), True, now)


def _yields(sa: IkeSa, lowest_nonce: bytes, rival: IkeSa | None, now: float) -> bool:
    """
    Return whether our rekey loses against the peer's, which is then done, or waited for. If it
    wins, the peer goes no further with its own.
    """
    if rival is not None and lowest_nonce < rival.lowest_nonce:
        replace(sa, rival, now)
        return True
    if followup.yields(sa, Work.REKEY_IKE, 0, lowest_nonce):
        sa.rekey_at = now + sa.context.jitter(*BUSY_S)
        return True
    return False


def _resolve(sa: IkeSa, new: IkeSa, rival: IkeSa | None, now: float) -> None:
    """Decide which IKE SA takes over, and delete the one that is ours to delete."""
    # If it was closed while we waited, the peer has moved on to the new one: close that too.
    if sa.state is State.CLOSING or _yields(sa, new.lowest_nonce, rival, now):
        _establish(new, sa, now, parked=True)
        informational.close(new, reasons.REDUNDANT, now)
        return
    if rival is not None:
        rival.expire_at = now + REPLACED_S
    _establish(new, sa, now, parked=False)
    replace(sa, new, now)
    informational.close(sa, reasons.REKEYED, now)
    if new.has_tokens:
        new.tasks.add(Task(Work.LIVENESS))  # carries the tokens of the new SPIs


# ---- the new IKE SA ----


def _successor(
    sa: IkeSa,
    suite: IkeSuite,
    secrets: tuple[Secret, ...],
    nonces: tuple[bytes, bytes],
    spis: tuple[bytes, bytes],
    initiated: bool,
    now: float,
) -> IkeSa:
    """Return the new IKE SA with its keys (section 2.18), in no table yet."""
    assert sa.suite is not None
    assert sa.keys is not None
    keys = rederive_ike(suite, sa.suite.prf, sa.keys.secrets.sk_d, secrets, *nonces, *spis)
    new = IkeSa(sa.context, sa.path, initiated, *spis, now, sa.candidates)
    new.suite, new.keys = suite, Keys.of(suite, keys, initiated)
    new.nonce_i, new.nonce_r = nonces
    new.has_tokens, new.is_mobile = sa.has_tokens, sa.is_mobile
    new.redirected_from = sa.redirected_from
    new.birth, new.has_ppk, new.reauth_at = sa.birth, sa.has_ppk, sa.reauth_at
    new.is_post_quantum = sa.is_post_quantum or suite.is_post_quantum
    new.peer_id, new.nat, new.fragmentation = sa.peer_id, sa.nat, sa.fragmentation
    return new


def _establish(new: IkeSa, old: IkeSa, now: float, *, parked: bool) -> None:
    assert old.tunnel is not None
    new.is_parked = parked
    new.context.sas[new.own_spi] = new
    new.establish(On.REKEY_MADE, old.tunnel, now, old.spi_i)


def replace(old: IkeSa, new: IkeSa, now: float) -> None:
    """Let `new` take over from `old`: the Child SAs, and what was to be done about them."""
    if new.is_parked:
        new.is_parked = False
        new.announce(old.spi_i)
    new.children, old.children = old.children, {}
    for task in old.tasks.clear():
        if task.work in ABOUT_CHILDREN:
            new.tasks.add(task)
    new.child_at, new.child_attempts = old.child_at, old.child_attempts
    new.resources_most = old.resources_most
    old.child_at, old.child_attempts = {}, {}
    old.rival = None
    followup.forget_all(old)
    if new.tunnel is not None:
        new.tunnel.refused.pop(Work.REKEY_IKE, None)
    if old.state is State.ESTABLISHED:
        old.move(On.REPLACED)
        old.expire_at = now + REPLACED_S


def end(sa: IkeSa, reason: Reason, now: float) -> None:
    """
    End an IKE SA; if the peer has made its successor meanwhile, that takes over and nothing else
    changes.
    """
    yield_to_rival(sa, now)
    sa.end(reasons.REKEYED if sa.state is State.REKEYED else reason, now)


def yield_to_rival(sa: IkeSa, now: float) -> None:
    """Let the successor that the peer has made meanwhile, if any, take over."""
    rival = sa.rival
    if rival is not None and rival.state is State.ESTABLISHED and sa.state is State.ESTABLISHED:
        replace(sa, rival, now)
