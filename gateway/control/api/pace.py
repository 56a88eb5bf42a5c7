"""
How slowly a client may send a request: its head within some seconds, its body at a least rate.
Pure.

uvicorn lets a connection go on which nothing is sent between two requests, and no other. So one
who sends a byte now and then would have the connection, and with a body the task that waits for it,
for ever. The time begins with the first byte of each request. It does not go on while it is we who
do not read.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

HEAD_S = 20.0  # for a request's line and headers
BODY_S = 20.0  # for a body, and for each `BODY_RATE` bytes of it that have come one second more
BODY_RATE = 16 << 10  # bytes a second


class Part(enum.Enum):
    """What a connection is in the middle of."""

    NOTHING = "nothing"  # between requests, or a whole one has come
    HEAD = "head"
    BODY = "body"


@dataclass(slots=True)
class Pace:
    """How long a connection takes. Times are monotonic, in seconds; it begins with a head."""

    at: float
    part: Part = Part.HEAD
    size: int = 0
    spent_s: float = 0.0

    def got(self, part: Part, size: int) -> None:
        """Note that so many bytes have come; `part` is what is incomplete after them."""
        if part is not self.part:
            self.part, self.size, self.spent_s = part, 0, 0.0
        self.size += size

    def look(self, now: float, *, is_reading: bool) -> bool:
        """Say whether it is too slow. The time since the last look counts if we do read."""
        if is_reading:
            self.spent_s += now - self.at
        self.at = now
        if self.part is Part.BODY:
            return self.spent_s > BODY_S + self.size / BODY_RATE
        return self.part is Part.HEAD and self.spent_s > HEAD_S
