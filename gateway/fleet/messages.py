"""
The messages between a node and the control plane. Pure.

HTTP/1.1 with JSON bodies (gzip where they are large) over TLS 1.3; both ends have certificates of
the control plane's own small CA. The node asks, the control plane answers:

    POST /node/v1/register   with a one-time token, the only path without a certificate but `ca`
    GET  /node/v1/ca         the CA's certificate; the node compares its fingerprint
    POST /node/v1/renew      another certificate before this one ends
    GET  /node/v1/document   waits until there is another wanted document, or an action
    POST /node/v1/report     what is, every few seconds and when a state has changed

Unknown fields are ignored at both ends, so that either may be updated first.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import GatewayError

PATH = "/node/v1"
CONTROL_NAME = "control.twinspan"  # in the control plane's certificate, wherever it listens
DEFAULT_PORT = 8444
WAIT_S = 25.0  # how long a question for another document may wait
REPORT_S = 5.0  # between reports
LOST_S = 15  # without a report, and a node counts as lost
DOCUMENT_BYTES_MAX = 16 * 2**20  # as of a file; thousands of tunnels are one or two MiB
ANSWER_BYTES_MAX = 256 * 2**10  # of one answer to a question, as JSON
BODY_BYTES_MAX = 4 * 2**20  # of what a node says, compressed or not
TOKEN_PREFIX = "tsn"  # noqa: S105  # how registration tokens begin

Table = dict[str, object]
Text = Annotated[str, Field(max_length=2000)]
Word = Annotated[str, Field(max_length=128)]
Number = Annotated[int, Field(ge=0, le=2**53)]
Pem = Annotated[str, Field(max_length=16384)]


class MessageError(GatewayError):
    """The other end has said something that is no message."""


class Message(BaseModel):
    """What all messages have in common."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )


M = TypeVar("M", bound=Message)


class Registration(Message):
    """A node that is new, or has lost its certificate. `csr` is PKCS #10 in PEM."""

    token: Word
    csr: Pem
    version: Word = ""


class Renewal(Message):
    """A node that wants its next certificate."""

    csr: Pem


class Credential(Message):
    """A node's certificate and the CA's, in PEM. `renew_at` is in seconds since 1970."""

    node: Word
    certificate: Pem
    ca: Pem
    renew_at: float


class Position(Message):
    """
    Which wanted document a node has.

    Generations grow within an epoch; a store that was put back to an older state begins another
    one. `tag` stands for the document's content: with the same tag, nothing is to be done.
    """

    epoch: Number = 0
    generation: Number = 0
    tag: Word = ""


class Wanted(Message):
    """A node's wanted document and its position."""

    node: Word
    at: Position
    document: Table


class Verb(Enum):
    """What a node can be told to do with one tunnel."""

    UP = "up"
    DOWN = "down"
    DRAIN = "drain"
    REKEY = "rekey"
    RESET = "reset"
    EXPLAIN = "explain"


class Action(Message):
    """Something to be done once. `ike` is for a rekey: of the IKE SA, not the Child SA."""

    id: Word
    verb: Verb
    tunnel: Word
    ike: bool = False


class Question(Message):
    """
    Something that somebody wants to know of a node now: a command of the control socket that only
    reads, with what it asks for. Nothing but its answer comes of it, and it may be told twice.
    """

    id: Word
    command: Word
    arguments: Table = Field(default_factory=dict)


class Turn(Message):
    """The answer to the question for another document: it, if there is one, and what is to do."""

    wanted: Wanted | None = None
    actions: tuple[Action, ...] = Field(default=(), max_length=1000)
    questions: tuple[Question, ...] = Field(default=(), max_length=1000)


class Why(Message):
    """A reason code with both sides' values where they are known."""

    code: Word
    text: Text = ""
    ours: Text = ""
    theirs: Text = ""
    hint: Text = ""


