"""
Why IKE_AUTH is refused, for our own people: the value that differs, of both ends. The peer is told
no more than AUTHENTICATION_FAILED.
"""

from __future__ import annotations

from gateway.errors import AuthenticationFailed, PeerError, UnexpectedNat
from gateway.ike import reasons
from gateway.ike.config import Ppk, TunnelConfig, describe_identity
from gateway.ike.events import Reason
from gateway.ike.exchanges import proof
from gateway.ike.iana import NotifyType
from gateway.ike.ike_sa import IkeSa, identity_text
from gateway.ike.message import Message
from gateway.ike.payloads import IdInitiator, IdResponder
from gateway.pki.problem import NotTrusted

PPK_ID_FIXED = b"\x02"  # the type of PPK_ID that is just a name (RFC 8784 section 5.1)
SHOWN_MOST = 4  # tunnels whose identities are told


class UnknownIdentity(AuthenticationFailed):
    """No tunnel for the peer's identity; the peer is told no more than for a wrong key."""

    def __init__(self, identity: IdInitiator) -> None:
        super().__init__("no tunnel for " + describe_identity(identity.id_type, identity.value))


class NoCommonPpk(AuthenticationFailed):
    """One end insists on a post-quantum pre-shared key that the other does not have."""

    def __init__(self, config: TunnelConfig, request: Message) -> None:
        super().__init__("no common post-quantum pre-shared key")
        theirs = (ppk_name(request) or b"").decode("ascii", "backslashreplace")
        self.reason = reasons.ppk_mismatch(config.name, ppk_text(config.ppk), theirs)


def ppk_name(request: Message) -> bytes | None:
    """Return the name of the initiator's post-quantum pre-shared key, None if it has none."""
    notify = request.notify(NotifyType.PPK_IDENTITY)
    if notify is None or notify.data[:1] != PPK_ID_FIXED:
        return None
    return notify.data[1:]


def ppk_text(ppk: Ppk | None) -> str:
    """Return the name of a post-quantum pre-shared key of ours, "" without one."""
    return ppk.id.decode("ascii", "backslashreplace") if ppk is not None else ""


def told_identity(request: Message | None) -> str:
    """Return the identity that a request, whatever is wrong with it, gives first; or ""."""
    given = request.all(IdInitiator) if request is not None else ()
    return identity_text(given[0]) if given else ""


def of_initiator(sa: IkeSa, request: Message | None, error: PeerError) -> Reason:
    """Return why we refuse the IKE_AUTH of an initiator."""
    theirs = told_identity(request)
    if isinstance(error, UnknownIdentity) and request is not None:
        return _no_tunnel(sa, request)
    if isinstance(error, NoCommonPpk):
        return error.reason
    if isinstance(error, NotTrusted):
        return reasons.refused_proof(error, theirs)
    if isinstance(error, AuthenticationFailed):
        ppk = sa.candidates[0].config.ppk if sa.candidates else None
        is_used = ppk is not None and request is not None and ppk_name(request) == ppk.id
        return reasons.wrong_auth(sa.name or "any tunnel", theirs, ppk_text(ppk) if is_used else "")
    if isinstance(error, UnexpectedNat):
        return reasons.unwanted_nat("before us" if sa.nat.local else "before the peer")
    exchange = "IKE_INTERMEDIATE" if sa.further.waiting else "IKE_AUTH"
    return reasons.from_error(error, f"{exchange} of the peer")


def _no_tunnel(sa: IkeSa, request: Message) -> Reason:
    """
    Return why no tunnel is for an initiator: its identity, the one it expects of us, or a suite.
    """
    identity, wanted = request.one(IdInitiator), request.maybe(IdResponder)
    configs = [one.config for one in sa.candidates if not one.is_stopped]
    fitting = [one for one in configs if proof.fits(one, identity)]
    if not fitting:
        ours = dict.fromkeys(str(one.remote_id or "any") for one in configs)
        return reasons.unknown_identity(_several(ours), identity_text(identity))
    if wanted is not None and not any(proof.is_ours(one, wanted) for one in fitting):
        ours = dict.fromkeys(str(one.local_id) for one in fitting)
        return reasons.unknown_own_identity(_several(ours), identity_text(wanted))
    answer = () if sa.init_answer is None else (sa.init_answer,)
    return reasons.no_proposal(fitting[0].ike_proposals, answer, "IKE")


def _several(texts: dict[str, None]) -> str:
    return ", ".join(tuple(texts)[:SHOWN_MOST])


def of_responder(
    sa: IkeSa, identity: IdResponder, ppk: Ppk | None, error: AuthenticationFailed
) -> Reason:
    """Return why we refuse the IKE_AUTH of a responder, who used `ppk`."""
    config = sa.config
    if isinstance(error, NotTrusted):
        return reasons.refused_proof(error, identity_text(identity))
    if not proof.fits(config, identity):
        return reasons.unknown_identity(str(config.remote_id), identity_text(identity))
    if ppk is None and config.ppk is not None and config.ppk.is_required:
        return reasons.no_ppk(ppk_text(config.ppk))
    return reasons.wrong_auth(config.name, identity_text(identity), ppk_text(ppk))


def by_peer(sa: IkeSa, now: float) -> Reason:
    """Return the reason when the peer says AUTHENTICATION_FAILED: it does not say why."""
    config = sa.config
    ppk_id = ppk_text(config.ppk) if config.ppk is not None and config.ppk.is_required else ""
    return reasons.refused_auth(
        str(config.local_id),
        str(config.remote_id or ""),
        has_certificate=config.credentials is not None,
        ppk_id=ppk_id,
        flaw=proof.own_flaw(config, now + sa.context.wall_offset),
    )
