"""
IKE_AUTH (RFC 7296 sections 1.2 and 2.15), and the first Child SA; how an end proves its identity is
in `proof.py`.

The responder finds the tunnel by the identities among those that the addresses allow, and verifies
AUTH with that tunnel's key before anything changes. If only the Child SA cannot be made, the IKE SA
is established all the same and the answer says why (section 1.2); its initiator tries again by
CREATE_CHILD_SA.

INITIAL_CONTACT (section 2.4): sent when we hold no other IKE SA of the tunnel, nor of another one
between the same identities: the peer may take all of these down. On receipt those of the tunnel go
that were established before this one was begun: one established later crossed it, and the peer
cannot have meant that.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import (
    AuthenticationFailed,
    NoProposalChosen,
    PeerError,
    UnexpectedNat,
    WireError,
)
from gateway.ike import crash, edits, reasons, resources, slots
from gateway.ike.config import Encap, Ppk, TunnelConfig
from gateway.ike.events import Failed, Note, Reason
from gateway.ike.exchanges import (
    informational,
    mobike,
    negotiate,
    proof,
    reauth,
    redirect,
    refusal,
)
from gateway.ike.exchanges.negotiate import Agreed, Seed
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.ike_sa import IkeSa, Keys, identity_text
from gateway.ike.keymat import mix_ppk
from gateway.ike.message import Message
from gateway.ike.payloads import (
    Auth,
    Delete,
    IdInitiator,
    IdResponder,
    Notify,
    Payload,
    SecurityAssociation,
)
from gateway.ike.proposals import Proposal, select_ike
from gateway.ike.states import BEFORE_AUTH, On, State
from gateway.ike.tasks import Task, Work
from gateway.ike.tunnel import Tunnel, born_at
from gateway.ike.window import Request
from gateway.pki.problem import NotTrusted
from gateway.sa import Path

PROOF_S = 3.0  # until a rekey shows whether the peer has our group; IKE_AUTH does not show it
MOST_KEYS_TRIED = 8  # tunnels that fit the same addresses and identities and differ in their key


# ---- initiator ----


def send_request(sa: IkeSa, now: float) -> None:
    """Send our identity, AUTH, and the offer of a Child SA."""
    config = sa.config
    identity = IdInitiator(config.local_id.type.value, config.local_id.value)
    try:
        proofs = _prove(sa, config, identity)
    except NotTrusted as error:
        sa.fail(reasons.refused_proof(error), now)
        return
    payloads: list[Payload] = [identity, *proof.shown(config), *proof.ask([config])]
    if sa.candidates[0].is_first_contact:
        payloads.append(Notify(NotifyType.INITIAL_CONTACT))
    if config.remote_id is not None and not config.remote_id.is_pattern:
        payloads.append(IdResponder(config.remote_id.type.value, config.remote_id.value))
    payloads += proofs
    payloads += crash.tell(sa)
    offer = None
    # One that is begun beside another takes over with its Child SA, so it brings one.
    if not (config.childless and sa.peer_is_childless and not sa.is_beside):
        offer, child_payloads = negotiate.make_offer(sa, 0, None, with_group=False)
        payloads += (*resources.told(config), *child_payloads)
    sa.request(Task(Work.AUTH), ExchangeType.IKE_AUTH, tuple(payloads), now, offer)


def _prove(sa: IkeSa, config: TunnelConfig, identity: IdInitiator) -> tuple[Payload, ...]:
    """
    Return AUTH, and what goes with a post-quantum pre-shared key (RFC 8784 section 3): its name,
    and, where we can do without it, AUTH for a responder that does not know it.
    """
    ppk = config.ppk if sa.peer_uses_ppk else None
    auth = proof.make(sa, config, identity, ppk)
    if ppk is None:
        return (auth,)
    name = Notify(NotifyType.PPK_IDENTITY, refusal.PPK_ID_FIXED + ppk.id)
    if ppk.is_required:
        return (auth, name)
    plain = proof.make(sa, config, identity, None)
    return (auth, name, Notify(NotifyType.NO_PPK_AUTH, plain.data))


def _take_ppk(sa: IkeSa, ppk: Ppk | None) -> None:
    """Put a post-quantum pre-shared key into the keys, now that AUTH is verified with it."""
    if ppk is None:
        return
    assert sa.suite is not None
    assert sa.keys is not None
    secrets = mix_ppk(sa.suite.prf, sa.keys.secrets, ppk.key)
    sa.keys = Keys.of(sa.suite, secrets, sa.original_initiator)
    sa.has_ppk = sa.is_post_quantum = True


def receive_response(sa: IkeSa, request: Request, response: Message, now: float) -> None:
    """
    Verify the responder and take up the IKE SA and its first Child SA. Raises proof.Undecided, and
    then nothing has changed.
    """
    tunnel, offer = sa.candidates[0], request.offer
    identity = response.maybe(IdResponder)
    if identity is None or response.maybe(Auth) is None:
        negotiate.release(sa, offer)
        _take_refusal(sa, response, now)
        return
    ppk = sa.config.ppk if response.notify(NotifyType.PPK_IDENTITY) is not None else None
    try:
        peer_proof = _verify_responder(sa, identity, response, ppk, now)
    except AuthenticationFailed as error:
        negotiate.release(sa, offer)
        _refuse_responder(sa, tunnel, identity, now, ppk, error)
        return
    sent_on = response.notify(NotifyType.REDIRECT)
    if sent_on is not None:
        negotiate.release(sa, offer)
        _take_redirect(sa, tunnel, sent_on, now)
        return

    # Authenticated. Nothing above this line changed `sa`.
    _take_ppk(sa, ppk)
    sa.peer_id, sa.peer_proof = identity, peer_proof
    # One that is to be closed is never announced: by its name the shell may know another by now.
    # Nor is one beside another before it has a Child SA: it may be of no use.
    sa.is_parked = sa.close_wanted is not None or sa.is_beside
    sa.establish(On.AUTH_RESPONSE, tunnel, now)
    tunnel.joined(now)
    if sa.close_wanted is not None:
        negotiate.release(sa, offer)
        informational.close(sa, sa.close_wanted, now)
        return
    reauth.take(sa, response, now)
    crash.take(sa, response)
    if offer is None:
        slots.ask_for_missing(sa)
        return
    _take_child(sa, request, response, now)


def _take_refusal(sa: IkeSa, response: Message, now: float) -> None:
    error = negotiate.first_error(response)
    if error is None:
        sa.fail(reasons.from_notify(NotifyType.INVALID_SYNTAX, "IKE_AUTH"), now)
    elif error.type == NotifyType.AUTHENTICATION_FAILED:
        sa.fail(refusal.by_peer(sa, now), now)
    else:
        sa.fail(reasons.from_notify(error.type, "IKE_AUTH"), now)


def _verify_responder(
    sa: IkeSa, identity: IdResponder, response: Message, ppk: Ppk | None, now: float
) -> proof.PeerProof | None:
    if not proof.fits(sa.config, identity):
        raise AuthenticationFailed(f"the peer is {identity_text(identity)}")
    ours = sa.config.ppk
    if ppk is None and ours is not None and ours.is_required:
        raise AuthenticationFailed("the peer has not used the post-quantum pre-shared key")
    return proof.verify(sa, sa.config, response, (ppk, response.one(Auth).data), now)


def _refuse_responder(
    sa: IkeSa,
    tunnel: Tunnel,
    identity: IdResponder,
    now: float,
    ppk: Ppk | None,
    error: AuthenticationFailed,
) -> None:
    """Tell the responder, who believes the IKE SA established, that we do not (section 2.21.2)."""
    reason = refusal.of_responder(sa, identity, ppk, error)
    if isinstance(error, NotTrusted):
        _end_revoked([tunnel], error, reason, now)
    _give_up(sa, tunnel, Notify(NotifyType.AUTHENTICATION_FAILED), reason, now)


def _take_redirect(sa: IkeSa, tunnel: Tunnel, notify: Notify, now: float) -> None:
    """Go where an authenticated responder sends us, or give up."""
    if sa.close_wanted is not None:
        _part(sa, tunnel, Delete(ProtocolId.IKE), now)
        return
    refusal = redirect.accept(sa, redirect.Redirection.of(notify), now)
    if refusal is not None:
        _give_up(sa, tunnel, Delete(ProtocolId.IKE), refusal, now)
        return
    _part(sa, tunnel, Delete(ProtocolId.IKE), now)
    redirect.begin_again(sa, tunnel, now)


def _give_up(sa: IkeSa, tunnel: Tunnel, said: Payload, reason: Reason, now: float) -> None:
    """Give up an IKE SA that the responder believes established, and say so to it."""
    _part(sa, tunnel, said, now)
    tunnel.failed(sa.context, reason, now)


def _part(sa: IkeSa, tunnel: Tunnel, said: Payload, now: float) -> None:
    tunnel.attempt = None
    sa.move(On.CLOSE)
    sa.request(Task(Work.CLOSE), ExchangeType.INFORMATIONAL, (said,), now)


def _take_child(sa: IkeSa, request: Request, response: Message, now: float) -> None:
    tunnel, offer = sa.tunnel, request.offer
    assert tunnel is not None
    assert offer is not None
    error = negotiate.first_error(response)
    try:
        if error is not None:
            reason = negotiate.refused(sa.config, 0, error, "ESP")
            sa.context.spis.release(offer.spi_in)
        else:
            agreed = negotiate.accept(offer, response, with_group=False)
            _take_over(sa, now)
            seed = Seed(sa.nonce_i, sa.nonce_r, (), initiated=True)
            use = tunnel.is_preferred(sa)
            child = negotiate.install(sa, agreed, offer.spi_in, seed, now, use=use)
            if sa.is_beside and not edits.is_fit(child, sa.config):
                child.rekey_at = now + PROOF_S
            resources.take(sa, response, 0)
            slots.ask_for_missing(sa)
            return
    except PeerError as problem:
        # The peer has made a Child SA that we cannot take: delete it by the SPI we offered.
        reason = reasons.from_error(problem, "the answer to our Child SA")
        sa.tasks.add(Task(Work.DELETE_CHILD, offer.spi_in))
    if sa.is_beside:
        informational.report(sa, reason)
        informational.close(sa, reason, now)  # of no use: the Child SA there is stays
    else:
        informational.child_failed(sa, 0, reason, now)
        slots.ask_for_missing(sa)


def _take_over(sa: IkeSa, now: float) -> None:
    """Announce an IKE SA that was begun beside another; that one is closed a moment later."""
    if sa.is_beside and sa.tunnel is not None:
        sa.is_parked = False
        sa.announce(None)
        sa.tunnel.refused.clear()
        sa.tunnel.joined(now)


# ---- responder ----


def answer_request(sa: IkeSa, request: Message, path: Path, now: float, digest: bytes) -> None:
    """
    Answer IKE_AUTH. Raises PeerError, which refuses the IKE SA, or proof.Undecided; then nothing
    has changed.
    """
    if sa.further.waiting:
        raise WireError(f"IKE_AUTH before the key exchange {sa.further.waiting[0]}")
    identity = request.one(IdInitiator)
    tunnel, ppk, peer_proof = _verify_initiator(sa, identity, request, now)
    if tunnel.config.encap is Encap.NEVER and sa.nat.is_between:
        raise UnexpectedNat("there is a NAT, and encap is never")
    own_id = tunnel.config.local_id
    responder = IdResponder(own_id.type.value, own_id.value)
    auth = proof.make(sa, tunnel.config, responder, ppk)
    proofs = (auth,) if ppk is None else (auth, Notify(NotifyType.PPK_IDENTITY))
    choice = _choose_child(tunnel, request)

    # Authenticated. Nothing above this line changed `sa`.
    _take_ppk(sa, ppk)
    _abandon_attempt(tunnel, now)
    is_contact = request.notify(NotifyType.INITIAL_CONTACT) is not None
    outdated = [one for one in tunnel.sas if is_contact and _is_outdated(one, sa, identity)]
    sa.peer_id, sa.peer_proof, sa.path = identity, peer_proof, path
    sa.establish(On.AUTH_REQUEST, tunnel, now)
    tunnel.refused.pop(Work.REKEY_IKE, None)  # it is of the proposals there are now
    tunnel.joined(now)
    child_payloads = _make_child(sa, tunnel, request, choice, now)
    for one in outdated:
        one.end(reasons.PEER_RESTARTED, now)
    _limit_number(tunnel, sa, now)
    crash.take(sa, request)
    told = (*crash.tell(sa), *mobike.agree(sa, request), *child_payloads)
    answer = (responder, *proof.shown(tunnel.config), *proofs, *told)
    sa.respond(request, answer, path, now, digest)


def _is_outdated(one: IkeSa, new: IkeSa, identity: IdInitiator) -> bool:
    """Return whether the peer can not know an IKE SA any more, if `new` is its first contact."""
    peer = one.peer_id
    is_same = peer is not None and (peer.id_type, peer.value) == (identity.id_type, identity.value)
    return is_same and born_at(one) < new.created_at and one.state is not State.CLOSING


def _abandon_attempt(tunnel: Tunnel, now: float) -> None:
    """Give up our own attempt if the peer has not taken notice of it beyond IKE_SA_INIT."""
    attempt = tunnel.attempt
    if attempt is not None and attempt.state in BEFORE_AUTH:
        tunnel.attempt = None
        attempt.end(reasons.REDUNDANT, now)


def _limit_number(tunnel: Tunnel, newest: IkeSa, now: float) -> None:
    most = newest.context.limits.ike_sas_per_tunnel
    for sa in [one for one in tunnel.sas if one is not newest][: max(0, len(tunnel.sas) - most)]:
        sa.end(reasons.STALE, now)


def _verify_initiator(
    sa: IkeSa, identity: IdInitiator, request: Message, now: float
) -> tuple[Tunnel, Ppk | None, proof.PeerProof | None]:
    """
    Return the tunnel whose identities fit and whose key made AUTH, its post-quantum pre-shared key,
    if the peer used it, and by what the peer has proved itself. Raises AuthenticationFailed.
    """
    wanted, auth = request.maybe(IdResponder), request.one(Auth)
    fitting = [
        one
        for one in sa.candidates
        if not one.is_stopped and _fits(one, identity, wanted) and _allows_suite(sa, one)
    ]
    if not fitting:
        raise refusal.UnknownIdentity(identity)
    claims = [(one, _claim(sa, one, request, auth)) for one in fitting[:MOST_KEYS_TRIED]]
    possible = [(tunnel, claim) for tunnel, claim in claims if claim is not None]
    if not possible:
        raise refusal.NoCommonPpk(fitting[0].config, request)
    errors: list[AuthenticationFailed] = []
    for tunnel, claim in possible:
        try:
            return tunnel, claim[0], proof.verify(sa, tunnel.config, request, claim, now)
        except AuthenticationFailed as error:
            errors.append(error)
    raise max(errors, key=lambda error: isinstance(error, NotTrusted))


def _claim(
    sa: IkeSa, tunnel: Tunnel, request: Message, auth: Auth
) -> tuple[Ppk | None, bytes] | None:
    """
    Return the post-quantum pre-shared key that a tunnel shares with the initiator, and the AUTH
    data that fits; None if one of the two insists on one that the other lacks (RFC 8784 section 3).
    """
    ours = tunnel.config.ppk
    name = refusal.ppk_name(request) if sa.peer_uses_ppk else None
    if ours is not None and name == ours.id:
        return ours, auth.data
    if ours is not None and ours.is_required:
        return None
    if name is None:
        return None, auth.data
    plain = request.notify(NotifyType.NO_PPK_AUTH)
    return (None, plain.data) if plain is not None else None


def _fits(tunnel: Tunnel, identity: IdInitiator, wanted: IdResponder | None) -> bool:
    if not proof.fits(tunnel.config, identity):
        return False
    return wanted is None or proof.is_ours(tunnel.config, wanted)


def _allows_suite(sa: IkeSa, tunnel: Tunnel) -> bool:
    """
    Return whether this tunnel, too, would have chosen the suite: IKE_SA_INIT knew only the
    addresses.
    """
    assert sa.init_answer is not None
    try:
        select_ike((sa.init_answer,), tunnel.config.ike_proposals)
    except NoProposalChosen:
        return False
    return True


def _end_revoked(tunnels: Sequence[Tunnel], error: NotTrusted, reason: Reason, now: float) -> None:
    """
    End what the peer has set up by a certificate that is revoked by now, if this is why it is
    refused. It has just proved to have that certificate's key: nobody else can bring this about.
    """
    for one in (sa for tunnel in tunnels for sa in tunnel.usable()):
        if error.revoked and one.peer_proof and one.peer_proof.fingerprint == error.revoked:
            informational.close(one, reason, now)


def refuse(sa: IkeSa, request: Message | None, error: PeerError, now: float) -> None:
    """Take note of an IKE_AUTH that we refuse; the answer is sent by the caller."""
    reason = refusal.of_initiator(sa, request, error)
    if isinstance(error, NotTrusted):
        _end_revoked(sa.candidates, error, reason, now)
    sa.move(On.REFUSE)
    sa.context.count("refused." + reason.code)
    if sa.name is None:
        theirs = refusal.told_identity(request)
        sa.context.emit(Note(None, f"{sa.path}: {reason.text} ({theirs})"))
        return
    if sa.candidates[0].is_idle:
        sa.candidates[0].last_failure = reason
    sa.context.emit(Failed(sa.name, reason))


def _choose_child(tunnel: Tunnel, request: Message) -> tuple[Agreed, Proposal] | PeerError | None:
    """
    Return the Child SA that we accept, or why none: that is no failure of the IKE SA. None if the
    peer asks for none (RFC 6023).
    """
    if request.maybe(SecurityAssociation) is None:
        return None
    try:
        return negotiate.choose(
            tunnel.config, request, range(len(tunnel.config.selectors)), with_group=False
        )
    except PeerError as error:
        return error


def _make_child(
    sa: IkeSa,
    tunnel: Tunnel,
    request: Message,
    choice: tuple[Agreed, Proposal] | PeerError | None,
    now: float,
) -> tuple[Payload, ...]:
    if choice is None:
        slots.plan_missing(sa, now, wait_s=slots.PEER_BRINGS_S)
        return ()
    if isinstance(choice, PeerError):
        reason = negotiate.refusal(tunnel.config, request, choice, "ESP")
        informational.child_failed(sa, 0, reason, now)
        slots.plan_missing(sa, now, wait_s=slots.PEER_BRINGS_S)
        return (negotiate.notify_of(choice),)
    agreed, answer = choice
    spi_in = sa.context.spis.take()
    seed = Seed(sa.nonce_i, sa.nonce_r, (), initiated=False)
    # If there is a Child SA, it is sent on until the initiator has shown that it has the new one.
    negotiate.install(sa, agreed, spi_in, seed, now, use=False)
    more = resources.take(sa, request, agreed.slot)
    slots.plan_missing(sa, now, wait_s=slots.PEER_BRINGS_S)
    return (*more, *negotiate.answer_payloads(agreed, answer, spi_in))
