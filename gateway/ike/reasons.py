"""Why something failed or ended: the codes, in one list, with the words a person needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gateway.errors import (
    AuthenticationFailed,
    ChildSaNotFound,
    GatewayError,
    InvalidKePayload,
    NoProposalChosen,
    StateNotFound,
    TemporaryFailure,
    TsUnacceptable,
    UnsupportedCriticalPayload,
)
from gateway.ike.events import Reason
from gateway.ike.iana import NotifyType
from gateway.ike.names import group_name
from gateway.ike.proposals import Proposal, groups_of
from gateway.ike.selectors import selector_text
from gateway.pki.problem import NotTrusted
from gateway.sa import TrafficSelector

CLOSED_BY_OPERATOR = Reason("closed", "closed on request")
RECONFIGURED = Reason("reconfigured", "the configuration of the tunnel has changed")
REMOVED = Reason("removed", "the tunnel is no longer configured")
SHUTDOWN = Reason("shutdown", "the gateway stops")
DELETED_BY_PEER = Reason(
    "deleted_by_peer", "the peer has deleted it", hint="the peer's log says why, if it stays away"
)
REKEYED = Reason("rekeyed", "replaced by a new one")
REDUNDANT = Reason("redundant", "both ends made one at once; the other one stays")
LIFETIME_OVER = Reason(
    "lifetime_over",
    "its hard lifetime is over and no rekey has succeeded",
    hint="look at why rekeys fail: PFS groups that differ show only then",
)
PEER_RESTARTED = Reason("initial_contact", "the peer has begun afresh and knows nothing older")
HALF_OPEN_TIMEOUT = Reason(
    "half_open_timeout",
    "the peer began and did not authenticate in time",
    hint="its IKE_AUTH may be lost: is port 4500 open, and do fragments pass?",
)
STALE = Reason("stale", "the peer has replaced it and never deleted it")

PEER_CRASHED = Reason(
    "crash_detected", "the peer has lost its state and proves it; the tunnel is set up again"
)

_PSK_HINT = "compare the pre-shared key and both identities at the two ends"
_CERTIFICATE_HINT = (
    "the peer's log says why: does it want a certificate, trust our certificate's issuer, does it"
    " stand for our identity, are both clocks right?"
)
_NOBODY = "is the peer running, is its address right, does it speak IKEv2, does UDP 500 pass?"
_HALF_WAY = (
    "the peer has answered on port 500: does UDP 4500 pass both ways, and do fragments? Some peers"
    " say nothing to a wrong identity"
)
_SILENT_NOW = "it has answered before: is the peer still running, does UDP still pass both ways?"


def peer_unreachable(what: str, tries: int) -> Reason:
    """Return the reason after the last retransmission; `what` begins with the exchange's name."""
    hints = {"IKE_SA_INIT": _NOBODY, "IKE_AUTH": _HALF_WAY}
    return Reason(
        "peer_unreachable",
        f"no response to {what} after {tries} tries",
        hint=hints.get(what.split(" ")[0], _SILENT_NOW),
    )


def silent(what: str) -> Reason:
    """Return the reason while the peer is still being asked, and has not answered for seconds."""
    hints = {"init": ("IKE_SA_INIT", _NOBODY), "auth": ("IKE_AUTH", _HALF_WAY)}
    exchange, hint = hints.get(what, (what, _SILENT_NOW))
    return Reason("peer_unreachable", f"no response to {exchange} yet", hint=hint)


def wrong_version(major: int) -> Reason:
    """Return the reason when the peer speaks another version of IKE."""
    hint = "set the peer to IKEv2; IKEv1 is not spoken"
    return Reason("version_mismatch", "the peer does not speak IKEv2", "2", str(major), hint)


def wrong_group(ours: Iterable[Proposal], group: int) -> Reason:
    """Return the reason when the peer insists on a group that we do not offer."""
    groups = [group_name(one) for one in groups_of(ours)]
    return Reason(
        "invalid_ke_payload",
        "the peer insists on a Diffie-Hellman group that we do not offer",
        ", ".join(groups),
        group_name(group),
        "use the same group at both ends",
    )


def other_groups(ours: Iterable[Proposal], group: int) -> Reason:
    """Return the reason when the peer wants another group whichever it is sent, `group` at last."""
    text = "the peer wants another Diffie-Hellman group each time"
    return replace(wrong_group(ours, group), text=text)


