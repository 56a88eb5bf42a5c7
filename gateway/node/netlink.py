"""
Links, addresses and routes of the kernel, by pyroute2.

All of pyroute2 runs in one worker thread, because it has an event loop of its own, which may not
run inside uvloop's. A caller waits for the answer, some tenths of a millisecond. Everything this
program makes carries its own route protocol, so after a restart it finds exactly its own routes
again and touches no others.

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from pathlib import Path as FilePath
from typing import Any

import pyroute2
from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_GETROUTE

from gateway.errors import GatewayError
from gateway.sa import Address

Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface

ROUTE_PROTOCOL = 85  # ours alone: not in iproute2's rt_protos, not BIRD (12), not FRR (186 and up)

# linux/rtnetlink.h, linux/if_addr.h, linux/if_link.h, linux/ip.h (IPV4_DEVCONF_*)
_RT_TABLE_MAIN, _RTN_UNICAST, _IFA_F_NODAD, _GEN_MODE_NONE = 254, 1, 0x02, 1
_INET_CONF, _SEND_REDIRECTS, _RP_FILTER, _IGNORE_LINKDOWN = 1, 6, 8, 29
# pyroute2's own "get" also wants an acknowledgement, never reads it, and keeps it for ever.
_GET = (RTM_GETROUTE, NLM_F_REQUEST)
# linux/sockios.h, linux/ethtool.h, net/if.h
_SIOCGIFFLAGS, _SIOCETHTOOL, _ETHTOOL_GLINK, _IFF_UP = 0x8913, 0x8946, 0x0A, 0x1


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


class Netlink:
    """One rtnetlink socket of the network namespace it was made in."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "netlink")
        # A strict check lets the kernel, not us, drop what a dump did not ask for: BIRD's routes.
        make = partial(pyroute2.IPRoute, ext_ack=True, strict_check=True)
        self._kernel = self._worker.submit(make).result()

    def close(self) -> None:
        self._worker.submit(self._kernel.close).result()
        self._worker.shutdown()

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
        self._ask(f"link {name} {what}", "link", "set", index=_index(name), **fields)

    # ---- links ----

    def links(self) -> dict[str, bool]:
        """
        Return every link's name, and whether it is administratively up.

        Not by pyroute2: it takes 0.2 s to read what the kernel says of 500 links, this takes 1 ms.
        """
        found: dict[str, bool] = {}
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # gone in the meantime
                answer = _ioctl(_SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
                found[name] = bool(struct.unpack_from("=H", answer, 16)[0] & _IFF_UP)
        return found

    def set_up(self, name: str, *, up: bool) -> None:
        """Set a link administratively up or down."""
        state = "up" if up else "down"
        self._set_link(state, name, state=state)

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the MTU of a link, bytes."""
        self._set_link(f"mtu {mtu}", name, mtu=mtu)

    def set_tunnel_behaviour(self, name: str, queue_len: int) -> None:
        """
        Make a TUN device behave as a tunnel.

        No address of its own making (IPv6), a transmit queue of `queue_len` packets, loose reverse
        path filter (answers may come by the twin tunnel), no redirects (branch to branch through a
        hub), and its routes are not used while it has no carrier: that is what moves traffic to the
        twin.
        """
        self._set_link("settings", name, txqlen=queue_len)
        settings = ((_RP_FILTER, 2), (_SEND_REDIRECTS, 0), (_IGNORE_LINKDOWN, 1))
        conf = b"".join(struct.pack("=HHI", 8, *setting) for setting in settings)
        inet = struct.pack("=4H", 8 + len(conf), socket.AF_INET, 4 + len(conf), _INET_CONF) + conf
        # pyroute2 knows the settings only as the kernel lists them, a plain array, not as it takes
        # them. With the family `ip link` asks in, it passes on bytes as they are.
        self._set_link("settings", name, family=socket.AF_PACKET, af_spec=inet)
        if FilePath("/proc/sys/net/ipv6").exists():
            mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _GEN_MODE_NONE)]}
            self._set_link("settings", name, af_spec={"attrs": [("AF_INET6", mode)]})

    def set_no_queueing(self, name: str) -> None:
        """
        Give a link no queueing discipline; call it before the link is up.

        A TUN device never asks the kernel to hold packets back, so a discipline holds none; but a
        multi-queue device would get 256 of them.
        """
        self._ask(f"link {name} noqueue", "tc", "replace", kind="noqueue", index=_index(name))

    # ---- addresses ----

    def addresses(self, name: str) -> set[Interface]:
        """Return the addresses of a link, without link-local IPv6 ones."""
        # A dump_filter of None: the kernel picks the link, not pyroute2 out of all addresses.
        what, fields = f"addresses of {name}", {"dump_filter": None, "index": _index(name)}
        found: set[Interface] = set()
        for each in self._ask(what, "addr", "dump", **fields):
            text = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
            address = ip_interface((text, each["prefixlen"]))
            if address.version == 4 or not address.ip.is_link_local:
                found.add(address)
        return found

    def add_address(self, name: str, address: Interface) -> None:
        """Give a link an address; no duplicate address detection, a tunnel has no neighbours."""
        self._address("replace", name, address, flags=_IFA_F_NODAD if address.version == 6 else 0)

    def del_address(self, name: str, address: Interface) -> None:
        self._address("del", name, address)

    def _address(self, command: str, name: str, address: Interface, **fields: object) -> None:
        self._ask(
            f"address {address} on {name}",
            "addr",
            command,
            index=_index(name),
            address=str(address.ip),
            local=str(address.ip),
            prefixlen=address.network.prefixlen,
            **fields,
        )

    # ---- routes ----

    def routes(self) -> set[Route]:
        """Return the routes of the main table that carry our protocol number."""
        names = dict(socket.if_nameindex())
        return {
            _route_of(each, names)
            for family in (socket.AF_INET, socket.AF_INET6)
            for each in self._ask(
                "routes", "route", "dump", dump_filter=None, family=family, proto=ROUTE_PROTOCOL
            )
            if each["proto"] == ROUTE_PROTOCOL and each.get_attr("RTA_TABLE") == _RT_TABLE_MAIN
        }

    def device_toward(self, address: Address) -> str | None:
        """Return the device by which packets to `address` leave; None if there is no route."""
        try:
            (answer,) = self._ask(f"route to {address}", "route", _GET, dst=str(address))
        except NetlinkError:
            return None
        index = answer.get_attr("RTA_OIF")
        return socket.if_indextoname(index) if index else None

    def add_route(self, route: Route) -> None:
        """Add a route, or replace the one with the same prefix and metric."""
        on_link = route.prefix.version == 4 and route.interface
        self._route("replace", route, "link" if on_link else "universe")

    def del_route(self, route: Route) -> None:
        """Remove a route; one that is gone already (its device went) is no error."""
        try:
            self._route("del", route, "nowhere")  # nowhere: whatever its scope
        except NetlinkError as error:
            if error.errno not in (errno.ESRCH, errno.ENODEV):
                raise

    def _route(self, command: str, route: Route, scope: str) -> None:
        self._ask(
            f"route {route}",
            "route",
            command,
            dst=str(route.prefix),
            priority=route.metric,
            oif=_index(route.interface) if route.interface else None,
            type="unicast" if route.interface else "unreachable",
            scope=scope,
            proto=ROUTE_PROTOCOL,
            table=_RT_TABLE_MAIN,
        )


def _route_of(message: Any, names: dict[int, str]) -> Route:  # noqa: ANN401
    """Return the route in a message of pyroute2's."""
    nowhere = "0.0.0.0" if message["family"] == socket.AF_INET else "::"  # noqa: S104
    prefix = ip_network((message.get_attr("RTA_DST") or nowhere, message["dst_len"]))
    is_unicast = message["type"] == _RTN_UNICAST
    interface = names.get(message.get_attr("RTA_OIF")) if is_unicast else None
    return Route(prefix, message.get_attr("RTA_PRIORITY") or 0, interface)


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise NetlinkError(f"link {name}", errno.ENODEV) from None


def _ioctl(number: int, request: bytes) -> bytes:
    """Ask about a device through any socket. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, number, request)


def settle_carrier(name: str) -> None:
    """
    Make a changed carrier hold for routing now.

    The kernel handles a lost carrier in a delayed work item, up to one second later, and until then
    IPv4 goes on using the device's routes. Asking for the link state through ethtool makes it catch
    up first.
    """
    answer = array.array("I", [_ETHTOOL_GLINK, 0])
    with contextlib.suppress(OSError):
        address, _ = answer.buffer_info()
        _ioctl(_SIOCETHTOOL, struct.pack("16sP16x", name.encode(), address))


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
