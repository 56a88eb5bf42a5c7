"""Key derivation of IKE SAs and Child SAs (RFC 7296 sections 2.14, 2.17 and 2.18)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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


def rederive_ike(
    suite_new: IkeSuite,
    prf_old: Prf,
    sk_d_old: Secret,
    shared: Secret,
    ni: bytes,
    nr: bytes,
    spi_i: bytes,
    spi_r: bytes,
) -> IkeKeys:
    """
    Return the keys of an IKE SA that replaces one (section 2.18).

    SKEYSEED = prf(SK_d, g^ir | Ni | Nr) uses the old SA's PRF and SK_d, the rest the new suite's;
    nonces and SPIs are those of the rekey exchange.
    """
    skeyseed = prf(prf_old, sk_d_old.reveal(), shared.reveal() + ni + nr)
    return _ike_keys(suite_new, skeyseed, ni + nr + spi_i + spi_r)


def _ike_keys(suite: IkeSuite, skeyseed: bytes, seed: bytes) -> IkeKeys:
    integ, encr = integ_key_len(suite.integ), encr_key_len(suite.encr, suite.key_bits)
    own = prf_len(suite.prf)
    lens = (own, integ, integ, encr, encr, own, own)
    return IkeKeys(*_cut(prf_plus(suite.prf, skeyseed, seed, sum(lens)), lens))


def derive_child(
    suite: EspSuite, function: Prf, sk_d: Secret, ni: bytes, nr: bytes, shared: Secret | None
) -> ChildKeys:
    """
    Return the keys of a Child SA: KEYMAT = prf+(SK_d, g^ir | Ni | Nr) (section 2.17).

    `function` is the IKE SA's PRF; `shared` is None without a key exchange of its own.
    """
    seed = (shared.reveal() if shared else b"") + ni + nr
    lens = (encr_key_len(suite.encr, suite.key_bits), integ_key_len(suite.integ)) * 2
    return ChildKeys(*_cut(prf_plus(function, sk_d.reveal(), seed, sum(lens)), lens))


def _cut(stream: bytes, lens: tuple[int, ...]) -> Iterator[Secret]:
    at = 0
    for length in lens:
        yield Secret(stream[at : at + length])
        at += length
