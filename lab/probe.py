"""
A counted sequence of UDP datagrams and their echoes: what was lost, spoiled, and how long it was
silent.

Run as a program it is one of its two ends:

    probe.py echo PORT
    probe.py send ADDRESS PORT RATE BYTES FILE

The sender sends at fixed instants until SIGTERM, waits for the last echoes and writes its record.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.commands import Process
    from lab.netns import Namespace

_SEQ = struct.Struct("!Q")
_BUFFER_BYTES = 4 << 20
# A probe is as long as a small voice packet, so paths treat it as traffic.
_PROBE_BYTES = 120
_MOST_BYTES = 65507
_HELLO = 2**64 - 1
# Python's socket module does not name them. They pass the limit that the machine sets.
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_LAST_ECHO_S = 1.0
_LEAST_S = 0.6  # so long it goes on, however soon it is stopped: few datagrams say little
_TAIL_S = 0.3  # so long it goes on after what it judges


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the sequence; times are seconds of the sender's monotonic clock."""

    sent: int
    received: int
    lost: tuple[int, ...]  # sequence numbers without echo
    duplicates: int
    spoiled: int  # echoes whose bytes are not those that were sent
    silence_ms: float  # longest time between two echoes that follow each other
    silent_from: float
    period_ms: float

    @property
    def goes_on(self) -> bool:
        """Say whether echoes still came at the end: most of the last fifty."""
        return sum(seq >= self.sent - 50 for seq in self.lost) < 10


@dataclass(slots=True)
class Probe:
    """A probe on its way."""

    sender: Process
    echo: Process
    file: Path
    begun_at: float

    def stop(self) -> Result:
        """Stop sending after a moment, wait for the last echoes, return what was counted."""
        time.sleep(max(_TAIL_S, self.begun_at + _LEAST_S - time.monotonic()))
        self.sender.child.send_signal(signal.SIGTERM)
        self.sender.wait(10.0)
        self.echo.stop(2.0)
        record = json.loads(self.file.read_text())
        return _judge(record["sent"], record["echoes"], record["spoiled"], record["period_s"])


def start(
    sender: Namespace,
    receiver: Namespace,
    address: str,
    rate: int = 500,
    size: int = _PROBE_BYTES,
    port: int = 7007,
) -> Probe:
    """
    Start a probe of `rate` datagrams a second of `size` bytes (of UDP payload, 8 at least).

    Returns when the first echo has come back. Raises LabError if none does.
    """
    from lab.commands import LabError, wait_for

    program = [sys.executable, str(Path(__file__).resolve())]
    echo = receiver.start(f"echo{port}", *program, "echo", str(port))
    file = sender.lab.directory / f"{sender.name}-probe{port}.json"
    file.unlink(missing_ok=True)
    words = ("send", address, str(port), str(rate), str(size), str(file))
    process = sender.start(f"probe{port}", *program, *words)

    def has_begun() -> bool:
        if not process.is_alive:
            raise LabError(f"probe ended:\n{process.tail()}")
        return "begun" in process.log.read_text()

    try:
        wait_for(f"the first echo of {address}", has_begun, 15.0)
    except LabError:
        process.kill()
        echo.kill()
        raise
    return Probe(process, echo, file, time.monotonic())


def _judge(sent: int, echoes: list[tuple[int, float]], spoiled: int, period_s: float) -> Result:
    seen = {seq for seq, _ in echoes}
    times = [at for _, at in echoes]
    silence, begin = max(
        ((after - before, before) for before, after in pairwise(times)),
        default=(0.0, 0.0),
    )
    return Result(
        sent=sent,
        received=len(seen),
        lost=tuple(seq for seq in range(sent) if seq not in seen),
        duplicates=len(echoes) - len(seen),
        spoiled=spoiled,
        silence_ms=silence * 1e3,
        silent_from=begin,
        period_ms=period_s * 1e3,
    )


@dataclass(slots=True)
class _Sender:
    """Sends at fixed instants and notes the echoes."""

    link: socket.socket
    period_s: float
    size: int
    sent: int = 0
    spoiled: int = 0
    echoes: list[tuple[int, float]] = field(default_factory=list)
    is_over: bool = False

    def wait_first(self) -> None:
        """Knock with number 2**64-1 until the other end answers: neighbours are known then."""
        hello = _datagram(_HELLO, self.size)
        while not self.is_over:
            _try_send(self.link, hello)
            if select.select([self.link], [], [], 0.1)[0] and self._take() is not None:
                return

    def go_on(self) -> None:
        """Send until told to stop, then wait for what is still on its way."""
        start = time.monotonic()
        while not self.is_over:
            due = start + self.sent * self.period_s
            while (left := due - time.monotonic()) > 0 and not self.is_over:
                self._note(left)
            _try_send(self.link, _datagram(self.sent, self.size))
            self.sent += 1
            # Also when there is no time to wait: an echo counts from when it is read.
            self._note(0.0)
        end = time.monotonic() + _LAST_ECHO_S
        while (left := end - time.monotonic()) > 0 and len(self.echoes) < self.sent:
            self._note(left)

    def _note(self, wait_s: float) -> None:
        if select.select([self.link], [], [], wait_s)[0]:
            seq = self._take()
            if seq is not None and seq != _HELLO:
                self.echoes.append((seq, time.monotonic()))

    def _take(self) -> int | None:
        try:
            datagram = self.link.recv(_MOST_BYTES)
        except OSError:
            return None  # an ICMP error for an earlier datagram: its echo is missing
        seq = int(_SEQ.unpack_from(datagram)[0])
        if datagram != _datagram(seq, self.size):
            self.spoiled += 1
            return None
        return seq


def _datagram(seq: int, size: int) -> bytes:
    """Return the datagram of that number: every byte of it depends on the number."""
    head = _SEQ.pack(seq)
    filler = bytes((seq + place) & 0xFF for place in range(251))
    return (head + filler * (size // 251 + 1))[:size]


def _try_send(link: socket.socket, datagram: bytes) -> None:
    try:
        link.send(datagram)
    except OSError:
        return  # no route at this moment: counts as lost


def _open(family: socket.AddressFamily) -> socket.socket:
    link = socket.socket(family, socket.SOCK_DGRAM)
    for option in (_SO_RCVBUFFORCE, _SO_SNDBUFFORCE):
        link.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    return link


def _run_echo(port: int) -> None:
    with _open(socket.AF_INET6) as link:
        link.bind(("::", port))
        while True:
            datagram, address = link.recvfrom(_MOST_BYTES)
            try:
                link.sendto(datagram, address)
            except OSError:
                continue


def _run_sender(address: str, port: int, rate: int, size: int, file: Path) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with _open(family) as link:
        link.connect((address, port))
        sender = _Sender(link, 1.0 / rate, size)

        def stop(_number: int, _frame: object) -> None:
            sender.is_over = True

        signal.signal(signal.SIGTERM, stop)
        sender.wait_first()
        print("begun", flush=True)
        sender.go_on()
        record = {
            "sent": sender.sent,
            "echoes": sender.echoes,
            "spoiled": sender.spoiled,
            "period_s": sender.period_s,
        }
        file.write_text(json.dumps(record))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["echo", port]:
            _run_echo(int(port))
        case ["send", address, port, rate, size, name]:
            _run_sender(address, int(port), int(rate), int(size), Path(name))
        case _:
            sys.exit(__doc__)
