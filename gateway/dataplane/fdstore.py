"""
The service manager's descriptor store: what outlives gateway process and data plane process.

The two hold each TUN queue and socket both, so either may be replaced. Where both end at once (the
kernel is out of memory, an operator restarts all) the service manager holds them: the next data
plane process has them from it at its start, and gives them to the next gateway process.

What is stored is one descriptor for each tunnel and for each address and port: a datagram socket in
which a message of the estate waits with its descriptors (`estate.py`). So a tunnel of 129 queues is
one name of the 128 KiB that execve(2) allows for all of them, one entry in lists that the manager
walks through, and nothing has to be kept beside it that says what is what. A message is looked at
(MSG_PEEK), not read: it stays for the process after the next. The sending end is closed, which a
datagram socket does not show: no manager takes it for a dead one.

ESP SAs are never stored: their counters end with the process. The records (sealed IKE SAs) are, by
a process that is told to end when no gateway process is there that could change them: the whole is
restarted, and IKE goes on. They are read once, for no message ID and no nonce may be used again:
whoever reads them makes the memory file empty, in which the store has them too. After a crash there
are none, and IKE begins anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from gateway._native import lib
from gateway.dataplane import control, estate
from gateway.dataplane.estate import Estate, Key
from gateway.dataplane.manager import BUSY_S, Manager
from gateway.dataplane.records import Records, pack
from gateway.dataplane.seccomp import TUNSETCARRIER
from gateway.errors import ConfigError, DataPlaneError
from gateway.unix import Handed, adopt

PREFIX = "twinspan."  # of a name in the store; a .socket unit's own ends in ".socket"
# Of all names, each with its colon, in $LISTEN_FDNAMES: MAX_ARG_STRLEN, less room for the rest.
NAMES_MAX = 120_000
RECORDS = f"{PREFIX}records"
ONCE = control.SEALS & ~fcntl.F_SEAL_SHRINK  # nobody changes it, but it can be made empty
# How long devices keep their carrier while no gateway process takes them: traffic can not go
# elsewhere, and a manager starts one within a second or two.
LINGER_S = 10.0

Log: TypeAlias = Callable[..., None]


def name_of(key: Key) -> str:
    """Return the name under which a tunnel or sockets are stored: ASCII without a colon."""
    if isinstance(key, int):
        return f"{PREFIX}t{key}"
    address, port, kind = key
    return f"{PREFIX}s{address.replace(':', '_')}.{port}.{kind}"


class Store:
    """What the service manager has of ours. Nothing here fails: what is not stored is logged."""

    def __init__(self, manager: Manager, held: Estate, log: Log) -> None:
        """`held` is what the fast path has: it is to be stored."""
        self._manager = manager
        self._held = held
        self._log = log
        self._names: set[str] = set()  # what is in the store, as far as we know
        self._bytes = 0  # of the names
        self._late: set[Key] = set()  # what the manager did not take
        self._is_full = False
        self._lingers = True  # devices that nobody has taken have carrier
        self.records = Records()  # of a process before
        self.found = Estate(since=time.monotonic())  # of a process before, and not put in again

    # ---- from the process before ----

    def take(self, handed: Sequence[Handed]) -> None:
        """Take what the manager kept; what is none of ours, or not whole, goes from the store."""
        for one in handed:
            try:
                if one.name == RECORDS:
                    self._read_records(one.descriptor)
                else:
                    self._take(one)
            except (DataPlaneError, OSError) as error:
                self._log("not_of_store", name=repr(one.name), reason=repr(str(error)))
                self._manager.forget(one.name)
            finally:
                os.close(one.descriptor)
        self.found.is_whole = bool(self._keys())
        if self.found.is_whole:
            told = {"tunnels": len(self.found.devices), "sockets": len(self.found.sockets)}
            self._log("from_store", **told)

    def _take(self, one: Handed) -> None:
        key = _peek(one, self.found)
        if name_of(key) != one.name:
            _let_go(self.found, key)
            raise DataPlaneError(f"it has {name_of(key)}", lib.GW_E_INVALID)
        self._note(one.name)

    def _read_records(self, memory: int) -> None:
        """Read the records, for the last time. Raises DataPlaneError, OSError."""
        content = control.read_memory(memory, ONCE)
        os.ftruncate(memory, 0)
        self.records.keep(content)
        self._manager.forget(RECORDS)

    def _keys(self) -> list[Key]:
        return [*self.found.devices, *self.found.sockets]

    def messages(self) -> Iterator[tuple[bytes, list[int]]]:
        """Yield the messages for a gateway process: what there is, and nobody has put in again."""
        return estate.stored_messages(self.found)

    def settle(self) -> None:
        """Let go of what a gateway process has not put in again: it is not wanted any more."""
        gone = self._keys()
        for key in gone:
            _let_go(self.found, key)
            self._sync(key)
        if gone:
            self._manager.wait()

    # ---- for the process after ----

    def keep(self, key: Key) -> None:
        """Store what the fast path now has there; what is stored already stays as it is."""
        found, held = _parts(self.found, key), _parts(self._held, key)
        if found and held < found:
            return  # the rest is to come, or SETTLE says that it is not
        _let_go(self.found, key)
        if found != held:
            self._sync(key)

    def keep_records(self) -> None:
        """Store what nobody changes any more: this process is to end, and no gateway is there."""
        batch = pack(self.records.all().items())
        if not batch or not self._held.devices or not self._manager.is_there:
            return
        try:
            memory = control.write_memory(batch, ONCE)
        except OSError as error:
            self._log("not_stored", name=RECORDS, reason=repr(str(error)))
            return
        self._manager.store(RECORDS, memory)
        os.close(memory)

    def forget(self, key: Key) -> None:
        """Let go of what the fast path has no more, and wait: the device's name is to be free."""
        _let_go(self.found, key)
        if name_of(key) in self._names:
            self._sync(key)
            self._manager.wait()

    def _sync(self, key: Key) -> None:
        """Make the store so as the fast path is, or take note that it has to be done."""
        name = name_of(key)
        done = name not in self._names or self._manager.forget(name)
        if done:
            self._strike(name)
            done = self._put(name, key)
        (self._late.discard if done else self._late.add)(key)

    def _put(self, name: str, key: Key) -> bool:
        is_held = key in self._held.devices or key in self._held.sockets
        if not is_held or not self._manager.is_there or not self._has_room(name):
            return True
        if self._manager.is_busy:
            return False
        try:
            with _sealed_in(*estate.message_of(self._held, key)) as parcel:
                done = self._manager.store(name, parcel.fileno())
        except OSError as error:  # too many descriptors under way: unix(7), ETOOMANYREFS
            self._log("not_stored", name=name, reason=repr(str(error)))
            return True
        if done:
            self._note(name)
        return done

    def _has_room(self, name: str) -> bool:
        total = self._bytes + len(name) + 1
        if total > NAMES_MAX and not self._is_full:
            self._is_full = True
            self._log("store_full", bytes=total, most=NAMES_MAX)
        return total <= NAMES_MAX

    def _note(self, name: str) -> None:
        if name not in self._names:
            self._names.add(name)
            self._bytes += len(name) + 1

    def _strike(self, name: str) -> None:
        if name in self._names:
            self._names.discard(name)
            self._bytes -= len(name) + 1

    # ---- while time goes on ----

    def next_s(self, now: float) -> float | None:
        """Return in how many seconds `tick` has something to do, None if it has nothing."""
        if self._late:
            return BUSY_S
        if self.found.devices and self._lingers:
            return max(0.0, self.found.since + LINGER_S - now)
        return None

    def tick(self, now: float) -> None:
        """Say again what the manager did not take; no device keeps its carrier for ever."""
        for key in () if self._manager.is_busy else tuple(self._late):
            self._sync(key)
        if self.found.devices and self._lingers and now - self.found.since >= LINGER_S:
            self._lingers = False
            self._log("no_gateway", tunnels=len(self.found.devices), does="their carrier goes")
            for device in self.found.devices.values():
                with contextlib.suppress(OSError):  # it has gone in the meantime
                    fcntl.ioctl(device.queues[0].fd, TUNSETCARRIER, struct.pack("=i", 0))

    def close(self) -> None:
        """Let go of what nobody has taken; the manager has it still."""
        self.found.close()


