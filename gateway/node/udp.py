"""
Sockets: port 500 read here, port 4500 and raw ESP made here for the data plane.

IKE on port 500 is Python's; on 4500 it arrives as punts and leaves through the data plane, so that
the fast path alone reads that port. Every socket is bound to one public address, so an answer
leaves from the address its question came to.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from gateway.errors import DataPlaneError, GatewayError
from gateway.ike.iana import ExchangeType, Flags
from gateway.ike.message import HEADER_LEN
from gateway.node.strangers import Strangers
from gateway.node.unsent import Unsent
from gateway.sa import IKE_PORT, NAT_T_PORT, Address, Path

# linux/in.h, linux/in6.h, linux/udp.h: those that the socket module lacks.
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_IP_MTU_DISCOVER, _IP_MTU, _PMTUDISC_DONT, _PMTUDISC_DO = 10, 14, 0, 2
_IPV6_MTU_DISCOVER, _IPV6_MTU = 23, 24
_IP_PKTINFO = 8
_UDP_GRO = 104
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 32, 33, 35

_ESP_PROTOCOL = 50
_BATCH = 64  # datagrams of known peers handled before the loop gets its turn again
_STRANGERS_BATCH = 1024  # of strangers that are read meanwhile: some milliseconds
# A request to begin that is older is dropped: its sender has sent it again, and gives up on answers
# that come too late. Without it a gateway that can not keep up with all its peers would serve none.
STALE_S = 4.0
_TIMESPEC = struct.Struct("@ll")
_TOLD_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
_RESPONSE = int(Flags.RESPONSE)
_IKE_BUFFER_BYTES = 4 << 20  # 300 ms of 20,000 requests a second, or one of each of many peers
_ESP_BUFFER_BYTES = 16 << 20  # 13 ms at 10 Gbit/s: a worker that lost its CPU for a tick


class SocketError(GatewayError):
    """A socket can not be opened or bound."""


def _make(address: Address, kind: int, protocol: int, port: int) -> socket.socket:
    """
    Return a bound, non-blocking socket. Raises SocketError.

    The address need not be on the machine yet (free bind): at boot it may come after us.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    what = f"protocol 50 on {address}" if kind == socket.SOCK_RAW else f"UDP {address} port {port}"
    try:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    except OSError as error:
        raise SocketError(f"can not open {what}: {os.strerror(error.errno or 0)}") from error
    try:
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            if kind == socket.SOCK_DGRAM:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port == NAT_T_PORT:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # one socket a worker
        sock.bind((str(address), port))
    except OSError as error:
        sock.close()
        in_use = error.errno == errno.EADDRINUSE
        why = (
            "in use by another program, which twinspan doctor names"
            if in_use
            else os.strerror(error.errno or 0)
        )
        raise SocketError(f"can not bind {what}: {why}") from error
    return sock


def _set_buffers(sock: socket.socket, size: int) -> None:
    """Ask for big socket buffers: past the system's limit with CAP_NET_ADMIN, up to it without."""
    for forced, plain in (
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, plain, size)


def _set_path_mtu_discovery(sock: socket.socket, mode: int) -> None:
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, mode)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, mode)


def _ask_for_details(sock: socket.socket) -> None:
    """Have the kernel report each packet's own destination and its TOS (for ECN, RFC 6040)."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)


def open_ike_socket(address: Address) -> socket.socket:
    """Return the socket for IKE on port 500 of `address`. Raises SocketError."""
    sock = _make(address, socket.SOCK_DGRAM, 0, IKE_PORT)
    _set_buffers(sock, _IKE_BUFFER_BYTES)
    # A large IKE_AUTH without IKE fragmentation must get through, in IP fragments if need be.
    _set_path_mtu_discovery(sock, _PMTUDISC_DONT)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return sock


def open_nat_t_socket(address: Address) -> socket.socket:
    """
    Return one worker's socket for UDP-encapsulated ESP and IKE (RFC 3948). Raises SocketError.
    """
    sock = _make(address, socket.SOCK_DGRAM, 0, NAT_T_PORT)
    _set_buffers(sock, _ESP_BUFFER_BYTES)
    _set_path_mtu_discovery(sock, _PMTUDISC_DO)
    _ask_for_details(sock)
    with contextlib.suppress(OSError):  # before Linux 5.0: datagrams come one by one
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
    return sock


def open_raw_esp_socket(address: Address) -> socket.socket:
    """Return one worker's socket for ESP as protocol 50. Raises SocketError."""
    sock = _make(address, socket.SOCK_RAW, _ESP_PROTOCOL, 0)
    _set_buffers(sock, _ESP_BUFFER_BYTES)
    _set_path_mtu_discovery(sock, _PMTUDISC_DO)
    _ask_for_details(sock)
    return sock


