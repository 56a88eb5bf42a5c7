"""
Links, addresses and routes of the kernel.

Routes and the list of links go over a socket of our own, since thousands of them must be read and
changed within milliseconds; the rest is pyroute2's. All of pyroute2 runs in one worker thread,
because it has an event loop of its own, which may not run inside uvloop's. A caller waits for the
answer, some tenths of a millisecond. Everything this program makes carries its own route protocol,
so after a restart it finds exactly its own routes again and touches no others.

A socket belongs to the network namespace it was made in, so one `Netlink` serves one namespace: its
sockets may have been made elsewhere and handed over. Names of interfaces are asked for through
them, never through the process's own namespace.

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import Any

import pyroute2
from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_GETROUTE

from gateway.errors import GatewayError
from gateway.node.features import Features
from gateway.node.sysctl import OwnSettings, Settings
from gateway.rtnl import (
    CREATE,
    DELROUTE,
    GETLINK,
    GETROUTE,
    NEWLINK,
    NEWROUTE,
    REPLACE,
    RawNetlink,
    attribute,
    attributes,
    rtnetlink_socket,
)
from gateway.sa import Address

Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface

ROUTE_PROTOCOL = 85  # ours alone: not in iproute2's rt_protos, not BIRD (12), not FRR (186 and up)

# linux/rtnetlink.h, linux/if_addr.h, linux/if_link.h, linux/ip.h (IPV4_DEVCONF_*)
_RT_TABLE_MAIN, _IFA_F_NODAD, _GEN_MODE_NONE = 254, 0x02, 1
_RTN_UNICAST, _RTN_UNREACHABLE = 1, 7
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_RTMSG = struct.Struct("=8BI")
_UINT = struct.Struct("=I")
_SOL_NETLINK, _STRICT_CHECK = 270, 12  # linux/netlink.h
_INET_CONF, _SEND_REDIRECTS, _RP_FILTER, _IGNORE_LINKDOWN = 1, 6, 8, 29
# pyroute2's own "get" also wants an acknowledgement, never reads it, and keeps it for ever.
_GET = (RTM_GETROUTE, NLM_F_REQUEST)
# linux/sockios.h, linux/ethtool.h, net/if.h
_SIOCGIFNAME, _SIOCGIFINDEX, _SIOCETHTOOL, _ETHTOOL_GLINK = 0x8910, 0x8933, 0x8946, 0x0A
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
# linux/rtnetlink.h, linux/if_link.h
_IFINFOMSG = struct.Struct("=BxHiII")
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_IFALIAS, _IFLA_GROUP = 3, 10, 20, 27
_IFLA_EXT_MASK, _SKIP_STATS = 29, 0x8


class NetlinkError(GatewayError):
    """The kernel refused a request. `errno` is its error number."""

    def __init__(self, what: str, number: int, text: str = "") -> None:
        super().__init__(f"{what}: {os.strerror(number)}" + (f" ({text})" if text else ""))
        self.errno = number


@dataclass(frozen=True, slots=True)
class Route:
    """
    A route of ours in the main table; `interface` None means unreachable: what fails closed. `via`
    is the next hop, None where packets just enter the interface.
    """

    prefix: Network
    metric: int
    interface: str | None
    via: Address | None = None

    def __str__(self) -> str:
        where = f"dev {self.interface}" if self.interface else "unreachable"
        return f"{self.prefix} {f'via {self.via} ' if self.via else ''}{where} metric {self.metric}"


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface as the kernel lists it."""

    name: str
    index: int
    is_up: bool  # administratively
    alias: str = ""
    master: int | None = None  # the index of the bridge or bond it is a part of
    group: int = 0  # by which interfaces can be told apart
    has_carrier: bool = False


@dataclass(frozen=True, slots=True)
class Sockets:
    """Two sockets for rtnetlink and one for ioctl of one network namespace, and its descriptor."""

    rtnetlink: socket.socket
    second: socket.socket
    control: socket.socket
    namespace: int


def own_sockets() -> Sockets:
    """Return the sockets of the calling thread's network namespace."""
    return Sockets(
        rtnetlink_socket(),
        rtnetlink_socket(),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC),
    )


