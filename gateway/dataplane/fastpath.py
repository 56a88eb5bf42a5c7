"""
The fast path in this process: `FastPath` alone calls the `gw_dp_` functions.

It speaks C structs: `plane.py` gives it values made into structs, the serving process gives it what
came over the socket.

Threads: each worker is one Python thread that stays inside `gw_dp_run()`, where cffi has released
the GIL. Every other call is made by one thread, the owner of the object.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway._native import ffi, lib
from gateway.dataplane import codec
from gateway.dataplane.estate import Device, Estate, Place
from gateway.dataplane.interface import EncapKind, PlaneState
from gateway.dataplane.kernel import spoils_equal_segments
from gateway.errors import DataPlaneError, UsageError
from gateway.sa import Address

if TYPE_CHECKING:
    from gateway._native import CData

TUNNELS_MAX = 4096  # default; a table of pointers in C


def check(result: int, action: str) -> None:
    """Raise DataPlaneError if a C function returned an error; `action` says what was tried."""
    if result == lib.GW_OK:
        return
    errno = ffi.errno if result == lib.GW_E_SYS else 0
    reason = os.strerror(errno) if errno else text_of(lib.gw_strerror(result))
    raise DataPlaneError(f"{action}: {reason}", result, errno)


def text_of(string: CData) -> str:
    """Return a C string's text."""
    text = ffi.string(string)
    return text.decode() if isinstance(text, bytes) else str(text)


