"""
IKE_SA_INIT (RFC 7296 section 1.2): both roles, with COOKIE (2.6), INVALID_KE_PAYLOAD (1.2) and NAT
detection (2.23).

Nothing here is authenticated. An error in the clear may be forged, so it is remembered and believed
only when the retransmission timer fires without a better answer (section 2.21.1); a request that is
sent again, changed, leaves the earlier one answerable.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import InvalidKePayload, NoProposalChosen, WireError
from gateway.ike import dh, reasons
from gateway.ike.config import Encap, TunnelConfig
from gateway.ike.context import Context
from gateway.ike.dh import KeyPair, supported_groups
from gateway.ike.drops import DropReason
from gateway.ike.exchanges import intermediate, nat_check, proof, redirect, refusal
from gateway.ike.exchanges.groups import only_group
from gateway.ike.further import Further
from gateway.ike.iana import CertEncoding, ExchangeType, NotifyType
from gateway.ike.ike_sa import IkeSa, InitAttempt, Keys, Unfinished
from gateway.ike.keymat import derive_ike
from gateway.ike.message import Message, serialise_clear
from gateway.ike.payloads import (
    CertificateRequest,
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    SecurityAssociation,
    VendorId,
)
from gateway.ike.proposals import (
    IkeSuite,
    Proposal,
    check_answer_ike,
    groups_of,
    has_further,
    select_ike,
    without_further,
)
from gateway.ike.states import On, State
from gateway.ike.tasks import Task, Work
from gateway.ike.tunnel import Tunnel
from gateway.ike.window import Request, digest
from gateway.sa import IKE_PORT, NAT_T_PORT, Path

NONCE_LEN = 32  # at least half of the largest PRF key; and VPP answers with a nonce as long as ours
MOST_RESTARTS = 5  # cookie and group, each twice, and one more
CHILDLESS_LEN = 8  # of a notify without data
REQUEST_LEN = 5  # of a CERTREQ without its hashes


# ---- initiator ----


def begin(context: Context, tunnel: Tunnel, now: float) -> IkeSa:
    """
    Send IKE_SA_INIT to a tunnel's peer and return the new IKE SA. The tunnel's remote address is
    known.
    """
    config = tunnel.config
    remote, redirected_from = redirect.target(tunnel)
    # A peer on another port than 500 is spoken to from the NAT-T port from the start.
    port = IKE_PORT if config.remote_ike_port == IKE_PORT else NAT_T_PORT
    path = Path(config.local, port, remote, config.remote_ike_port)
    sa = IkeSa(context, path, True, context.new_ike_spi(), bytes(8), now, (tunnel,))
    sa.nonce_i, sa.redirected_from = context.random.bytes(NONCE_LEN), redirected_from
    sa.attempt = InitAttempt(config.ike_proposals, _invented_source(context, config.encap))
    sa.move(On.INITIATE)
    context.sas[sa.spi_i] = sa
    tunnel.attempt = sa
    _send(sa, sa.attempt, groups_of(config.ike_proposals)[0], now)
    return sa


def _invented_source(context: Context, encap: Encap) -> bytes | None:
    return context.random.bytes(nat_check.HASH_LEN) if encap is Encap.PREFER else None


def _send(sa: IkeSa, attempt: InitAttempt, group: int, now: float) -> None:
    if group not in attempt.key_pairs:
        private = sa.context.random.private_key(group)
        attempt.key_pairs[group] = KeyPair.generate(group, private)
    payloads: list[Payload] = []
    if attempt.cookie:
        payloads.append(Notify(NotifyType.COOKIE, attempt.cookie))
    payloads += [
        SecurityAssociation(attempt.proposals),
        KeyExchange(group, attempt.key_pairs[group].public),
        Nonce(sa.nonce_i),
        *nat_check.notifies(sa.spi_i, bytes(8), sa.path, attempt.source_hash),
        Notify(NotifyType.FRAGMENTATION_SUPPORTED),
    ]
    if has_further(attempt.proposals):
        payloads.append(Notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED))
    if sa.config.ppk is not None:
        payloads.append(Notify(NotifyType.USE_PPK))
    payloads += proof.announce([sa.config])
    payloads += redirect.announce(sa)
    payloads += _room_for_answer(sa.config)
    whole = sa.message(ExchangeType.IKE_SA_INIT, 0, tuple(payloads), False)
    datagram = serialise_clear(whole)
    attempt.requests[group] = datagram
    sa.pending_error = None  # what made us send again was a better answer than it
    schedule = sa.config.timers.retransmit_after
    request = Request(
        0, ExchangeType.IKE_SA_INIT, (datagram,), Task(Work.INIT, group), schedule, now
    )
    if sa.window.outstanding is None:
        sa.window.open(request)
    else:
        sa.window.replace(request)
    sa.trace(whole, sa.path, is_sent=True)
    sa.send((datagram,), sa.path, now)
    sa.context.count("out.request.ike_sa_init")


def _room_for_answer(config: TunnelConfig) -> tuple[Payload, ...]:
    """
    Return a payload that means nothing and is as long as what only the answer will have.

    A responder that does not know yet whether we are where we say answers with no more bytes than
    we send, or asks for a cookie first.
    """
    room = CHILDLESS_LEN if config.childless else 0
    room += sum(len(one.value) + REQUEST_LEN for one in proof.ask([config]))
    return (VendorId(bytes(room)),) if room else ()


def receive_response(sa: IkeSa, message: Message, datagram: bytes, path: Path, now: float) -> None:
    """Take an answer to our IKE_SA_INIT. Whatever is wrong with it is dropped: it may be forged."""
    attempt = sa.attempt
    if attempt is None or message.message_id != 0:
        sa.drop(DropReason.UNEXPECTED_RESPONSE, path)
        return
    cookie = message.notify(NotifyType.COOKIE)
    wrong_group = message.notify(NotifyType.INVALID_KE_PAYLOAD)
    if message.maybe(SecurityAssociation) is not None:
        _take_answer(sa, attempt, message, datagram, path, now)
    elif cookie is not None:
        _retry_with_cookie(sa, attempt, cookie.data, path, now)
    elif wrong_group is not None:
        _retry_with_group(sa, attempt, wrong_group.data, path, now)
    else:
        _remember_error(sa, message, path, now)


def _retry_with_cookie(
    sa: IkeSa, attempt: InitAttempt, cookie: bytes, path: Path, now: float
) -> None:
    if cookie == attempt.cookie:
        sa.drop(DropReason.REFUSED, path)
        return
    if _may_restart(sa, attempt, path):
        attempt.cookie = cookie
        # The responder kept nothing of earlier requests, so no earlier one can be answered.
        group = sa.window.outstanding.task.spi if sa.window.outstanding else 0
        attempt.requests.clear()
        sa.move(On.INIT_RETRY)
        _send(sa, attempt, group, now)


def _retry_with_group(
    sa: IkeSa, attempt: InitAttempt, wanted: bytes, path: Path, now: float
) -> None:
    group = int.from_bytes(wanted, "big") if len(wanted) == 2 else 0
    if group not in groups_of(attempt.proposals) or group not in supported_groups():
        sa.pending_error = reasons.wrong_group(attempt.proposals, group)
        sa.drop(DropReason.UNPROTECTED_ERROR, path)
        return
    outstanding = sa.window.outstanding
    is_same = outstanding is not None and outstanding.task.spi == group
    if is_same:
        return
    if _may_restart(sa, attempt, path):
        sa.move(On.INIT_RETRY)
        _send(sa, attempt, group, now)
    else:
        sa.pending_error = reasons.other_groups(attempt.proposals, group)


def _may_restart(sa: IkeSa, attempt: InitAttempt, path: Path) -> bool:
    attempt.restarts += 1
    if attempt.restarts > MOST_RESTARTS:
        sa.drop(DropReason.UNPROTECTED_ERROR, path)
        return False
    return True


def _remember_error(sa: IkeSa, message: Message, path: Path, now: float) -> None:
    errors = [one.type for one in message.all(Notify) if one.type < NotifyType.INITIAL_CONTACT]
    sent_on = message.notify(NotifyType.REDIRECT)
    if sent_on is not None:
        redirect.in_init(sa, sent_on, now)
        if sa.state is State.CLOSED:
            return
    elif errors:
        sa.pending_error = reasons.from_notify(errors[0], "IKE_SA_INIT")
        if errors[0] == NotifyType.NO_PROPOSAL_CHOSEN and sa.attempt is not None:
            sa.pending_error = reasons.no_proposal(sa.attempt.proposals, None, "IKE")
    sa.drop(DropReason.UNPROTECTED_ERROR, path)


def _take_answer(
    sa: IkeSa, attempt: InitAttempt, message: Message, datagram: bytes, path: Path, now: float
) -> None:
    answer = message.one(SecurityAssociation).proposals
    key_exchange = message.one(KeyExchange)
    nonce_r = message.one(Nonce).value
    try:
        suite = check_answer_ike(answer, attempt.proposals)
    except NoProposalChosen:
        sa.pending_error = reasons.no_proposal(attempt.proposals, answer, "IKE")
        raise
    if not any(message.spi_r) or key_exchange.group != suite.group:
        raise WireError(f"answer with KE of group {key_exchange.group} for {suite}")
    if suite.further and message.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is None:
        raise WireError(f"answer with {suite} and without INTERMEDIATE_EXCHANGE_SUPPORTED")
    peer_uses_ppk = message.notify(NotifyType.USE_PPK) is not None
    if sa.config.ppk is not None and sa.config.ppk.is_required and not peer_uses_ppk:
        sa.pending_error = reasons.no_ppk(refusal.ppk_text(sa.config.ppk))
        raise WireError("answer without USE_PPK")
    request = attempt.requests.get(key_exchange.group)
    if request is None or nonce_r == sa.nonce_i:
        sa.drop(DropReason.REFLECTED, path)
        return
    shared = attempt.key_pairs[key_exchange.group].shared(key_exchange.public)
    secrets = derive_ike(suite, shared, sa.nonce_i, nonce_r, sa.spi_i, message.spi_r)

    # Nothing above this line changed `sa` but what a forged message may.
    sa.spi_r, sa.suite, sa.nonce_r = message.spi_r, suite, nonce_r
    sa.keys = Keys.of(suite, secrets, original_initiator=True)
    sa.init_request, sa.init_response = request, datagram
    sa.fragmentation = message.notify(NotifyType.FRAGMENTATION_SUPPORTED) is not None
    sa.nat = nat_check.read(message, path, attempt.source_hash is not None)
    sa.further = Further(suite.further)
    sa.peer_uses_ppk = peer_uses_ppk and sa.config.ppk is not None
    sa.peer_hashes = proof.hashes_of(message)
    sa.peer_is_childless = message.notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED) is not None
    sa.attempt, sa.pending_error = None, None
    sa.window.close()
    if sa.config.encap is Encap.NEVER and sa.nat.is_between:
        sa.fail(reasons.unwanted_nat("before us" if sa.nat.local else "before the peer"), now)
        return
    _float(sa)
    intermediate.proceed(sa, now)


def _float(sa: IkeSa) -> None:
    """
    Move to port 4500 where ESP will be in UDP (RFC 7296 section 2.23), whatever port answered.
    """
    if sa.nat.udp_encap and sa.path.remote_port == IKE_PORT:
        sa.path = Path(sa.path.local, NAT_T_PORT, sa.path.remote, NAT_T_PORT)


# ---- responder ----


@dataclass(frozen=True, slots=True)
class Knock:
    """A request that may come in; `has_cookie`: its sender has shown that it gets our answers."""

    message: Message
    datagram: bytes
    path: Path
    has_cookie: bool


class AnswerTooLong(Exception):
    """The answer would be longer than the request of who may not be where it says."""


def answer_request(
    context: Context, tunnels: tuple[Tunnel, ...], knock: Knock, now: float
) -> IkeSa:
    """
    Answer an IKE_SA_INIT request and return the half-open IKE SA.

    `tunnels` are those that the addresses allow, best first. Raises PeerError or AnswerTooLong, and
    then nothing has changed.
    """
    message, path = knock.message, knock.path
    offered = message.one(SecurityAssociation).proposals
    if message.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is None:
        offered = without_further(offered)
    key_exchange = message.one(KeyExchange)
    nonce_i = message.one(Nonce).value
    candidates, suite, answer = _choose(offered, tunnels, key_exchange.group)
    if key_exchange.group != suite.group:
        raise InvalidKePayload(suite.group)
    sa = IkeSa(context, path, False, message.spi_i, context.new_ike_spi(), now, candidates)
    sa.suite, sa.nonce_i, sa.nonce_r = suite, nonce_i, context.random.bytes(NONCE_LEN)
    sa.further = Further(suite.further)
    sa.fragmentation = message.notify(NotifyType.FRAGMENTATION_SUPPORTED) is not None
    # Which tunnel it is, and so which key, shows only by the identity.
    has_ppk = any(one.config.ppk is not None for one in candidates)
    sa.peer_uses_ppk = has_ppk and message.notify(NotifyType.USE_PPK) is not None
    sa.peer_hashes = proof.hashes_of(message)
    source_hash = _invented_source(context, sa.config.encap)
    sa.nat = nat_check.read(message, path, source_hash is not None)
    sa.init_request, sa.init_answer, sa.init_source = knock.datagram, answer, path
    rest = _fitting(sa, answer, knock, _after_keys(sa, source_hash))
    dh.check(suite.group, key_exchange.public)
    key_pair = KeyPair.generate(suite.group, context.random.private_key(suite.group))
    sa.unfinished = Unfinished(key_pair, key_exchange.public)
    whole = _response(sa, answer, key_pair.public, rest)
    sa.init_response = serialise_clear(whole)
    sa.expire_at = now + sa.config.timers.half_open
    sa.move(On.INIT_REQUEST)
    context.sas[sa.spi_r] = sa
    sa.window.answer(digest(knock.datagram), (sa.init_response,))
    sa.trace(whole, path, is_sent=True)
    sa.send((sa.init_response,), path, now)
    context.count("out.response.ike_sa_init")
    return sa


def finish_keys(sa: IkeSa) -> Keys:
    """
    Return the keys, computed when the first message needs them: who sends IKE_SA_INIT and no more
    costs our own value of the key exchange, and not the secret as well.
    """
    if sa.unfinished is not None:
        assert sa.suite is not None
        shared = sa.unfinished.key_pair.shared(sa.unfinished.peer)
        secrets = derive_ike(sa.suite, shared, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r)
        sa.keys, sa.unfinished = Keys.of(sa.suite, secrets, original_initiator=False), None
    assert sa.keys is not None
    return sa.keys


def _response(sa: IkeSa, answer: Proposal, public: bytes, rest: tuple[Payload, ...]) -> Message:
    assert sa.suite is not None
    key_exchange = KeyExchange(sa.suite.group, public)
    payloads = (SecurityAssociation((answer,)), key_exchange, Nonce(sa.nonce_r), *rest)
    return sa.message(ExchangeType.IKE_SA_INIT, 0, payloads, True)


def _fitting(
    sa: IkeSa, answer: Proposal, knock: Knock, rest: tuple[Payload, ...]
) -> tuple[Payload, ...]:
    """
    Return what follows the keys in a response that is no longer than the request, if need be
    without what the peer can do without; all of it for who has shown a cookie.

    Raises AnswerTooLong.
    """
    if knock.has_cookie:
        return rest
    public = knock.message.one(KeyExchange).public  # as long as ours will be
    for some in (rest, tuple(one for one in rest if not _can_be_spared(one))):
        if len(serialise_clear(_response(sa, answer, public, some))) <= len(knock.datagram):
            return some
    raise AnswerTooLong


def _can_be_spared(payload: Payload) -> bool:
    match payload:
        case Notify():
            return payload.type == NotifyType.CHILDLESS_IKEV2_SUPPORTED
        case CertificateRequest():
            return payload.encoding == CertEncoding.RAW_PUBLIC_KEY
        case _:
            return False


def _after_keys(sa: IkeSa, source_hash: bytes | None) -> tuple[Payload, ...]:
    payloads: list[Payload] = []
    if sa.nat.supported:
        payloads += nat_check.notifies(sa.spi_i, sa.spi_r, sa.path, source_hash)
    if sa.fragmentation:
        payloads.append(Notify(NotifyType.FRAGMENTATION_SUPPORTED))
    if sa.further.waiting:
        payloads.append(Notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED))
    if sa.peer_uses_ppk:
        payloads.append(Notify(NotifyType.USE_PPK))
    configs = [one.config for one in sa.candidates]
    if sa.peer_hashes:
        payloads += proof.announce(configs)
    return (*payloads, Notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED), *proof.ask(configs))


def _choose(
    offered: tuple[Proposal, ...], tunnels: tuple[Tunnel, ...], group: int
) -> tuple[tuple[Tunnel, ...], IkeSuite, Proposal]:
    """Return the tunnels that the first acceptable suite fits, the suite, and the answer."""
    first_error: NoProposalChosen | None = None
    for at, tunnel in enumerate(tunnels):
        try:
            suite, answer = select_with_group(offered, tunnel.config.ike_proposals, group)
        except NoProposalChosen as error:
            first_error = first_error or error
            continue
        return tunnels[at:], suite, answer
    assert first_error is not None
    raise first_error


def select_with_group(
    offered: tuple[Proposal, ...], allowed: tuple[Proposal, ...], group: int
) -> tuple[IkeSuite, Proposal]:
    """
    Select as `select_ike`, but with the group of the KE payload if any choice allows it: it saves a
    round trip.
    """
    try:
        return select_ike(only_group(offered, group), allowed)
    except NoProposalChosen:
        return select_ike(offered, allowed)