class Netlink:
    """The kernel's networking in one network namespace: by itself that of the calling thread."""

    def __init__(self, sockets: Sockets | None = None, settings: Settings | None = None) -> None:
        """Take the sockets over."""
        sockets = sockets or own_sockets()
        self._settings = settings or OwnSettings()
        self._control = sockets.control
        self.features = Features(sockets.control)
        self.namespace = sockets.namespace  # a descriptor, for what is moved there
        # A strict check lets the kernel, not us, drop what a dump did not ask for: BIRD's routes.
        sockets.second.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        self._raw = RawNetlink(sockets.second)
        self._worker = ThreadPoolExecutor(1, "netlink")
        make = partial(
            pyroute2.IPRoute, ext_ack=True, strict_check=True, fileno=sockets.rtnetlink.detach()
        )
        self._kernel = self._worker.submit(make).result()

    def close(self) -> None:
        self._worker.submit(self._kernel.close).result()
        self._worker.shutdown()
        self._raw.close()
        self._control.close()
        os.close(self.namespace)

    def _ask(
        self, what: str, object_: str, command: str | tuple[int, int], **fields: object
    ) -> tuple[Any, ...]:
        """Return the messages that answer a request. Raises NetlinkError."""
        request = getattr(self._kernel, object_)
        try:
            # A dump is a generator: it too has to run in the worker.
            return self._worker.submit(lambda: tuple(request(command, **fields))).result()
        except (pyroute2.NetlinkError, OSError) as error:
            number, text = error.args
            raise NetlinkError(what, number, "" if text == os.strerror(number) else text) from None

    def _set_link(self, what: str, name: str, **fields: object) -> None:
        self._ask(f"link {name} {what}", "link", "set", index=self.index(name), **fields)

    # ---- links ----

    def links(self) -> dict[str, Link]:
        """
        Return every link by its name.

        Not by pyroute2: it takes 0.2 s to read what the kernel says of 500 links, this takes 3 ms.
        """
        mask = struct.pack("=HHI", 8, _IFLA_EXT_MASK, _SKIP_STATS)
        try:
            answers = self._raw.dump(GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0) + mask)
        except OSError as error:
            raise NetlinkError("links", error.errno or 0) from None
        found = (_link_of(body) for kind, body in answers if kind == NEWLINK)
        return {link.name: link for link in found}

    def has(self, name: str) -> bool:
        """Return whether there is a link of that name."""
        try:
            self.index(name)
        except NetlinkError:
            return False
        return True

    def index(self, name: str) -> int:
        """Return the number of a link. Raises NetlinkError if there is none of that name."""
        try:
            answer = self._ioctl(_SIOCGIFINDEX, struct.pack("16s24x", name.encode()))
        except OSError:
            raise NetlinkError(f"link {name}", errno.ENODEV) from None
        return int(struct.unpack_from("=i", answer, 16)[0])

    def _name(self, index: int) -> str | None:
        try:
            answer = self._ioctl(_SIOCGIFNAME, struct.pack("=16xi20x", index))
        except OSError:
            return None  # gone in the meantime
        return answer[:16].rstrip(b"\0").decode()

    def _ioctl(self, number: int, request: bytes) -> bytes:
        """Ask about a device. Raises OSError."""
        return fcntl.ioctl(self._control, number, request)

    def set_up(self, name: str, *, up: bool) -> None:
        """Set a link administratively up or down."""
        state = "up" if up else "down"
        self._set_link(state, name, state=state)

    def move(self, name: str, namespace: int) -> None:
        """Move a link into another network namespace; it is down then and has no addresses."""
        self._set_link("move", name, net_ns_fd=namespace)

    def set_alias(self, name: str, alias: str) -> None:
        """Give a link a line of text for people and for us; "" takes it away."""
        self._set_link("alias", name, ifalias=alias)

    def add_vlan(self, name: str, parent: str, vlan: int, namespace: int) -> None:
        """Make a VLAN device on `parent`, which is here, in another network namespace."""
        self._ask(
            f"link {name}: VLAN {vlan} on {parent}",
            "link",
            "add",
            ifname=name,
            kind="vlan",
            link=self.index(parent),
            vlan_id=vlan,
            net_ns_fd=namespace,
        )

    def add_veth(self, name: str, namespace: int, far: str, far_namespace: int) -> None:
        """Make a pair of virtual Ethernet devices, one in each of two network namespaces."""
        self._ask(
            f"link {name}: veth to {far}",
            "link",
            "add",
            ifname=name,
            kind="veth",
            net_ns_fd=namespace,
            peer={"ifname": far, "net_ns_fd": far_namespace},
        )

    def del_link(self, name: str) -> None:
        """Remove a link; with one end of a veth pair goes the other."""
        self._ask(f"link {name} del", "link", "del", index=self.index(name))

    def set_group(self, name: str, group: int) -> None:
        """Put a link into a group of links; 0 is that of all others."""
        self._set_link(f"group {group}", name, group=group)

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU of a link, bytes."""
        self._set_link(f"mtu {mtu}", name, mtu=mtu)

    def set_tunnel_behaviour(self, name: str, queue_len: int) -> None:
        """
        Make a TUN device behave as a tunnel.

        No address of its own making (IPv6), a transmit queue of `queue_len` packets, no redirects
        (branch to branch through a hub), and its routes are not used while it has no carrier: that
        is what moves traffic to the twin. No reverse path filter: answers may come by the twin, and
        a peer whose BGP session is lost goes on sending, while our route to it fails closed. That
        is no way to the peer for a loose filter either. What may come in is the SA's to say.
        """
        self._set_link("settings", name, txqlen=queue_len)
        settings = ((_RP_FILTER, 0), (_SEND_REDIRECTS, 0), (_IGNORE_LINKDOWN, 1))
        conf = b"".join(struct.pack("=HHI", 8, *setting) for setting in settings)
        inet = struct.pack("=4H", 8 + len(conf), socket.AF_INET, 4 + len(conf), _INET_CONF) + conf
        # pyroute2 knows the settings only as the kernel lists them, a plain array, not as it takes
        # them. With the family `ip link` asks in, it passes on bytes as they are.
        self._set_link("settings", name, family=socket.AF_PACKET, af_spec=inet)
        if self.settings("ipv6/conf/all/forwarding")[0]:  # else the kernel has no IPv6
            self.make_no_address6(name)

    def make_no_address6(self, name: str) -> None:
        """Have IPv6 make no address of its own on a link."""
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _GEN_MODE_NONE)]}
        self._set_link("settings", name, af_spec={"attrs": [("AF_INET6", mode)]})

    def set_no_queueing(self, name: str) -> None:
        """
        Give a link no queueing discipline; call it before the link is up.

        A TUN device never asks the kernel to hold packets back, so a discipline holds none; but a
        multi-queue device would get 256 of them.
        """
        self._ask(f"link {name} noqueue", "tc", "replace", kind="noqueue", index=self.index(name))

    def settle_carrier(self, name: str) -> None:
        """
        Make a changed carrier hold for routing now.

        The kernel handles a lost carrier in a delayed work item, up to one second later, and until
        then IPv4 goes on using the device's routes. Asking for the link state through ethtool makes
        it catch up first.
        """
        answer = array.array("I", [_ETHTOOL_GLINK, 0])
        with contextlib.suppress(OSError):
            address, _ = answer.buffer_info()
            self._ioctl(_SIOCETHTOOL, struct.pack("16sP16x", name.encode(), address))

    # ---- settings ----

    def settings(self, *names: str) -> list[str]:
        """Return settings of the kernel, as in "ipv4/ip_forward"; "" for one it does not have."""
        return self._settings.read(names)

    def leave_dead_routes6(self, name: str) -> None:
        """
        Make IPv6 leave a link's routes while it has no carrier.

        Only a sysctl does that, and a sandbox may keep it from us: then the packaged sysctl file
        has to have set the default before, and `machine.notes` says so if it has not.
        """
        setting = f"ipv6/conf/{name}/ignore_routes_with_linkdown"
        if self.settings(setting)[0] == "0":
            with contextlib.suppress(OSError):
                self._settings.write(setting, "1")

    # ---- addresses ----

    def addresses(self, name: str, *, with_own: bool = False) -> set[Interface]:
        """Return the addresses of a link; IPv6 ones of its own making only if they are wanted."""
        found = self._addresses(self.index(name), with_own=with_own)
        return {address for _, address, _ in found}

    def given_addresses(self, name: str | None = None) -> set[tuple[int, Interface]]:
        """
        Return the addresses that `give_address` has put on a link, or on any, with its index.
        """
        index = self.index(name) if name else 0
        return {
            (at, address)
            for at, address, proto in self._addresses(index)
            if proto == ROUTE_PROTOCOL
        }

    def _addresses(
        self, index: int, *, with_own: bool = False
    ) -> Iterator[tuple[int, Interface, int]]:
        """Yield index, address and protocol (0 if not known) of a link's addresses; 0: of all."""
        # A dump_filter of None: the kernel picks the link, not pyroute2 out of all addresses.
        fields = {"dump_filter": None, **({"index": index} if index else {})}
        for each in self._ask(f"addresses of link {index or 'all'}", "addr", "dump", **fields):
            text = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
            address = ip_interface((text, each["prefixlen"]))
            if with_own or address.version == 4 or not address.ip.is_link_local:
                yield each["index"], address, each.get_attr("IFA_PROTO") or 0

    def add_address(self, name: str, address: Interface) -> None:
        """Give a link an address; no duplicate address detection, a tunnel has no neighbours."""
        self._address("replace", name, address, flags=_IFA_F_NODAD if address.version == 6 else 0)

    def give_address(self, name: str, address: Interface) -> None:
        """Give a link an address, marked as ours (Linux 5.18 and later)."""
        self._address("replace", name, address, proto=ROUTE_PROTOCOL)

    def del_address(self, name: str, address: Interface) -> None:
        self._address("del", name, address)

    def _address(self, command: str, name: str, address: Interface, **fields: object) -> None:
        self._ask(
            f"address {address} on {name}",
            "addr",
            command,
            index=self.index(name),
            address=str(address.ip),
            local=str(address.ip),
            prefixlen=address.network.prefixlen,
            **fields,
        )

    # ---- routes ----

    def routes(self) -> set[Route]:
        """Return the routes of the main table that carry our protocol number."""
        names = {link.index: link.name for link in self.links().values()}
        found: set[Route] = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _RTMSG.pack(family, 0, 0, 0, 0, ROUTE_PROTOCOL, 0, 0, 0)
            try:
                answers = self._raw.dump(GETROUTE, request)
            except OSError as error:
                raise NetlinkError("routes", error.errno or 0) from None
            found.update(_route_of(body, names) for kind, body in answers if _is_ours(kind, body))
        return found

    def device_toward(self, address: Address) -> str | None:
        """Return the device by which packets to `address` leave; None if there is no route."""
        try:
            (answer,) = self._ask(f"route to {address}", "route", _GET, dst=str(address))
        except NetlinkError:
            return None
        index = answer.get_attr("RTA_OIF")
        return self._name(index) if index else None

    def add_route(self, route: Route) -> None:
        """Add a route, or replace the one with the same prefix and metric."""
        on_link = route.prefix.version == 4 and route.interface and route.via is None
        scope = _SCOPE_LINK if on_link else _SCOPE_UNIVERSE
        self._route(NEWROUTE, route, scope, CREATE | REPLACE)

    def del_route(self, route: Route) -> None:
        """Remove a route; one that is gone already (its device went) is no error."""
        try:
            self._route(DELROUTE, route, _SCOPE_NOWHERE)  # nowhere: whatever its scope
        except NetlinkError as error:
            if error.errno not in (errno.ESRCH, errno.ENODEV):
                raise

    def _route(self, kind: int, route: Route, scope: int, flags: int = 0) -> None:
        family = socket.AF_INET if route.prefix.version == 4 else socket.AF_INET6
        length = route.prefix.prefixlen
        type_ = _RTN_UNICAST if route.interface else _RTN_UNREACHABLE
        parts = (family, length, 0, 0, _RT_TABLE_MAIN, ROUTE_PROTOCOL, scope, type_, 0)
        body = _RTMSG.pack(*parts)
        body += attribute(_RTA_DST, route.prefix.network_address.packed)
        body += attribute(_RTA_PRIORITY, _UINT.pack(route.metric))
        if route.via:
            body += attribute(_RTA_GATEWAY, route.via.packed)
        if route.interface:
            body += attribute(_RTA_OIF, _UINT.pack(self.index(route.interface)))
        try:
            self._raw.change(kind, body, flags)
        except OSError as error:
            raise NetlinkError(f"route {route}", error.errno or 0) from None


