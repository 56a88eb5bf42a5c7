"""How the two ends of a tunnel prove their identities by signatures, in place of a shared key."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.pki.certificate import Certificate
from gateway.pki.keys import PrivateKey, PublicKey
from gateway.pki.question import Mode


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    What we show, and what we believe. Without `chain` we show our key alone (RFC 7670); `peer_keys`
    are the keys that a peer may have without a certificate.
    """

    key: PrivateKey
    chain: tuple[Certificate, ...] = ()  # ours, then those between it and what the peer trusts
    anchors: tuple[Certificate, ...] = ()
    peer_keys: tuple[PublicKey, ...] = ()
    revocation: Mode = Mode.RELAXED
    is_private_allowed: bool = False  # CRLs and OCSP servers may have private addresses
    allow_legacy: bool = False  # SHA-1, AUTH method 1, RSA keys from 1024 bits
    use_pss: bool = False  # our RSA signatures are PSS
