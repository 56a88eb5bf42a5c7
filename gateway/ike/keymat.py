"""
Key derivation of IKE SAs and Child SAs (RFC 7296 sections 2.14, 2.17 and 2.18), with additional key
exchanges (RFC 9370 section 2.2) and post-quantum pre-shared keys (RFC 8784 section 3).

`secrets` are those of a CREATE_CHILD_SA exchange and of the key exchanges that followed it, in
order; the first is g^ir.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.ike.iana import Prf
from gateway.ike.proposals import EspSuite, IkeSuite
from gateway.ike.suites import encr_key_len, integ_key_len, prf, prf_len, prf_plus
from gateway.secret import Secret


@dataclass(frozen=True, slots=True)
class IkeKeys:
    """
    The seven secrets of an IKE SA. "i" is its original initiator.

    With an AEAD `sk_ai` and `sk_ar` are empty, and `sk_ei` and `sk_er` end in the 4-byte salt.
    """

    sk_d: Secret
    sk_ai: Secret
    sk_ar: Secret
    sk_ei: Secret
    sk_er: Secret
    sk_pi: Secret
    sk_pr: Secret


@dataclass(frozen=True, slots=True)
class ChildKeys:
    """
    The keys of a Child SA. The initiator of the exchange that made it seals with the first two.

    An AEAD's encryption key ends in the 4-byte salt and its integrity key is empty.
    """

    initiator_encr: Secret
    initiator_integ: Secret
    responder_encr: Secret
    responder_integ: Secret


def derive_ike(
    suite: IkeSuite, shared: Secret, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes
) -> IkeKeys:
    """Return the keys of a first IKE SA: SKEYSEED = prf(Ni | Nr, g^ir) (section 2.14)."""
    skeyseed = prf(suite.prf, ni + nr, shared.reveal())
    return _ike_keys(suite, skeyseed, ni + nr + spi_i + spi_r)


def mix_ike(
    suite: IkeSuite,
    sk_d: Secret,
    shared: Secret,
    ni: bytes,
    nr: bytes,
    spi_i: bytes,
    spi_r: bytes,
) -> IkeKeys:
    """
    Return the keys of a first IKE SA after one more key exchange (RFC 9370 section 2.2.2).

    SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr).
    """
    return rederive_ike(suite, suite.prf, sk_d, (shared,), ni, nr, spi_i, spi_r)


def mix_ppk(function: Prf, keys: IkeKeys, ppk: Secret) -> IkeKeys:
    """Return the keys with a post-quantum pre-shared key in them (RFC 8784 section 3)."""
    return replace(
        keys,
        sk_d=ppk_key(function, keys.sk_d, ppk),
        sk_pi=ppk_key(function, keys.sk_pi, ppk),
        sk_pr=ppk_key(function, keys.sk_pr, ppk),
    )


def ppk_key(function: Prf, key: Secret, ppk: Secret) -> Secret:
    """Return prf+(PPK, key), as long as the key."""
    return Secret(prf_plus(function, ppk.reveal(), key.reveal(), len(key)))


def rederive_ike(
    suite_new: IkeSuite,
    prf_old: Prf,
    sk_d_old: Secret,
    secrets: tuple[Secret, ...],
    ni: bytes,
    nr: bytes,
    spi_i: bytes,
    spi_r: bytes,
) -> IkeKeys:
    """
    Return the keys of an IKE SA that replaces one (section 2.18, RFC 9370 section 2.2.4).

    SKEYSEED = prf(SK_d, g^ir | Ni | Nr | SK(1) | ...) uses the old SA's PRF and SK_d, the rest the
    new suite's; nonces and SPIs are those of the rekey exchange.
    """
    skeyseed = prf(prf_old, sk_d_old.reveal(), _seed(secrets, ni + nr))
    return _ike_keys(suite_new, skeyseed, ni + nr + spi_i + spi_r)


def _ike_keys(suite: IkeSuite, skeyseed: bytes, seed: bytes) -> IkeKeys:
    integ, encr = integ_key_len(suite.integ), encr_key_len(suite.encr, suite.key_bits)
    own = prf_len(suite.prf)
    lens = (own, integ, integ, encr, encr, own, own)
    return IkeKeys(*_cut(prf_plus(suite.prf, skeyseed, seed, sum(lens)), lens))


def derive_child(
    suite: EspSuite,
    function: Prf,
    sk_d: Secret,
    ni: bytes,
    nr: bytes,
    secrets: tuple[Secret, ...] = (),
) -> ChildKeys:
    """
    Return the keys of a Child SA (section 2.17, RFC 9370 section 2.2.4).

    KEYMAT = prf+(SK_d, g^ir | Ni | Nr | SK(1) | ...). `function` is the IKE SA's PRF; `secrets` is
    empty without a key exchange of its own.
    """
    seed = _seed(secrets, ni + nr)
    lens = (encr_key_len(suite.encr, suite.key_bits), integ_key_len(suite.integ)) * 2
    return ChildKeys(*_cut(prf_plus(function, sk_d.reveal(), seed, sum(lens)), lens))


def _seed(secrets: tuple[Secret, ...], nonces: bytes) -> bytes:
    first, further = secrets[:1], secrets[1:]
    return b"".join(one.reveal() for one in first) + nonces + b"".join(s.reveal() for s in further)


def _cut(stream: bytes, lens: tuple[int, ...]) -> Iterator[Secret]:
    at = 0
    for length in lens:
        yield Secret(stream[at : at + length])
        at += length
