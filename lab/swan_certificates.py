"""Certificates and raw keys of a strongSwan peer, loaded over vici."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import vici
from cryptography.hazmat.primitives import serialization


@dataclass(frozen=True, slots=True)
class Certificates:
    """
    What charon shows and trusts, in PEM; `auth` is how it signs and `wanted` how its peer is to, as
    swanctl.conf has it.
    """

    own: Sequence[str]  # its certificate, then those above it; none: a raw key
    key: str
    trusted: Sequence[str] = ()  # of the peer: authorities, or its raw key in PEM
    auth: str = "pubkey"
    wanted: str = "pubkey"


def load_certificates(session: vici.Session, found: Certificates | None) -> None:
    """Load what a connection shows and trusts; nothing for a pre-shared key."""
    if found is None:
        return
    session.load_key({"type": "any", "data": found.key})
    for one in found.own[1:]:
        session.load_cert({"type": "X509", "flag": "NONE", "data": one})
    for one in found.trusted:
        if "BEGIN CERTIFICATE" in one:
            session.load_cert({"type": "X509", "flag": "CA", "data": one})


def public_pem(key: str) -> str:
    """Return the public half of a private key in PEM."""
    loaded = serialization.load_pem_private_key(key.encode(), None).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return loaded.public_bytes(serialization.Encoding.PEM, form).decode()
