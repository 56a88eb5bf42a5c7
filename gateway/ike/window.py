"""
Both windows of an IKE SA, of size one (RFC 7296 section 2.3), and retransmission (section 2.1).

The requester alone resends, and byte for byte: a request is encoded once and kept. The responder
keeps its last response and sends it again when the same request arrives again; nothing else answers
an old message ID. The next message ID is taken only by a request that was opened, so garbage never
moves a window.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

from gateway.ike.child import Offer
from gateway.ike.tasks import Task


@dataclass(slots=True)
class Request:
    """One outstanding request: sent, resent on a schedule, given up at its end."""

    message_id: int
    exchange: int
    datagrams: tuple[bytes, ...]
    task: Task
    schedule: tuple[
        float, ...
    ]  # seconds to wait after each sending; after the last the peer is gone
    sent_at: float
    offer: Offer | None = None
    deadline: float = math.inf
    tries: int = 0
    is_outdated: bool = False  # the tunnel's configuration has changed since it was sent

    def __post_init__(self) -> None:
        self.deadline = self.sent_at + self.schedule[0]
        self.tries = 1

    def next_try(self, now: float) -> bool:
        """
        Move the deadline to the next resending and return True; False if the schedule has ended.
        """
        if self.tries >= len(self.schedule):
            self.deadline = math.inf
            return False
        self.deadline = now + self.schedule[self.tries]
        self.tries += 1
        return True


@dataclass(slots=True)
class Window:
    """Message IDs of both directions, the outstanding request and the stored response."""

    next_request: int = 0  # message ID of our next request
    expected: int = 0  # message ID of the peer's next request
    outstanding: Request | None = None
    response: tuple[bytes, ...] = ()
    _answered: bytes = field(default=b"", repr=False)  # digest of the request `response` answers

    def open(self, request: Request) -> None:
        """Take `request` as the outstanding one. There must be none."""
        assert self.outstanding is None
        assert request.message_id == self.next_request
        self.outstanding = request
        self.next_request += 1

    def replace(self, request: Request) -> None:
        """
        Send another request in place of the outstanding one: only IKE_SA_INIT may (section 2.6).
        """
        assert self.outstanding is not None
        assert request.message_id == self.outstanding.message_id
        self.outstanding = request

    def close(self) -> Request:
        """Return the outstanding request, which has been answered or given up, and forget it."""
        request = self.outstanding
        assert request is not None
        self.outstanding = None
        return request

    def answer(self, digest: bytes, response: tuple[bytes, ...]) -> None:
        """Store the response to the request with the expected message ID and this digest."""
        self.expected += 1
        self._answered = digest
        self.response = response

    def restore(self, answered: bytes, response: tuple[bytes, ...]) -> None:
        """Take the stored response of a snapshot."""
        self._answered = answered
        self.response = response

    def is_repeated(self, message_id: int, digest: bytes) -> bool:
        """Return whether this is the request answered last, unchanged."""
        return message_id + 1 == self.expected and digest == self._answered

    @property
    def answered(self) -> bytes:
        """Return the digest of the request that was answered last."""
        return self._answered


def digest(datagram: bytes) -> bytes:
    """
    Return what identifies a request's bytes: for a fragmented one, those of its first fragment.
    """
    return hashlib.sha256(datagram).digest()
