"""
The gateway process's end of the connection to the data plane process: requests, punt records.

Calls are synchronous: they are rare, and answered within a millisecond. Punt records that arrive
while a call waits for its reply are queued for later, in order.

The data plane process reads strangers' packets, so what it says is checked like a stranger's.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from gateway._native import ffi, lib
from gateway.dataplane import codec, control
from gateway.dataplane.control import ANSWER, REQUEST, Op
from gateway.dataplane.interface import Punt, PuntType
from gateway.dataplane.punt import HEADER_LEN, RECORD_MAX, parse_punt
from gateway.errors import DataPlaneError, UsageError

# The kernel takes 10 to 20 ms to remove a TUN device.
END_WITHIN_S = 120.0
QUEUE_MAX = 8192  # punt records kept while calls wait; IKE beyond that is sent again by the peer


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to request `number`; 0 if it answers none. `content` is an error's text."""

    number: int
    code: int
    errno: int
    content: bytes
    descriptors: tuple[int, ...]


def malformed(text: str) -> DataPlaneError:
    """Return the error for an answer that breaks the protocol."""
    return DataPlaneError(f"the data plane sent nonsense: {text}", lib.GW_E_INVALID)


def lost(text: str) -> DataPlaneError:
    """Return the error for a data plane process that is gone."""
    return DataPlaneError(f"the data plane is gone: {text}", lib.GW_E_SYS, errno.ECONNRESET)


def parse_record(record: memoryview, descriptors: tuple[int, ...]) -> Reply | Punt:
    """
    Return a record's value.

    A reply's data: ANSWER header (request number, code, errno, length), then so many bytes.
    Raises DataPlaneError if a length is wrong or a descriptor comes with a punt record.
    """
    if len(record) < HEADER_LEN:
        raise malformed(f"record of {len(record)} bytes")
    header = ffi.from_buffer("struct gw_punt *", record)
    if header.type != lib.GW_PUNT_REPLY:
        if descriptors:
            raise malformed("a punt record with a descriptor")
        return parse_punt(record)
    if len(record) < HEADER_LEN + ANSWER.size:
        raise malformed(f"reply of {len(record)} bytes")
    number, code, error, length = ANSWER.unpack_from(record, HEADER_LEN)
    content = bytes(record[HEADER_LEN + ANSWER.size :])
    if header.length != len(record) - HEADER_LEN or length != len(content):
        raise malformed(f"reply with {len(content)} bytes announces {length}")
    return Reply(number, code, error, content, descriptors)


