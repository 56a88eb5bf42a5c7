"""
REDIRECT (RFC 5685), the initiator's part: a peer may send us to another gateway, where the tunnel's
`allow_redirect` says so.

It is taken from a response to IKE_SA_INIT that returns our nonce, from IKE_AUTH and from a later
INFORMATIONAL of a peer that has authenticated. Who is found at the new address must prove the same
identity with the same key. Only addresses are followed: no name is looked up here. Where an attempt
at the new address fails, or its IKE SA ends, the configured address is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from gateway.ike import reasons
from gateway.ike.events import Reason
from gateway.ike.iana import NotifyType
from gateway.ike.ike_sa import IkeSa
from gateway.ike.payloads import Notify
from gateway.ike.tunnel import Tunnel
from gateway.sa import Address

MAX_REDIRECTS = 5  # in a period (RFC 5685 section 5)
REDIRECT_LOOP_DETECT_PERIOD_S = 300.0
IPV4, IPV6 = 1, 2  # GW Ident Type (section 9.1)


@dataclass(frozen=True, slots=True)
class Redirection:
    """What a REDIRECT says: where to, and in IKE_SA_INIT whose nonce it answers."""

    text: str  # for a person
    address: Address | None  # None: a name, or nothing that we know
    nonce: bytes

    @classmethod
    def of(cls, notify: Notify) -> Redirection:
        """Read type (1), length (1), address or name, nonce (section 9.1)."""
        kind, length = (*notify.data[:2], 0, 0)[:2]
        value, nonce = notify.data[2 : 2 + length], notify.data[2 + length :]
        if (kind, len(value)) not in ((IPV4, 4), (IPV6, 16)):
            return cls(value.decode("ascii", "backslashreplace"), None, nonce)
        address = ip_address(value)
        return cls(str(address), address, nonce)


# ---- what we send ----


def announce(sa: IkeSa) -> tuple[Notify, ...]:
    """
    Return what IKE_SA_INIT says: that we can be sent on, or who has sent us here, which says both
    (section 3).
    """
    if sa.redirected_from is not None:
        address = sa.redirected_from
        kind = IPV4 if address.version == 4 else IPV6
        data = bytes([kind, len(address.packed)]) + address.packed
        return (Notify(NotifyType.REDIRECTED_FROM, data),)
    return (Notify(NotifyType.REDIRECT_SUPPORTED),) if sa.config.allow_redirect else ()


def target(tunnel: Tunnel) -> tuple[Address, Address | None]:
    """
    Return where the next attempt goes to, and who has sent us there; None: it is the configured
    address. One that is begun beside another IKE SA goes where that is.
    """
    assert tunnel.config.remote is not None
    sent, tunnel.redirect = tunnel.redirect, None
    if sent is not None:
        return sent
    for sa in reversed(tunnel.usable()):
        if sa.redirected_from is not None and tunnel.config.allow_redirect:
            return sa.path.remote, sa.redirected_from
    return tunnel.config.remote, None


# ---- what the peer sends ----


def in_init(sa: IkeSa, notify: Notify, now: float) -> None:
    """
    Take a REDIRECT that came in the clear. With our nonce it comes from who has seen our request; a
    refusal is remembered as any other error in the clear.
    """
    where = Redirection.of(notify)
    if sa.config.allow_redirect and where.nonce != sa.nonce_i:
        return
    refusal = accept(sa, where, now)
    if refusal is not None:
        sa.pending_error = refusal
        return
    tunnel = sa.candidates[0]
    tunnel.attempt = None
    sa.end(reasons.followed(where.text), now)
    begin_again(sa, tunnel, now)


def accept(sa: IkeSa, where: Redirection, now: float) -> Reason | None:
    """Note where the next attempt goes to; or return why it does not."""
    tunnel = sa.tunnel or sa.candidates[0]
    refusal = _refusal(sa, tunnel, where, now)
    sa.context.count("redirect.refused" if refusal is not None else "redirect.followed")
    if refusal is None and where.address is not None:
        tunnel.redirects.append((now, where.address))
        tunnel.redirect = where.address, sa.path.remote
        sa.note(f"the peer at {sa.path.remote} sends us to {where.text}")
    return refusal


def _refusal(sa: IkeSa, tunnel: Tunnel, where: Redirection, now: float) -> Reason | None:
    if not tunnel.config.allow_redirect:
        return reasons.redirected(where.text)
    address = where.address
    if address is None:
        return reasons.unusable_redirect(where.text, "no name is looked up")
    if address.version != sa.path.local.version:
        return reasons.unusable_redirect(where.text, f"we speak from {sa.path.local}")
    if address == sa.path.local or not _is_host(address):
        return reasons.unusable_redirect(where.text, "no peer can be there")
    since = now - REDIRECT_LOOP_DETECT_PERIOD_S
    tunnel.redirects = [one for one in tunnel.redirects if one[0] > since]
    if len(tunnel.redirects) >= MAX_REDIRECTS:
        places = [*(str(one) for _, one in tunnel.redirects), where.text]
        return reasons.redirect_loop(len(tunnel.redirects), REDIRECT_LOOP_DETECT_PERIOD_S, places)
    return None


def _is_host(address: Address) -> bool:
    nowhere = address.is_unspecified or address.is_loopback or address.is_reserved
    return not (nowhere or address.is_multicast or address.is_link_local)


def later(sa: IkeSa, notify: Notify, now: float) -> Reason | None:
    """
    Take a REDIRECT from the peer of an established IKE SA; return the reason to close it with, None
    if it stays as it is (section 6). Only who has begun it can be sent on.
    """
    tunnel = sa.tunnel
    if not sa.is_usable or tunnel is None:
        return None
    where = Redirection.of(notify)
    if not tunnel.config.allow_redirect or sa.birth is None or not sa.birth.initiated:
        sa.context.count("redirect.refused")
        sa.note(f"the peer sends us to {where.text}, which is not followed")
        return None
    refusal = accept(sa, where, now)
    if refusal is not None:
        tunnel.report(sa.context, refusal)
        return None
    return reasons.followed(where.text)


def begin_again(sa: IkeSa, tunnel: Tunnel, now: float) -> None:
    """Have the attempt that `accept` has noted begun at once, in place of `sa`."""
    if tunnel.is_idle:
        tunnel.retry_at = now
    elif sa.is_beside and tunnel.attempt is None:
        tunnel.is_reauth_due, tunnel.beside_at = True, now
    else:
        tunnel.redirect = None  # another IKE SA serves the tunnel
