"""
Paced UDP between two machines of the laboratory, by `pacer.c`, which is compiled when first used.

What arrives is counted by the receiving machine's kernel, at a socket that nobody reads; so no
receiver competes with the gateways for the CPUs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import iperf
from lab.commands import LabError, Process, run, wait_for
from lab.netns import Namespace

_SOURCE = Path(__file__).with_suffix(".c")
_BUILD = Path(__file__).parent.parent / "build"
_SINK_PORT, _PROBE_PORT = 7100, 7101
_ON_ITS_WAY_S = 0.1  # a datagram that has not arrived after it is lost
_START_S = 5.0


@dataclass(frozen=True, slots=True)
class Paced:
    """One run of the source."""

    sent: int
    arrived: int
    seconds: float
    away_s: float = 0.0  # the longest time in which it did not look at what is due

    @property
    def kpps(self) -> float:
        """Return how many datagrams were sent a second, in thousands."""
        return self.sent / self.seconds / 1e3

    @property
    def lost(self) -> float:
        """Return the part that was lost, from 0 to 1."""
        return max(0.0, 1.0 - self.arrived / self.sent)


def send(
    sender: Namespace,
    receiver: Namespace,
    address: str,
    rate: int,
    sizes: Sequence[int],
    seconds: float = 1.0,
    train: int = 1,
) -> Paced:
    """
    Send `rate` datagrams a second, of these IPv4 packet sizes in turn, and return what arrived.

    `address` may be FIRST/STEP/COUNT/RUN: so many addresses, each with its turn of so many. A
    source that can not keep up sends fewer, which `kpps` of the result shows. With a `train`, so
    many datagrams of the one size leave the program as one message (UDP_SEGMENT).
    """
    sink = _end(receiver, "sink", _SINK_PORT)
    try:
        before = iperf.datagrams(receiver)
        words = ["send", address, str(_SINK_PORT), str(rate), str(seconds), str(_source_cpu())]
        words += [f"+{train}"] if train > 1 else []
        out = sender.run(str(program()), *words, *map(str, sizes), timeout_s=4 * seconds + 10.0)
        sender.run("sleep", str(_ON_ITS_WAY_S))
        said = json.loads(out)
        arrived = iperf.datagrams(receiver) - before
        return Paced(said["sent"], arrived, said["seconds"], said["away"])
    finally:
        sink.stop()


def source(
    sender: Namespace, address: str, port: int, rate: int, sizes: Sequence[int], head: bytes = b""
) -> Process:
    """
    Start `rate` packets of these sizes a second to a port, for a day; nobody counts them.

    Each UDP payload begins with `head`, of 16 bytes at most.
    """
    words = ["send", address, str(port), str(rate), "86400", str(_source_cpu())]
    words += [f"x{head.hex()}"] if head else []
    return sender.start(f"source{port}", str(program()), *words, *map(str, sizes))


@dataclass(frozen=True, slots=True)
class Probe:
    """A stream whose delays are taken until it is stopped."""

    source: Process
    taker: Process

    def stop(self) -> list[float]:
        """Stop it and return the delay of each datagram that arrived, one way, in microseconds."""
        self.source.stop()
        self.taker.child.terminate()
        self.taker.wait(_START_S)
        return [ns / 1e3 for ns in json.loads(self.taker.log.read_text())]


def probe(sender: Namespace, receiver: Namespace, address: str, rate: int = 1000) -> Probe:
    """Start a stream of `rate` packets of 100 bytes a second, for an hour at most."""
    taker = _end(receiver, "take", _PROBE_PORT)
    words = ("send", address, str(_PROBE_PORT), str(rate), "3600", str(_source_cpu()), "100")
    return Probe(sender.start("probe", str(program()), *words), taker)


def program() -> Path:
    """Return the compiled source, made when it is not there. Raises LabError without a compiler."""
    return compiled(_SOURCE)


def compiled(source: Path) -> Path:
    """Return a C source compiled, made when it is not there. Raises LabError."""
    made = _BUILD / f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not made.exists():
        draft = made.with_suffix(f".{os.getpid()}")
        _BUILD.mkdir(exist_ok=True)
        run("cc", "-O2", "-o", str(draft), str(source))
        draft.replace(made)
    return made


def _source_cpu() -> int:
    """Return the CPU of the source: the last, as the gateways' workers begin with the first."""
    return max(os.sched_getaffinity(0))


def _end(machine: Namespace, kind: str, port: int) -> Process:
    process = machine.start(f"pacer-{kind}", str(program()), kind, str(port))

    def is_bound() -> bool:
        if not process.is_alive:
            raise LabError(f"pacer ended:\n{process.tail()}")
        return f":{port}" in machine.run("ss", "-Hlun")

    try:
        wait_for("pacer to listen", is_bound, _START_S)
    except LabError:
        process.kill()
        raise
    return process