class Channel:
    """
    The connection. `queue` has the punt records that arrived during calls; the owner empties it.

    After a call that ran out of time the connection can still be used: replies are numbered, and a
    late one is thrown away.
    """

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, control.BUFFER)
        self._sock = sock
        self._timeout_s = timeout_s
        self._number = 0
        self._buffer = bytearray(RECORD_MAX)
        self.is_open = True
        self.queue: deque[Punt] = deque()
        self.bad_records = 0  # records that were not well formed
        self.lost_records = 0  # punt records that the queue had no room for
        self.refused = 0  # requests that nobody waited for

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self.is_open = False
        self._sock.close()

    def call(
        self,
        op: Op,
        target: int = 0,
        body: bytes | memoryview = b"",
        descriptors: Sequence[int] = (),
        slot: int = 0,
    ) -> bytes:
        """
        Send a request and return what it is answered with.

        Raises DataPlaneError: what the data plane answered, or errno ETIMEDOUT, ECONNRESET.
        """
        reply = self._exchange(op, target, body, descriptors, slot)
        if reply.descriptors:
            control.close_all(reply.descriptors)
            raise malformed(f"{op.name} was answered with a descriptor")
        return reply.content

    def post(self, op: Op, body: bytes = b"", descriptors: Sequence[int] = ()) -> bool:
        """
        Send a request that is not answered; only its refusal is, and counted in `refused`.

        Return whether the other end was there to take it. Raises DataPlaneError with errno
        ETIMEDOUT or ECONNRESET.
        """
        return self._request(op, 0, body, descriptors, 0, time.monotonic() + self._timeout_s)

    def fetch(self, op: Op) -> bytes:
        """Send a request and return the content of the memory file it is answered with."""
        reply = self._exchange(op, 0, b"", ())
        try:
            if len(reply.descriptors) != 1:
                raise malformed(f"{op.name} was answered with {len(reply.descriptors)} descriptors")
            return control.read_memory(reply.descriptors[0])
        finally:
            control.close_all(reply.descriptors)

    def _exchange(
        self,
        op: Op,
        target: int,
        body: bytes | memoryview,
        descriptors: Sequence[int],
        slot: int = 0,
    ) -> Reply:
        give_up_at = time.monotonic() + self._timeout_s
        self._request(op, target, body, descriptors, slot, give_up_at)
        reply = self._await_reply(op, give_up_at)
        if reply.code != lib.GW_OK:
            control.close_all(reply.descriptors)
            raise DataPlaneError(reply.content.decode(errors="replace"), reply.code, reply.errno)
        return reply

    def _request(
        self,
        op: Op,
        target: int,
        body: bytes | memoryview,
        descriptors: Sequence[int],
        slot: int,
        give_up_at: float,
    ) -> bool:
        if not self.is_open:
            raise UsageError("the connection to the data plane is closed")
        self._number = self._number % 0xFFFFFFFF + 1
        slot, target = codec.within(slot, 16, "slot"), codec.within(target, 32, "target")
        header = REQUEST.pack(op, slot, self._number, target, len(body))
        return self._send([header, body], list(descriptors), op, give_up_at)

    def _send(
        self, parts: list[bytes | memoryview], descriptors: list[int], op: Op, give_up_at: float
    ) -> bool:
        """Send a message; return whether the other end was there to take it."""
        while True:
            try:
                control.send(self._sock, parts, descriptors)
                return True
            except BlockingIOError:
                self._wait(select.POLLOUT, op, give_up_at)
            except (BrokenPipeError, ConnectionResetError):
                # It may have said why before it closed the connection: who waits reads on.
                return False
            except OSError as error:
                raise lost(error.strerror or "cannot send") from error

    def _await_reply(self, op: Op, give_up_at: float) -> Reply:
        while True:
            record = self.read()
            if record is None:
                self._wait(select.POLLIN, op, give_up_at)
            elif isinstance(record, Punt):
                self._keep(record)
            elif record.number == self._number or (record.number == 0 and record.code):
                # Number 0: the process sends this connection away and says why.
                return record
            else:
                self.put_aside(record)

    def put_aside(self, reply: Reply) -> None:
        """Take a reply that nobody waits for: late, or of a request that was posted."""
        control.close_all(reply.descriptors)
        self.refused += reply.code != lib.GW_OK

    def _keep(self, punt: Punt) -> None:
        if punt.type is PuntType.IKE and len(self.queue) >= QUEUE_MAX:
            self.lost_records += 1
        else:
            self.queue.append(punt)

    def _wait(self, event: int, op: Op, give_up_at: float) -> None:
        poll = select.poll()
        poll.register(self._sock, event)
        left_s = max(0.0, give_up_at - time.monotonic())
        if not poll.poll(left_s * 1000):
            text = f"the data plane did not answer {op.name} in time"
            raise DataPlaneError(text, lib.GW_E_SYS, errno.ETIMEDOUT)

    def read(self) -> Reply | Punt | None:
        """
        Return the next record, None if none waits. Malformed ones are counted and skipped.

        Raises DataPlaneError if the process is gone.
        """
        while True:
            try:
                message = control.receive(self._sock, [memoryview(self._buffer)])
            except BlockingIOError:
                return None
            except ConnectionResetError:
                # Reported once, ahead of what still waits to be read: then comes the end.
                continue
            except OSError as error:
                raise lost(error.strerror or "cannot receive") from error
            if message.length == 0:
                control.close_all(message.descriptors)
                raise lost("it closed the connection")
            try:
                if not message.complete:
                    raise malformed("a record was cut")
                return parse_record(memoryview(self._buffer)[: message.length], message.descriptors)
            except DataPlaneError:
                control.close_all(message.descriptors)
                self.bad_records += 1

    def wait_end(self) -> None:
        """Wait until the process has closed its end. Raises DataPlaneError with errno ETIMEDOUT."""
        give_up_at = time.monotonic() + END_WITHIN_S
        try:
            while True:
                if self.read() is None:
                    self._wait(select.POLLIN, Op.STOP, give_up_at)
        except DataPlaneError as error:
            if error.errno == errno.ETIMEDOUT:
                raise
