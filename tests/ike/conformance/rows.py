"""
The rows of the tables: what the peer changes, and what we are to say and count then.

The group of a case is a section of the IPv6 Ready/TAHI plan of IKEv2 (1.1 initial exchanges, 1.2
CREATE_CHILD_SA, 1.3 INFORMATIONAL) or a class of bad input, D1 to D27: header, chain, notify,
identity and so on, in the order in which the wounds of other implementations are listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.ike.iana import Group, NotifyType, PayloadType, ProtocolId, TransformType
from gateway.ike.payloads import SecurityAssociation, TrafficSelectorsI
from gateway.ike.proposals import Proposal, parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.ike.transforms import Transform
from tests.ike.conformance.edits import (
    CRITICAL,
    RESERVED,
    UNKNOWN,
    all_flags,
    both,
    first,
    flags,
    header,
    last,
    notify,
    twice,
    unchanged,
    with_spi_of,
    without,
)
from tests.ike.conformance.script import (
    Edit,
    Point,
    at_auth,
    at_child_rekey,
    at_ike_rekey,
    at_init,
    at_intermediate,
    at_liveness,
    at_new_child,
)
from tests.ike.test_dh import prime_of
from tests.support.pair import IkePair, config_a, config_b

Case = tuple[str, str, Edit]  # group, what is changed, and how


@dataclass(frozen=True)
class Outcome:
    """What comes of it, at the tested end."""

    answer: NotifyType | None = None  # the error in the answer to a request
    counter: str = ""  # the one counter of drops and errors that moves
    is_up: bool | None = True  # whether there is an IKE SA afterwards; None: if there was one
    code: str = ""  # of the failure that is reported
    is_silent: bool = False


GOOD = Outcome()  # as if nothing had been changed
ENDS = Outcome(is_up=False)  # a good answer, and the end of the IKE SA


def dropped(reason: str, answer: NotifyType | None = None) -> Outcome:
    """The message goes no further; what is answered, if anything, is not protected."""
    return Outcome(answer, "drop." + reason, is_up=None, is_silent=answer is None)


def in_clear(answer: NotifyType) -> Outcome:
    """IKE_SA_INIT is refused, and nothing kept."""
    return Outcome(answer, "drop.refused", is_up=False)


def answered(answer: NotifyType, code: str = "", *, is_up: bool | None = True) -> Outcome:
    """The request fails, and nothing else does."""
    return Outcome(answer, f"out.error.{int(answer)}", is_up, code)


def ends(answer: NotifyType, code: str = "") -> Outcome:
    """The request fails, and with it the IKE SA."""
    return answered(answer, code, is_up=False)


def fails(code: str, *, is_up: bool) -> Outcome:
    """What we have asked for fails; `is_up` says whether the IKE SA stays."""
    return Outcome(code=code, is_up=is_up)


@dataclass(frozen=True)
class Row:
    """One case at one point of a conversation."""

    group: str
    case: str
    point: Point
    edit: Edit
    outcome: Outcome
    pair: Callable[[], IkePair] = IkePair

    @property
    def is_up(self) -> bool:
        """Return whether the tested end has an IKE SA afterwards."""
        was_up = self.point not in (at_init, at_auth, at_intermediate)
        return was_up if self.outcome.is_up is None else self.outcome.is_up

    def __str__(self) -> str:
        return f"{self.group} {self.point.__name__[3:]}: {self.case}"


def rows(
    points: Point | tuple[Point, ...],
    outcome: Outcome,
    *cases: Case,
    pair: Callable[[], IkePair] = IkePair,
) -> tuple[Row, ...]:
    """Return the rows of cases that all end alike; `pair` makes the two ends."""
    at = points if isinstance(points, tuple) else (points,)
    return tuple(
        Row(group, case, one, edit, outcome, pair) for one in at for group, case, edit in cases
    )


def lacks(group: str, *kinds: PayloadType) -> tuple[Case, ...]:
    """Return the cases that a payload which must be there once is not there, or twice."""
    return tuple(
        (group, f"{how} of {kind.name}", edit(kind))
        for kind in kinds
        for how, edit in (("no payload", without), ("two payloads", twice))
    )


# ---- ends that agree on something else than usual ----


def with_groups(ike: str, esp: str = "x25519") -> Callable[[], IkePair]:
    """Return what makes two ends with other key exchanges."""

    def pair() -> IkePair:
        proposals = {
            "ike_proposals": (parse_proposal(f"aes256gcm16-prfsha384-{ike}", ProtocolId.IKE),),
            "esp_proposals": (parse_proposal(f"aes256gcm16-{esp}-noesn", ProtocolId.ESP),),
            "fragment_size": 4000,  # one datagram for one message
        }
        return IkePair(config_a(**proposals), config_b(**proposals))

    return pair


MODP2048_P = prime_of(Group.MODP2048)

MODP, ECP = with_groups("modp2048", "modp2048"), with_groups("ecp256", "ecp256")
HYBRID = with_groups("x25519-ke1_mlkem768", "x25519-ke1_mlkem768")

# ---- points ----

CHILD = (at_child_rekey, at_new_child)
PROTECTED = (at_auth, *CHILD, at_ike_rekey, at_liveness)

# ---- bodies ----

SA, KE, NONCE = PayloadType.SA, PayloadType.KE, PayloadType.NONCE
ID_I, ID_R, AUTH = PayloadType.ID_I, PayloadType.ID_R, PayloadType.AUTH
TS_I, TS_R, NOTIFY = PayloadType.TS_I, PayloadType.TS_R, PayloadType.NOTIFY
DELETE = PayloadType.DELETE
IKE_TEXT = "aes256gcm16-prfsha384-x25519"
ESP_TEXT = "aes256gcm16-x25519-noesn"
SPI4, SPI8 = b"\x11\x22\x33\x44", b"\x11\x22\x33\x44\x55\x66\x77\x88"


def sa(
    *proposals: Proposal | str, spi: bytes = b"", protocol: ProtocolId = ProtocolId.IKE
) -> bytes:
    """Return the body of an SA payload."""
    parsed = [parse_proposal(one, protocol) if isinstance(one, str) else one for one in proposals]
    return SecurityAssociation(tuple(one.with_spi(spi) for one in parsed)).serialise()


def esp(*proposals: Proposal | str) -> Edit:
    """Offer other proposals for the same Child SA."""
    return with_spi_of(SA, lambda spi: sa(*proposals, spi=spi, protocol=ProtocolId.ESP))


def ike(*proposals: Proposal | str) -> Edit:
    """Offer other proposals for the same IKE SA."""
    return with_spi_of(SA, lambda spi: sa(*proposals, spi=spi))


def more(text: str, *transforms: Transform, protocol: ProtocolId = ProtocolId.IKE) -> Proposal:
    """Return a proposal with further transforms."""
    proposal = parse_proposal(text, protocol)
    return Proposal(proposal.protocol, (*transforms, *proposal.transforms))


def lacking(text: str, kind: TransformType, protocol: ProtocolId = ProtocolId.IKE) -> Proposal:
    """Return a proposal without its transforms of a type."""
    proposal = parse_proposal(text, protocol)
    kept = tuple(one for one in proposal.transforms if one.type != kind)
    return Proposal(proposal.protocol, kept)


def ts(*texts: str) -> bytes:
    """Return the body of a payload of traffic selectors."""
    return TrafficSelectorsI(tuple(parse_selector(text) for text in texts)).serialise()


# What later versions may send, and what must be ignored (RFC 7296 sections 2.5, 3.1 and 3.2).
TOLERATED: tuple[Case, ...] = (
    ("1.1.1", "nothing is changed", unchanged),
    ("1.1.4", "minor version 15", header(version=0x2F)),
    ("1.1.4", "reserved flags of the header set", flags(0xC7)),
    ("1.1.4", "version flag set", flags(0x10)),
    ("1.1.4", "reserved bits of all payloads set", all_flags(RESERVED)),
    ("1.1.4", "known payloads called critical", all_flags(CRITICAL)),
    ("1.1.4", "unknown payload first", first(UNKNOWN, b"later")),
    ("1.1.4", "unknown payload last", last(UNKNOWN, b"later")),
    ("D3", "fifty unknown payloads", last(UNKNOWN, b"x" * 8, times=50)),
    ("1.1.4", "unknown status notify", notify(40000, b"later")),
    ("1.1.4", "notify with an SPI", notify(40000, b"", 3, SPI4)),
    ("1.1.4", "vendor ID", last(43, b"who knows")),
    (
        "D25",
        "CP, EAP, unsolicited notifies",
        both(last(48, b"\1\1\0\4"), notify(NotifyType.COOKIE2)),
    ),
)
