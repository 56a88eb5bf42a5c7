"""
Proposals as lists of suites, and the choice of the one that a device can have.

A device gets one suite: the first of the gateway's own order for which it has words. The gateway
takes every suite of its list, so the two agree whoever begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType

from gateway.ike.iana import TransformType
from gateway.ike.names import PRF_OF_INTEG, TOKENS, transform_name
from gateway.ike.proposals import Proposal, Transform
from gateway.sa import Encr, Integ

_NONE: Mapping[str, str] = MappingProxyType({})
# What most devices call a group: its number of IANA.
GROUP_NUMBERS: Mapping[str, str] = MappingProxyType(
    {name: str(int(id)) for name, (kind, id, _) in TOKENS.items() if kind is TransformType.DH}
)


@dataclass(frozen=True, slots=True)
class Suite:
    """
    One algorithm of each kind by its name in `gateway.ike.names`; None where there is none.

    `integ` is None beside an AEAD, `prf` in ESP, `group` in ESP without PFS. `esn` says what of
    ESP's extended sequence numbers the gateway takes: "both", "esn" or "noesn"; "" in IKE.
    """

    encr: str
    integ: str | None
    prf: str | None
    group: str | None
    esn: str = ""
    further: str = ""  # key exchanges beside the first (RFC 9370)

    def __str__(self) -> str:
        own = "prf" + (self.integ or "")
        prf = None if self.prf == own else self.prf
        parts = (self.encr, self.integ, prf, self.group, self.further)
        return "-".join(part for part in parts if part)

    @property
    def numbers(self) -> tuple[Encr, Integ]:
        """Return cipher and integrity algorithm by their IANA numbers."""
        encr = Encr.AES_CBC
        if self.encr == "chacha20poly1305":
            encr = Encr.CHACHA20_POLY1305
        elif self.integ is None:
            encr = Encr.AES_GCM_16
        return encr, _INTEGS[self.integ]


_INTEGS = {
    None: Integ.NONE,
    "sha256": Integ.HMAC_SHA2_256_128,
    "sha384": Integ.HMAC_SHA2_384_192,
    "sha512": Integ.HMAC_SHA2_512_256,
}


def suites_of(proposals: tuple[Proposal, ...]) -> tuple[Suite, ...]:
    """Return every suite of some proposals, in their order, each once."""
    return tuple(dict.fromkeys(suite for one in proposals for suite in _suites(one)))


def _suites(proposal: Proposal) -> Iterator[Suite]:
    esn = ""
    ways = {one.id for one in proposal.of_type(TransformType.ESN)}
    if ways:
        esn = "both" if len(ways) > 1 else ("esn" if 1 in ways else "noesn")
    kinds = [
        _names(proposal, kind)
        for kind in (
            TransformType.ENCR,
            TransformType.INTEG,
            TransformType.PRF,
            TransformType.DH,
        )
    ]
    further = "-".join(str(one) for one in further_exchanges(proposal))
    for encr, integ, prf, group in product(*kinds):
        assert encr is not None  # a proposal without a cipher can not be parsed
        yield Suite(encr, integ, prf, group, esn, further)


def further_exchanges(proposal: Proposal) -> list[Transform]:
    """Return the key exchanges that a proposal demands beside its group (RFC 9370)."""
    own = [one for one in proposal.transforms if one.type > TransformType.ESN]
    optional = {one.type for one in own if one.id == 0}
    return [one for one in own if one.type not in optional]


def _names(proposal: Proposal, kind: TransformType) -> list[str | None]:
    found = proposal.of_type(kind)
    return [transform_name(one.type, one.id, one.key_bits) for one in found] or [None]


@dataclass(frozen=True, slots=True)
class Words:
    """
    A device's words for algorithms, by their names here; what is missing the device can not do.

    With `has_prf` False its PRF is that of the integrity algorithm, so an AEAD in IKE needs a word
    in `prf` all the same. `esn` says whether it can be made to use ESP's extended sequence numbers.
    """

    encr: Mapping[str, str]
    integ: Mapping[str, str]
    group: Mapping[str, str]
    prf: Mapping[str, str] = field(default_factory=lambda: _NONE)
    has_prf: bool = True
    esn: bool = False

    def lacks(self, suite: Suite) -> str | None:
        """Return the first algorithm of `suite` that the device does not have, or None."""
        kinds = ((self.encr, suite.encr), (self.integ, suite.integ), (self.group, suite.group))
        for words, name in kinds:
            if name is not None and name not in words:
                return name
        if suite.prf is not None and not self._has_prf(suite):
            return suite.prf
        if suite.further:
            return suite.further
        return "esn" if suite.esn == "esn" and not self.esn else None

    def _has_prf(self, suite: Suite) -> bool:
        if not self.has_prf and suite.integ is not None:
            return suite.prf in [
                transform_name(TransformType.PRF, prf, None)
                for integ, prf in PRF_OF_INTEG.items()
                if transform_name(TransformType.INTEG, integ, None) == suite.integ
            ]
        return suite.prf in self.prf


def first_fitting(suites: tuple[Suite, ...], words: Words) -> Suite | None:
    """Return the first suite for which a device has words; None if there is none."""
    return next((suite for suite in suites if words.lacks(suite) is None), None)