def sort(handed: Sequence[Handed]) -> tuple[socket.socket | None, list[Handed]]:
    """Return the listening socket among what systemd gave us, and the rest: it was stored."""
    listener: socket.socket | None = None
    stored: list[Handed] = []
    for one in handed:
        if listener is None and not one.name.startswith(PREFIX):
            with contextlib.suppress(ConfigError):
                listener = adopt(one.descriptor, "LISTEN_FDS")
                continue
        stored.append(one)
    return listener, stored


def _parts(held: Estate, key: Key) -> set[object]:
    """Return what tells the queues or sockets apart that an estate has there."""
    if not isinstance(key, int):
        return set(held.sockets.get(key, ()))
    device = held.devices.get(key)
    return {(device.name, at) for at in range(len(device.queues))} if device else set()


def _let_go(found: Estate, key: Key) -> None:
    if isinstance(key, int):
        found.close_device(key)
    else:
        found.close_sockets(key)


@contextlib.contextmanager
def _sealed_in(message: bytes, descriptors: list[int]) -> Iterator[socket.socket]:
    """Yield a socket in which the message waits, with its descriptors. Raises OSError."""
    parcel, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with parcel:
        with sender:
            control.send(sender, [message], descriptors)
        yield parcel


def _peek(one: Handed, found: Estate) -> Key:
    """Take what a stored socket holds, and leave it there. Raises DataPlaneError, OSError."""
    buffer = bytearray(estate.MESSAGE_MAX)
    parcel = socket.socket(fileno=one.descriptor)
    try:
        if (parcel.family, parcel.type) != (socket.AF_UNIX, socket.SOCK_DGRAM):
            raise DataPlaneError("not a datagram socket of ours", lib.GW_E_INVALID)
        flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
        message = control.receive(parcel, [memoryview(buffer)], flags)
    finally:
        parcel.detach()
    content = bytes(buffer[: message.length])
    key = estate.take(found, content, message.descriptors, is_cut=not message.complete)
    if key is None:
        raise DataPlaneError("it is of no tunnel and no socket", lib.GW_E_INVALID)
    return key
