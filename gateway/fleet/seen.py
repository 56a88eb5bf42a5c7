"""What a node answers when it is asked what it sees: routes, negotiations, Child SAs. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.fleet.messages import Message, Number, Text, Word

ROUTES_MAX = 500  # in one answer: some 170 KB of JSON
LINES_MAX = 64
DETAILS_MAX = 64  # payloads of a message
CHILDREN_MAX = 512


class Route(Message):
    """A route as `twinspan routes` has it; names are those of the node's document, so ids."""

    prefix: Word
    border_gateway: Word = ""
    connection: Word = ""
    standing: Word = ""
    next_hop_type: Word = ""
    origin: Word = ""
    owner: Word = ""
    next_hops: tuple[Word, ...] = Field(default=(), max_length=64)
    as_path: Text = ""
    why: Text = ""


class Routes(Message):
    """Routes, and how many more there are."""

    routes: tuple[Route, ...] = Field(default=(), max_length=ROUTES_MAX)
    left_off: Number = 0


class Line(Message):
    """A line of `twinspan trace`: a message, or what happened between two. `at` since 1970."""

    at: Annotated[float, Field(ge=0, le=2**40)]
    kind: Literal["message", "state", "failed", "dropped", "note"]
    text: Text = ""
    times: Number = 1
    sent: bool = False
    local: Word = ""
    remote: Word = ""
    exchange: Word = ""
    line: Text = ""
    details: tuple[Text, ...] = Field(default=(), max_length=DETAILS_MAX)
    ours: Text = ""
    theirs: Text = ""
    hint: Text = ""


class Negotiation(Message):
    """What was said with a tunnel's peer lately, the oldest first."""

    lines: tuple[Line, ...] = Field(default=(), max_length=LINES_MAX)


class ChildSa(Message):
    """
    A Child SA as `twinspan explain` has it. `resource` is the worker that it is for, counted from
    1, and 0 for all; what it has carried is known where workers have their own.
    """

    spi_in: Word
    spi_out: Word
    suite: Word = ""
    state: Word = ""
    sends: bool = False
    resource: Number = 0
    in_packets: Number | None = None
    out_packets: Number | None = None


class ChildSas(Message):
    """The Child SAs of a tunnel."""

    children: tuple[ChildSa, ...] = Field(default=(), max_length=CHILDREN_MAX)
