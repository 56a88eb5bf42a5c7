"""
What outlives a data plane process: its TUN queues and sockets, and the records that it keeps.

Gateway process and data plane process hold each descriptor both. A device lives, and packets wait
in its queues, as long as one of the two does, so either can be replaced. A gateway process that
begins asks the data plane process for all of it (INHERIT) before it says HELLO. The answer is a
series of messages, the same in every version whatever the ABI:

    MAGIC {"number": 1, "name": "office-1@ts-office-1", "uso": true,
           "shares": [0, 0], "urgent": [1]}                     with the queues of a tunnel
    MAGIC {"place": ["192.0.2.1", 4500, 0], "workers": [0, 1]}          with a socket of each
    MAGIC {"stored": {"number": 1, ...}, "since": 17.25}                with those descriptors
    MAGIC {"end": true}                                         with the records as a memory file

What is `stored` is not in the data plane: a service manager has kept it since a data plane process
before (`fdstore.py`).

Fields may be added; a reader leaves those alone that it does not know.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway._native import lib
from gateway.dataplane import control
from gateway.dataplane.control import REQUEST, Op
from gateway.dataplane.interface import TunQueue
from gateway.dataplane.records import pack, unpack
from gateway.errors import DataPlaneError

MAGIC = b"twinspan estate\n"
MESSAGE_MAX = 4096  # bytes
MESSAGES_MAX = 65536  # of one estate: who goes on for ever would hold us up

Loaded: TypeAlias = Any  # what json makes; a wrong type shows when it is used
Place: TypeAlias = tuple[str, int, int]  # address, port, EncapKind: as in `PlaneState`
Key: TypeAlias = int | Place  # a tunnel's number, or where sockets are bound


@dataclass(frozen=True, slots=True)
class Device:
    """The TUN device of a tunnel: the name given at `add_tunnel`, and its queues."""

    name: str
    queues: tuple[TunQueue, ...]
    uso: bool

    @property
    def descriptors(self) -> list[int]:
        """Return one for each queue."""
        return [queue.fd for queue in self.queues]


@dataclass(slots=True)
class Estate:
    """All that is handed on."""

    devices: dict[int, Device] = field(default_factory=dict)  # by tunnel id
    sockets: dict[Place, dict[int, int]] = field(default_factory=dict)  # by worker
    records: dict[bytes, bytes] = field(default_factory=dict)
    is_whole: bool = False  # the other end has said all
    since: float = 0.0  # monotonic seconds: when its data plane process was lost
    stored: Estate | None = None  # what is not in the data plane process: kept since one before

    def take_socket(self, place: Place, worker: int, descriptor: int) -> None:
        """Hold a worker's socket, in place of the one before."""
        held = self.sockets.setdefault(place, {})
        if held.get(worker, descriptor) != descriptor:
            control.close_all([held[worker]])
        held[worker] = descriptor

    def close_device(self, number: int) -> None:
        """Let go of a tunnel's queues."""
        device = self.devices.pop(number, None)
        if device is not None:
            control.close_all(device.descriptors)

    def close_sockets(self, place: Place) -> None:
        """Let go of the sockets of one address and port."""
        control.close_all(list(self.sockets.pop(place, {}).values()))

    def descriptors(self) -> list[int]:
        """Return all descriptors."""
        queues = [fd for device in self.devices.values() for fd in device.descriptors]
        return [*queues, *(fd for held in self.sockets.values() for fd in held.values())]

    def join_stored(self) -> None:
        """Make what is stored a part of this estate: its data plane process is to end."""
        stored, self.stored = self.stored, None
        if stored is not None:
            self.devices |= stored.devices
            self.sockets |= stored.sockets

    def close(self) -> None:
        """Let go of everything."""
        if self.stored is not None:
            self.stored.close()
            self.stored = None
        for number in tuple(self.devices):
            self.close_device(number)
        for place in tuple(self.sockets):
            self.close_sockets(place)
        self.records.clear()


# ---- the end that hands on ----


def messages(estate: Estate, records: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, list[int]]]:
    """Yield the messages and their descriptors; the last one's only is to be closed then."""
    for key in _keys(estate):
        yield message_of(estate, key)
    yield _message({"end": True}), [control.write_memory(pack(records.items()))]


def stored_messages(stored: Estate) -> Iterator[tuple[bytes, list[int]]]:
    """Yield the messages about what a service manager has kept."""
    for key in _keys(stored):
        told, descriptors = _told_of(stored, key)
        yield _message({"stored": told, "since": stored.since}), descriptors


def message_of(estate: Estate, key: Key) -> tuple[bytes, list[int]]:
    """Return the message about a tunnel's device or about sockets. Raises KeyError."""
    told, descriptors = _told_of(estate, key)
    return _message(told), descriptors


def _keys(estate: Estate) -> list[Key]:
    return [*estate.devices, *estate.sockets]


def _told_of(estate: Estate, key: Key) -> tuple[dict[str, object], list[int]]:
    if not isinstance(key, int):
        held = estate.sockets[key]
        return {"place": key, "workers": list(held)}, list(held.values())
    device = estate.devices[key]
    shares = [queue.share for queue in device.queues]
    urgent = [at for at, queue in enumerate(device.queues) if queue.is_urgent]
    told = {"number": key, "name": device.name, "uso": device.uso}
    return {**told, "shares": shares, "urgent": urgent}, device.descriptors


def _message(content: Mapping[str, object]) -> bytes:
    return MAGIC + json.dumps(content).encode()


