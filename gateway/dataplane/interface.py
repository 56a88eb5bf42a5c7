"""
The data plane as the gateway process sees it: one interface, two makers.

`plane.LocalPlane` runs the fast path in this process (tests, benches); `remote.RemotePlane` speaks
to the `twinspan dataplane` process. Both raise `DataPlaneError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from gateway.sa import Address, EspSa, Limits, Path, TrafficSelector

OUTBOUND_MAX = 32  # GW_OUTBOUND_MAX: outbound SAs of one tunnel, slots 0 to 31


class EncapKind(IntEnum):
    """`enum gw_encap`."""

    UDP = 0
    ESP = 1


@dataclass(frozen=True, slots=True)
class TunnelOptions:
    """`struct gw_tunnel_options`: what may be changed while the tunnel runs."""

    mtu: int  # largest inner packet, bytes
    mss_clamp4: int = 0
    mss_clamp6: int = 0
    rate_bps: int = 0
    copy_dscp: bool = True
    icmp4: Address | None = None
    icmp6: Address | None = None


@dataclass(frozen=True, slots=True)
class TunQueue:
    """`struct gw_tunnel_queue`: queues of one share are read by one worker."""

    fd: int
    share: int = 0  # from 0, none left out
    is_urgent: bool = False  # its packets are few and do not wait for those of other queues


@dataclass(frozen=True, slots=True)
class PlaneSa:
    """An ESP SA as it is installed: keys, selectors, limits."""

    sa: EspSa
    local: tuple[TrafficSelector, ...]
    remote: tuple[TrafficSelector, ...]
    limits: Limits = field(default_factory=Limits)
    replay_window: int = 1024
    backend: int = 0  # `enum gw_backend`; 0 = the best this machine has
    resource: int = 0  # the tunnel's worker that sends on it, counted from 1; 0 = all (RFC 9611)


class PuntType(IntEnum):
    """`enum gw_punt_type`."""

    IKE = 1
    SOFT_LIMIT = 2
    HARD_LIMIT = 3
    PATH_CHANGED = 4
    UNKNOWN_SPI = 5
    FIRST_INBOUND = 6
    WORKER_FAILED = 7
    PATH_MTU = 8


@dataclass(frozen=True, slots=True)
class Punt:
    """One record from the fast path. `path` is None where the record has none."""

    type: PuntType
    tunnel: int
    spi: int
    path: Path | None
    data: bytes


@dataclass(frozen=True, slots=True)
class TunnelStats:
    """
    `struct gw_tunnel_stats`: times are CLOCK_MONOTONIC seconds, 0.0 = never.

    `drops` has only reasons that occurred.
    """

    out_packets: int
    out_bytes: int
    in_packets: int
    in_bytes: int
    out_esp_bytes: int  # from SPI to ICV
    in_esp_bytes: int
    out_at: float
    in_at: float
    drops: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SaStats:
    """`struct gw_sa_stats`."""

    packets: int
    bytes: int
    seq: int
    last_at: float


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """`struct gw_worker_stats`."""

    counters: Mapping[str, int]
    drops: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PlaneState:
    """What a data plane holds: with it a restarted gateway process finds its way."""

    workers: int
    sockets: tuple[tuple[str, int, int], ...]  # local address, port, EncapKind
    tunnels: Mapping[int, tuple[int, ...]]  # tunnel id -> inbound SPIs
    names: Mapping[int, str]  # tunnel id -> name given at add_tunnel
    outbound: Mapping[int, Mapping[int, int]] = field(default_factory=dict)  # id -> slot -> SPI


class DataPlane(Protocol):
    """
    The fast path. Calls return when the change holds, or raise DataPlaneError.

    Descriptors are taken by a call that succeeds; after a failure they stay the caller's.
    """

    def add_socket(
        self, fd: int, worker: int, address: Address, port: int, kind: EncapKind
    ) -> None: ...

    def del_socket(self, address: Address, port: int, kind: EncapKind) -> None: ...

    def add_tunnel(
        self,
        tunnel: int,
        name: str,
        queues: Sequence[TunQueue],
        uso: bool,
        path: Path,
        encap: EncapKind,
        options: TunnelOptions,
    ) -> None: ...

    def del_tunnel(self, tunnel: int) -> None: ...

    def set_options(self, tunnel: int, options: TunnelOptions) -> None: ...

    def set_path(self, tunnel: int, path: Path, encap: EncapKind) -> None: ...

    def set_carrier(self, tunnel: int, up: bool) -> None: ...

    def add_inbound(self, tunnel: int, sa: PlaneSa) -> None: ...

    def del_inbound(self, spi: int) -> None: ...

    def set_outbound(self, tunnel: int, sa: PlaneSa, slot: int = 0) -> None:
        """
        Swap the outbound SA of a slot; a packet goes by the first slot that it matches, but for
        one that is for its worker alone.
        """
        ...

    def clear_outbound(self, tunnel: int, slot: int = 0) -> None: ...

    def send_ike(self, path: Path, datagram: bytes) -> None: ...

    def send_keepalive(self, tunnel: int) -> None: ...

    def tunnel_stats(self, tunnel: int) -> TunnelStats: ...

    def inbound_stats(self, spi: int) -> SaStats: ...

    def outbound_stats(self, tunnel: int, slot: int = 0) -> SaStats: ...

    def worker_stats(self, worker: int) -> WorkerStats: ...

    def state(self) -> PlaneState: ...

    def keep(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Keep opaque records by key for the gateway process, in memory only; an empty one removes.

        When it returns, the batch outlives this process. What cannot be kept leaves nothing under
        its key.
        """
        ...

    def kept(self) -> dict[bytes, bytes]: ...

    def settle(self) -> None:
        """All is put in again that is wanted of what a service manager kept: the rest goes."""
        ...

    def on_punt(self, receive: Callable[[Punt], None]) -> None:
        """Call `receive` for each punt record, on the event loop's thread."""
        ...

    def close(self) -> None:
        """Let go of the data plane. One in its own process goes on carrying packets."""
        ...

    def stop(self) -> None:
        """End the data plane: tunnels, SAs and records go, keys are wiped."""
        ...
