"""
A counted one-way stream of UDP datagrams: what was lost, and how long nothing arrived.

Unlike `lab.probe`, which counts echoes, it tells the two directions of a path apart. Run as a
program it is one of its two ends:

    stream.py take PORT FILE
    stream.py send ADDRESS PORT RATE FILE

Both go on until SIGTERM and then write their record. Arrivals have the kernel's time stamps, so
a receiver that waits for the CPU does not look like silence; where nothing was lost, a pause of the
sender is taken off. Both ends must be on one machine: they share its clock.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.commands import Process
    from lab.netns import Namespace

_SEQ = struct.Struct("!Q")
_TIMESPEC = struct.Struct("@ll")
# Python's socket module does not name them.
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_BUFFER_BYTES = 4 << 20
_SIZE_BYTES = 120  # a small voice packet
_QUIET_S = 1.0  # no datagram is on its way for longer, even if a peer waits for a CPU
_END = 2**64 - 1  # in place of a number: the sender has sent all, and what it sent came before
_AFTER_END_S = 0.3
_LEAST_S = 0.6  # so long it flows, however soon it is stopped: few datagrams say little
_TAIL_S = 0.3  # so long it flows after what it judges


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a stream, counted from an arrival on."""

    sent: int
    lost: int
    silence_ms: float  # longest time without an arrival that the sender is not the cause of
    goes_on: bool  # the last datagrams arrived


