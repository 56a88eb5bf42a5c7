"""Floods of forged datagrams toward a gateway of the laboratory, by `flood.c`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import pacer
from lab.commands import LabError, Process
from lab.netns import Namespace

_SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True, slots=True)
class Kind:
    """What each datagram holds, and where it is random: places and lengths in bytes."""

    name: str
    port: int
    data: bytes
    spots: Sequence[tuple[int, int]]
    source: str = "45.0.0.0"  # the first of `sources` addresses that it comes from
    sources: int = 1 << 24


@dataclass(frozen=True, slots=True)
class Sent:
    """What a flood came to."""

    count: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Return the datagrams sent a second."""
        return self.count / self.seconds


@dataclass(frozen=True, slots=True)
class Flood:
    """A flood that runs."""

    process: Process

    def wait(self, timeout_s: float) -> Sent:
        """Wait for its end. Raises LabError."""
        self.process.wait(timeout_s)
        try:
            said = json.loads(self.process.log.read_text())
        except ValueError:
            raise LabError(f"flood ended:\n{self.process.tail()}") from None
        return Sent(said["sent"], said["seconds"])


def start(machine: Namespace, address: str, kind: Kind, rate: int, seconds: float) -> Flood:
    """Send `rate` datagrams a second toward an address, for so long."""
    file = machine.lab.directory / f"flood-{kind.name}"
    file.write_bytes(kind.data)
    words = [address, str(kind.port), str(rate), str(seconds), f"{kind.source}/{kind.sources}"]
    spots = [f"{at}/{length}" for at, length in kind.spots]
    program = str(pacer.compiled(_SOURCE))
    return Flood(machine.start(f"flood-{kind.name}", program, *words, str(file), *spots))