class FastPath:
    """
    One `struct gw_dp`, its worker threads, and the record of what was put into it.

    The record (sockets, tunnels with names, SPIs) answers `state()`; it changes only after
    the C call succeeded.
    """

    def __init__(
        self,
        workers: int,
        tunnels_max: int = TUNNELS_MAX,
        *,
        no_gso: bool = False,
        gso_tail: bool | None = None,
        pin_cpus: bool = False,
    ) -> None:
        if not 1 <= workers <= lib.GW_WORKERS_MAX:
            raise codec.refuse(f"{workers} workers, need 1 to {lib.GW_WORKERS_MAX}")
        config = ffi.new("struct gw_dp_config *")
        config.workers = workers
        config.tunnels_max = codec.within(tunnels_max, 32, "tunnels_max")
        config.punt_fd = -1
        config.no_gso = int(no_gso)
        if gso_tail is None:
            gso_tail = spoils_equal_segments(platform.release())
        config.gso_tail = int(gso_tail)
        config.pin_cpus = int(pin_cpus)
        out = ffi.new("struct gw_dp **")
        check(lib.gw_dp_new(config, out), "make a data plane")
        self._dp = ffi.gc(out[0], lib.gw_dp_free)
        self._open = True
        self._threads: list[threading.Thread] = []
        self._sockets: dict[tuple[Address, int, EncapKind], int] = {}
        self._names: dict[int, str] = {}
        self._inbound: dict[int, int] = {}  # SPI -> tunnel
        self._outbound: dict[int, dict[int, int]] = {}  # tunnel -> slot -> SPI
        self.estate = Estate()  # the descriptors are C's, which closes them
        self.workers = workers

    # ---- life ----

    def start(self, failed: Callable[[str], None]) -> None:
        """Start the workers. `failed` is called on a worker's thread if it ends by itself."""
        for worker in range(self.workers):
            # A daemon thread: a program that dies of an exception must not wait for its workers.
            thread = threading.Thread(
                target=self._run, args=(worker, failed), name=f"worker-{worker}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _run(self, worker: int, failed: Callable[[str], None]) -> None:
        result = lib.gw_dp_run(self._dp, worker)
        if result != lib.GW_OK:
            failed(f"worker {worker}: {text_of(lib.gw_strerror(result))}")

    def close(self) -> None:
        """Stop and join the workers, then free everything: descriptors closed, keys wiped."""
        if not self._open:
            return
        self._open = False
        lib.gw_dp_stop(self._dp)
        for thread in self._threads:
            thread.join()
        ffi.release(self._dp)

    def set_punt(self, fd: int) -> None:
        """Send punt records to `fd` from now on, -1 for nowhere. The descriptor is borrowed."""
        check(lib.gw_dp_set_punt(self._pointer(), fd), "set the punt socket")

    def _pointer(self) -> CData:
        if not self._open:
            raise UsageError("the data plane is closed")
        return self._dp

    # ---- sockets and tunnels ----

    def add_socket(self, sock: CData) -> None:
        key = socket_key(sock)
        check(lib.gw_dp_add_socket(self._pointer(), sock), f"add socket {key[0]} port {key[1]}")
        self._sockets[key] = self._sockets.get(key, 0) + 1
        held = self.estate.sockets.setdefault(place_of(sock), {})
        held[sock.worker] = sock.fd

    def del_socket(self, sock: CData) -> None:
        key = socket_key(sock)
        check(lib.gw_dp_del_socket(self._pointer(), sock), f"delete socket {key[0]} port {key[1]}")
        self._sockets.pop(key, None)
        self.estate.sockets.pop(place_of(sock), None)

    def send_ike(self, path: CData, datagram: bytes | memoryview) -> None:
        data = ffi.from_buffer("uint8_t[]", datagram)
        result = lib.gw_dp_send_ike(self._pointer(), path, data, len(datagram))
        if result != lib.GW_OK:
            check(result, f"send IKE on {codec.get_path(path)}")

    def send_keepalive(self, tunnel: int) -> None:
        check(lib.gw_dp_send_keepalive(self._pointer(), tunnel), f"keepalive on tunnel {tunnel}")

    def add_tunnel(self, tunnel: CData, name: str) -> None:
        check(lib.gw_dp_add_tunnel(self._pointer(), tunnel), f"add tunnel {tunnel.id} {name}")
        self._names[tunnel.id] = name
        self.estate.devices[tunnel.id] = Device(name, codec.get_queues(tunnel), bool(tunnel.uso))

    def del_tunnel(self, tunnel: int) -> None:
        check(lib.gw_dp_del_tunnel(self._pointer(), tunnel), f"delete tunnel {tunnel}")
        self._names.pop(tunnel, None)
        self.estate.devices.pop(tunnel, None)
        self._outbound.pop(tunnel, None)
        self._inbound = {spi: owner for spi, owner in self._inbound.items() if owner != tunnel}

    def set_options(self, tunnel: int, options: CData) -> None:
        result = lib.gw_dp_set_options(self._pointer(), tunnel, options)
        check(result, f"set options of tunnel {tunnel}")

    def set_path(self, tunnel: int, path: CData) -> None:
        check(lib.gw_dp_set_path(self._pointer(), tunnel, path), f"set path of tunnel {tunnel}")

    def set_carrier(self, tunnel: int, up: bool) -> None:
        check(lib.gw_dp_set_carrier(self._pointer(), tunnel, up), f"set carrier of tunnel {tunnel}")

    # ---- ESP SAs ----

    def add_inbound(self, tunnel: int, sa: CData) -> None:
        result = lib.gw_dp_add_inbound(self._pointer(), tunnel, sa)
        check(result, f"add inbound SA {sa.spi:#010x} to tunnel {tunnel}")
        self._inbound[sa.spi] = tunnel

    def del_inbound(self, spi: int) -> None:
        check(lib.gw_dp_del_inbound(self._pointer(), spi), f"delete inbound SA {spi:#010x}")
        self._inbound.pop(spi, None)

    def set_outbound(self, tunnel: int, slot: int, sa: CData) -> None:
        slot = codec.within(slot, 32, "slot")
        result = lib.gw_dp_set_outbound(self._pointer(), tunnel, slot, sa)
        check(result, f"set outbound SA {sa.spi:#010x} in slot {slot} of tunnel {tunnel}")
        self._outbound.setdefault(tunnel, {})[slot] = sa.spi

    def clear_outbound(self, tunnel: int, slot: int) -> None:
        slot = codec.within(slot, 32, "slot")
        result = lib.gw_dp_clear_outbound(self._pointer(), tunnel, slot)
        check(result, f"clear slot {slot} of tunnel {tunnel}")
        self._outbound.get(tunnel, {}).pop(slot, None)

    # ---- what happened ----

    def tunnel_stats(self, tunnel: int) -> CData:
        out = ffi.new("struct gw_tunnel_stats *")
        result = lib.gw_dp_tunnel_stats(self._pointer(), tunnel, out)
        check(result, f"counters of tunnel {tunnel}")
        return out

    def inbound_stats(self, spi: int) -> CData:
        out = ffi.new("struct gw_sa_stats *")
        result = lib.gw_dp_inbound_stats(self._pointer(), spi, out)
        check(result, f"counters of inbound SA {spi:#010x}")
        return out

    def outbound_stats(self, tunnel: int, slot: int) -> CData:
        out = ffi.new("struct gw_sa_stats *")
        slot = codec.within(slot, 32, "slot")
        result = lib.gw_dp_outbound_stats(self._pointer(), tunnel, slot, out)
        check(result, f"counters of the outbound SA in slot {slot} of tunnel {tunnel}")
        return out

    def worker_stats(self, worker: int) -> CData:
        out = ffi.new("struct gw_worker_stats *")
        result = lib.gw_dp_worker_stats(self._pointer(), worker, out)
        check(result, f"counters of worker {worker}")
        return out

    def state(self) -> PlaneState:
        """Return what was put in and not taken out."""
        self._pointer()
        tunnels: dict[int, tuple[int, ...]] = dict.fromkeys(self._names, ())
        for spi, tunnel in self._inbound.items():
            tunnels[tunnel] += (spi,)
        sockets = tuple((str(addr), port, int(kind)) for addr, port, kind in self._sockets)
        outbound = {tunnel: dict(slots) for tunnel, slots in self._outbound.items() if slots}
        return PlaneState(self.workers, sockets, tunnels, dict(self._names), outbound)


def socket_key(sock: CData) -> tuple[Address, int, EncapKind]:
    """Return what names a socket of every worker; raises DataPlaneError for impossible values."""
    try:
        kind = EncapKind(sock.encap)
    except ValueError as error:
        raise codec.refuse(f"encapsulation {sock.encap}") from error
    return codec.get_address(sock.family, sock.address), sock.port, kind


def place_of(sock: CData) -> Place:
    """Return the same as an estate has it."""
    address, port, kind = socket_key(sock)
    return str(address), port, int(kind)