@dataclass(slots=True)
class Stream:
    """A stream that flows."""

    sender: Process
    taker: Process
    sent_file: Path
    taken_file: Path
    period_ns: int
    made_at: float

    def stop(self, since_ns: int = 0) -> Result:
        """
        Stop it and return what was counted since that time (of the wall clock).

        Raises LabError if an end does not finish.
        """
        self.flow_on()
        self.end()
        return self.result(since_ns)

    def flow_on(self) -> None:
        """Return when it has flowed for long enough, and a moment more."""
        time.sleep(max(_TAIL_S, self.made_at + _LEAST_S - time.monotonic()))

    def result(self, since_ns: int = 0) -> Result:
        """Return what was counted, when both ends are done. Raises LabError if one goes on."""
        for process in (self.sender, self.taker):
            process.wait(10.0)
        sent = json.loads(self.sent_file.read_text())
        taken = json.loads(self.taken_file.read_text())
        arrivals = [(int(seq), int(at)) for seq, at in taken]
        return judge(sent, _since(arrivals, since_ns), self.period_ns)

    def end(self) -> None:
        """Send no more, and take what is under way."""
        for process in (self.sender, self.taker):
            process.child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a result."""
        self.sender.kill()
        self.taker.kill()


@dataclass(slots=True)
class BothWays:
    """A stream in each direction between two machines."""

    there: Stream
    back: Stream

    def stop(self, since_ns: int = 0) -> tuple[Result, Result]:
        """
        Stop both and return what was counted since that time (of the wall clock).

        Raises LabError if an end does not finish.
        """
        self.back.flow_on()
        for way in (self.there, self.back):
            way.end()
        return self.there.result(since_ns), self.back.result(since_ns)

    def kill(self) -> None:
        """End both without a result."""
        self.there.kill()
        self.back.kill()


# So slow a stream that a strongSwan which waits half a second for a CPU drops nothing of it.
PATIENT = 200


def both_ways(a: tuple[Namespace, str], b: tuple[Namespace, str], rate: int = 1000) -> BothWays:
    """Start a stream from a to b and one back; each is a machine and its address."""
    there = start(a[0], b[0], b[1], rate)
    try:
        return BothWays(there, start(b[0], a[0], a[1], rate, port=7018))
    except BaseException:
        there.kill()
        raise


def start(
    sender: Namespace, receiver: Namespace, address: str, rate: int = 1000, port: int = 7017
) -> Stream:
    """
    Start a stream of `rate` datagrams a second toward `address` of `receiver`.

    Returns when the first has arrived. Raises LabError if none does.
    """
    from lab.commands import LabError, wait_for

    program = [sys.executable, "-I", str(Path(__file__).resolve())]
    directory = sender.lab.directory
    sent, taken = (directory / f"{sender.name}-{end}{port}.json" for end in ("sent", "taken"))
    taker = receiver.start(f"take{port}", *program, "take", str(port), str(taken))
    process = sender.start(
        f"send{port}", *program, "send", address, str(port), str(rate), str(sent)
    )
    made = Stream(process, taker, sent, taken, 10**9 // rate, time.monotonic())

    def has_begun() -> bool:
        for end in (process, taker):
            if not end.is_alive:
                raise LabError(f"stream ended:\n{end.tail()}")
        return "begun" in taker.log.read_text()

    try:
        wait_for(f"the first datagram to {address}", has_begun, 15.0)
    except LabError:
        made.kill()
        raise
    return made


def _since(arrivals: list[tuple[int, int]], since_ns: int) -> list[tuple[int, int]]:
    """Return the arrivals from the last one before that time on: silence may begin with it."""
    before = sum(at < since_ns for _, at in arrivals)
    return arrivals[max(0, before - 1) :]


def judge(sent_ns: Sequence[int], taken: Sequence[tuple[int, int]], period_ns: int) -> Result:
    """
    Return what became of a stream.

    `sent_ns` are the times of sending by sequence number; `taken` are the arrivals as they came,
    each a sequence number and a time in ns. Before the first arrival nothing is counted.
    """
    first, last = taken[0][0], len(sent_ns) - 1
    seen = {seq for seq, _ in taken}
    silence = max(
        (_gap_ns(before, after, sent_ns, period_ns) for before, after in pairwise(taken)), default=0
    )
    if last not in seen:
        silence = max(silence, sent_ns[last] - taken[-1][1])
    return Result(
        sent=last + 1 - first,
        lost=sum(seq not in seen for seq in range(first, last + 1)),
        silence_ms=silence / 1e6,
        goes_on=sum(seq not in seen for seq in range(max(first, last - 49), last + 1)) < 10,
    )


def _gap_ns(
    before: tuple[int, int], after: tuple[int, int], sent_ns: Sequence[int], period_ns: int
) -> int:
    (left, left_at), (right, right_at) = before, after
    gap = right_at - left_at
    if right != left + 1:
        return gap
    pause = sent_ns[right] - sent_ns[left] - period_ns
    return gap - max(0, pause)


class _Until:
    """Says whether SIGTERM has come."""

    def __init__(self) -> None:
        self.is_over = False
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, _number: int, _frame: object) -> None:
        self.is_over = True


def _run_taker(port: int, file: Path) -> None:
    until, is_ended = _Until(), False
    taken: list[tuple[int, int]] = []
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        link.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        link.bind(("::", port))
        link.settimeout(_QUIET_S)
        while True:
            try:
                datagram, ancillary, _, _ = link.recvmsg(_SIZE_BYTES, 64)
            except TimeoutError:
                if until.is_over or is_ended:
                    break
                continue
            seq = int(_SEQ.unpack_from(datagram)[0])
            if seq == _END:
                is_ended = True
                link.settimeout(_AFTER_END_S)
                continue
            if not taken:
                print("begun", flush=True)
            seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
            taken.append((seq, seconds * 10**9 + nanoseconds))
    file.write_text(json.dumps(taken))


def _run_sender(address: str, port: int, rate: int, file: Path) -> None:
    until = _Until()
    sent: list[int] = []
    filler = bytes(_SIZE_BYTES - _SEQ.size)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # Not connected: an ICMP error for one datagram must not keep the next one back.
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        begin = time.monotonic()
        while not until.is_over:
            left = begin + len(sent) / rate - time.monotonic()
            if left > 0:
                time.sleep(left)
            datagram = _SEQ.pack(len(sent)) + filler
            sent.append(time.time_ns())
            try:
                link.sendto(datagram, (address, port))
            except OSError:
                continue  # no route at this moment: counts as lost
        with contextlib.suppress(OSError):
            link.sendto(_SEQ.pack(_END) + filler, (address, port))
    file.write_text(json.dumps(sent))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["take", port, name]:
            _run_taker(int(port), Path(name))
        case ["send", address, port, rate, name]:
            _run_sender(address, int(port), int(rate), Path(name))
        case _:
            sys.exit(__doc__)
