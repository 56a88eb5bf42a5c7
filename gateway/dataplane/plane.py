"""The `DataPlane` in this process: for tests, benches and the simplest set-up."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from gateway.dataplane import codec
from gateway.dataplane.control import BUFFER
from gateway.dataplane.fastpath import TUNNELS_MAX, FastPath
from gateway.dataplane.interface import (
    EncapKind,
    PlaneSa,
    PlaneState,
    Punt,
    PuntType,
    SaStats,
    TunnelOptions,
    TunnelStats,
    TunQueue,
    WorkerStats,
)
from gateway.dataplane.punt import make_record, read_punts
from gateway.dataplane.records import Records, pack
from gateway.errors import UsageError
from gateway.sa import Address, Path


class LocalPlane:
    """The `DataPlane` in this process. Close it: workers, descriptors and keys live until then."""

    def __init__(
        self,
        workers: int = 1,
        tunnels_max: int = TUNNELS_MAX,
        *,
        no_gso: bool = False,
        pin_cpus: bool = False,
    ) -> None:
        self._path = FastPath(workers, tunnels_max, no_gso=no_gso, pin_cpus=pin_cpus)
        self._punts, self._punts_in = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (self._punts, self._punts_in):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._receive: Callable[[Punt], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._records = Records()
        self._path.set_punt(self._punts_in.fileno())
        self._path.start(self._worker_failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _worker_failed(self, text: str) -> None:
        # On the worker's thread: the punt socket carries it to the owner's.
        self._punts_in.send(make_record(PuntType.WORKER_FAILED, text.encode()))

    def add_socket(
        self, fd: int, worker: int, address: Address, port: int, kind: EncapKind
    ) -> None:
        self._path.add_socket(codec.new_socket(fd, worker, address, port, kind))

    def del_socket(self, address: Address, port: int, kind: EncapKind) -> None:
        self._path.del_socket(codec.new_socket(-1, 0, address, port, kind))

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
        struct = codec.new_tunnel(tunnel, queues, uso, path, encap, options)
        self._path.add_tunnel(struct, name)

    def del_tunnel(self, tunnel: int) -> None:
        self._path.del_tunnel(tunnel)

    def set_options(self, tunnel: int, options: TunnelOptions) -> None:
        self._path.set_options(tunnel, codec.new_options(options))

    def set_path(self, tunnel: int, path: Path, encap: EncapKind) -> None:
        self._path.set_path(tunnel, codec.new_path(path, encap))

    def set_carrier(self, tunnel: int, up: bool) -> None:
        self._path.set_carrier(tunnel, up)

    def add_inbound(self, tunnel: int, sa: PlaneSa) -> None:
        struct = codec.new_sa(sa)
        try:
            self._path.add_inbound(tunnel, struct)
        finally:
            codec.wipe(struct)

    def del_inbound(self, spi: int) -> None:
        self._path.del_inbound(spi)

    def set_outbound(self, tunnel: int, sa: PlaneSa, slot: int = 0) -> None:
        struct = codec.new_sa(sa)
        try:
            self._path.set_outbound(tunnel, slot, struct)
        finally:
            codec.wipe(struct)

    def clear_outbound(self, tunnel: int, slot: int = 0) -> None:
        self._path.clear_outbound(tunnel, slot)

    def send_ike(self, path: Path, datagram: bytes) -> None:
        self._path.send_ike(codec.new_path(path, EncapKind.UDP), datagram)

    def send_keepalive(self, tunnel: int) -> None:
        self._path.send_keepalive(tunnel)

    def tunnel_stats(self, tunnel: int) -> TunnelStats:
        return codec.get_tunnel_stats(self._path.tunnel_stats(tunnel))

    def inbound_stats(self, spi: int) -> SaStats:
        return codec.get_sa_stats(self._path.inbound_stats(spi))

    def outbound_stats(self, tunnel: int, slot: int = 0) -> SaStats:
        return codec.get_sa_stats(self._path.outbound_stats(tunnel, slot))

    def worker_stats(self, worker: int) -> WorkerStats:
        return codec.get_worker_stats(self._path.worker_stats(worker))

    def state(self) -> PlaneState:
        return self._path.state()

    def keep(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        self._records.keep(pack(records))

    def kept(self) -> dict[bytes, bytes]:
        return dict(self._records.all())

    def settle(self) -> None:
        """Do nothing: a service manager keeps nothing for a process like this one."""

    def on_punt(self, receive: Callable[[Punt], None]) -> None:
        """Call `receive` for each punt record: on the running event loop, else in `poll()`."""
        self._receive = receive
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._loop.add_reader(self._punts.fileno(), self._read)

    def poll(self, timeout_s: float = 0.0) -> int:
        """Without an event loop: wait for punt records, deliver them, return how many."""
        readable, _, _ = select.select([self._punts], [], [], timeout_s)
        return self._read() if readable else 0

    def _read(self) -> int:
        if self._receive is None:
            raise UsageError("on_punt() was not called")
        return read_punts(self._punts, self._receive)

    def close(self) -> None:
        """End the data plane and close the punt socket. A second call does nothing."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._punts.fileno())
        self._loop = None
        self._path.close()
        self._punts.close()
        self._punts_in.close()

    def stop(self) -> None:
        """As `close()`: nothing of it lives elsewhere."""
        self.close()