def no_proposal(
    ours: Iterable[Proposal], theirs: Iterable[Proposal] | None, what: str, in_use: str = ""
) -> Reason:
    """
    Return the reason when there is no common proposal; `theirs` is None when the peer refused ours.

    `in_use` is the suite of the SA that was to be rekeyed, and stays: the peer has accepted it.
    """
    by = "the peer refuses all our proposals" if theirs is None else "no proposal in common"
    hint = f"make the {what} proposals of both ends overlap"
    if what == "IKE" and theirs is None:
        hint += "; a peer that has no IKEv2 connection for our address may say the same"
    if what == "ESP rekey":
        hint += "; often PFS: one end asks for a group and the other has none"
    return Reason(
        "no_proposal_chosen",
        f"{by} for {what}",
        proposals_text(ours),
        f"{in_use} (in use, and stays)" if in_use else proposals_text(theirs or ()),
        hint,
    )


def ts_unacceptable(
    local: Iterable[TrafficSelector],
    remote: Iterable[TrafficSelector],
    theirs_local: Iterable[TrafficSelector] = (),
    theirs_remote: Iterable[TrafficSelector] = (),
) -> Reason:
    """
    Return the reason when traffic selectors have nothing in common. All as seen from this end.
    """
    theirs = ""
    if theirs_local or theirs_remote:
        theirs = f"{selectors_text(theirs_local)} === {selectors_text(theirs_remote)}"
    return Reason(
        "ts_unacceptable",
        "the traffic selectors of the two ends have nothing in common",
        f"{selectors_text(local)} === {selectors_text(remote)}",
        theirs,
        "our local selectors must overlap with the peer's remote ones, and the other way round",
    )


def selectors_text(selectors: Iterable[TrafficSelector]) -> str:
    """Return selectors for a person."""
    return ", ".join(selector_text(one) for one in selectors)


def proposals_text(proposals: Iterable[Proposal]) -> str:
    """Return proposals for a person."""
    return ", ".join(str(one) for one in proposals)


def wrong_auth(tunnel: str, peer: str, ppk_id: str = "") -> Reason:
    """
    Return the reason when the peer's AUTH is wrong, by whichever of the keys that it is made with:
    the pre-shared one and, with `ppk_id`, the post-quantum one.
    """
    return Reason(
        "authentication_failed",
        f"the peer's AUTH does not fit the pre-shared key of {tunnel}"
        + (" or its ppk" if ppk_id else ""),
        f"ppk_id {ppk_id}" if ppk_id else "",
        peer,
        f"{_PSK_HINT}; and ppk" if ppk_id else _PSK_HINT,
    )


def refused_auth(
    local_id: str,
    remote_id: str,
    *,
    has_certificate: bool = False,
    ppk_id: str = "",
    flaw: str = "",
) -> Reason:
    """
    Return the reason when the peer refuses our AUTH, or our identities.

    With `ppk_id`, the post-quantum pre-shared key that we insist on may be what it does not have;
    `flaw` says why nobody can trust our certificate now.
    """
    hint = _CERTIFICATE_HINT if has_certificate else _PSK_HINT
    if flaw:
        hint = f"{flaw}: renew it, or set this machine's clock right"
    return Reason(
        "authentication_failed",
        "the peer refuses our authentication",
        f"{local_id} to {remote_id or 'any'}" + (f", ppk_id {ppk_id}" if ppk_id else ""),
        hint=f"{hint}; and ppk_id and ppk" if ppk_id else hint,
    )


def refused_proof(error: NotTrusted, peer: str = "") -> Reason:
    """Return the reason when a certificate, a key or a signature of the peer is not accepted."""
    return Reason(error.code, error.text, error.ours, error.theirs or peer, error.hint)


def no_ppk(ours: str) -> Reason:
    """Return the reason when the peer lacks the post-quantum pre-shared key we insist on."""
    return Reason(
        "ppk_missing",
        "the peer does not use a post-quantum pre-shared key (RFC 8784), and ppk_required is true",
        f"ppk_id {ours}",
        "no ppk",
        "give the peer the same ppk and ppk_id, or set ppk_required = false",
    )


def ppk_mismatch(tunnel: str, ours: str, theirs: str) -> Reason:
    """Return the reason when one end insists on a post-quantum pre-shared key the other lacks."""
    return Reason(
        "ppk_mismatch",
        f"no common post-quantum pre-shared key for {tunnel}, and one end insists on it",
        f"ppk_id {ours}" if ours else "no ppk",
        f"ppk_id {theirs}" if theirs else "no ppk",
        "compare ppk_id, ppk and ppk_required at the two ends",
    )