class TunnelState(Message):
    """A tunnel as it is. `since` is when it went up or down, in seconds since 1970."""

    name: Word
    admin: Literal["up", "down"]
    operational: Literal["up", "connecting", "down"]
    since: float
    reason: Why | None = None
    active: bool = False  # it carries its connection's traffic
    standing: Word = ""
    local: Word = ""
    remote: Word = ""
    interface: Word = ""
    suite: Word = ""
    bgp: Word = ""  # state of the session, "" without one
    probe: Word = ""
    mtu: int | None = None


Milliseconds = Annotated[float, Field(ge=0, le=1e6)]


class RoundTrip(Message):
    """
    What the node measures of a tunnel, inside or outside, over the last minute; None where that is
    not known. `by` is what was answered: "icmp" or "ike".
    """

    state: Literal["waiting", "answered", "lost", "no_answer"] = "waiting"
    by: Word = ""
    rtt_ms: Milliseconds | None = None
    min_ms: Milliseconds | None = None
    max_ms: Milliseconds | None = None
    jitter_ms: Milliseconds | None = None
    loss_percent: Annotated[float, Field(ge=0, le=100)] | None = None


class Counters(Message):
    """
    What a tunnel has carried since its device was made, and carries now (bits per second); what is
    measured of its ways.
    """

    in_bytes: int = 0
    out_bytes: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bps: int = 0
    out_bps: int = 0
    drops: int = 0
    inside: RoundTrip | None = None
    outside: RoundTrip | None = None


class Result(Message):
    """What became of an action. `details` is for `explain`."""

    id: Word
    ok: bool
    text: Text = ""
    details: Table | None = None


class Answer(Message):
    """What a node says to a question; in `text` why it can not, if it is not `ok`."""

    id: Word
    ok: bool
    text: Text = ""
    details: Table | None = None


class Report(Message):
    """
    What a node says of itself.

    `session` is one run of the gateway process, `number` counts its reports. A full report names
    all tunnels and connections, another one those whose state is not what the last one said.
    """

    session: Word
    number: int
    full: bool
    at: Position  # applied
    problem: Why | None = None  # with the document that is wanted
    version: Word = ""
    since: float = 0.0  # when the gateway process began, in seconds since 1970
    notes: tuple[Text, ...] | None = Field(default=None, max_length=256)  # None: as before
    tunnels: tuple[TunnelState, ...] = Field(default=(), max_length=20000)
    counters: dict[str, Counters] = Field(default_factory=dict, max_length=20000)
    events: tuple[Table, ...] = Field(default=(), max_length=1000)  # as `model/events.py` has it
    results: tuple[Result, ...] = Field(default=(), max_length=1000)
    answers: tuple[Answer, ...] = Field(default=(), max_length=1000)
    reads: tuple[Word, ...] = Field(default=(), max_length=256)  # what it can be asked


class Heard(Message):
    """
    The answer to a report. `full` asks for a full one, since something was missed; events up to
    number `events` are kept and need not be told again.
    """

    full: bool = False
    events: int = 0


def read(kind: type[M], body: bytes) -> M:
    """Return the message of that kind in a JSON text. Raises MessageError with the field."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise MessageError(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def is_newer(offered: Position, held: Position) -> bool:
    """Say whether a node that holds one position may go over to another."""
    if offered.epoch != held.epoch:
        return offered.epoch > held.epoch
    return offered.generation > held.generation


_TOKEN = re.compile(r"tsn-([A-Za-z0-9_-]{32,64})-([0-9a-f]{64})")


def token_text(secret: str, fingerprint: str) -> str:
    """Return a registration token: what is secret, and the CA's fingerprint."""
    return f"{TOKEN_PREFIX}-{secret}-{fingerprint}"


def parse_token(text: str) -> tuple[str, str]:
    """Return the secret and the fingerprint of a token. Raises MessageError, without the text."""
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        raise MessageError("token: not a registration token: it begins with tsn- and is one line")
    return found[1], found[2]
