"""Codes that say why: of a tunnel that is down or carries nothing, of a BGP session."""

from __future__ import annotations

from gateway.model.severity import Code, Severity

INFO = Severity.INFO
WARNING = Severity.WARNING
ERROR = Severity.ERROR

TUNNEL = (
    Code(
        "no_proposal_chosen",
        WARNING,
        "No proposal in common",
        "The two ends have no set of algorithms in common; both lists are shown where both "
        "are known.",
        "make the proposals of both ends overlap; if only rekeys fail it is often PFS: one "
        "end asks for a group and the other has none",
    ),
    Code(
        "invalid_ke_payload",
        WARNING,
        "Another key exchange group",
        "The peer insists on a Diffie-Hellman group that is not the one offered.",
        "use the same group at both ends",
    ),
    Code(
        "authentication_failed",
        WARNING,
        "Authentication failed",
        "The pre-shared key or an identity differs between the two ends.",
        "compare the pre-shared key and both identities at the two ends",
    ),
    Code(
        "crash_detected",
        INFO,
        "The peer has lost its state",
        "The peer proves that it has lost the IKE SA (RFC 6290), as after a crash; the tunnel is "
        "set up again at once.",
    ),
    Code(
        "redirect_refused",
        WARNING,
        "Sent to another gateway",
        "The peer sends us to another gateway (RFC 5685), which is not followed.",
        "set allow_redirect = true, or give the customer gateway that address",
    ),
    Code(
        "redirected",
        INFO,
        "Going to another gateway",
        "The peer sends us to another gateway (RFC 5685), and the tunnel is set up again there.",
    ),
    Code(
        "redirect_unusable",
        WARNING,
        "Sent to where no peer can be",
        "The peer sends us to another gateway (RFC 5685) by its name, or to an address where it "
        "can not be.",
        "have the peer name the other gateway by an address of the same family as ours",
    ),
    Code(
        "redirect_loop",
        WARNING,
        "Sent on and on",
        "Peers have sent us to another gateway more than 5 times in 300 s (RFC 5685).",
        "look at the redirection of these gateways: one of them has to keep us",
    ),
    Code(
        "identity_mismatch",
        WARNING,
        "Identities do not fit",
        "The identity that the peer gives is not the one that is expected, in type or value.",
        "the peer's local identity must equal our remote one in type and value; behind a NAT "
        "it is often the private address",
    ),
    Code(
        "auth_method_mismatch",
        WARNING,
        "Another way to authenticate",
        "One end signs, or expects a signature, in a way that the other does not accept: "
        "a pre-shared key instead of a certificate, an old method, or SHA-1.",
        "set the same kind of auth at both ends; SHA-1 and the methods before RFC 7427 "
        "need allow_legacy = true",
    ),
    Code(
        "certificate_missing",
        WARNING,
        "No certificate",
        "The peer authenticates by a signature and has sent no certificate.",
        "make the peer send its certificate always",
    ),
    Code(
        "certificate_untrusted",
        WARNING,
        "Certificate not trusted",
        "The peer's certificate, or its raw key, leads to nothing that ca or "
        "remote_public_key names.",
        "give ca the certificate of its issuer, or have the peer send the ones in between",
    ),
    Code(
        "certificate_expired",
        WARNING,
        "Certificate has ended",
        "The peer's certificate, or one above it, is no longer valid.",
        "renew it; if it looks right, compare the clocks of both ends",
    ),
    Code(
        "certificate_not_yet_valid",
        WARNING,
        "Certificate not valid yet",
        "The peer's certificate, or one above it, is valid only later.",
        "compare the clocks of both ends",
    ),
    Code(
        "certificate_revoked",
        WARNING,
        "Certificate revoked",
        "A CRL or an OCSP server says that the peer's certificate, or one above it, has "
        "been revoked.",
        "the peer needs a new certificate",
    ),
    Code(
        "certificate_invalid",
        WARNING,
        "Certificate not usable",
        "The peer's certificate, or one above it, has a weak key or hash, is for another "
        "use, or breaks a rule of its CA.",
        "the text says which rule; issue a certificate that is made for IKE",
    ),
    Code(
        "revocation_unknown",
        WARNING,
        "Revocation not known",
        'With revocation = "strict", neither a CRL nor an OCSP server could say that the '
        "peer's certificate is still good.",
        "can this gateway reach the server in the certificate by HTTP? revocation = "
        '"relaxed" does without an answer',
    ),
    Code(
        "ts_unacceptable",
        WARNING,
        "Traffic selectors do not fit",
        "The prefixes that the two ends want to protect have nothing in common.",
        "our local selectors must overlap with the peer's remote ones, and the other way round",
    ),
    Code(
        "ppk_missing",
        WARNING,
        "Post-quantum key missing",
        "The peer does not use a post-quantum pre-shared key (RFC 8784), and ppk_required is true.",
        "give the peer the same ppk and ppk_id, or set ppk_required = false",
    ),
    Code(
        "ppk_mismatch",
        WARNING,
        "No common post-quantum key",
        "One end insists on a post-quantum pre-shared key, and the two have none in common.",
        "compare ppk_id, ppk and ppk_required at the two ends",
    ),
    Code(
        "nat_detected",
        WARNING,
        "There is a NAT",
        "A NAT is on the way, or the peer announces one, and UDP encapsulation is forbidden.",
        'set encap = "auto"; ESP without UDP does not pass a NAT',
    ),
    Code(
        "version_mismatch",
        WARNING,
        "Another version of IKE",
        "The peer does not speak IKEv2.",
        "set the peer to IKEv2; IKEv1 is not spoken",
    ),
    Code(
        "temporary_failure",
        INFO,
        "The peer asks to try later",
        "A request has crossed another one; it is tried again.",
    ),
    Code(
        "child_sa_not_found",
        INFO,
        "The peer knows no such Child SA",
        "A rekey named a Child SA that the peer has no more; a new one is made.",
    ),
    Code(
        "state_not_found",
        INFO,
        "A further key exchange was forgotten",
        "The peer has no memory of a key exchange that was under way (RFC 9370); it is begun anew.",
    ),
    Code(
        "invalid_syntax",
        WARNING,
        "Malformed message",
        "A message breaks the rules of the protocol.",
        "the log of the end that refused it may say more",
    ),
    Code(
        "unsupported_critical_payload",
        WARNING,
        "Unknown critical payload",
        "A message has a payload that must be understood and is not.",
        "the peer uses an extension; switch it off there",
    ),
    Code(
        "no_additional_sas",
        WARNING,
        "No more Child SAs",
        "One end does not allow another Child SA in the same IKE SA.",
        "the peer may have a limit; fewer pairs of prefixes need fewer Child SAs",
    ),
    Code(
        "peer_error",
        WARNING,
        "The peer answers with an error",
        "The peer refuses with an error that has no code of its own here; its name is in the text.",
        "the peer's log says why",
    ),
    Code(
        "peer_unreachable",
        WARNING,
        "The peer does not answer",
        "A request was sent again and again and no answer came.",
        "is the peer running, is its address right, do UDP 500 and 4500 pass both ways?",
    ),
    Code(
        "half_open_timeout",
        WARNING,
        "Begun and not finished",
        "The peer began and did not authenticate in time.",
        "its IKE_AUTH may be lost: is port 4500 open, and do fragments pass?",
    ),
    Code(
        "lifetime_over",
        WARNING,
        "Lifetime over",
        "The hard lifetime has ended and no rekey has succeeded.",
        "look at why rekeys fail: PFS groups that differ show only then",
    ),
    Code(
        "deleted_by_peer",
        WARNING,
        "Deleted by the peer",
        "The peer has closed it.",
        "the peer's log says why; often an idle timeout or an edit there",
    ),
    Code(
        "initial_contact",
        WARNING,
        "The peer has begun afresh",
        "The peer has restarted and knows nothing older.",
    ),
    Code("stale", INFO, "Left over", "The peer has replaced it and never deleted it."),
    Code("redundant", INFO, "One too many", "Both ends made one at once; the other one stays."),
    Code("rekeyed", INFO, "Replaced by a new one", "New keys are in use."),
    Code("closed", INFO, "Closed on request", "Somebody has asked for it."),
    Code(
        "reconfigured",
        INFO,
        "The configuration has changed",
        "It is negotiated anew with what is configured now.",
    ),
    Code("removed", INFO, "No longer configured", "The document does not have it any more."),
    Code("shutdown", INFO, "The gateway stops", "The gateway process was told to end the tunnels."),
    Code(
        "restart",
        WARNING,
        "Lost with a restart",
        "The gateway process was restarted and could not go on where it was.",
        "it is made anew",
    ),
    Code("admin_down", INFO, "Not allowed to be up", 'The document says admin = "down".'),
    Code("taken_down", INFO, "Taken down", "An operator has taken the tunnel down.", "twinspan up"),
    Code(
        "waiting_for_peer",
        INFO,
        "Waiting for the peer",
        "The peer is to begin.",
        'start = "initiate" makes us begin; a peer from another address is not let in',
    ),
    Code(
        "not_placed",
        WARNING,
        "On no gateway VM",
        "The tunnel has not been given to a node.",
        "is there a node with its local address?",
    ),
    Code(
        "not_applied",
        WARNING,
        "Not applied yet",
        "The gateway VM does not have the tunnel, or its newest document, yet.",
        "the events of the node say why",
    ),
    Code(
        "other_node",
        ERROR,
        "Another node's document",
        "The control plane has given a document that is for another node; it was not taken.",
        "please report it with the log",
    ),
    Code(
        "older_generation",
        WARNING,
        "An older document",
        "The control plane has given an older document than the one in use; it was not taken.",
        "was its store put back to an older state?",
    ),
    Code(
        "setup_failed",
        ERROR,
        "It can not be made",
        "The kernel or the data plane refuses the tunnel's device, address or route.",
        "twinspan doctor says what mends it; it is tried again every ten seconds",
    ),
    Code(
        "not_carried_out",
        ERROR,
        "A step failed here",
        "The data plane refused keys that the peer believes installed; the tunnel is begun anew.",
        "twinspan log",
    ),
    Code(
        "probe_failed",
        WARNING,
        "No answer through the tunnel",
        "The tunnel is up, but nobody answers through it; its routes are withdrawn.",
        "the path, or a filter for ICMP echo at the peer",
    ),
    Code(
        "drain",
        INFO,
        "Traffic is being moved away",
        "The tunnel is to be closed, or renegotiated, and traffic leaves it before.",
    ),
    Code(
        "failback",
        INFO,
        "Traffic stays where it is",
        "The tunnel was down and is well again; traffic goes back as failback says.",
    ),
    Code(
        "damped",
        WARNING,
        "It failed too often",
        "The tunnel is the last choice until it has been quiet for some minutes.",
        "look at why it goes up and down: the events of the tunnel",
    ),
)

