"""
Proposals: their form in a text, and the choice of one. Their form in an SA payload is in
`transforms.py`.

A choice follows our own order of proposals, and within a proposal our own order of transforms. An
AEAD and a cipher with separate integrity do not share a proposal (RFC 7296 section 3.3), but
a peer's proposal that mixes them is still read transform by transform.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

from gateway.errors import NoProposalChosen
from gateway.ike.iana import ADDITIONAL, POST_QUANTUM, Group, Prf, ProtocolId, TransformType
from gateway.ike.names import ALIASES, PRF_OF_INTEG, TOKENS, transform_name
from gateway.ike.transforms import EXCHANGES, Proposal, Transform
from gateway.sa import Encr, Integ

__all__ = [
    "DEFAULT_ESP",
    "DEFAULT_IKE",
    "EspSuite",
    "IkeSuite",
    "Proposal",
    "Transform",
    "check_answer_esp",
    "check_answer_ike",
    "groups_of",
    "has_further",
    "parse_proposal",
    "select_esp",
    "select_ike",
    "texts",
    "without_further",
]


# Types that may be left out, which means number 0: no integrity beside an AEAD, no key exchange,
# no ESN, no additional key exchange (RFC 9370).
_OPTIONAL = {TransformType.INTEG, TransformType.DH, TransformType.ESN, *ADDITIONAL}


def texts(proposals: Iterable[Proposal]) -> str:
    """Return proposals as one text for a log line or a reason; at most 2000 characters."""
    text = ", ".join(str(one) for one in islice(proposals, 20)) or "nothing"
    return text if len(text) <= 2000 else text[:1997] + "..."


def groups_of(proposals: Iterable[Proposal]) -> tuple[int, ...]:
    """Return the DH groups of all proposals, best first, each once, without NONE."""
    found = [one.id for each in proposals for one in each.of_type(TransformType.DH) if one.id]
    return tuple(dict.fromkeys(found))


def without_further(proposals: Iterable[Proposal]) -> tuple[Proposal, ...]:
    """Return what a peer can mean that knows no additional key exchanges (RFC 9370)."""
    kept = [
        replace(one, number=one.number or at).without_further()
        for at, one in enumerate(proposals, 1)
    ]
    return tuple(one for one in kept if one is not None)


def has_further(proposals: Iterable[Proposal]) -> bool:
    """Return whether one of the proposals has an additional key exchange."""
    return any(one.id and one.type in ADDITIONAL for each in proposals for one in each.transforms)


# ---- texts ----


def parse_proposal(text: str, protocol: ProtocolId) -> Proposal:
    """
    Return the proposal that `text` names: "aes256-sha256-modp2048", several of one kind allowed.

    An IKE proposal without a PRF takes the PRFs of its integrity algorithms. An ESP proposal
    without "esn" or "noesn" offers both, ESN first. Raises ValueError that names the wrong or
    missing token.
    """
    transforms: list[Transform] = []
    for token in text.strip().lower().split("-"):
        name = ALIASES.get(token, token)
        if name not in TOKENS:
            raise ValueError(f"{text!r}: unknown algorithm {token!r}")
        transform = Transform(*TOKENS[name])
        if transform in transforms:
            raise ValueError(f"{text!r}: {token!r} stands twice")
        transforms.append(transform)
    complete = _complete_ike if protocol is ProtocolId.IKE else _complete_esp
    if protocol not in (ProtocolId.IKE, ProtocolId.ESP):
        raise ValueError(f"protocol {protocol.name} has no proposals here")
    proposal = _sorted(Proposal(protocol, complete(text, transforms)))
    if _match(proposal, proposal) is None:
        raise ValueError(f"{text!r}: no choice of its key exchanges takes each method only once")
    return proposal


def _sorted(proposal: Proposal) -> Proposal:
    return replace(proposal, transforms=tuple(sorted(proposal.transforms, key=lambda t: t.type)))


def _complete_ike(text: str, transforms: list[Transform]) -> tuple[Transform, ...]:
    kinds = _by_type(text, transforms)
    if TransformType.ESN in kinds:
        raise ValueError(f"{text!r}: {kinds[TransformType.ESN][0]} is for ESP, not for IKE")
    if TransformType.DH not in kinds:
        raise ValueError(f"{text!r}: no key exchange group, as in x25519")
    integ = kinds.get(TransformType.INTEG, [])
    derived = [Transform(TransformType.PRF, PRF_OF_INTEG[one.id]) for one in integ]
    if TransformType.PRF not in kinds and not derived:
        raise ValueError(f"{text!r}: no PRF, as in prfsha384, which an AEAD needs beside it")
    if _is_aead(kinds[TransformType.ENCR][0]):
        if TransformType.PRF in kinds and integ:
            raise ValueError(f"{text!r}: integrity algorithm {integ[0]} beside an AEAD")
        transforms = [one for one in transforms if one.type != TransformType.INTEG]
    if TransformType.PRF not in kinds:
        transforms = transforms + derived
    return tuple(transforms)


def _complete_esp(text: str, transforms: list[Transform]) -> tuple[Transform, ...]:
    kinds = _by_type(text, transforms)
    if TransformType.PRF in kinds:
        raise ValueError(f"{text!r}: {kinds[TransformType.PRF][0]} is for IKE, not for ESP")
    if _is_aead(kinds[TransformType.ENCR][0]) and TransformType.INTEG in kinds:
        named = kinds[TransformType.INTEG][0]
        raise ValueError(f"{text!r}: integrity algorithm {named} beside an AEAD")
    if TransformType.ESN not in kinds:
        transforms = [*transforms, Transform(*TOKENS["esn"]), Transform(*TOKENS["noesn"])]
    return tuple(transforms)


def _by_type(text: str, transforms: list[Transform]) -> dict[int, list[Transform]]:
    """Return the transforms by type, having checked what holds for both protocols."""
    kinds: dict[int, list[Transform]] = {}
    for one in transforms:
        kinds.setdefault(one.type, []).append(one)
    if TransformType.ENCR not in kinds:
        raise ValueError(f"{text!r}: no encryption algorithm, as in aes256gcm16")
    aead = {_is_aead(one) for one in kinds[TransformType.ENCR]}
    if len(aead) == 2:
        raise ValueError(f"{text!r}: an AEAD and a cipher without need separate proposals")
    further = [one for one in transforms if one.type in ADDITIONAL]
    if further and TransformType.DH not in kinds:
        raise ValueError(f"{text!r}: {further[0]} needs a group beside it, as in x25519")
    if aead == {False} and TransformType.INTEG not in kinds:
        cipher = kinds[TransformType.ENCR][0]
        raise ValueError(f"{text!r}: {cipher} needs an integrity algorithm, as in sha256")
    return kinds


def _is_aead(transform: Transform) -> bool:
    return Encr(transform.id).is_aead


# ---- the choice ----

_Kinds = dict[int, list[Transform]]  # by type


@dataclass(frozen=True, slots=True)
class IkeSuite:
    """
    The transforms of an IKE SA. `key_bits` is without an AEAD's salt; 256 for ChaCha20. `further`
    are the additional key exchanges, in the order in which they are made.
    """

    encr: Encr
    key_bits: int
    prf: Prf
    integ: Integ
    group: Group
    further: tuple[Transform, ...] = ()

    @property
    def is_post_quantum(self) -> bool:
        """Return whether one of its key exchanges withstands a quantum computer."""
        return any(one.id in POST_QUANTUM for one in self.further)

    def __str__(self) -> str:
        parts = [_encr_text(self.encr, self.key_bits)]
        if not self.encr.is_aead:
            parts.append(transform_name(TransformType.INTEG, self.integ, None))
        if PRF_OF_INTEG.get(self.integ) is not self.prf:
            parts.append(transform_name(TransformType.PRF, self.prf, None))
        parts.append(transform_name(TransformType.DH, self.group, None))
        return "-".join([*parts, *map(str, self.further)])


@dataclass(frozen=True, slots=True)
class EspSuite:
    """
    The transforms of a Child SA. `group` is None where there is no key exchange of its own; then
    `further`, the additional key exchanges, is empty.
    """

    encr: Encr
    key_bits: int
    integ: Integ
    group: Group | None
    esn: bool
    further: tuple[Transform, ...] = ()

    def __str__(self) -> str:
        parts = [_encr_text(self.encr, self.key_bits)]
        if not self.encr.is_aead:
            parts.append(transform_name(TransformType.INTEG, self.integ, None))
        if self.group is not None:
            parts.append(transform_name(TransformType.DH, self.group, None))
        parts += map(str, self.further)
        return "-".join(parts + (["esn"] if self.esn else []))


def _encr_text(encr: Encr, key_bits: int) -> str:
    bits = None if encr is Encr.CHACHA20_POLY1305 else key_bits
    return transform_name(TransformType.ENCR, encr, bits)


def select_ike(
    offered: tuple[Proposal, ...], allowed: tuple[Proposal, ...]
) -> tuple[IkeSuite, Proposal]:
    """
    Return the suite to use and the proposal to answer with (RFC 7296 section 2.7).

    The answer has the number of the proposal it takes, key lengths as offered, and no SPI.
    Raises NoProposalChosen, which shows both lists.
    """
    answer = _select(offered, allowed, ProtocolId.IKE)
    return _ike_suite(answer), answer


def select_esp(
    offered: tuple[Proposal, ...], allowed: tuple[Proposal, ...], *, want_group: bool
) -> tuple[EspSuite, Proposal]:
    """
    Return the suite to use and the proposal to answer with, without SPI.

    `want_group` is False in IKE_AUTH: groups are ignored on both sides and left out of the answer.
    Otherwise the group must match as any type does, and no group matches only no group or NONE.
    Raises NoProposalChosen.
    """
    answer = _select(_esp_side(offered, want_group), _esp_side(allowed, want_group), ProtocolId.ESP)
    return _esp_suite(answer), answer


def check_answer_ike(answer: tuple[Proposal, ...], offered: tuple[Proposal, ...]) -> IkeSuite:
    """Return the suite a responder chose. Raises NoProposalChosen unless we offered it."""
    return _ike_suite(_check_answer(answer, offered, ProtocolId.IKE))


def check_answer_esp(
    answer: tuple[Proposal, ...], offered: tuple[Proposal, ...], *, want_group: bool
) -> EspSuite:
    """Return the suite a responder chose. Raises NoProposalChosen unless we offered it."""
    wanted = _esp_side(offered, want_group)
    return _esp_suite(_check_answer(answer, wanted, ProtocolId.ESP))


def _esp_side(proposals: tuple[Proposal, ...], want_group: bool) -> tuple[Proposal, ...]:
    return proposals if want_group else tuple(one.without_group() for one in proposals)


def _select(
    offered: tuple[Proposal, ...], allowed: tuple[Proposal, ...], protocol: ProtocolId
) -> Proposal:
    for ours in allowed:
        for theirs in offered:
            if theirs.protocol != protocol or ours.protocol != protocol:
                continue
            chosen = _match(theirs, ours)
            if chosen is not None:
                return Proposal(protocol, chosen, b"", theirs.number)
    raise NoProposalChosen(f"offered {texts(offered)}; allowed {texts(allowed)}")


def _match(theirs: Proposal, ours: Proposal) -> tuple[Transform, ...] | None:
    """Return one transform per type that `theirs` names, as offered, or None."""
    return _match_of(theirs.transforms, ours.transforms)


@lru_cache(maxsize=128)
def _match_of(
    theirs: tuple[Transform, ...], ours: tuple[Transform, ...]
) -> tuple[Transform, ...] | None:
    their_kinds, our_kinds = _kinds(theirs), _kinds(ours)
    for encr in _common(their_kinds, our_kinds, TransformType.ENCR):
        chosen = _match_with(their_kinds, our_kinds, encr)
        if chosen is not None:
            return chosen
    return None


def _kinds(transforms: tuple[Transform, ...]) -> _Kinds:
    """Return the transforms by type, each once: a peer that repeats one causes no work."""
    kinds: _Kinds = {}
    for one in dict.fromkeys(transforms):
        kinds.setdefault(one.type, []).append(one)
    return kinds


def _match_with(theirs: _Kinds, ours: _Kinds, encr: Transform) -> tuple[Transform, ...] | None:
    chosen = [encr]
    used: set[int] = set()  # key exchange methods: none is made twice (RFC 9370 section 2.2.1)
    for kind in sorted((theirs.keys() | ours.keys()) - {TransformType.ENCR}):
        common = _common(theirs, ours, kind)
        if kind == TransformType.INTEG:
            common = [one for one in common if (one.id == Integ.NONE) == _is_aead(encr)]
        if kind in EXCHANGES:
            common = [one for one in common if one.id not in used]
            used |= {one.id for one in common[:1] if one.id}
        if not common:
            return None
        chosen += [one for one in common[:1] if kind in theirs]
    if used and all(one.id == 0 for one in chosen if one.type == TransformType.DH):
        return None  # an additional key exchange without a first one
    has_integ = any(one.type == TransformType.INTEG for one in chosen)
    return tuple(chosen) if has_integ or _is_aead(encr) else None


def _common(theirs: _Kinds, ours: _Kinds, kind: int) -> list[Transform]:
    """Return the transforms of one type that both name: in our order, in their words."""
    absent = [Transform(kind, 0)] if kind in _OPTIONAL else []
    our_side, their_side = ours.get(kind, absent), theirs.get(kind, absent)
    return [their for our in our_side for their in their_side if our.accepts(their)]


def _check_answer(
    answer: tuple[Proposal, ...], offered: tuple[Proposal, ...], protocol: ProtocolId
) -> Proposal:
    chosen = _answered(answer, offered, protocol)
    if chosen is None:
        raise NoProposalChosen(f"answer {texts(answer)}; offered {texts(offered)}")
    return replace(answer[0], transforms=chosen)


def _answered(
    answer: tuple[Proposal, ...], offered: tuple[Proposal, ...], protocol: ProtocolId
) -> tuple[Transform, ...] | None:
    """Return what an answer takes of what we offered, None if it is not that."""
    if len(answer) != 1 or answer[0].protocol != protocol:
        return None
    (theirs,) = answer
    types = [one.type for one in theirs.transforms]
    ours = next((o for at, o in enumerate(offered, 1) if (o.number or at) == theirs.number), None)
    if ours is None or len(set(types)) != len(types):
        return None
    return _match(theirs, ours)


def _ike_suite(chosen: Proposal) -> IkeSuite:
    encr, key_bits = _encr_of(chosen)
    return IkeSuite(
        encr,
        key_bits,
        Prf(_number(chosen, TransformType.PRF)),
        Integ(_number(chosen, TransformType.INTEG)),
        Group(_number(chosen, TransformType.DH)),
        _further(chosen),
    )


def _esp_suite(chosen: Proposal) -> EspSuite:
    encr, key_bits = _encr_of(chosen)
    group = _number(chosen, TransformType.DH)
    return EspSuite(
        encr,
        key_bits,
        Integ(_number(chosen, TransformType.INTEG)),
        Group(group) if group else None,
        bool(_number(chosen, TransformType.ESN)),
        _further(chosen),
    )


def _further(chosen: Proposal) -> tuple[Transform, ...]:
    """Return the chosen additional key exchanges, in the order of their types."""
    found = [one for one in chosen.transforms if one.type in ADDITIONAL and one.id]
    return tuple(sorted(found, key=lambda one: one.type))


def _encr_of(chosen: Proposal) -> tuple[Encr, int]:
    (transform,) = chosen.of_type(TransformType.ENCR)
    return Encr(transform.id), transform.key_bits or 256


def _number(chosen: Proposal, kind: TransformType) -> int:
    """Return the number of the chosen transform of a type; 0 if there is none."""
    found = chosen.of_type(kind)
    return found[0].id if found else 0


# ---- what is offered where nothing else is said ----

_GROUPS = "x25519-ecp384-ecp256-modp3072-modp2048"
_AEADS = "aes256gcm16-aes128gcm16-chacha20poly1305"

# With ML-KEM first, then without it: a peer that does not know additional key exchanges has to
# refuse the proposals that have one (RFC 7296 section 3.3.6) and takes one of the others.
_HYBRID = f"{_GROUPS}-ke1_mlkem768"

DEFAULT_IKE: tuple[Proposal, ...] = tuple(
    parse_proposal(f"{ciphers}-{groups}", ProtocolId.IKE)
    for groups in (_HYBRID, _GROUPS)
    for ciphers in (f"{_AEADS}-prfsha384-prfsha256", "aes256-sha256")
)
DEFAULT_ESP: tuple[Proposal, ...] = tuple(
    parse_proposal(f"{ciphers}-{groups}", ProtocolId.ESP)
    for groups in (_HYBRID, _GROUPS)
    for ciphers in (_AEADS, "aes256-sha256")
)
