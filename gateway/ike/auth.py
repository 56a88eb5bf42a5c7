"""Authentication of an IKE SA (RFC 7296 section 2.15): what is signed, and pre-shared keys."""

from __future__ import annotations

import hmac

from gateway.ike.iana import Prf
from gateway.ike.suites import prf
from gateway.secret import Secret

_KEY_PAD = b"Key Pad for IKEv2"


def signed_octets(
    message: bytes,
    peer_nonce: bytes,
    function: Prf,
    sk_p: Secret,
    id_body: bytes,
    int_auth: bytes = b"",
) -> bytes:
    """
    Return what a side authenticates: its message | the other's nonce | prf(SK_p, its ID), and
    what stands for the IKE_INTERMEDIATE exchanges, where there were any (RFC 9242 section 3.3).

    `message` is that side's own IKE_SA_INIT message as it was sent, without non-ESP marker: the
    last one, where a cookie or another group made it send several. `sk_p` is SK_pi for the original
    initiator. `id_body` is the ID payload's body: type, 3 reserved bytes, value.
    """
    return message + peer_nonce + prf(function, sk_p.reveal(), id_body) + int_auth


def psk_auth(function: Prf, psk: Secret, octets: bytes) -> bytes:
    """Return the AUTH data of the pre-shared key method."""
    return prf(function, prf(function, psk.reveal(), _KEY_PAD), octets)


def is_same(expected: bytes, received: bytes) -> bool:
    """Return whether two values are equal, in a time that their content does not change."""
    return hmac.compare_digest(expected, received)
