"""
What every exchange that makes a Child SA has in common: the offer, the choice, the keys (RFC 7296
sections 2.9, 2.17).

In IKE_AUTH there is no key exchange and no nonce of its own; in CREATE_CHILD_SA there are both, the
key exchange where the proposals have groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.errors import InvalidKePayload, NoProposalChosen, PeerError, TsUnacceptable, WireError
from gateway.ike import dh, reasons, resources
from gateway.ike.child import ChildSa, Fresh, Lifespan, Offer, draw_limits, esp_pair
from gateway.ike.config import TunnelConfig
from gateway.ike.dh import KeyPair, supported_groups
from gateway.ike.events import Reason
from gateway.ike.exchanges.groups import only_group
from gateway.ike.iana import NotifyType, ProtocolId
from gateway.ike.ike_sa import IkeSa
from gateway.ike.keymat import derive_child
from gateway.ike.message import Message
from gateway.ike.payloads import (
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    SecurityAssociation,
    TrafficSelectorsI,
    TrafficSelectorsR,
)
from gateway.ike.proposals import (
    EspSuite,
    IkeSuite,
    Proposal,
    check_answer_esp,
    groups_of,
    select_esp,
)
from gateway.ike.selectors import SELECTORS_MAX, is_subset, narrow
from gateway.ike.tasks import Work
from gateway.sa import TrafficSelector
from gateway.secret import Secret

NONCE_LEN = 32
MOST_GROUP_TRIES = 3  # INVALID_KE_PAYLOAD answers to one exchange that we follow
FIRST_PEER_SPI = 256  # 1 to 255 are reserved (RFC 4303 section 2.1)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both ends agreed on for a Child SA, as seen from this end."""

    suite: EspSuite
    spi_out: int
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]
    slot: int


def make_offer(
    sa: IkeSa, slot: int, replaces: ChildSa | None, *, with_group: bool, tries: int = 0
) -> tuple[Offer, tuple[Payload, ...]]:
    """
    Return an offer for the Child SA of a slot and the payloads that carry it, `Nonce` and KE
    included if `with_group`.

    A rekey offers the selectors in force first and then what else is configured, so that the new
    Child SA covers the old one whatever the peer makes of it (section 2.9.2). What is configured no
    more is not offered.
    """
    random = sa.context.random
    proposals, selectors = sa.config.esp_proposals, sa.config.selectors_of(slot)
    key_pair = None
    if with_group:
        groups = groups_of(proposals)
        if groups:
            group = sa.ke_group if sa.ke_group in groups else groups[0]
            assert group is not None
            key_pair = KeyPair.generate(group, random.private_key(group))
    else:
        proposals = tuple(dict.fromkeys(one.without_group() for one in proposals))
    offer = Offer(
        resources.take_spi(sa, slot).to_bytes(4, "big"),
        random.bytes(NONCE_LEN) if with_group else b"",
        proposals,
        key_pair,
        _wider(replaces.local_ts if replaces else (), selectors.local),
        _wider(replaces.remote_ts if replaces else (), selectors.remote),
        tries,
        slot,
    )
    return offer, _offer_payloads(offer)


def _wider(
    installed: tuple[TrafficSelector, ...], configured: tuple[TrafficSelector, ...]
) -> tuple[TrafficSelector, ...]:
    kept = tuple(one for one in installed if is_subset((one,), configured))
    return kept + tuple(one for one in configured if one not in kept)


def _offer_payloads(offer: Offer) -> tuple[Payload, ...]:
    payloads: list[Payload] = [
        SecurityAssociation(tuple(one.with_spi(offer.spi) for one in offer.proposals))
    ]
    if offer.nonce:
        payloads.append(Nonce(offer.nonce))
    if offer.key_pair is not None:
        payloads.append(KeyExchange(offer.key_pair.group, offer.key_pair.public))
    payloads += [TrafficSelectorsI(offer.local_ts), TrafficSelectorsR(offer.remote_ts)]
    return tuple(payloads)


def choose(
    config: TunnelConfig, request: Message, slots: Iterable[int], *, with_group: bool
) -> tuple[Agreed, Proposal]:
    """
    Return what we accept of the peer's offer, and the proposal to answer with, without SPI.

    The offer is narrowed to the first of `slots` that it has something in common with. Raises
    NoProposalChosen, TsUnacceptable, WireError.
    """
    offered = request.one(SecurityAssociation).proposals
    key_exchange = request.maybe(KeyExchange)
    ts_i = request.one(TrafficSelectorsI).selectors
    ts_r = request.one(TrafficSelectorsR).selectors
    suite, answer = _select(offered, config.esp_proposals, key_exchange, with_group)
    spi_out = _peer_spi(offered, answer.number)
    refused_: TsUnacceptable | None = None
    for slot in slots:
        allowed = config.selectors_of(slot)
        try:
            sides = narrow(ts_r, allowed.local), narrow(ts_i, allowed.remote)
        except TsUnacceptable as error:
            refused_ = refused_ or error
        else:
            return Agreed(suite, spi_out, *sides, slot), answer
    raise refused_ or TsUnacceptable("no slot")