def unknown_identity(ours: str, theirs: str) -> Reason:
    """Return the reason when no tunnel fits the peer's identities."""
    return Reason(
        "identity_mismatch",
        "the identities of the peer fit no tunnel",
        ours,
        theirs,
        "the peer's local identity must equal our remote one in type and value",
    )


def unknown_own_identity(ours: str, theirs: str) -> Reason:
    """Return the reason when the peer asks for an identity that is not ours."""
    return Reason(
        "identity_mismatch",
        "the peer expects another identity of us",
        ours,
        theirs,
        "our local_id must equal the peer's remote identity in type and value",
    )


def redirected(where: str) -> Reason:
    """Return the reason when the peer sends us to another gateway (RFC 5685)."""
    return Reason(
        "redirect_refused",
        "the peer sends us to another gateway, which is not followed",
        theirs=where,
        hint="set allow_redirect = true, or give the customer gateway that address",
    )


def followed(where: str) -> Reason:
    """Return the reason when an IKE SA ends because its peer sends us to another gateway."""
    return Reason("redirected", "the peer sends us to another gateway", theirs=where)


def unusable_redirect(where: str, why: str) -> Reason:
    """Return the reason when the peer sends us to where we can not go (RFC 5685)."""
    return Reason(
        "redirect_unusable",
        f"the peer sends us to where we can not go: {why}",
        theirs=where,
        hint="have the peer name the other gateway by an address of the same family as ours",
    )


def redirect_loop(times: int, seconds: float, places: list[str]) -> Reason:
    """Return the reason when peers send us on and on (RFC 5685 section 5)."""
    return Reason(
        "redirect_loop",
        f"sent to another gateway once more, after {times} times in {seconds:.0f} s",
        theirs=", ".join(places),
        hint="look at the redirection of these gateways: one of them has to keep us",
    )


def unwanted_nat(where: str) -> Reason:
    """Return the reason when a NAT is found and UDP encapsulation is forbidden."""
    return Reason(
        "nat_detected",
        f'there is a NAT {where}, or it announces one, and encap is "never"',
        hint='set encap = "auto"; ESP without UDP does not pass a NAT',
    )


_BY_NOTIFY = {
    NotifyType.NO_PROPOSAL_CHOSEN: "no_proposal_chosen",
    NotifyType.AUTHENTICATION_FAILED: "authentication_failed",
    NotifyType.TS_UNACCEPTABLE: "ts_unacceptable",
    NotifyType.TEMPORARY_FAILURE: "temporary_failure",
    NotifyType.CHILD_SA_NOT_FOUND: "child_sa_not_found",
    NotifyType.STATE_NOT_FOUND: "state_not_found",
    NotifyType.INVALID_SYNTAX: "invalid_syntax",
    NotifyType.INVALID_MAJOR_VERSION: "version_mismatch",
    NotifyType.INVALID_KE_PAYLOAD: "invalid_ke_payload",
    NotifyType.NO_ADDITIONAL_SAS: "no_additional_sas",
    NotifyType.TS_MAX_QUEUE: "no_additional_sas",
    NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD: "unsupported_critical_payload",
}


def from_notify(notify: int, what: str) -> Reason:
    """Return the reason for an error notify that the peer answered with."""
    try:
        kind = NotifyType(notify)
    except ValueError:
        return Reason("peer_error", f"the peer answers {what} with error {notify}")
    code = _BY_NOTIFY.get(kind, "peer_error")
    return Reason(code, f"the peer answers {what} with {kind.name}", hint="the peer's log says why")


_BY_ERROR: dict[type[GatewayError], str] = {
    NoProposalChosen: "no_proposal_chosen",
    InvalidKePayload: "invalid_ke_payload",
    AuthenticationFailed: "authentication_failed",
    TsUnacceptable: "ts_unacceptable",
    TemporaryFailure: "temporary_failure",
    ChildSaNotFound: "child_sa_not_found",
    StateNotFound: "state_not_found",
    UnsupportedCriticalPayload: "unsupported_critical_payload",
}


def from_error(error: GatewayError, what: str) -> Reason:
    """Return the reason for something of the peer's that we refuse."""
    code = _BY_ERROR.get(type(error), "invalid_syntax")
    return Reason(
        code, f"{what}: {error}", hint="the peer breaks the protocol; its log may say more"
    )
