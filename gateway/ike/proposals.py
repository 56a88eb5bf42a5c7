"""
Proposals: their form in an SA payload, their form in a text, and the choice of one.

A choice follows our own order of proposals, and within a proposal our own order of transforms. An
AEAD and a cipher with separate integrity do not share a proposal (RFC 7296 section 3.3), but
a peer's proposal that mixes them is still read transform by transform.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from struct import Struct

from gateway.errors import NoProposalChosen, WireError
from gateway.ike.iana import Group, Prf, ProtocolId, TransformType
from gateway.ike.names import ALIASES, PRF_OF_INTEG, TOKENS, transform_name
from gateway.ike.wire import Reader
from gateway.sa import Encr, Integ

_TRANSFORM = Struct(">BxHBxH")  # last, reserved, length, type, reserved, number
_KEY_LENGTH = 0x800E  # attribute 14 in its short form (RFC 7296 section 3.3.5)
_SPI_LENS = {ProtocolId.IKE: (0, 8), ProtocolId.AH: (4,), ProtocolId.ESP: (4,)}

# Types that may be left out, which means number 0: no integrity beside an AEAD, no key exchange,
# no ESN, no additional key exchange (RFC 9370).
_OPTIONAL = {TransformType.INTEG, TransformType.DH, TransformType.ESN, *range(6, 13)}


@dataclass(frozen=True, slots=True)
class Transform:
    """
    One transform substructure (RFC 7296 section 3.3.2).

    `attributes` holds, as they came, all attributes but one key length; a transform that has
    any matches nothing of ours.
    """

    type: int
    id: int
    key_bits: int | None = None
    attributes: bytes = b""

    @classmethod
    def parse(cls, reader: Reader, is_last: bool) -> Transform:
        """
        Read one.

        Last (1), reserved (1), length (2), type (1), reserved (1), number (2), attributes.
        """
        # Read in one piece: a stranger may send hundreds of them.
        last, length, kind, number = _TRANSFORM.unpack(reader.take(8, "transform"))
        _check_last(last, 0 if is_last else 3, "transform")
        attributes = reader.sub(length - 8, "transform: attributes")
        return cls(kind, number, *_parse_attributes(attributes))

    def serialise(self, is_last: bool) -> bytes:
        body = bytes([self.type, 0]) + self.id.to_bytes(2, "big")
        if self.key_bits is not None:
            body += _KEY_LENGTH.to_bytes(2, "big") + self.key_bits.to_bytes(2, "big")
        body += self.attributes
        return bytes([0 if is_last else 3, 0]) + (len(body) + 4).to_bytes(2, "big") + body

    def __str__(self) -> str:
        name = transform_name(self.type, self.id, self.key_bits)
        return name + "?" if self.attributes else name

    def accepts(self, offered: Transform) -> bool:
        """
        Return whether `offered` is this algorithm with this key length.

        ChaCha20-Poly1305 has one key length, so naming it (256) changes nothing.
        """
        if (self.type, self.id) != (offered.type, offered.id) or offered.attributes:
            return False
        if self.type == TransformType.ENCR and self.id == Encr.CHACHA20_POLY1305:
            return offered.key_bits in (None, 256)
        return self.key_bits == offered.key_bits


def _parse_attributes(body: Reader) -> tuple[int | None, bytes]:
    """Return the key length and all other attributes (RFC 7296 section 3.3.5)."""
    key_bits: int | None = None
    others = b""
    while body.left:
        kind = body.u16("attribute: type")
        value = body.take(2, "attribute: value")
        if kind == _KEY_LENGTH and key_bits is None:
            key_bits = int.from_bytes(value, "big")
            continue
        others += kind.to_bytes(2, "big") + value
        if not kind & 0x8000:
            others += body.take(int.from_bytes(value, "big"), "attribute: value")
    return key_bits, others


def _check_last(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise WireError(f"{what}: last-substructure field {found}, need {expected}")


@dataclass(frozen=True, slots=True)
class Proposal:
    """
    One proposal substructure (RFC 7296 section 3.3.1).

    `number` 0 means "by position": an SA payload numbers its proposals from 1.
    """

    protocol: int
    transforms: tuple[Transform, ...]
    spi: bytes = b""
    number: int = 0

    @classmethod
    def parse(cls, reader: Reader) -> tuple[Proposal, bool]:
        """
        Read one, and whether it is the last.

        Last (1), reserved (1), length (2), number (1), protocol (1), SPI size (1), transform
        count (1), SPI, transforms.
        """
        last = reader.u8("proposal: last")
        reader.u8("proposal: reserved")
        body = reader.sub(reader.u16("proposal: length") - 4, "proposal")
        number = body.u8("proposal: number")
        protocol = body.u8("proposal: protocol")
        spi_len = body.u8("proposal: SPI size")
        count = body.u8("proposal: transform count")
        _check_spi_len(number, protocol, spi_len)
        spi = body.take(spi_len, "proposal: SPI")
        transforms = tuple(Transform.parse(body, at == count) for at in range(1, count + 1))
        body.end(f"proposal {number}")
        if last not in (0, 2):
            raise WireError(f"proposal {number}: last-substructure field {last}")
        if number == 0:
            raise WireError("proposal: number 0, they begin with 1")
        return cls(protocol, transforms, spi, number), last == 0

    def serialise(self, number: int, is_last: bool) -> bytes:
        """Return the substructure, numbered `number` if it has no number of its own."""
        count = len(self.transforms)
        body = bytes([self.number or number, self.protocol, len(self.spi), count]) + self.spi
        for at, transform in enumerate(self.transforms, 1):
            body += transform.serialise(at == count)
        return bytes([0 if is_last else 2, 0]) + (len(body) + 4).to_bytes(2, "big") + body

    def of_type(self, kind: int) -> tuple[Transform, ...]:
        """Return the transforms of one type, in order."""
        return tuple(transform for transform in self.transforms if transform.type == kind)

    def with_spi(self, spi: bytes) -> Proposal:
        return replace(self, spi=spi)

    def without_group(self) -> Proposal:
        """Return the proposal as it stands in IKE_AUTH (RFC 7296 section 1.2)."""
        kept = tuple(one for one in self.transforms if one.type != TransformType.DH)
        return replace(self, transforms=kept)

    def __str__(self) -> str:
        derived = self._derived_prfs()
        shown = [one for one in self.transforms if one not in derived]
        order = (TransformType.ENCR, TransformType.INTEG, TransformType.PRF)
        shown.sort(key=lambda one: order.index(one.type) if one.type in order else one.type)
        return "-".join(str(one) for one in shown) or "nothing"

    def _derived_prfs(self) -> tuple[Transform, ...]:
        """Return the PRFs that a text need not name: the integrity algorithms imply them."""
        prfs = self.of_type(TransformType.PRF)
        derived = [PRF_OF_INTEG.get(one.id) for one in self.of_type(TransformType.INTEG)]
        return prfs if prfs and [one.id for one in prfs] == derived else ()


def _check_spi_len(number: int, protocol: int, spi_len: int) -> None:
    try:
        allowed = _SPI_LENS[ProtocolId(protocol)]
    except (KeyError, ValueError):
        return  # an unknown protocol is refused when a proposal is chosen
    if spi_len not in allowed:
        needed = " or ".join(str(one) for one in allowed)
        raise WireError(f"proposal {number}: SPI length {spi_len}, need {needed}")


def texts(proposals: Iterable[Proposal]) -> str:
    """Return proposals as one text for a log line or a reason; at most 2000 characters."""
    text = ", ".join(str(one) for one in islice(proposals, 20)) or "nothing"
    return text if len(text) <= 2000 else text[:1997] + "..."


def groups_of(proposals: Iterable[Proposal]) -> tuple[int, ...]:
    """Return the DH groups of all proposals, best first, each once, without NONE."""
    found = [one.id for each in proposals for one in each.of_type(TransformType.DH) if one.id]
    return tuple(dict.fromkeys(found))


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
    return _sorted(Proposal(protocol, complete(text, transforms)))


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
    if aead == {False} and TransformType.INTEG not in kinds:
        cipher = kinds[TransformType.ENCR][0]
        raise ValueError(f"{text!r}: {cipher} needs an integrity algorithm, as in sha256")
    return kinds


def _is_aead(transform: Transform) -> bool:
    return Encr(transform.id).is_aead


_GROUPS = "x25519-ecp384-ecp256-modp3072-modp2048"
_AEADS = "aes256gcm16-aes128gcm16-chacha20poly1305"

DEFAULT_IKE: tuple[Proposal, ...] = (
    parse_proposal(f"{_AEADS}-prfsha384-prfsha256-{_GROUPS}", ProtocolId.IKE),
    parse_proposal(f"aes256-sha256-{_GROUPS}", ProtocolId.IKE),
)
DEFAULT_ESP: tuple[Proposal, ...] = (
    parse_proposal(f"{_AEADS}-{_GROUPS}", ProtocolId.ESP),
    parse_proposal(f"aes256-sha256-{_GROUPS}", ProtocolId.ESP),
)


# ---- the choice ----

_Kinds = dict[int, list[Transform]]  # by type


@dataclass(frozen=True, slots=True)
class IkeSuite:
    """The transforms of an IKE SA. `key_bits` is without an AEAD's salt; 256 for ChaCha20."""

    encr: Encr
    key_bits: int
    prf: Prf
    integ: Integ
    group: Group

    def __str__(self) -> str:
        parts = [_encr_text(self.encr, self.key_bits)]
        if not self.encr.is_aead:
            parts.append(transform_name(TransformType.INTEG, self.integ, None))
        if PRF_OF_INTEG.get(self.integ) is not self.prf:
            parts.append(transform_name(TransformType.PRF, self.prf, None))
        return "-".join([*parts, transform_name(TransformType.DH, self.group, None)])