def _select(
    offered: tuple[Proposal, ...],
    allowed: tuple[Proposal, ...],
    key_exchange: KeyExchange | None,
    with_group: bool,
) -> tuple[EspSuite, Proposal]:
    if with_group and key_exchange is not None:
        try:
            preferred = only_group(offered, key_exchange.group)
            return select_esp(preferred, allowed, want_group=True)
        except NoProposalChosen:
            pass
    return select_esp(offered, allowed, want_group=with_group)


def _peer_spi(offered: tuple[Proposal, ...], number: int) -> int:
    """Return the SPI of the proposal with this number (0: by position)."""
    for at, one in enumerate(offered, 1):
        if (one.number or at) == number:
            spi = int.from_bytes(one.spi, "big")
            if len(one.spi) == 4 and spi >= FIRST_PEER_SPI:
                return spi
            raise WireError(f"ESP proposal {number}: SPI {one.spi.hex()}")
    raise WireError(f"no ESP proposal {number}")


def answer_payloads(
    agreed: Agreed, answer: Proposal, spi_in: int, between: tuple[Payload, ...] = ()
) -> tuple[Payload, ...]:
    """
    Return the payloads that accept an offer; `between` are nonce and KE. The peer initiated: TSi is
    its side.
    """
    return (
        SecurityAssociation((answer.with_spi(spi_in.to_bytes(4, "big")),)),
        *between,
        TrafficSelectorsI(agreed.remote_ts),
        TrafficSelectorsR(agreed.local_ts),
    )


def accept(offer: Offer, response: Message, *, with_group: bool) -> Agreed:
    """
    Return what the peer made of our offer.

    Raises NoProposalChosen for a transform we did not offer, TsUnacceptable for selectors beyond
    ours, WireError.
    """
    answer = response.one(SecurityAssociation).proposals
    suite = check_answer_esp(answer, offer.proposals, want_group=with_group)
    ts_i = response.one(TrafficSelectorsI).selectors
    ts_r = response.one(TrafficSelectorsR).selectors
    if (
        not 1 <= len(ts_i) <= SELECTORS_MAX
        or not 1 <= len(ts_r) <= SELECTORS_MAX
        or not is_subset(ts_i, offer.local_ts)
        or not is_subset(ts_r, offer.remote_ts)
    ):
        raise TsUnacceptable(
            f"the answer is no part of our offer, or too many parts: {reasons.selectors_text(ts_i)}"
            f" === {reasons.selectors_text(ts_r)}"
        )
    return Agreed(suite, _peer_spi(answer, answer[0].number or 1), ts_i, ts_r, offer.slot)


def answer_key_exchange(
    sa: IkeSa, suite: EspSuite, request: Message
) -> tuple[tuple[Payload, ...], tuple[Secret, ...]]:
    """
    Return our KE payload and the shared secret, nothing for a suite without group.

    Raises InvalidKePayload if the peer guessed another group.
    """
    if suite.group is None:
        return (), ()
    key_exchange = request.maybe(KeyExchange)
    if key_exchange is None or key_exchange.group != suite.group:
        raise InvalidKePayload(suite.group)
    private = sa.context.random.private_key(suite.group)
    public, shared = dh.answer(suite.group, key_exchange.public, private)
    return (KeyExchange(suite.group, public),), (shared,)


def finish_key_exchange(
    offer: Offer, suite: IkeSuite | EspSuite, response: Message
) -> tuple[Secret, ...]:
    """
    Return the secrets of our key exchanges up to the one that `response` answers; nothing for a
    suite without group.
    """
    done = offer.partial.secrets if offer.partial is not None else ()
    group = suite.further[len(done) - 1].id if done else suite.group
    if group is None:
        return ()
    key_exchange = response.one(KeyExchange)
    if offer.key_pair is None or not (key_exchange.group == group == offer.key_pair.group):
        raise WireError(f"KE of group {key_exchange.group} for {suite}")
    return (*done, offer.key_pair.shared(key_exchange.public))


@dataclass(frozen=True, slots=True)
class Seed:
    """What goes into a Child SA's keys, and who began its exchange."""

    nonce_i: bytes
    nonce_r: bytes
    secrets: tuple[Secret, ...]
    initiated: bool


