"""
Certificates and public keys of the document, as VICI's list-certs has them.

Its values are bytes: DER stands in them as `wire` wants it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from gateway.ike.config import Identity
from gateway.node.plan import TunnelPlan
from gateway.vici.wire import Section

if TYPE_CHECKING:
    from gateway.pki.certificate import Certificate


class Listed(NamedTuple):
    """A certificate or a raw key, as it is listed."""

    section: Section
    certificate: Certificate | None = None

    def is_meant(self, request: Section) -> bool:
        """Say whether a request means this one: by type, flag and subject, where it says them."""
        for key in ("type", "flag"):
            wanted = str(request.get(key, "")).upper()
            if wanted not in ("", "ANY", self.section.get(key, "")):
                return False
        subject = str(request.get("subject", ""))
        return not subject or self._bears(subject)

    def _bears(self, subject: str) -> bool:
        if self.certificate is None:
            return subject == self.section.get("subject")
        from gateway.pki.names import bears

        try:
            identity = Identity.parse(subject)
        except ValueError:
            return False
        return bears(self.certificate, identity.type.value, identity.value)


def listed(plans: Iterable[TunnelPlan]) -> Iterator[Listed]:
    """Yield each certificate and key once, also where many tunnels have it; ours come first."""
    seen: set[object] = set()
    for one in sorted(_all(plans), key=lambda one: "has_privkey" not in one.section):
        if one.section["data"] not in seen:
            seen.add(one.section["data"])
            yield one


def _all(plans: Iterable[TunnelPlan]) -> Iterator[Listed]:
    for plan in plans:
        credentials = plan.ike.credentials
        if credentials is None:
            continue
        ours = {"has_privkey": "yes"}
        if credentials.chain:
            own, *above = credentials.chain
            yield Listed({"type": "X509", "flag": "NONE", "data": _text(own.der), **ours}, own)
            for one in (*above, *credentials.anchors):
                yield Listed({"type": "X509", "flag": "CA", "data": _text(one.der)}, one)
        else:
            key = _key(credentials.key.public.spki, str(plan.ike.local_id))
            yield Listed({**key, **ours})
        for peer in credentials.peer_keys:
            yield Listed(_key(peer.spki, str(plan.ike.remote_id or "%any")))


def _key(spki: bytes, subject: str) -> Section:
    return {"type": "PUBKEY", "subject": subject, "data": _text(spki)}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