@dataclass(frozen=True, slots=True)
class EspSuite:
    """The transforms of a Child SA. `group` is None where there is no key exchange of its own."""

    encr: Encr
    key_bits: int
    integ: Integ
    group: Group | None
    esn: bool

    def __str__(self) -> str:
        parts = [_encr_text(self.encr, self.key_bits)]
        if not self.encr.is_aead:
            parts.append(transform_name(TransformType.INTEG, self.integ, None))
        if self.group is not None:
            parts.append(transform_name(TransformType.DH, self.group, None))
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
    their_kinds, our_kinds = _kinds(theirs), _kinds(ours)
    for encr in _common(their_kinds, our_kinds, TransformType.ENCR):
        chosen = _match_with(their_kinds, our_kinds, encr)
        if chosen is not None:
            return chosen
    return None


def _kinds(proposal: Proposal) -> _Kinds:
    """Return the transforms by type, each once: a peer that repeats one causes no work."""
    kinds: _Kinds = {}
    for one in dict.fromkeys(proposal.transforms):
        kinds.setdefault(one.type, []).append(one)
    return kinds


def _match_with(theirs: _Kinds, ours: _Kinds, encr: Transform) -> tuple[Transform, ...] | None:
    chosen = [encr]
    for kind in sorted((theirs.keys() | ours.keys()) - {TransformType.ENCR}):
        common = _common(theirs, ours, kind)
        if kind == TransformType.INTEG:
            common = [one for one in common if (one.id == Integ.NONE) == _is_aead(encr)]
        if not common:
            return None
        chosen += [one for one in common[:1] if kind in theirs]
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
    complaint = NoProposalChosen(f"answer {texts(answer)}; offered {texts(offered)}")
    if len(answer) != 1 or answer[0].protocol != protocol:
        raise complaint
    (theirs,) = answer
    types = [one.type for one in theirs.transforms]
    ours = next((o for at, o in enumerate(offered, 1) if (o.number or at) == theirs.number), None)
    if ours is None or len(set(types)) != len(types):
        raise complaint
    chosen = _match(theirs, ours)
    if chosen is None:
        raise complaint
    return replace(theirs, transforms=chosen)


def _ike_suite(chosen: Proposal) -> IkeSuite:
    encr, key_bits = _encr_of(chosen)
    return IkeSuite(
        encr,
        key_bits,
        Prf(_number(chosen, TransformType.PRF)),
        Integ(_number(chosen, TransformType.INTEG)),
        Group(_number(chosen, TransformType.DH)),
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
    )


def _encr_of(chosen: Proposal) -> tuple[Encr, int]:
    (transform,) = chosen.of_type(TransformType.ENCR)
    return Encr(transform.id), transform.key_bits or 256


def _number(chosen: Proposal, kind: TransformType) -> int:
    """Return the number of the chosen transform of a type; 0 if there is none."""
    found = chosen.of_type(kind)
    return found[0].id if found else 0
