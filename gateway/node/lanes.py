"""
The lanes of a tunnel: which queue of its TUN device a packet waits in, and who reads it.

A device with one queue drops the packets of all alike when more come than can be sent: one of a
routing protocol as easily as one of a download, and three lost BFD packets end a session. So each
tunnel has

- lanes for the flows, FLOW_LANES for each of its workers. A flow always waits in the same lane, so
  its packets keep their order, and seldom behind another one that sends much;
- one lane for control: what is marked CS6 or CS7 (RFC 4594 section 3.1 and 3.2; RFC 2474 section
  4.2.2.2), as BIRD and our probes mark their packets. Its worker visits it between all others.

A small program chooses, which the kernel runs for each packet (TUNSETSTEERINGEBPF). Where it can
not be loaded a tunnel has one queue for each of its workers, which the kernel chooses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from gateway.node import bpf
from gateway.node.bpf import BpfError, Register, Step
from gateway.node.journal import Journal

FLOW_LANES = 4  # for each worker
# Of the byte with DSCP and ECN: what CS6 and CS7, alone of all, have in common.
_CLASS_MASK, _CLASS_CONTROL = 0xDC, 0xC0
_FRAGMENT_MASK = 0x3FFF  # more fragments, offset
_TCP, _UDP = 6, 17
_MULTIPLIERS = 0x9E3779B1, 0x85EBCA6B  # odd, bits spread: xxHash's first, MurmurHash3's


@dataclass(frozen=True, slots=True)
class Lane:
    """One queue of a device."""

    share: int = 0  # which of the tunnel's workers reads it, from 0
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The lanes of a device in the order of its queues; `program`: descriptor of what chooses."""

    lanes: tuple[Lane, ...]
    program: int | None = None


def plain(workers: int) -> Layout:
    """Return a queue for each worker: how it is without a program."""
    return Layout(tuple(Lane(share) for share in range(workers)))


def steered(workers: int) -> tuple[Lane, ...]:
    """Return the lanes that `program` knows: those of flows, then the one of control."""
    flows = (Lane(number % workers) for number in range(workers * FLOW_LANES))
    return (*flows, Lane(0, is_urgent=True))


class Lanes:
    """Gives devices their layouts. A program is loaded once and serves all devices of its kind."""

    def __init__(self, journal: Journal, load: Callable[[bytes], int] = bpf.load_filter) -> None:
        self._journal = journal
        self._load = load
        self._programs: dict[int, int] = {}
        self.notes: list[str] = []  # what an operator should change
        bpf.keep_from_children()

    def of(self, workers: int) -> Layout:
        """Return the layout of a device that so many workers read."""
        try:
            if workers not in self._programs:
                self._programs[workers] = self._load(program(workers * FLOW_LANES))
        except BpfError as error:
            self._tell(str(error))
            return plain(workers)
        return Layout(steered(workers), self._programs[workers])

    def _tell(self, why: str) -> None:
        text = f"tunnels have no lane for control packets, bulk traffic may starve BGP: {why}"
        if text not in self.notes:
            self.notes = [text]
            self._journal.warning("lanes", text=text)

    def close(self) -> None:
        """Let the programs go; devices keep theirs."""
        while self._programs:
            os.close(self._programs.popitem()[1])


def program(flow_lanes: int) -> bytes:
    """Return the program that chooses among so many lanes for flows and, behind them, control."""
    return bpf.assemble(
        [
            bpf.load(bpf.LOAD_BYTE, 0),
            bpf.number(bpf.SHIFT_RIGHT, Register.R0, 4),
            bpf.number(bpf.SET, Register.R7, 0),  # the flow's hash
            bpf.jump_if(bpf.IF_EQUAL, 6, "ipv6"),
            *_ipv4(),
            "ipv6",
            *_ipv6(),
            "control",
            *bpf.end(flow_lanes),
            "flow",
            *_choose(flow_lanes),
        ]
    )


def _ipv4() -> tuple[Step, ...]:
    """RFC 791 section 3.1. Of fragments only the first has ports, so none is asked for them."""
    return (
        bpf.load(bpf.LOAD_BYTE, 1),
        bpf.number(bpf.AND, Register.R0, _CLASS_MASK),
        bpf.jump_if(bpf.IF_EQUAL, _CLASS_CONTROL, "control"),
        *_mix(bpf.load(bpf.LOAD_WORD, 12)),
        *_mix(bpf.load(bpf.LOAD_WORD, 16)),
        bpf.load(bpf.LOAD_HALF, 6),
        bpf.jump_if(bpf.IF_ANY_BIT, _FRAGMENT_MASK, "flow"),
        bpf.load(bpf.LOAD_BYTE, 9),
        bpf.jump_if(bpf.IF_EQUAL, _TCP, "ports"),
        bpf.jump_if(bpf.IF_EQUAL, _UDP, "ports"),
        bpf.jump("flow"),
        "ports",
        bpf.load(bpf.LOAD_BYTE, 0),
        bpf.number(bpf.AND, Register.R0, 15),
        bpf.number(bpf.SHIFT_LEFT, Register.R0, 2),
        bpf.registers(bpf.SET_REGISTER, Register.R8, Register.R0),
        *_mix(bpf.load_behind(Register.R8, 0)),
        bpf.jump("flow"),
    )


def _ipv6() -> tuple[Step, ...]:
    """RFC 8200 section 3. Behind extension headers ports are not looked for."""
    addresses = (_mix(bpf.load(bpf.LOAD_WORD, at)) for at in range(8, 40, 4))
    return (
        bpf.load(bpf.LOAD_HALF, 0),
        bpf.number(bpf.SHIFT_RIGHT, Register.R0, 4),
        bpf.number(bpf.AND, Register.R0, _CLASS_MASK),
        bpf.jump_if(bpf.IF_EQUAL, _CLASS_CONTROL, "control"),
        *(step for steps in addresses for step in steps),
        bpf.load(bpf.LOAD_BYTE, 6),
        bpf.jump_if(bpf.IF_EQUAL, _TCP, "ports6"),
        bpf.jump_if(bpf.IF_EQUAL, _UDP, "ports6"),
        bpf.jump("flow"),
        "ports6",
        *_mix(bpf.load(bpf.LOAD_WORD, 40)),
        bpf.jump("flow"),
    )


def _mix(loaded: Step) -> tuple[Step, ...]:
    """Put four bytes more of the packet into the hash."""
    return (
        loaded,
        bpf.registers(bpf.XOR_REGISTER, Register.R7, Register.R0),
        *_stir(_MULTIPLIERS[0]),
    )


def _stir(multiplier: int) -> tuple[Step, ...]:
    """Spread the hash: its upper half then depends on all of it, and goes into the lower one."""
    return (
        bpf.number(bpf.MULTIPLY_32, Register.R7, multiplier),
        bpf.registers(bpf.SET_REGISTER, Register.R0, Register.R7),
        bpf.number(bpf.SHIFT_RIGHT, Register.R0, 15),
        bpf.registers(bpf.XOR_REGISTER, Register.R7, Register.R0),
    )


def _choose(flow_lanes: int) -> tuple[Step, ...]:
    """Return the hash's upper 16 bits as a part of 2^16, of so many lanes."""
    return (
        *_stir(_MULTIPLIERS[1]),
        bpf.registers(bpf.SET_REGISTER, Register.R0, Register.R7),
        bpf.number(bpf.SHIFT_RIGHT_32, Register.R0, 16),
        bpf.number(bpf.MULTIPLY, Register.R0, flow_lanes),
        bpf.number(bpf.SHIFT_RIGHT, Register.R0, 16),
        bpf.end_with_r0(),
    )
