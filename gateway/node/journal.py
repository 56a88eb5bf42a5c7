"""
What happened, one line each: to standard error for the system's journal, and in a ring for
`twinspan log`.

Lines that strangers can cause are rate limited by event name and tunnel, and by source, so that one
of them does not silence what others cause; what was left out is said. Values are cleaned of control
characters, since some of them come from the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TextIO

from structlog.processors import LogfmtRenderer

from gateway.ike.sources import SourceRates, source_of
from gateway.sa import Address

Value = str | int | float | bool

_RING = 2000  # entries
_BURST, _PER_S = 10.0, 1.0  # lines of one event that strangers may cause
_FOLLOWER_QUEUE = (
    1000  # a follower that reads slower than this loses entries, not the daemon memory
)


class Level(IntEnum):
    """How much an entry matters; the numbers are syslog's."""

    ERROR = 3  # someone must act
    WARNING = 4  # someone may
    INFO = 6  # state changed
    DEBUG = 7  # a message was seen


@dataclass(frozen=True, slots=True)
class Entry:
    """One event: `at` in seconds since 1970, `event` a fixed name, `fields` what is particular."""

    at: float
    level: Level
    event: str
    fields: dict[str, Value]

    def as_json(self) -> dict[str, object]:
        return {
            "at": self.at,
            "level": self.level.name.lower(),
            "event": self.event,
            "fields": self.fields,
        }


@dataclass(slots=True)
class _Budget:
    """A token bucket for one event name."""

    tokens: float = _BURST
    at: float = 0.0
    left_out: int = 0

    def allows(self, now: float) -> bool:
        self.tokens = min(_BURST, self.tokens + (now - self.at) * _PER_S)
        self.at = now
        if self.tokens < 1.0:
            self.left_out += 1
            return False
        self.tokens -= 1.0
        return True


@dataclass(slots=True)
class Journal:
    """The daemon's log: `stream` gets lines up to `level`, the ring gets all of them."""

    stream: TextIO
    clock: Callable[[], float]  # seconds since 1970
    level: Level = Level.INFO
    priorities: bool = False  # "<6>" before each line, for systemd
    listeners: list[Callable[[Entry], None]] = field(default_factory=list)
    _ring: deque[Entry] = field(default_factory=lambda: deque(maxlen=_RING))
    _budgets: dict[tuple[str, object], _Budget] = field(default_factory=dict)
    _sources: SourceRates[Address] = field(
        default_factory=lambda: SourceRates(os.urandom(16), _PER_S / 2, int(_BURST / 2), source_of)
    )
    _followers: set[asyncio.Queue[Entry]] = field(default_factory=set)
    _render: LogfmtRenderer = field(default_factory=LogfmtRenderer)

    def error(self, event: str, **fields: Value) -> None:
        self._add(Level.ERROR, event, fields)

    def warning(self, event: str, **fields: Value) -> None:
        self._add(Level.WARNING, event, fields)

    def info(self, event: str, **fields: Value) -> None:
        self._add(Level.INFO, event, fields)

    def debug(self, event: str, **fields: Value) -> None:
        self._add(Level.DEBUG, event, fields)

    def say(self, level: Level, event: str, **fields: Value) -> None:
        self._add(level, event, fields)

    def from_peer(
        self, level: Level, event: str, source: Address | None = None, /, **fields: object
    ) -> None:
        """
        Add an entry that a stranger can cause: at most a burst of ten, then one a second; half of
        that for one source.
        """
        budget = self._budgets.setdefault((event, fields.get("tunnel")), _Budget(at=self.clock()))
        if source is not None and not self._sources.take(source, self.clock()):
            budget.left_out += 1
            return
        if not budget.allows(self.clock()):
            return
        if budget.left_out:
            fields["left_out"] = budget.left_out
            budget.left_out = 0
        self._add(level, event, {name: _plain(value) for name, value in fields.items()})

    def recent(self, count: int, tunnel: str | None = None) -> list[Entry]:
        """Return the last `count` entries, of one tunnel if given, oldest first."""
        entries = [e for e in self._ring if tunnel is None or e.fields.get("tunnel") == tunnel]
        return entries[-count:] if count > 0 else []

    @contextlib.contextmanager
    def follow(self) -> Iterator[asyncio.Queue[Entry]]:
        """Give a queue that gets every new entry while the context lasts."""
        queue: asyncio.Queue[Entry] = asyncio.Queue(_FOLLOWER_QUEUE)
        self._followers.add(queue)
        try:
            yield queue
        finally:
            self._followers.discard(queue)

    def _add(self, level: Level, event: str, fields: dict[str, Value]) -> None:
        entry = Entry(self.clock(), level, event, {k: _clean(v) for k, v in fields.items()})
        self._ring.append(entry)
        for queue in self._followers:
            if not queue.full():
                queue.put_nowait(entry)
        for listen in self.listeners:
            listen(entry)
        if level <= self.level:
            self._write(entry)

    def _write(self, entry: Entry) -> None:
        values = self._render(None, "", dict(entry.fields))
        prefix = f"<{entry.level.value}>" if self.priorities else ""
        # A log that can not be written must not stop the tunnels.
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(f"{prefix}{entry.event} {values}".rstrip() + "\n")
            self.stream.flush()


def _plain(value: object) -> Value:
    """Return a value as a line has it: what is no number is made text only where it is written."""
    return value if isinstance(value, str | int | float | bool) else str(value)


def _clean(value: Value) -> Value:
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in value)