def install(
    sa: IkeSa,
    agreed: Agreed,
    spi_in: int,
    seed: Seed,
    now: float,
    *,
    use: bool,
    replaces: int | None = None,
) -> ChildSa:
    """Make a Child SA of what was agreed, and report it with its keys."""
    assert sa.keys is not None
    assert sa.suite is not None
    assert sa.tunnel is not None
    config, random = sa.config, sa.context.random
    keys = derive_child(
        agreed.suite, sa.suite.prf, sa.keys.secrets.sk_d, seed.nonce_i, seed.nonce_r, seed.secrets
    )
    span = Lifespan.draw(config.child_lifetime, random, seed.initiated)
    child = ChildSa(
        spi_in,
        agreed.spi_out,
        agreed.suite,
        agreed.local_ts,
        agreed.remote_ts,
        sa.nat.udp_encap,
        now,
        now + span.soft_s,
        now + span.hard_s,
        min(seed.nonce_i, seed.nonce_r),
        replaces,
        slot=agreed.slot,
        initiated=seed.initiated,
    )
    sa.children[spi_in] = child
    sa.child_at.pop(child.slot, None)
    sa.child_attempts.pop(child.slot, None)
    sa.tunnel.slot_failures.pop(child.slot, None)
    sa.tunnel.refused.pop(Work.REKEY_CHILD, None)
    inbound, outbound = esp_pair(agreed.suite, keys, spi_in, agreed.spi_out, seed.initiated)
    limits = draw_limits(config.child_lifetime, agreed.suite.esn, random)
    child.fresh = Fresh(inbound, outbound, limits)
    sa.tunnel.child_up(sa.context, child, inbound, outbound, limits, use)
    return child


def take_group(sa: IkeSa, offer: Offer, error: Notify) -> bool:
    """
    Return whether an INVALID_KE_PAYLOAD names a group that we can try; it is remembered for later
    rekeys.
    """
    if error.type != NotifyType.INVALID_KE_PAYLOAD or len(error.data) != 2:
        return False
    group = int.from_bytes(error.data, "big")
    if group not in groups_of(offer.proposals) or group not in supported_groups():
        return False
    sa.ke_group = group
    return offer.tries < MOST_GROUP_TRIES


def release(sa: IkeSa, offer: Offer | None) -> None:
    """Give back the inbound SPI that a request offered and that no Child SA took."""
    if offer is not None and len(offer.spi) == 4:
        sa.context.spis.release(offer.spi_in)


def is_busy(error: Notify) -> bool:
    """Return whether an error says that the exchange may succeed when it is begun again later."""
    return error.type in (NotifyType.TEMPORARY_FAILURE, NotifyType.STATE_NOT_FOUND)


def first_error(response: Message) -> Notify | None:
    """Return the first error notify of a response."""
    errors = (one for one in response.all(Notify) if one.type < NotifyType.INITIAL_CONTACT)
    return next(errors, None)


def refusal(
    config: TunnelConfig, request: Message, error: PeerError, what: str = "ESP rekey"
) -> Reason:
    """Return the reason why we refuse the SA of a request, with both ends' values."""
    sa, ts_i, ts_r = (
        request.all(SecurityAssociation),
        request.all(TrafficSelectorsI),
        request.all(TrafficSelectorsR),
    )
    if isinstance(error, NoProposalChosen) and sa:
        if sa[0].proposals and sa[0].proposals[0].protocol == ProtocolId.IKE:
            return reasons.no_proposal(config.ike_proposals, sa[0].proposals, "IKE rekey")
        return reasons.no_proposal(config.esp_proposals, sa[0].proposals, what)
    if isinstance(error, TsUnacceptable) and ts_i and ts_r:
        local = dict.fromkeys(ts for one in config.selectors for ts in one.local)
        remote = dict.fromkeys(ts for one in config.selectors for ts in one.remote)
        return reasons.ts_unacceptable(local, remote, ts_r[0].selectors, ts_i[0].selectors)
    return reasons.from_error(error, what)


def refused(
    config: TunnelConfig, slot: int, notify: Notify, what: str, old: ChildSa | None = None
) -> Reason:
    """Return the reason when the peer refuses our offer for a slot, in place of `old`."""
    selectors = config.selectors_of(slot)
    if notify.type == NotifyType.NO_PROPOSAL_CHOSEN:
        in_use = str(old.suite) if old is not None else ""
        return reasons.no_proposal(config.esp_proposals, None, what, in_use)
    if notify.type == NotifyType.TS_UNACCEPTABLE and old is not None:
        return reasons.ts_unacceptable(
            selectors.local, selectors.remote, old.local_ts, old.remote_ts
        )
    if notify.type == NotifyType.TS_UNACCEPTABLE:
        return reasons.ts_unacceptable(selectors.local, selectors.remote)
    return reasons.from_notify(notify.type, what)


def notify_of(error: PeerError) -> Notify:
    """Return the notify payload that answers an error."""
    return Notify(error.notify, error.notify_data())
