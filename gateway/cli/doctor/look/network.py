"""One network namespace: settings, addresses, routes, rules, firewall; and the devices outside."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from gateway.cli.doctor.facts import OWN, DeviceSeen, Json, NamespaceSeen
from gateway.cli.doctor.judge.routing import CONNTRACK, SWITCHES, WANTED_SETTINGS
from gateway.cli.doctor.look.machine import output_of
from gateway.cli.doctor.verdict import Unseen
from gateway.errors import GatewayError
from gateway.fib import FibRoute, Flow, all_routes, chosen
from gateway.netns.kernel import enter, inside, open_namespace
from gateway.node.features import Features
from gateway.node.port import GRO, GRO_LIST, UDP_GRO_FORWARDING
from gateway.node.sysctl import OwnSettings
from gateway.rtnl import RawNetlink, attributes, rtnetlink_socket
from gateway.sa import Address

# linux/rtnetlink.h, linux/if_addr.h, linux/fib_rules.h, linux/sockios.h
_NEWADDR, _GETADDR, _NEWRULE, _GETRULE = 20, 22, 32, 34
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_KERNEL_RULES = {4: 3, 6: 2}  # local, main and, of IPv4, default
_SIOCGIFMTU = 0x8921
_OFFLOADS = {  # on with any of the kernel's features of it
    "tx checksum": ("tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"),
    "GSO": ("tx-generic-segmentation",),
    "GRO": (GRO,),
}
_MADE_OF_OTHERS = ("veth", "bridge", "802.1Q VLAN Support", "macvlan", "dummy", "bonding", "team")
_MERGING = (GRO, UDP_GRO_FORWARDING, GRO_LIST)
_LEGACY = ("ip_tables_names", "ip6_tables_names")


def go_home(pid: int) -> None:
    """
    Enter the network namespace that a process is in: that is the VM's own. Raises OSError,
    GatewayError.
    """
    here, there = (os.stat(f"/proc/{name}/ns/net") for name in ("thread-self", pid))
    if here.st_ino != there.st_ino:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(descriptor)
        finally:
            os.close(descriptor)


def namespace(name: str) -> NamespaceSeen | Unseen:
    """Return what is in a namespace; "" is the one that this thread is in."""
    if name == OWN:
        return _look(OWN)
    try:
        descriptor = open_namespace(name)
        try:
            with inside(descriptor):
                return _look(name)
        finally:
            os.close(descriptor)
    except (GatewayError, OSError) as error:
        return Unseen(str(error))


@contextmanager
def kernel() -> Iterator[RawNetlink]:
    """Give the kernel's routing in the namespace that this thread is in."""
    link = RawNetlink(rtnetlink_socket())
    try:
        yield link
    finally:
        link.close()


def _look(name: str) -> NamespaceSeen:
    names = dict(socket.if_nameindex())
    filters = [f"ipv4/conf/{one}/rp_filter" for one in ("all", *names.values())]
    wanted = [*WANTED_SETTINGS, *SWITCHES.values(), *CONNTRACK, "core/rmem_default", *filters]
    values = OwnSettings().read(wanted)
    with kernel() as link:
        addresses, routes, rules = _addresses(link), _routes(link), _rules(link)
    return NamespaceSeen(
        name=name,
        settings=dict(zip(wanted, values, strict=True)),
        addresses=addresses,
        names=names,
        routes=routes,
        rules=rules,
        ruleset=_ruleset(),
        legacy_tables=_legacy_tables(),
        xfrm=_policies(),
    )


def _addresses(link: RawNetlink) -> frozenset[Address]:
    found = set()
    for kind, body in link.dump(_GETADDR, bytes(8)):
        values = attributes(body, 8)
        packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
        if kind == _NEWADDR and packed:
            found.add(ip_address(packed))
    return frozenset(found)


def _routes(link: RawNetlink) -> tuple[FibRoute, ...] | Unseen:
    try:
        return all_routes(link)
    except OSError as error:
        return Unseen(f"the kernel does not tell its routes: {error.strerror}")


def _rules(link: RawNetlink) -> int | Unseen:
    """Return how many routing rules there are beside those that the kernel begins with."""
    count = 0
    try:
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            answers = link.dump(_GETRULE, bytes([family]) + bytes(11))
            found = sum(kind == _NEWRULE for kind, _ in answers)
            count += max(0, found - _KERNEL_RULES[version])
    except OSError as error:
        return Unseen(f"the kernel does not tell its rules: {error.strerror}")
    return count


def _ruleset() -> tuple[Json, ...] | Unseen:
    text = output_of("nft", "-j", "list", "ruleset")
    if isinstance(text, Unseen):
        return text
    try:
        found = json.loads(text)["nftables"]
    except (ValueError, KeyError):
        return Unseen("nft -j list ruleset prints no JSON")
    return tuple(part for part in found if isinstance(part, dict))


def _legacy_tables() -> tuple[str, ...]:
    found = []
    for name in _LEGACY:
        path = Path("/proc/thread-self/net") / name
        try:
            found += path.read_text().split()
        except OSError:  # the old iptables is not loaded, or this is not root
            continue
    return tuple(found)


def _policies() -> int | Unseen:
    text = output_of("ip", "xfrm", "policy", "list", "nosock")
    return (
        text
        if isinstance(text, Unseen)
        else sum(line.startswith("src ") for line in text.splitlines())
    )


def device_toward(remote: Address, local: Address) -> str | None:
    """Return the device by which packets to a peer leave; None if there is no route."""
    with kernel() as link:
        for source in (local, None):  # the address may not be here
            try:
                route = chosen(link, Flow(source, remote))
            except OSError:
                continue
            if route.hops:
                return socket.if_indextoname(route.hops[0].index)
    return None


def device(name: str) -> DeviceSeen:
    """Return MTU and offloads of a device. Raises OSError if it is gone."""
    with _control() as sock:
        mtu = _mtu(sock, name)
        try:
            found = Features(sock).of(name)
        except OSError:
            found = {}
    return DeviceSeen(name, mtu, {what: _any(found, names) for what, names in _OFFLOADS.items()})


def inner_device(name: str) -> DeviceSeen | None:
    """Return what a card toward a VPC merges; None for what is no card, or is gone."""
    with _control() as sock:
        features = Features(sock)
        try:
            if features.driver(name) in _MADE_OF_OTHERS:
                return None
            found, mtu = features.of(name), _mtu(sock, name)
        except OSError:
            return None
    return DeviceSeen(name, mtu, {what: found.get(what) for what in _MERGING})


def _control() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _mtu(control: socket.socket, name: str) -> int:
    answer = fcntl.ioctl(control, _SIOCGIFMTU, struct.pack("16s24x", name.encode()))
    (mtu,) = struct.unpack_from("=i", answer, 16)
    return int(mtu)


def _any(found: Mapping[str, bool], names: Iterable[str]) -> bool | None:
    """Say whether one of these is on; None if the kernel tells of none of them."""
    known = [found[name] for name in names if name in found]
    return any(known) if known else None
