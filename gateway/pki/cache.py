"""What was fetched of revocation, for all tunnels: bounded, and forgotten when out of date."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from gateway.pki.question import Question
from gateway.pki.revocation import fresh_until

ENTRIES_MAX = 512
BYTES_MAX = 32 * 2**20
AGAIN_S = 60.0  # after no answer, until it is asked for again
LEAST_S = 60.0  # an answer is kept at least, and where it does not say how long
MOST_S = 86400.0  # and at most: a revocation is to be noticed within a day


@dataclass(frozen=True, slots=True)
class _Entry:
    body: bytes | None
    until: float  # monotonic


class RevocationCache:
    """Answers by what was asked. Times are monotonic seconds, `at` seconds since 1970."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()
        self._bytes = 0

    def look(self, question: Question, now: float) -> bytes | None:
        """Return the answer, None where there was none. Raises KeyError: it is to be asked for."""
        entry = self._entries[question]
        if entry.until <= now:
            raise KeyError(question)
        return entry.body

    def put(self, question: Question, body: bytes | None, now: float, at: float) -> None:
        """Keep an answer, or that there was none."""
        self._drop(question)
        life = AGAIN_S
        if body is not None:
            until = fresh_until(body)
            life = LEAST_S if until is None else min(max(until - at, LEAST_S), MOST_S)
        self._entries[question] = _Entry(body, now + life)
        self._bytes += len(body or b"")
        while len(self._entries) > ENTRIES_MAX or self._bytes > BYTES_MAX:
            self._drop(next(iter(self._entries)))

    def _drop(self, question: Question) -> None:
        entry = self._entries.pop(question, None)
        if entry is not None:
            self._bytes -= len(entry.body or b"")

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0
