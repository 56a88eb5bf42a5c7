"""
ICMP echo requests, through tunnels and outside of them: packets, and the sockets of one network
namespace.

A request has to leave by its own tunnel, also while routes lead elsewhere; so it is a whole IP
packet that a packet socket puts into that tunnel's device, and no route is asked. One outside of
the tunnels goes as the kernel's routes lead. The answer comes the way of all packets for us, to a
raw socket, which tells by which device it came and when.

Each request carries a nonce of its own, which nobody can guess. In front of it stand eight secret
bytes, the same in all requests: the kernel drops whatever comes without them, so a stranger's
echo replies cost this process nothing.

Standards: RFC 792, RFC 4443 section 4.
"""

from __future__ import annotations

import array
import fcntl
import secrets
import socket
import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial

from gateway.netns.wire import What
from gateway.sa import Address

# linux/if_ether.h, asm/socket.h, linux/sockios.h, linux/icmp.h, linux/icmpv6.h, linux/filter.h
_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_SO_PRIORITY, _SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 12, 26, 33, 35
_SIOCGIFINDEX = 0x8933
_SOL_RAW, _ICMP_FILTER, _SOL_ICMPV6, _ICMPV6_FILTER = 255, 1, 58, 1
_IP_PKTINFO = 8
_LOAD_HEADER_LEN, _LOAD_WORD, _JUMP_EQUAL, _RETURN = 0xB1, 0x40, 0x15, 0x06

_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
# As routing protocols have it: not the first to be dropped (RFC 4594 section 3.2); or as most have.
CONTROL_TOS, ORDINARY_TOS = 0xC0, 0
_PRIORITY = 6  # TC_PRIO_INTERACTIVE: before bulk traffic in the device's queue
_HOPS = 64
_ICMP = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_TIMESPEC = struct.Struct("@ll")
_MARK_BYTES = 8
NONCE_BYTES = 16
_NONCE_AT = _ICMP.size + _MARK_BYTES
_BODY_BYTES = _NONCE_AT + NONCE_BYTES
_BUFFER_BYTES = 4 << 20  # what some thousand tunnels answer while this process stands still

OpenSocket = Callable[[What], socket.socket]


@dataclass(frozen=True, slots=True)
class Answer:
    """An echo reply. `arrival` is device and address it came to, as `EchoSockets.arrival` says."""

    arrival: bytes
    source: str
    nonce: bytes
    at: float  # seconds since 1970, when the kernel got it


class EchoRequest:
    """The echo requests from one address to another. Both are of one IP version."""

    def __init__(self, source: Address, target: Address, tos: int = CONTROL_TOS) -> None:
        self.version = source.version
        self.ether_type = _ETH_P_IP if source.version == 4 else _ETH_P_IPV6
        self.target = str(target)
        addresses = source.packed + target.packed
        if source.version == 4:
            self._head = _ipv4_head(addresses, tos)
            self._pseudo = 0
            # struct in_pktinfo: device, our address, their address
            self.by_route = (socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + source.packed + bytes(4))
        else:
            head = struct.pack("!IHBB", 6 << 28 | tos << 20, _BODY_BYTES, 58, _HOPS)
            self._head = head + addresses
            # struct in6_pktinfo: our address, device
            self.by_route = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source.packed + bytes(4))
            # RFC 8200 section 8.1
            self._pseudo = _sum(addresses + struct.pack("!II", _BODY_BYTES, 58))

    def packet(self, mark: bytes, identifier: int, number: int, nonce: bytes) -> bytes:
        """Return one request as an IP packet."""
        return self._head + self.message(mark, identifier, number, nonce)

    def message(self, mark: bytes, identifier: int, number: int, nonce: bytes) -> bytes:
        """Return one request without IP header."""
        kind = _REQUEST[self.version]
        rest = mark + nonce
        checksum = _checksum(_ICMP.pack(kind, 0, 0, identifier, number) + rest, self._pseudo)
        return _ICMP.pack(kind, 0, checksum, identifier, number) + rest


def _ipv4_head(addresses: bytes, tos: int) -> bytes:
    """Return a header without options and never fragmented, so without an id (RFC 6864)."""
    length = 20 + _BODY_BYTES
    parts = (0x45, tos, length, 0, 0x4000, _HOPS, socket.IPPROTO_ICMP)
    checksum = _checksum(struct.pack("!BBHHHBBH", *parts, 0) + addresses, 0)
    return struct.pack("!BBHHHBBH", *parts, checksum) + addresses


def _sum(data: bytes) -> int:
    """Return the sum of 16-bit words in ones' complement: 2^16 is 1 modulo 2^16 - 1 (RFC 1071)."""
    return int.from_bytes(data, "big") % 0xFFFF


def _checksum(data: bytes, pseudo: int) -> int:
    return ~((_sum(data) + pseudo) % 0xFFFF) & 0xFFFF


def reply_nonce(version: int, data: bytes) -> bytes | None:
    """
    Return the nonce in what a raw socket got; None if it is no echo reply to one of our requests.

    IPv4 comes with its header, IPv6 without.
    """
    start = (data[0] & 15) * 4 if version == 4 and data else 0
    body = data[start:]
    if len(body) != _BODY_BYTES or body[0] != _REPLY[version]:
        return None
    return body[_NONCE_AT:]