def _is_ours(kind: int, body: bytes) -> bool:
    """Return whether a message is a route of the main table with our protocol number."""
    fields = _RTMSG.unpack_from(body)
    return kind == NEWROUTE and (fields[4], fields[5]) == (_RT_TABLE_MAIN, ROUTE_PROTOCOL)


def _route_of(body: bytes, names: dict[int, str]) -> Route:
    """Return the route in the body of a RTM_NEWROUTE message."""
    family, length, _, _, _, _, _, type_, _ = _RTMSG.unpack_from(body)
    found = attributes(body, _RTMSG.size)
    destination = found.get(_RTA_DST, bytes(4 if family == socket.AF_INET else 16))
    make = IPv4Network if family == socket.AF_INET else IPv6Network
    index, metric = (_number(found, kind) for kind in (_RTA_OIF, _RTA_PRIORITY))
    interface = names.get(index) if type_ == _RTN_UNICAST else None
    via = ip_address(found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else None
    return Route(make((destination, length)), metric, interface, via)


def _number(found: dict[int, bytes], kind: int) -> int:
    return int(_UINT.unpack(found[kind])[0]) if kind in found else 0


def _link_of(body: bytes) -> Link:
    """Return the link in the body of a RTM_NEWLINK message."""
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(body)
    found = attributes(body, _IFINFOMSG.size)
    master = found.get(_IFLA_MASTER)
    return Link(
        _text(found, _IFLA_IFNAME),
        index,
        bool(flags & _IFF_UP),
        _text(found, _IFLA_IFALIAS),
        struct.unpack("=I", master)[0] if master else None,
        _number(found, _IFLA_GROUP),
        bool(flags & _IFF_LOWER_UP),
    )


def _text(found: dict[int, bytes], kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode("utf-8", "replace")
