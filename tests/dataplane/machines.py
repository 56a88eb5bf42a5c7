"""
Two machines with a data plane each, for the tests that carry real packets:

    a: tun0, 10.1.0.1 --[plane]-- 192.0.2.1 === veth === 192.0.2.2 --[plane]-- tun0, 10.2.0.1 :b

Both planes live in the test's process or in processes of their own; TUN devices and sockets are
made in the namespaces by a thread that enters them.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path as FilePath
from typing import TypeVar

from gateway.dataplane.interface import DataPlane, EncapKind, PlaneSa, TunnelOptions
from gateway.dataplane.plane import LocalPlane
from gateway.dataplane.remote import RemotePlane
from gateway.node.lanes import plain
from gateway.node.tun import open_tun
from gateway.node.udp import open_nat_t_socket, open_raw_esp_socket
from gateway.sa import Path
from lab.netns import Namespace

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
TUNNEL = 7


def inside(namespace: Namespace, make: Callable[[], T]) -> T:
    """Return what `make` returns in a network namespace."""
    result: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            descriptor = os.open(f"/run/netns/{namespace.netns}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(descriptor, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(descriptor)
            result.append(make())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


@dataclass(frozen=True, slots=True)
class Machine:
    """One end: its namespace, its data plane, its addresses."""

    namespace: Namespace
    plane: LocalPlane | RemotePlane
    outer: IPv4Address
    inner: IPv4Address

    def join(self, other: Machine, encap: EncapKind, options: TunnelOptions) -> None:
        """Make socket, TUN device and tunnel to the other machine; no SA yet."""
        port = 4500 if encap is EncapKind.UDP else 0
        opener = open_nat_t_socket if encap is EncapKind.UDP else open_raw_esp_socket
        sock: socket.socket = inside(self.namespace, lambda: opener(self.outer))
        self.plane.add_socket(sock.detach(), 0, self.outer, port, encap)
        tun = inside(self.namespace, lambda: open_tun("tun0", plain(1)))
        path = Path(self.outer, port, other.outer, port)
        self.plane.add_tunnel(TUNNEL, "t", list(tun.queues), tun.uso, path, encap, options)
        self.plane.set_carrier(TUNNEL, True)
        self.namespace.ip("link", "set", "tun0", "mtu", str(options.mtu))
        self.namespace.ip("addr", "add", f"{self.inner}/32", "dev", "tun0")
        self.namespace.ip("link", "set", "tun0", "up")
        self.namespace.ip("route", "add", f"{other.inner}/32", "dev", "tun0")


def install(sender: DataPlane, receiver: DataPlane, sa: PlaneSa) -> None:
    """Install an SA of one direction at both ends: the receiver's first."""
    receiver.add_inbound(TUNNEL, sa)
    sender.set_outbound(TUNNEL, sa)


def resident_kib(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in FilePath(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")
