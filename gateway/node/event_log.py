"""
The events of this node: a bounded ring in memory, followed on disk, numbered.

The file is one JSON object a line, appended with each event and never read but at the start: a line
that a crash has cut is left out. When it has `PER_FILE` events it becomes `events.old`, so the two
together hold no more than the ring. A new log numbers from the time on, in milliseconds: numbers
grow also where a reboot has emptied the runtime directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.model.events import Event, EventError, event_of_json

RING = 10_000  # events
PER_FILE = RING // 2
LINE_MAX = 16_384  # bytes; an event's texts are bounded
FILE, OLD = "events.log", "events.old"
ACKNOWLEDGED = "acknowledged"
_FOLLOWER_QUEUE = 1000  # who reads slower than this loses events


class EventLog:
    """The ring and its file. `clock` is in seconds since 1970."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._clock = clock
        self._ring: deque[Event] = deque(maxlen=RING)
        self._followers: set[asyncio.Queue[Event]] = set()
        self._file = -1
        self._in_file = 0
        self.acknowledged = 0  # the number up to which the control plane has them
        for name in (OLD, FILE):
            self._in_file = self._read(directory / name)

    @property
    def last(self) -> int:
        """Return the number of the last event, 0 if there is none."""
        return self._ring[-1].sequence if self._ring else 0

    def add(self, event: Event) -> Event:
        """Keep an event; return it with its number."""
        first = int(self._clock() * 1000)
        numbered = event.numbered(self.last + 1 if self._ring else max(first, 1))
        self._ring.append(numbered)
        for queue in self._followers:
            if not queue.full():
                queue.put_nowait(numbered)
        self._write(numbered.as_json())
        return numbered

    def take(self, after: int, limit: int) -> list[Event]:
        """Return up to `limit` events with a higher number than `after`, oldest first."""
        # Numbers in the ring have no gaps, so the place is known without a search.
        skip = max(0, after - self._ring[0].sequence + 1) if self._ring else 0
        return list(itertools.islice(self._ring, skip, skip + limit))

    def acknowledge(self, sequence: int) -> None:
        """Note that the control plane has all events up to this number."""
        if self.acknowledged < sequence <= self.last:
            self.acknowledged = sequence
            self._write({ACKNOWLEDGED: sequence})

    def recent(self, count: int, tunnel: str | None = None) -> list[Event]:
        """Return the last `count` events, of one tunnel if it is named, oldest first."""
        found = [each for each in self._ring if tunnel is None or is_of(each, tunnel)]
        return found[-count:] if count > 0 else []

    @contextlib.contextmanager
    def follow(self) -> Iterator[asyncio.Queue[Event]]:
        """Give a queue that gets every new event while the context lasts."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_FOLLOWER_QUEUE)
        self._followers.add(queue)
        try:
            yield queue
        finally:
            self._followers.discard(queue)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # ---- the file ----

    def _read(self, path: Path) -> int:
        """Take what a file holds; return how many events it has."""
        count = 0
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            return 0
        for line in lines:
            try:
                table = json.loads(line)
                if isinstance(table, dict) and isinstance(table.get(ACKNOWLEDGED), int):
                    self.acknowledged = table[ACKNOWLEDGED]
                    continue
                event = event_of_json(table)
            except (ValueError, RecursionError, EventError):
                continue
            count += 1
            if not self._ring or event.sequence == self.last + 1:
                self._ring.append(event)
        return count

    def _write(self, table: dict[str, object]) -> None:
        """Append a line. A directory that is full must not stop the tunnels: the ring has it."""
        line = json.dumps(table, separators=(",", ":")).encode() + b"\n"
        with contextlib.suppress(OSError):
            if self._in_file >= PER_FILE:
                self._rotate()
            os.write(self._opened(), line if len(line) <= LINE_MAX else b"")
            self._in_file += ACKNOWLEDGED not in table

    def _rotate(self) -> None:
        self.close()
        (self._directory / FILE).replace(self._directory / OLD)
        self._in_file = 0
        if self.acknowledged:
            line = json.dumps({ACKNOWLEDGED: self.acknowledged}).encode() + b"\n"
            os.write(self._opened(), line)

    def _opened(self) -> int:
        if self._file < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._directory / FILE, flags, 0o600)
            if _is_cut(self._directory / FILE):
                os.write(self._file, b"\n")
        return self._file


def _is_cut(path: Path) -> bool:
    """Return whether a crash has cut the last line: the next one must not be joined to it."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def is_of(event: Event, tunnel: str) -> bool:
    """Return whether an event is about a tunnel."""
    return event.resource.kind == "vpn_tunnel" and event.resource.name == tunnel