BGP = (
    Code(
        "bgp_asn_mismatch",
        WARNING,
        "Another AS number",
        "The peer's AS number is not the one configured, or the peer expects another one of us.",
        "compare the AS numbers at both ends",
    ),
    Code(
        "bgp_hold_expired",
        WARNING,
        "Hold time over",
        "Nothing was heard of the peer for the hold time.",
        "does the tunnel carry packets in both directions?",
    ),
    Code(
        "bgp_bfd_down",
        WARNING,
        "BFD has noticed a loss",
        "The peer did not answer BFD in time.",
        "the path; or the peer has BFD off, or slower than it says",
    ),
    Code(
        "bgp_unreachable",
        WARNING,
        "No TCP connection",
        "The peer's inner address does not answer, or the password differs.",
        "are the inner addresses the same at both ends, does a filter stop TCP port 179, is "
        "the password the same?",
    ),
    Code(
        "link_down",
        WARNING,
        "What carries the session is down",
        "The tunnel, the line or the attachment's interface is down, and so is what runs over it.",
        "why it is down: the events of the tunnel or line itself, before this one",
    ),
    Code(
        "bgp_refused",
        WARNING,
        "Connection refused",
        "The peer has no BGP on this address.",
        "is BGP running at the peer, with our inner address as its neighbor?",
    ),
    Code(
        "bgp_closed_by_peer",
        WARNING,
        "Closed by the peer",
        "The peer has ended the session.",
        "the text has its reason; its log says more",
    ),
    Code(
        "bgp_error",
        WARNING,
        "Ended by an error",
        "BIRD ended the session by the error in the text.",
    ),
)
