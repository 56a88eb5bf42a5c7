"""
The `DataPlane` in its own process, from the gateway process's side.

`reach.py` makes one.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gateway._native import ffi
from gateway.dataplane import codec, control
from gateway.dataplane.channel import Channel, Reply, lost, malformed
from gateway.dataplane.control import Op
from gateway.dataplane.estate import Device, Estate
from gateway.dataplane.interface import (
    EncapKind,
    PlaneSa,
    PlaneState,
    Punt,
    SaStats,
    TunnelOptions,
    TunnelStats,
    TunQueue,
    WorkerStats,
)
from gateway.dataplane.punt import BATCH
from gateway.dataplane.records import pack, unpack
from gateway.errors import DataPlaneError
from gateway.sa import Address, Path

if TYPE_CHECKING:
    from gateway._native import CData

TIMEOUT_S = 5.0  # a call takes under a millisecond: so late means that the process hangs
ENDS_WITHIN_MS = 1000
MARKER = bytes(4)  # of IKE on port 4500


class RemotePlane:
    """
    A connection to the data plane process.

    A call raises DataPlaneError with errno ETIMEDOUT if the process hangs and ECONNRESET if it is
    gone; `on_lost` tells of the latter at once. Closing it leaves the process running.

    `estate` is what was put in, but for SAs: with it the next process can go on where this one
    ends. What a process before this one had is in `left`, until somebody takes it.
    """

    def __init__(
        self, sock: socket.socket, child: int | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._channel = Channel(sock, timeout_s)
        self.estate = Estate()
        self.left = Estate()
        self._has_stored = False  # the process has what a service manager kept
        self._child = child
        self._receive: Callable[[Punt], None] | None = None
        self._lost: Callable[[str], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            self.workers, self.pid = self._greet()
        except DataPlaneError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def inherit(self, estate: Estate) -> None:
        """Take what the process has, with what it found in a service manager's store."""
        self._has_stored = estate.stored is not None
        if estate.stored is not None:
            self.left, estate.stored = estate.stored, None
        self.estate = estate

    def leave(self, estate: Estate) -> None:
        """Have this in `left`: it has all that a service manager's store may have."""
        self.left.close()
        self.left = estate

    def _greet(self) -> tuple[int, int]:
        welcome = self._call(Op.HELLO, body=control.hello())
        if len(welcome) != control.WELCOME.size:
            raise malformed(f"welcome of {len(welcome)} bytes")
        workers, pid = control.WELCOME.unpack(welcome)
        return workers, pid

    def _call(
        self,
        op: Op,
        target: int = 0,
        body: bytes | memoryview = b"",
        descriptors: Sequence[int] = (),
        slot: int = 0,
    ) -> bytes:
        try:
            return self._channel.call(op, target, body, descriptors, slot)
        finally:
            self._deliver_soon()

    # ---- sockets and tunnels ----

    def add_socket(
        self, fd: int, worker: int, address: Address, port: int, kind: EncapKind
    ) -> None:
        struct = codec.new_socket(-1, worker, address, port, kind)
        self._call(Op.ADD_SOCKET, body=bytes_of(struct), descriptors=[fd])
        self.estate.take_socket((str(address), port, int(kind)), worker, fd)

    def del_socket(self, address: Address, port: int, kind: EncapKind) -> None:
        try:
            self._call(Op.DEL_SOCKET, body=bytes_of(codec.new_socket(-1, 0, address, port, kind)))
        finally:
            self.estate.close_sockets((str(address), port, int(kind)))

    def add_tunnel(
        self,
        tunnel: int,
        name: str,
        queues: Sequence[TunQueue],
        uso: bool,
        path: Path,
        encap: EncapKind,
        options: TunnelOptions,
    ) -> None:
        unnumbered = [replace(queue, fd=-1) for queue in queues]
        struct = codec.new_tunnel(tunnel, unnumbered, uso, path, encap, options)
        device = Device(name, tuple(queues), uso)
        body = bytes_of(struct) + name.encode()
        self._call(Op.ADD_TUNNEL, body=body, descriptors=device.descriptors)
        self.estate.devices[tunnel] = device

    def del_tunnel(self, tunnel: int) -> None:
        try:
            self._call(Op.DEL_TUNNEL, tunnel)
        finally:
            self.estate.close_device(tunnel)

    def set_options(self, tunnel: int, options: TunnelOptions) -> None:
        self._call(Op.SET_OPTIONS, tunnel, bytes_of(codec.new_options(options)))

    def set_path(self, tunnel: int, path: Path, encap: EncapKind) -> None:
        self._call(Op.SET_PATH, tunnel, bytes_of(codec.new_path(path, encap)))

    def set_carrier(self, tunnel: int, up: bool) -> None:
        self._call(Op.SET_CARRIER, tunnel, bytes([up]))

    def send_ike(self, path: Path, datagram: bytes) -> None:
        """
        Send from the socket that both processes hold; the other need not wake up for it. What can
        not be sent so is its business: it knows IP fragments, and what the error is.
        """
        held = self.estate.sockets.get((str(path.local), path.local_port, int(EncapKind.UDP)))
        if held and _send_marked(next(iter(held.values())), path, datagram):
            return
        struct = codec.new_path(path, EncapKind.UDP)
        self._call(Op.SEND_IKE, body=bytes_of(struct) + datagram)

    def send_keepalive(self, tunnel: int) -> None:
        self._call(Op.SEND_KEEPALIVE, tunnel)

    # ---- ESP SAs ----

    def add_inbound(self, tunnel: int, sa: PlaneSa) -> None:
        self._call_with_keys(Op.ADD_INBOUND, tunnel, sa)

    def del_inbound(self, spi: int) -> None:
        self._call(Op.DEL_INBOUND, spi)

    def set_outbound(self, tunnel: int, sa: PlaneSa, slot: int = 0) -> None:
        self._call_with_keys(Op.SET_OUTBOUND, tunnel, sa, slot)

    def clear_outbound(self, tunnel: int, slot: int = 0) -> None:
        self._call(Op.CLEAR_OUTBOUND, tunnel, slot=slot)

    def _call_with_keys(self, op: Op, tunnel: int, sa: PlaneSa, slot: int = 0) -> None:
        struct = codec.new_sa(sa)
        try:
            self._call(op, tunnel, memoryview(ffi.buffer(struct)), slot=slot)
        finally:
            codec.wipe(struct)

    # ---- what happened ----

    def tunnel_stats(self, tunnel: int) -> TunnelStats:
        answer = self._call(Op.TUNNEL_STATS, tunnel)
        return codec.get_tunnel_stats(struct_of("struct gw_tunnel_stats", answer))

    def inbound_stats(self, spi: int) -> SaStats:
        answer = self._call(Op.INBOUND_STATS, spi)
        return codec.get_sa_stats(struct_of("struct gw_sa_stats", answer))

    def outbound_stats(self, tunnel: int, slot: int = 0) -> SaStats:
        answer = self._call(Op.OUTBOUND_STATS, tunnel, slot=slot)
        return codec.get_sa_stats(struct_of("struct gw_sa_stats", answer))

    def worker_stats(self, worker: int) -> WorkerStats:
        answer = self._call(Op.WORKER_STATS, worker)
        return codec.get_worker_stats(struct_of("struct gw_worker_stats", answer))

    def state(self) -> PlaneState:
        return decode_state(self._channel.fetch(Op.STATE))

    def settle(self) -> None:
        if self._has_stored:
            self._call(Op.SETTLE)
            self._has_stored = False

    def keep(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise DataPlaneError if nobody is there to take it: no peer may see what is new then."""
        content = pack(records)
        if len(content) <= control.PAYLOAD_MAX:
            is_taken = self._channel.post(Op.KEEP, content)
        else:
            descriptor = control.write_memory(content)
            try:
                is_taken = self._channel.post(Op.KEEP, descriptors=[descriptor])
            finally:
                os.close(descriptor)
        if not is_taken:
            raise lost("it has closed the connection")

    def kept(self) -> dict[bytes, bytes]:
        """Return what is kept; before `left` is put in again, what the process before kept."""
        if self.left.records:
            return self.left.records
        return dict(unpack(self._channel.fetch(Op.KEPT)))

    # ---- punt records ----

    def on_punt(self, receive: Callable[[Punt], None]) -> None:
        """Call `receive` for each punt record: on the running event loop, else in `poll()`."""
        self._receive = receive
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._loop.add_reader(self._channel.fileno(), self._readable)
        self._deliver_soon()

    def on_lost(self, notice: Callable[[str], None]) -> None:
        """Call `notice` once with the reason when the process is gone, on the event loop."""
        self._lost = notice

    @property
    def bad_records(self) -> int:
        """How many records of the data plane were not well formed."""
        return self._channel.bad_records

    @property
    def refused(self) -> int:
        """How many batches of records, or calls that were given up, the data plane refused."""
        return self._channel.refused

    def poll(self, timeout_s: float = 0.0) -> int:
        """Without an event loop: wait for punt records, deliver them, return how many."""
        if not self._channel.queue:
            select.select([self._channel], [], [], timeout_s)
        return self._read_batch()

    def _readable(self) -> None:
        try:
            self._read_batch()
        except DataPlaneError as error:
            self._forget_loop()
            if self._lost is not None:
                self._lost(str(error))

    def _read_batch(self) -> int:
        count = self._deliver_queued()
        for _ in range(BATCH):
            record = self._channel.read()
            if record is None:
                break
            if isinstance(record, Reply):
                self._channel.put_aside(record)
            elif self._receive is not None:
                # `receive` may have made calls that queued records behind this one.
                self._receive(record)
                count += 1 + self._deliver_queued()
        return count

    def _deliver_soon(self) -> None:
        if self._channel.queue and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon(self._deliver_queued)

    def _deliver_queued(self) -> int:
        count = 0
        while self._channel.queue and self._receive is not None:
            self._receive(self._channel.queue.popleft())
            count += 1
        return count

    # ---- the end ----

    def _forget_loop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._channel.fileno())
        self._loop = None

    def close(self) -> None:
        """Close the connection. The process goes on; a second call does nothing."""
        if self._channel.is_open:
            self._forget_loop()
            self._channel.close()
        self.estate.close()
        self.left.close()

    def end_process(self) -> None:
        """End the process alone: devices and sockets stay, for the next one."""
        self._forget_loop()
        self._call(Op.STOP)
        self._channel.wait_end()

    def go_on_with(self, fresh: RemotePlane) -> None:
        """
        Take the place of another connection: the one to the process that follows on a lost one.

        What that one holds is to be put in again; it is in `left`.
        """
        self._forget_loop()
        self._channel.close()
        self.reap()
        self._channel, self._child = fresh._channel, fresh._child
        self.workers, self.pid = fresh.workers, fresh.pid
        fresh.left.close()  # what a service manager kept of it: we have it all
        self.left, self.estate = self.estate, fresh.estate
        self._has_stored = fresh._has_stored
        if self._receive is not None:
            self.on_punt(self._receive)

    def reap(self) -> None:
        """Wait for a process of ours that is lost: it has ended, or is about to."""
        if self._child is not None and has_ended(self._child):
            os.waitpid(self._child, 0)
            self._child = None

    def stop(self) -> None:
        """End the process: its tunnels, SAs and records go, its keys are wiped."""
        if not self._channel.is_open:
            return
        try:
            self.end_process()
        finally:
            self._channel.close()
            self.estate.close()
        if self._child is not None:
            os.waitpid(self._child, 0)
            self._child = None


def _send_marked(descriptor: int, path: Path, datagram: bytes) -> bool:
    """Send IKE with its non-ESP marker (RFC 3948 section 2.2); return whether that went well."""
    family = socket.AF_INET if path.local.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP, descriptor)
    try:
        sock.sendto(MARKER + datagram, (str(path.remote), path.remote_port))
    except OSError:
        return False
    finally:
        sock.detach()
    return True


def bytes_of(struct: CData) -> bytes:
    """Return a struct's bytes. Not for structs with keys: these bytes cannot be wiped."""
    return bytes(ffi.buffer(struct))


def struct_of(name: str, content: bytes) -> CData:
    """Return the struct that an answer holds. Raises DataPlaneError on another length."""
    if len(content) != ffi.sizeof(name):
        raise malformed(f"{name} of {len(content)} bytes")
    struct = ffi.new(f"{name} *")
    ffi.memmove(struct, content, len(content))
    return struct


def decode_state(content: bytes) -> PlaneState:
    """Return the state that `server.encode_state` wrote. Raises DataPlaneError if it is not one."""
    try:
        state = json.loads(content)
        sockets = tuple(
            (str(ip_address(address)), int(port), int(EncapKind(kind)))
            for address, port, kind in state["sockets"]
        )
        rows = [(int(tunnel), *row) for tunnel, *row in state["tunnels"]]
        tunnels = {tunnel: tuple(int(spi) for spi in spis) for tunnel, _, spis, _ in rows}
        names = {tunnel: str(name) for tunnel, name, _, _ in rows}
        outbound = {
            tunnel: {int(slot): int(spi) for slot, spi in slots}
            for tunnel, _, _, slots in rows
            if slots
        }
        return PlaneState(int(state["workers"]), sockets, tunnels, names, outbound)
    except (ValueError, TypeError, KeyError) as error:
        raise malformed(f"state: {error}") from error


def has_ended(child: int) -> bool:
    """Wait a moment for a child to end; its socket closes a little earlier than the process."""
    descriptor = os.pidfd_open(child)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(ENDS_WITHIN_MS))
    finally:
        os.close(descriptor)
