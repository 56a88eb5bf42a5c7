"""
Values to C structs and back: the only place that knows both shapes.

A struct made here is owned by its Python object. Structs that hold keys are wiped by `wipe()` once
the call they were made for has returned; the C side keeps its own copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from gateway._native import ffi, lib
from gateway.dataplane.interface import (
    EncapKind,
    PlaneSa,
    SaStats,
    TunnelOptions,
    TunnelStats,
    TunQueue,
    WorkerStats,
)
from gateway.errors import DataPlaneError
from gateway.sa import Address, Path, TrafficSelector

if TYPE_CHECKING:
    from gateway._native import CData

WORKER_COUNTERS = (
    "wakeups",
    "udp_batches_in",
    "udp_segments_in",
    "udp_batches_out",
    "udp_segments_out",
    "tun_reads",
    "tun_writes",
    "merged",
    "punted",
)


def refuse(message: str) -> DataPlaneError:
    """Return the error for an argument that no struct can hold."""
    return DataPlaneError(message, lib.GW_E_INVALID)


def within(value: int, bits: int, name: str) -> int:
    """Return `value` if it is an unsigned number of `bits` bits; raises DataPlaneError if not."""
    if not 0 <= value < 1 << bits:
        raise refuse(f"{name} {value} does not fit {bits} bits")
    return value


def put_address(field: CData, address: Address) -> None:
    """Write an address to a byte array, network order, IPv4 in the first 4 bytes."""
    packed = address.packed
    if len(packed) > len(field):
        raise refuse(f"address {address} does not fit {len(field)} bytes")
    ffi.memmove(field, packed, len(packed))


def get_address(family: int, field: CData) -> Address:
    """Return the address of a byte array; raises DataPlaneError for a family other than 4 and 6."""
    if family == 4:
        return IPv4Address(bytes(ffi.buffer(field, 4)))
    if family == 6:
        return IPv6Address(bytes(ffi.buffer(field, 16)))
    raise refuse(f"address family {family}")


def fill_path(out: CData, path: Path, encap: EncapKind) -> None:
    """Fill a zeroed `struct gw_path`."""
    if path.local.version != path.remote.version:
        raise refuse(f"path {path} mixes address families")
    out.family = path.local.version
    out.encap = int(encap)
    out.local_port = within(path.local_port, 16, "port")
    out.remote_port = within(path.remote_port, 16, "port")
    put_address(out.local, path.local)
    put_address(out.remote, path.remote)


def new_path(path: Path, encap: EncapKind) -> CData:
    """Return a `struct gw_path`."""
    out = ffi.new("struct gw_path *")
    fill_path(out, path, encap)
    return out


def get_path(path: CData) -> Path | None:
    """Return the value of a `struct gw_path`, None if it is empty (family 0)."""
    if path.family == 0:
        return None
    local = get_address(path.family, path.local)
    remote = get_address(path.family, path.remote)
    return Path(local, path.local_port, remote, path.remote_port)


def fill_options(out: CData, options: TunnelOptions) -> None:
    """Fill a zeroed `struct gw_tunnel_options`."""
    out.mtu = within(options.mtu, 32, "MTU")
    out.mss_clamp4 = within(options.mss_clamp4, 16, "MSS")
    out.mss_clamp6 = within(options.mss_clamp6, 16, "MSS")
    out.rate_bps = within(options.rate_bps, 64, "rate")
    out.copy_dscp = int(options.copy_dscp)
    if options.icmp4 is not None:
        put_address(out.icmp4, options.icmp4)
    if options.icmp6 is not None:
        put_address(out.icmp6, options.icmp6)


def new_options(options: TunnelOptions) -> CData:
    """Return a `struct gw_tunnel_options`."""
    out = ffi.new("struct gw_tunnel_options *")
    fill_options(out, options)
    return out


def new_tunnel(
    tunnel: int,
    queues: Sequence[TunQueue],
    uso: bool,
    path: Path,
    encap: EncapKind,
    options: TunnelOptions,
) -> CData:
    """Return a `struct gw_tunnel`."""
    if not 1 <= len(queues) <= lib.GW_QUEUES_MAX:
        raise refuse(f"{len(queues)} TUN queues, need 1 to {lib.GW_QUEUES_MAX}")
    out = ffi.new("struct gw_tunnel *")
    out.id = within(tunnel, 32, "tunnel")
    out.queue_count = len(queues)
    for i, queue in enumerate(queues):
        out.queue[i].fd = queue.fd
        out.queue[i].share = within(queue.share, 16, "share")
        out.queue[i].urgent = int(queue.is_urgent)
    out.uso = int(uso)
    fill_path(out.path, path, encap)
    fill_options(out.options, options)
    return out


def get_queues(tunnel: CData) -> tuple[TunQueue, ...]:
    """Return the queues of a `struct gw_tunnel`."""
    queues = (tunnel.queue[at] for at in range(tunnel.queue_count))
    return tuple(TunQueue(one.fd, one.share, bool(one.urgent)) for one in queues)


def new_socket(fd: int, worker: int, address: Address, port: int, kind: EncapKind) -> CData:
    """Return a `struct gw_socket`."""
    out = ffi.new("struct gw_socket *")
    out.fd = fd
    out.worker = within(worker, 32, "worker")
    out.family = address.version
    out.encap = int(kind)
    out.port = within(port, 16, "port")
    put_address(out.address, address)
    return out


def new_sa(plane_sa: PlaneSa) -> CData:
    """Return a `struct gw_sa`. It holds keys: give it to `wipe()` when the call is done."""
    sa, limits = plane_sa.sa, plane_sa.limits
    out = ffi.new("struct gw_sa *")
    out.spi = within(sa.spi, 32, "SPI")
    out.encr = int(sa.encr)
    out.integ = int(sa.integ)
    out.esn = int(sa.esn)
    out.backend = within(plane_sa.backend, 8, "back end")
    out.resource = within(plane_sa.resource, 8, "resource")
    out.replay_window = within(plane_sa.replay_window, 16, "replay window")
    for name in ("soft_packets", "hard_packets", "soft_bytes", "hard_bytes"):
        setattr(out, name, within(getattr(limits, name), 64, name))
    out.local_count = fill_selectors(out.local, plane_sa.local)
    out.remote_count = fill_selectors(out.remote, plane_sa.remote)
    # Keys last: nothing below can fail, so no error leaves a struct with keys behind.
    if len(sa.encr_key) > lib.GW_KEY_MAX or len(sa.integ_key) > lib.GW_KEY_MAX:
        raise refuse(f"a key of more than {lib.GW_KEY_MAX} bytes")
    out.encr_key_len = len(sa.encr_key)
    out.integ_key_len = len(sa.integ_key)
    ffi.memmove(out.encr_key, sa.encr_key.reveal(), len(sa.encr_key))
    ffi.memmove(out.integ_key, sa.integ_key.reveal(), len(sa.integ_key))
    return out


def fill_selectors(out: CData, selectors: Sequence[TrafficSelector]) -> int:
    """Fill an array of `struct gw_selector` and return how many there are."""
    if len(selectors) > lib.GW_SELECTORS_MAX:
        raise refuse(f"{len(selectors)} traffic selectors, at most {lib.GW_SELECTORS_MAX}")
    for slot, selector in zip(out, selectors, strict=False):
        if selector.first.version != selector.last.version:
            raise refuse(f"traffic selector {selector} mixes address families")
        slot.family = selector.first.version
        slot.protocol = within(selector.protocol, 8, "protocol")
        slot.first_port = within(selector.first_port, 16, "port")
        slot.last_port = within(selector.last_port, 16, "port")
        put_address(slot.first, selector.first)
        put_address(slot.last, selector.last)
    return len(selectors)


def wipe(struct: CData) -> None:
    """Overwrite a struct that this module made with zeros."""
    buffer = ffi.buffer(struct)
    buffer[:] = bytes(len(buffer))


@cache
def drop_names() -> tuple[str, ...]:
    """Return the names of the drop reasons in the order of the counters."""
    names = (ffi.string(lib.gw_drop_name(i)) for i in range(lib.gw_drop_count()))
    return tuple(name.decode() for name in names if isinstance(name, bytes))


def get_drops(counters: CData) -> Mapping[str, int]:
    """Return the counters that are not zero, by name."""
    return {name: counters[i] for i, name in enumerate(drop_names()) if counters[i]}


def get_tunnel_stats(stats: CData) -> TunnelStats:
    """Return the value of a `struct gw_tunnel_stats`."""
    return TunnelStats(
        stats.out_packets,
        stats.out_bytes,
        stats.in_packets,
        stats.in_bytes,
        stats.out_esp_bytes,
        stats.in_esp_bytes,
        stats.out_at_ns / 1e9,
        stats.in_at_ns / 1e9,
        get_drops(stats.drops),
    )


def get_sa_stats(stats: CData) -> SaStats:
    """Return the value of a `struct gw_sa_stats`."""
    return SaStats(stats.packets, stats.bytes, stats.seq, stats.last_at_ns / 1e9)


def get_worker_stats(stats: CData) -> WorkerStats:
    """Return the value of a `struct gw_worker_stats`."""
    counters = {name: getattr(stats, name) for name in WORKER_COUNTERS}
    return WorkerStats(counters, get_drops(stats.drops))
