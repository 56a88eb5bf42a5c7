"""
Links, addresses and routes of the kernel, by rtnetlink.

A raw socket and about a dozen messages: a call takes some microseconds, so it may stand on the
event loop, and five hundred tunnels come up in one go. Everything this program makes carries its
own route protocol, so after a restart it finds exactly its own routes again and touches no others.

Used from one thread. Errors of the kernel are `NetlinkError` with the kernel's own words.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from pathlib import Path as FilePath

from gateway.errors import GatewayError
from gateway.sa import Address

Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface

ROUTE_PROTOCOL = 85  # ours alone: not in iproute2's rt_protos, not BIRD (12), not FRR (186 and up)

# linux/rtnetlink.h, linux/netlink.h
_NEWLINK, _GETLINK, _NEWADDR, _DELADDR, _GETADDR = 16, 18, 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWQDISC, _TC_ROOT, _TCA_KIND = 36, 0xFFFFFFFF, 1
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _CREATE, _REPLACE = 0x1, 0x4, 0x300, 0x400, 0x100
_CAPPED, _ACK_TLVS = 0x100, 0x200
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 270, 10, 11, 12
_IFF_UP = 0x1
_IFLA_IFNAME, _IFLA_MTU, _IFLA_TXQLEN, _IFLA_AF_SPEC = 3, 4, 13, 26
_INET_CONF, _INET6_ADDR_GEN_MODE = 1, 8
_GEN_MODE_NONE = 1
# linux/ip.h, IPV4_DEVCONF_*
_DEVCONF_SEND_REDIRECTS, _DEVCONF_RP_FILTER, _DEVCONF_IGNORE_LINKDOWN = 6, 8, 29
_IFA_ADDRESS, _IFA_LOCAL, _IFA_F_NODAD = 1, 2, 0x02
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 6, 15
_RT_TABLE_MAIN, _RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 254, 0, 253
_RTN_UNICAST, _RTN_UNREACHABLE = 1, 7
_SIOCETHTOOL, _ETHTOOL_GLINK = 0x8946, 0x0A


class NetlinkError(GatewayError):
    """The kernel refused a request. `errno` is its error number."""

    def __init__(self, what: str, number: int, text: str = "") -> None:
        super().__init__(f"{what}: {os.strerror(number)}" + (f" ({text})" if text else ""))
        self.errno = number


@dataclass(frozen=True, slots=True)
class Route:
    """A route of ours in the main table; `interface` None means unreachable: what fails closed."""

    prefix: Network
    metric: int
    interface: str | None

    def __str__(self) -> str:
        where = f"dev {self.interface}" if self.interface else "unreachable"
        return f"{self.prefix} {where} metric {self.metric}"


def _attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _u32(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _attributes(body: bytes) -> dict[int, bytes]:
    """Return the attributes of a message from the kernel, by type."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = body[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


