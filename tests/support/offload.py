"""
One data plane without privileges, and scapy as the judge of what it cuts and merges.

    test --TUN (socket pair, keeps message bounds)-- [ plane ] --UDP on loopback-- test

All is queued before the worker starts, so packets meet in one batch as they would under load.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scapy.compat import raw
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from gateway._native import ffi, lib
from tests.support.esp import GCM, fill_sa, inbound, outbound

if TYPE_CHECKING:
    from gateway._native import CData

_TUNNEL = 7
_SEGMENT = 103  # UDP_SEGMENT
_SEGMENTS_MAX, _BYTES_MAX = 64, 60000
TCPV4, TCPV6, UDP_L4 = 1, 4, 5
FIN, PSH, CWR = 0x01, 0x08, 0x80


@dataclass(frozen=True, slots=True)
class Offload:
    """What stands before a packet of a TUN device: `struct virtio_net_hdr`."""

    needs_csum: bool = False
    gso_type: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def pack(self) -> bytes:
        sizes = (self.gso_size, self.csum_start, self.csum_offset)
        return struct.pack("=BBHHHH", int(self.needs_csum), self.gso_type, 0, *sizes)

    @staticmethod
    def read(header: bytes) -> Offload:
        flags, gso_type, _, *sizes = struct.unpack("=BBHHHH", header)
        return Offload(bool(flags & 1), gso_type, *sizes)


class Plane:
    """A data plane with one worker, one tunnel and an SA each way, until the `with` block ends."""

    def __init__(self, mtu: int = 65535, *, gso_tail: bool = False) -> None:
        self._peer = _udp()
        ours, self.tun = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        for end in (ours, self.tun):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        config, made = ffi.new("struct gw_dp_config *"), ffi.new("struct gw_dp **")
        config.workers, config.tunnels_max, config.punt_fd = 1, 1, -1
        config.gso_tail = int(gso_tail)
        assert lib.gw_dp_new(config, made) == lib.GW_OK
        self._dp = made[0]
        self._port = self._add_socket()
        self._add_tunnel(ours.detach(), mtu)
        sa = _any_packet(fill_sa(GCM))
        assert lib.gw_dp_add_inbound(self._dp, _TUNNEL, sa) == lib.GW_OK
        assert lib.gw_dp_set_outbound(self._dp, _TUNNEL, 0, sa) == lib.GW_OK
        self._sealer, self._opener, self._seq = outbound(GCM), inbound(GCM), 0
        self._worker = threading.Thread(target=lib.gw_dp_run, args=(self._dp, 0))

    def __enter__(self) -> Plane:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker.ident is not None:
            lib.gw_dp_stop(self._dp)
            self._worker.join()
        lib.gw_dp_free(self._dp)
        self._peer.close()
        self.tun.close()

    def _add_socket(self) -> int:
        sock, config = _udp(), ffi.new("struct gw_socket *")
        port = int(sock.getsockname()[1])
        config.fd, config.family, config.port = sock.detach(), 4, port
        config.address = _LOOPBACK
        assert lib.gw_dp_add_socket(self._dp, config) == lib.GW_OK
        return port

    def _add_tunnel(self, queue: int, mtu: int) -> None:
        config = ffi.new("struct gw_tunnel *")
        config.id, config.queue_count, config.uso = _TUNNEL, 1, 1
        config.queue[0].fd = queue
        config.path.family, config.path.local_port = 4, self._port
        config.path.remote_port = self._peer.getsockname()[1]
        config.path.local = config.path.remote = _LOOPBACK
        config.options.mtu = mtu
        assert lib.gw_dp_add_tunnel(self._dp, config) == lib.GW_OK

    def _stats(self) -> CData:
        stats = ffi.new("struct gw_tunnel_stats *")
        assert lib.gw_dp_tunnel_stats(self._dp, _TUNNEL, stats) == lib.GW_OK
        return stats

    def _run_until(self, name: str, count: int) -> None:
        self._worker.start()
        give_up_at = time.monotonic() + 20.0
        while getattr(self._stats(), name) < count:
            assert time.monotonic() < give_up_at, f"{name}: {getattr(self._stats(), name)}/{count}"
            time.sleep(0.0005)

    def deliver(self, packets: Sequence[bytes]) -> list[tuple[Offload, bytes]]:
        """Send the packets through the tunnel and return what is written to the TUN."""
        for run in _runs([self._seal(packet) for packet in packets]):
            control = [(socket.SOL_UDP, _SEGMENT, struct.pack("=H", len(run[0])))]
            to = ("127.0.0.1", self._port)
            self._peer.sendmsg([b"".join(run)], control if len(run) > 1 else [], 0, to)
        self._run_until("in_packets", len(packets))
        self.tun.setblocking(False)
        written: list[tuple[Offload, bytes]] = []
        while True:
            try:
                data = self.tun.recv(70000)
            except BlockingIOError:
                return written
            written.append((Offload.read(data[:10]), data[10:]))

    def _seal(self, packet: bytes) -> bytes:
        self._seq += 1
        return self._sealer.seal(self._seq, packet)

    def carry(self, given: Sequence[tuple[Offload, bytes]], count: int) -> list[bytes]:
        """Have the plane read packets from the TUN; return the `count` inner packets it sends."""
        return [self.open(datagram) for datagram in self.emit(given, count)]

    def emit(self, given: Sequence[tuple[Offload, bytes]], count: int) -> list[bytes]:
        """Do as `carry`; return every datagram, sealed, and with them what is no ESP."""
        for offload, packet in given:
            self.tun.send(offload.pack() + packet)
        self._run_until("out_packets", count)
        datagrams = []
        while True:
            try:
                datagrams.append(self._peer.recv(70000))
            except BlockingIOError:
                return datagrams

    def open(self, datagram: bytes) -> bytes:
        """Return the inner packet of a datagram that the plane has sent."""
        opened = self._opener.open(datagram)
        assert opened.err == lib.GW_OK
        return opened.inner


def _any_packet(sa: CData) -> CData:
    """Give an SA selectors that every packet matches."""
    sa.local_count = sa.remote_count = 2
    for side in (sa.local, sa.remote):
        for selector, family in zip((side[0], side[1]), (4, 6), strict=True):
            selector.family, selector.last_port = family, 65535
            selector.last = [255] * 16
    return sa


_LOOPBACK = [127, 0, 0, 1, *[0] * 12]


def _udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE: nothing may be lost here
    sock.bind(("127.0.0.1", 0))
    return sock


def _runs(packets: Sequence[bytes]) -> list[list[bytes]]:
    """Return the packets in runs that one send with UDP_SEGMENT takes: equal but for the last."""
    runs: list[list[bytes]] = []
    for packet in packets:
        last = runs[-1] if runs else []
        size = len(last[0]) if last else 0
        fits = len(last) < _SEGMENTS_MAX and (len(last) + 1) * size < _BYTES_MAX
        if last and fits and len(last[-1]) == size and len(packet) <= size:
            last.append(packet)
        else:
            runs.append([packet])
    return runs


def cut(offload: Offload, packet: bytes) -> list[bytes]:
    """
    Return the packets a super-packet stands for, by the rules of Linux's segmentation, with scapy's
    lengths and checksums. A packet that is none comes back as it is, its checksum finished.
    """
    if offload.gso_type == 0:
        return [_finished(offload, packet)]
    tcp = offload.gso_type in (TCPV4, TCPV6)
    l4 = offload.csum_start
    header = l4 + ((packet[l4 + 12] >> 4) * 4 if tcp else 8)
    payload, made = packet[header:], []
    count = -(-len(payload) // offload.gso_size)
    for i in range(count):
        head = bytearray(packet[:header])
        if head[0] >> 4 == 4:
            number = (int.from_bytes(head[4:6], "big") + i) & 0xFFFF
            head[4:6] = number.to_bytes(2, "big")
        if tcp:
            seq = int.from_bytes(head[l4 + 4 : l4 + 8], "big") + i * offload.gso_size
            head[l4 + 4 : l4 + 8] = (seq & 0xFFFFFFFF).to_bytes(4, "big")
            head[l4 + 13] &= 0xFF if i == 0 else ~CWR & 0xFF
            head[l4 + 13] &= 0xFF if i + 1 == count else ~(FIN | PSH) & 0xFF
        piece = payload[i * offload.gso_size : (i + 1) * offload.gso_size]
        made.append(_with_lengths_and_checksums(bytes(head) + piece))
    return made


def _finished(offload: Offload, packet: bytes) -> bytes:
    if not offload.needs_csum:
        return packet
    return _with_lengths_and_checksums(packet)


def _with_lengths_and_checksums(packet: bytes) -> bytes:
    """Let scapy write every length and checksum anew."""
    parsed = (IP if packet[0] >> 4 == 4 else IPv6)(packet)
    layer: Any = parsed
    while layer:
        for name in ("len", "plen", "chksum"):
            if name in layer.fields:
                delattr(layer, name)
        if isinstance(layer, (TCP, UDP)):
            break
        layer = layer.payload
    return bytes(raw(parsed))