class EchoSockets:
    """
    One network namespace's sockets: one that sends, and one for the answers of each IP version.

    `open_socket` makes a socket there; what it raises, the constructor and `listen` raise.
    """

    def __init__(self, open_socket: OpenSocket) -> None:
        self._open = open_socket
        self._mark = secrets.token_bytes(_MARK_BYTES)
        self._identifier = secrets.randbits(16)
        self._receivers: dict[int, socket.socket] = {}
        # It sends, and is given none of what the namespace receives.
        self._sender = open_socket(What.PACKET)
        self._sender.setblocking(False)
        self._sender.setsockopt(socket.SOL_SOCKET, _SO_PRIORITY, _PRIORITY)

    def close(self) -> None:
        for sock in (self._sender, *self._receivers.values()):
            sock.close()

    def listen(self, version: int) -> None:
        """Take answers of this IP version from now on. Raises OSError."""
        if version not in self._receivers:
            sock = self._open(What.ICMP4 if version == 4 else What.ICMP6)
            sock.setblocking(False)
            try:
                _take_replies_alone(sock, version, self._mark)
            except OSError:
                sock.close()
                raise
            self._receivers[version] = sock

    def send(self, interface: str, request: EchoRequest, number: int, nonce: bytes) -> None:
        """Put one request into a device. Raises OSError if it does not take it."""
        packet = request.packet(self._mark, self._identifier, number & 0xFFFF, nonce)
        self._sender.sendto(packet, (interface, request.ether_type))

    def send_by_route(self, request: EchoRequest, number: int, nonce: bytes) -> None:
        """
        Send one request as the kernel's routes lead; `listen` was called. Raises OSError if that
        can not be.
        """
        message = request.message(self._mark, self._identifier, number & 0xFFFF, nonce)
        sock = self._receivers[request.version]
        sock.sendmsg([message], [request.by_route], 0, (request.target, 0))

    def arrival(self, interface: str, address: Address) -> bytes:
        """
        Return what tells that a packet came by a device to an address of ours. Raises OSError.
        """
        request = struct.pack("16s24x", interface.encode())
        (index,) = struct.unpack_from("=i", fcntl.ioctl(self._sender, _SIOCGIFINDEX, request), 16)
        if address.version == 4:
            return struct.pack("=i", index) + address.packed * 2
        return address.packed + struct.pack("=i", index)

    def read(self, most: int) -> tuple[list[Answer], bool]:
        """
        Return the answers that wait, at most so many of each IP version, and whether that are all.
        """
        found: list[Answer] = []
        is_all = True
        for version, sock in self._receivers.items():
            try:
                for _ in range(most):
                    answer = _read(sock, version)
                    if answer is not None:
                        found.append(answer)
                is_all = False
            except OSError:  # none waits
                pass
        return found, is_all


class EchoPool:
    """The sockets of several network namespaces, opened when they are needed."""

    def __init__(self, open_socket: Callable[[str, What], socket.socket]) -> None:
        self._open = open_socket
        self._sockets: dict[str, EchoSockets] = {}

    def of(self, namespace: str) -> EchoSockets:
        """Return a namespace's sockets. Raises what opening a socket raises."""
        if namespace not in self._sockets:
            self._sockets[namespace] = EchoSockets(partial(self._open, namespace))
        return self._sockets[namespace]

    def keep(self, used: Collection[EchoSockets]) -> None:
        """Close all others: they would keep a namespace that is gone, and miss a new one."""
        for namespace, sockets in list(self._sockets.items()):
            if sockets not in used:
                del self._sockets[namespace]
                sockets.close()

    def __iter__(self) -> Iterator[EchoSockets]:
        return iter(self._sockets.values())

    def close(self) -> None:
        self.keep(())


def _read(sock: socket.socket, version: int) -> Answer | None:
    data, ancillary, _, source = sock.recvmsg(128, 128)
    nonce = reply_nonce(version, data)
    parts = {kind: value for _, kind, value in ancillary}
    info, stamp = parts.get(_PKTINFO[version]), parts.get(_SO_TIMESTAMPNS)
    if nonce is None or info is None or stamp is None:
        return None
    seconds, nanoseconds = _TIMESPEC.unpack(stamp)
    return Answer(info, source[0], nonce, seconds + nanoseconds / 1e9)


_PKTINFO = {4: _IP_PKTINFO, 6: socket.IPV6_PKTINFO}


def _take_replies_alone(sock: socket.socket, version: int, mark: bytes) -> None:
    """Have the kernel keep everything from a raw socket but echo replies that carry our mark."""
    _attach_filter(sock, version, mark)
    if version == 4:
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _REPLY[4]) & 0xFFFFFFFF))
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    else:
        blocked = bytearray(b"\xff" * 32)
        word, bit = divmod(_REPLY[6], 32)
        struct.pack_into("=I", blocked, word * 4, ~(1 << bit) & 0xFFFFFFFF)
        sock.setsockopt(_SOL_ICMPV6, _ICMPV6_FILTER, bytes(blocked))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)


def _attach_filter(sock: socket.socket, version: int, mark: bytes) -> None:
    """Attach a program of classic BPF: both words of the mark, or nothing is taken."""
    words = struct.unpack("!II", mark)
    program = [
        # Index register: length of the IPv4 header; IPv6 comes without one, the index stays 0.
        *([(_LOAD_HEADER_LEN, 0, 0, 0)] if version == 4 else []),
        (_LOAD_WORD, 0, 0, _ICMP.size),
        (_JUMP_EQUAL, 0, 3, words[0]),
        (_LOAD_WORD, 0, 0, _ICMP.size + 4),
        (_JUMP_EQUAL, 0, 1, words[1]),
        (_RETURN, 0, 0, 0xFFFF),
        (_RETURN, 0, 0, 0),
    ]
    code = array.array("B", b"".join(struct.pack("=HBBI", *one) for one in program))
    address, _ = code.buffer_info()
    fprog = struct.pack("@HP", len(program), address)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