class Netlink:
    """One rtnetlink socket of the network namespace it was made in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))
        for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
            # Older kernels lack one or the other; they only make answers shorter or clearer.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._seq = 0

    def close(self) -> None:
        self._socket.close()

    # ---- links ----

    def links(self) -> dict[str, bool]:
        """Return every link's name, and whether it is administratively up."""
        found: dict[str, bool] = {}
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        for message in self._dump(_GETLINK, body, "links"):
            _, _, _, flags, _ = struct.unpack_from("=BxHiII", message)
            name = _attributes(message[16:])[_IFLA_IFNAME].rstrip(b"\0").decode()
            found[name] = bool(flags & _IFF_UP)
        return found

    def set_up(self, name: str, *, up: bool) -> None:
        """Set a link administratively up or down."""
        flags = _IFF_UP if up else 0
        body = struct.pack("=BxHiII", 0, 0, _index(name), flags, _IFF_UP)
        self._ask(_NEWLINK, body, f"link {name} {'up' if up else 'down'}")

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU of a link, bytes."""
        self._ask(_NEWLINK, _link(name) + _u32(_IFLA_MTU, mtu), f"link {name} mtu {mtu}")

    def set_tunnel_behaviour(self, name: str, queue_len: int) -> None:
        """
        Make a TUN device behave as a tunnel.

        No address of its own making (IPv6), a transmit queue of `queue_len` packets, loose reverse
        path filter (answers may come by the twin tunnel), no redirects (branch to branch through a
        hub), and its routes are not used while it has no carrier: that is what moves traffic to the
        twin.
        """
        conf = (
            _u32(_DEVCONF_RP_FILTER, 2)
            + _u32(_DEVCONF_SEND_REDIRECTS, 0)
            + _u32(_DEVCONF_IGNORE_LINKDOWN, 1)
        )
        inet = _attribute(socket.AF_INET, _attribute(_INET_CONF, conf))
        inet6 = _attribute(
            socket.AF_INET6, _attribute(_INET6_ADDR_GEN_MODE, bytes([_GEN_MODE_NONE]))
        )
        what = f"link {name} settings"
        self._ask(_NEWLINK, _link(name) + _u32(_IFLA_TXQLEN, queue_len), what)
        self._ask(_NEWLINK, _link(name) + _attribute(_IFLA_AF_SPEC, inet), what)
        if FilePath("/proc/sys/net/ipv6").exists():
            self._ask(_NEWLINK, _link(name) + _attribute(_IFLA_AF_SPEC, inet6), what)

    def set_no_queueing(self, name: str) -> None:
        """
        Give a link no queueing discipline; call it before the link is up.

        A TUN device never asks the kernel to hold packets back, so a discipline holds none; but a
        multi-queue device would get 256 of them.
        """
        body = struct.pack("=BxxxiIII", 0, _index(name), 0, _TC_ROOT, 0)
        body += _attribute(_TCA_KIND, b"noqueue\0")
        self._ask(_NEWQDISC, body, f"link {name} noqueue", _CREATE | _REPLACE)

    # ---- addresses ----

    def addresses(self, name: str) -> set[Interface]:
        """Return the addresses of a link, without link-local IPv6 ones."""
        index = _index(name)
        found: set[Interface] = set()
        body = struct.pack("=BBBBi", 0, 0, 0, 0, index)
        for message in self._dump(_GETADDR, body, f"addresses of {name}"):
            _, prefix_len, _, _, at = struct.unpack_from("=BBBBi", message)
            attributes = _attributes(message[8:])
            packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
            if at != index or len(packed) not in (4, 16):
                continue
            address = ip_interface((packed, prefix_len))
            if not (address.version == 6 and address.ip.is_link_local):
                found.add(address)
        return found

    def add_address(self, name: str, address: Interface) -> None:
        """Give a link an address; no duplicate address detection, a tunnel has no neighbours."""
        self._address(_NEWADDR, _CREATE | _REPLACE, name, address)

    def del_address(self, name: str, address: Interface) -> None:
        self._address(_DELADDR, 0, name, address)

    def _address(self, kind: int, flags: int, name: str, address: Interface) -> None:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        flag = _IFA_F_NODAD if address.version == 6 else 0
        body = struct.pack("=BBBBi", family, address.network.prefixlen, flag, 0, _index(name))
        body += _attribute(_IFA_LOCAL, address.ip.packed)
        body += _attribute(_IFA_ADDRESS, address.ip.packed)
        self._ask(kind, body, f"address {address} on {name}", flags)

    # ---- routes ----

    def routes(self) -> set[Route]:
        """Return the routes of the main table that carry our protocol number."""
        found: set[Route] = set()
        names = {index: name for index, name in socket.if_nameindex()}
        for family in (socket.AF_INET, socket.AF_INET6):
            request = struct.pack("=8BI", family, 0, 0, 0, 0, ROUTE_PROTOCOL, 0, 0, 0)
            for message in self._dump(_GETROUTE, request, "routes"):
                route = _route_of(message, names)
                if route is not None:
                    found.add(route)
        return found

    def device_toward(self, address: Address) -> str | None:
        """Return the device by which packets to `address` leave; None if there is no route."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = struct.pack("=8BI", family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
        self._send(_GETROUTE, 0, body + _attribute(_RTA_DST, address.packed))
        for kind, _, message in self._messages():
            if kind != _NEWROUTE:
                return None
            index = struct.unpack("=I", _attributes(message[12:]).get(_RTA_OIF, bytes(4)))[0]
            return socket.if_indextoname(index) if index else None
        return None

    def add_route(self, route: Route) -> None:
        """Add a route, or replace the one with the same prefix and metric."""
        self._route(_NEWROUTE, _CREATE | _REPLACE, route)

    def del_route(self, route: Route) -> None:
        """Remove a route; one that is gone already (its device went) is no error."""
        try:
            self._route(_DELROUTE, 0, route)
        except NetlinkError as error:
            if error.errno not in (errno.ESRCH, errno.ENODEV):
                raise

    def _route(self, kind: int, flags: int, route: Route) -> None:
        prefix = route.prefix
        family = socket.AF_INET if prefix.version == 4 else socket.AF_INET6
        scope = _RT_SCOPE_LINK if prefix.version == 4 and route.interface else _RT_SCOPE_UNIVERSE
        sort = _RTN_UNICAST if route.interface else _RTN_UNREACHABLE
        if kind == _DELROUTE:
            scope = 255  # RT_SCOPE_NOWHERE: any
        head = (family, prefix.prefixlen, 0, 0, _RT_TABLE_MAIN, ROUTE_PROTOCOL, scope, sort, 0)
        body = struct.pack("=8BI", *head)
        body += _attribute(_RTA_DST, prefix.network_address.packed)
        body += _u32(_RTA_PRIORITY, route.metric)
        if route.interface is not None:
            body += _u32(_RTA_OIF, _index(route.interface))
        self._ask(kind, body, f"route {route}", flags)

    # ---- the wire ----

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._seq += 1
        head = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, self._seq, 0)
        self._socket.send(head + body)

    def _ask(self, kind: int, body: bytes, what: str, flags: int = 0) -> None:
        """Send a request and wait for its acknowledgement. Raises NetlinkError."""
        self._send(kind, _ACK | flags, body)
        for got, message_flags, message in self._messages():
            if got == _ERROR:
                _check(what, message_flags, message)
                return

    def _dump(self, kind: int, body: bytes, what: str) -> Iterator[bytes]:
        """Yield the body of each message of a dump."""
        self._send(kind, _DUMP, body)
        for got, message_flags, message in self._messages():
            if got == _DONE:
                return
            if got == _ERROR:
                _check(what, message_flags, message)
                return
            yield message

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield the messages that answer the last request: type, flags, body."""
        while True:
            data = self._socket.recv(1 << 18)
            at = 0
            while at + 16 <= len(data):
                length, kind, flags, seq, _ = struct.unpack_from("=IHHII", data, at)
                if seq == self._seq:
                    yield kind, flags, data[at + 16 : at + length]
                at += (length + 3) & ~3


def _check(what: str, flags: int, message: bytes) -> None:
    """Raise NetlinkError if an acknowledgement reports an error."""
    number = -struct.unpack_from("=i", message)[0]
    if number == 0:
        return
    text = ""
    if flags & _ACK_TLVS:
        request_len = struct.unpack_from("=I", message, 4)[0]
        start = 4 + (16 if flags & _CAPPED else request_len)
        text = _attributes(message[start:]).get(1, b"").rstrip(b"\0").decode("ascii", "replace")
    raise NetlinkError(what, number, text)


def _route_of(message: bytes, names: dict[int, str]) -> Route | None:
    """Return the route in a dumped message, or None where it is not one of ours."""
    family, prefix_len, _, _, _, protocol, _, kind, _ = struct.unpack_from("=8BI", message)
    attributes = _attributes(message[12:])
    table = struct.unpack("=I", attributes.get(_RTA_TABLE, bytes(4)))[0]
    if protocol != ROUTE_PROTOCOL or table != _RT_TABLE_MAIN:
        return None
    packed = attributes.get(_RTA_DST) or bytes(4 if family == socket.AF_INET else 16)
    metric = struct.unpack("=I", attributes.get(_RTA_PRIORITY, bytes(4)))[0]
    index = struct.unpack("=I", attributes.get(_RTA_OIF, bytes(4)))[0]
    interface = names.get(index) if kind == _RTN_UNICAST else None
    return Route(ip_network((packed, prefix_len)), metric, interface)


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise NetlinkError(f"link {name}", errno.ENODEV) from None


def _link(name: str) -> bytes:
    """Return the fixed part of a link message that changes no flags."""
    return struct.pack("=BxHiII", 0, 0, _index(name), 0, 0)


def settle_carrier(name: str) -> None:
    """
    Make a changed carrier hold for routing now.

    The kernel handles a lost carrier in a delayed work item, up to one second later, and until then
    IPv4 goes on using the device's routes. Asking for the link state through ethtool makes it catch
    up first.
    """
    answer = array.array("I", [_ETHTOOL_GLINK, 0])
    request = struct.pack("16sP16x", name.encode(), answer.buffer_info()[0])
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket,
        contextlib.suppress(OSError),
    ):
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


def leave_dead_routes6(name: str) -> None:
    """
    Make IPv6 leave a link's routes while it has no carrier.

    Only a sysctl does that, and a sandbox may keep it from us: then the packaged sysctl file has to
    have set the default before, and `machine.notes` says so if it has not.
    """
    place = FilePath(f"/proc/sys/net/ipv6/conf/{name}/ignore_routes_with_linkdown")
    with contextlib.suppress(OSError):
        if place.read_text().strip() != "1":
            place.write_text("1\n")