def write(estate: Estate, records: Mapping[bytes, bytes]) -> int:
    """
    Return a memory file with an estate, for the process that this one becomes (execve(2)): it has
    the descriptors too, under the same numbers. Raises OSError.
    """
    devices = [
        [number, one.name, [[each.fd, each.share, each.is_urgent] for each in one.queues], one.uso]
        for number, one in estate.devices.items()
    ]
    sockets = [[place, list(held.items())] for place, held in estate.sockets.items()]
    head = json.dumps({"devices": devices, "sockets": sockets, "since": estate.since}).encode()
    memory = control.write_memory(head + b"\n" + pack(records.items()))
    for descriptor in (*estate.descriptors(), memory):
        os.set_inheritable(descriptor, True)
    return memory


def read(memory: int) -> Estate:
    """Return the estate that `write` has written, and close its file. Raises DataPlaneError."""
    head, _, records = control.read_memory(memory).partition(b"\n")
    os.close(memory)
    told = json.loads(head)
    estate = Estate(records=dict(unpack(records)), is_whole=True, since=told["since"])
    for number, name, queues, uso in told["devices"]:
        estate.devices[number] = Device(name, tuple(TunQueue(*each) for each in queues), uso)
    for (address, port, kind), held in told["sockets"]:
        estate.sockets[address, port, kind] = dict(held)
    for descriptor in estate.descriptors():
        os.set_inheritable(descriptor, False)
    return estate


# ---- the end that takes ----


def ask(sock: socket.socket, timeout_s: float) -> tuple[Estate, bytes]:
    """
    Ask a data plane process for its estate; return also the message that was none of it.

    A process that knows no estate, or that refuses us, answers with one such message. Raises
    DataPlaneError: nonsense, or errno ETIMEDOUT; OSError.
    """
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have said why: read
        control.send(sock, [REQUEST.pack(Op.INHERIT, 0, 0, 0, 0)], [])
    return receive(sock, timeout_s)


def receive(sock: socket.socket, timeout_s: float) -> tuple[Estate, bytes]:
    """Read an estate. Raises as `ask` does."""
    estate, buffer, count = Estate(), bytearray(MESSAGE_MAX), 0
    give_up_at = time.monotonic() + timeout_s
    try:
        while not estate.is_whole:
            count += 1
            if count > MESSAGES_MAX:
                raise DataPlaneError("not an estate: it has no end", lib.GW_E_INVALID)
            _wait(sock, give_up_at)
            try:
                message = control.receive(sock, [memoryview(buffer)])
            except ConnectionResetError:  # reported once, ahead of what still waits to be read
                continue
            content = bytes(buffer[: message.length])
            if not content.startswith(MAGIC):
                control.close_all(message.descriptors)
                return estate, content
            take(estate, content, message.descriptors, is_cut=not message.complete)
    except (DataPlaneError, OSError):
        estate.close()
        raise
    return estate, b""


def _wait(sock: socket.socket, give_up_at: float) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not poll.poll(max(0.0, give_up_at - time.monotonic()) * 1000):
        text = "the data plane did not answer INHERIT in time"
        raise DataPlaneError(text, lib.GW_E_SYS, errno.ETIMEDOUT)


def _queues(told: Mapping[str, Loaded], descriptors: tuple[int, ...]) -> Iterator[TunQueue]:
    """Yield the queues of a device; without a word on them each is a worker's, as it was once."""
    shares, urgent = told.get("shares", range(len(descriptors))), told.get("urgent", ())
    for at, (descriptor, share) in enumerate(zip(descriptors, shares, strict=True)):
        yield TunQueue(descriptor, int(share), is_urgent=at in urgent)


def take(
    estate: Estate, content: bytes, descriptors: tuple[int, ...], *, is_cut: bool
) -> Key | None:
    """
    Take what a message says; return what of, None where it is of nothing that is held.

    Raises DataPlaneError. Descriptors that nobody holds then are closed.
    """
    key: Key | None = None
    try:
        told = json.loads(content[len(MAGIC) :])
        if is_cut or not content.startswith(MAGIC) or not isinstance(told, dict):
            raise ValueError("cut, or no object")
        key = _take_told(estate, told, descriptors)
    except (DataPlaneError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataPlaneError(f"not an estate: {error!r}", lib.GW_E_INVALID) from error
    finally:
        if key is None:
            control.close_all(descriptors)
    return key


def _take_told(
    estate: Estate, told: Mapping[str, Loaded], descriptors: tuple[int, ...]
) -> Key | None:
    """Take what a message says; return what the descriptors are of that the estate has now."""
    if "stored" in told:
        stored = estate.stored = estate.stored or Estate(since=float(told["since"]))
        return _take_told(stored, dict(told["stored"]), descriptors)
    if "number" in told:
        number, queues = int(told["number"]), tuple(_queues(told, descriptors))
        if number in estate.devices or not queues:
            raise ValueError("a device said twice, or without a queue")
        estate.devices[number] = Device(str(told["name"]), queues, bool(told["uso"]))
        return number
    if "place" in told:
        address, port, kind = told["place"]
        place, workers = (str(address), int(port), int(kind)), tuple(map(int, told["workers"]))
        if place in estate.sockets or len(set(workers)) < len(workers):
            raise ValueError("a socket said twice")
        estate.sockets[place] = dict(zip(workers, descriptors, strict=True))
        return place
    if "end" in told:
        (memory,) = descriptors
        estate.records = dict(unpack(control.read_memory(memory)))
        estate.is_whole = True
        if estate.stored is not None:
            estate.stored.is_whole = True
    return None