def outer_mtu(local: Address, remote: Address) -> int | None:
    """
    Return the path MTU the kernel knows from `local` to `remote`, bytes; None without a route.
    """
    family = socket.AF_INET if local.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(local), 0))
            sock.connect((str(remote), NAT_T_PORT))
            if family == socket.AF_INET:
                return sock.getsockopt(socket.IPPROTO_IP, _IP_MTU)
            return sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
        except OSError:
            return None


def is_local(address: Address) -> bool:
    """Return whether `address` is on this machine (in this network namespace) now."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
        return True


class IkeSockets:
    """
    The port 500 sockets of all public addresses, read by the event loop.

    `receive` gets datagrams with their path: those of known peers as they are read, those of
    strangers as `strangers` says. A datagram that can not be sent is counted by its error and
    otherwise treated as lost: retransmission is the core's.
    """

    def __init__(
        self, receive: Callable[[bytes, Path], None], strangers: Strangers | None = None
    ) -> None:
        self._receive = receive
        self._strangers = strangers or Strangers()
        self._sockets: dict[Address, socket.socket] = {}
        self.send_errors: Counter[str] = Counter()
        self.unsent = Unsent()

    def open(self, address: Address) -> None:
        """Read port 500 of one more address. Raises SocketError."""
        sock = open_ike_socket(address)
        self._sockets[address] = sock
        asyncio.get_running_loop().add_reader(sock, self._readable, sock, address)

    def close(self, address: Address) -> None:
        sock = self._sockets.pop(address)
        asyncio.get_running_loop().remove_reader(sock)
        sock.close()

    def close_all(self) -> None:
        for address in list(self._sockets):
            self.close(address)

    @property
    def addresses(self) -> frozenset[Address]:
        return frozenset(self._sockets)

    def send(self, datagram: bytes, path: Path) -> None:
        """Send from port 500 of the path's local address."""
        sock = self._sockets.get(path.local)
        if sock is None:
            self.send_errors["no_socket"] += 1
            return
        try:
            sock.sendto(datagram, (str(path.remote), path.remote_port))
        except OSError as error:
            self.lost(path.remote, error)
        else:
            self.unsent.left(path.remote)

    def lost(self, remote: Address, error: OSError | DataPlaneError) -> None:
        """Count a datagram that could not be sent, from whichever port."""
        why = os.strerror(error.errno) if error.errno else str(error)
        self.send_errors[why] += 1
        self.unsent.refused(remote, why)

    def _readable(self, sock: socket.socket, local: Address) -> None:
        waiting: list[tuple[bytes, str, int]] = []
        known = 0
        while known < _BATCH and len(waiting) < _STRANGERS_BATCH:
            try:
                datagram, told, _, source = sock.recvmsg(65535, _TOLD_BYTES)
            except BlockingIOError:
                break
            except OSError as error:  # an ICMP error that belongs to an earlier datagram
                self.send_errors[os.strerror(error.errno or 0)] += 1
                known += 1
                continue
            if self._strangers.is_first(source[0]):
                if _begins(datagram) and _age_s(told) > STALE_S:
                    self._strangers.shed += 1
                    continue
                known += 1
                self._receive(datagram, Path(local, IKE_PORT, _address(source[0]), source[1]))
            else:
                waiting.append((datagram, source[0], source[1]))
        self._let_in(waiting, local)

    def _let_in(self, waiting: list[tuple[bytes, str, int]], local: Address) -> None:
        """Handle what strangers have sent, as long as there is time for them."""
        for datagram, host, port in waiting:
            if not self._strangers.have_time(host):
                self._strangers.shed += 1  # without even reading the address
                continue
            remote = _address(host)
            path = Path(local, IKE_PORT, remote, port)
            self._strangers.let_in(remote, partial(self._receive, datagram, path))


def _begins(datagram: bytes) -> bool:
    """Say whether a datagram is an IKE_SA_INIT request, which its sender repeats by itself."""
    is_request = len(datagram) >= HEADER_LEN and not datagram[19] & _RESPONSE
    return is_request and datagram[18] == ExchangeType.IKE_SA_INIT


def _age_s(told: list[tuple[int, int, bytes]]) -> float:
    """Return how long a datagram has waited in its socket, by the kernel's time stamp."""
    for _, kind, data in told:
        if kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            came_at: float = seconds + nanoseconds / 1e9
            return time.time() - came_at
    return 0.0


def _address(host: str) -> Address:
    return ip_address(host.partition("%")[0])
