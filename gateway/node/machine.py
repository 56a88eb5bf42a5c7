"""What about this machine keeps a gateway from doing its work: notes for the person who runs it."""

from __future__ import annotations

import socket
from pathlib import Path

from gateway.node.netlink import Netlink
from gateway.node.plan import NodePlan
from gateway.node.udp import is_local

_SYSCTL = Path("/proc/sys/net")


def notes(plan: NodePlan, workers: int, kernel: Netlink) -> list[str]:
    """Return what an operator should change; `workers` is how many the data plane runs."""
    found = [
        f"{address} is not an address of this machine: nothing is received there"
        for address in plan.sockets
        if not is_local(address)
    ]
    if plan.workers not in (0, workers):
        found.append(
            f"the data plane runs {workers} workers, the document wants {plan.workers}:"
            " twinspan stop and start"
        )
    return (
        found + _attachments(plan) + _forwarding(plan) + _dead_routes(plan) + _loops(plan, kernel)
    )


def _attachments(plan: NodePlan) -> list[str]:
    """Say which prefixes BGP does not announce because the interface before them is missing."""
    present = {name for _, name in socket.if_nameindex()}
    return [
        f"there is no interface {attachment.interface}:"
        f" the cidrs of vpc_attachment {attachment.name} are not announced by BGP"
        for gateway in plan.routing.gateways
        for attachment in gateway.attachments
        if attachment.prefixes and attachment.interface not in present
    ]


def _forwarding(plan: NodePlan) -> list[str]:
    versions = {route.prefix.version for tunnel in plan.tunnels for route in tunnel.routes}
    versions |= {peer.local.version for peer in plan.routing.peers}
    switches = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
    return [
        f"net.{switches[version].replace('/', '.')} is 0:"
        f" IPv{version} of hosts behind this gateway is not forwarded"
        for version in sorted(versions)
        if _value(switches[version]) == "0"
    ]


def _dead_routes(plan: NodePlan) -> list[str]:
    """
    Say where IPv6 goes on using a tunnel that is down.

    IPv4 takes the setting by netlink, IPv6 only as a sysctl, which the service's sandbox does not
    let it write.
    """
    interfaces = [
        tunnel.interface
        for tunnel in plan.tunnels
        if any(route.prefix.version == 6 for route in tunnel.routes)
    ]
    interfaces += [peer.interface for peer in plan.routing.peers if peer.local.version == 6]
    switch = "ipv6/conf/{}/ignore_routes_with_linkdown"
    if all(_value(switch.format(name)) in ("1", "") for name in interfaces):
        return []
    return [
        "net.ipv6.conf.default.ignore_routes_with_linkdown was not 1 when the tunnels were made:"
        " IPv6 does not leave a tunnel that is down"
    ]


def _loops(plan: NodePlan, kernel: Netlink) -> list[str]:
    """
    Say where a tunnel's route holds the peer itself: ESP packets would go into a tunnel, not to the
    peer.
    """
    interfaces = {tunnel.interface for tunnel in plan.tunnels}
    remotes = {tunnel.remote: tunnel.name for tunnel in plan.tunnels if tunnel.remote is not None}
    return [
        f"packets to {remote}, the peer of {name}, are routed into a tunnel:"
        f" give {remote} a route of its own"
        for remote, name in remotes.items()
        if kernel.device_toward(remote) in interfaces
    ]


def _value(name: str) -> str:
    """Return a kernel setting, "" if this kernel has none of that name."""
    try:
        return (_SYSCTL / name).read_text().strip()
    except OSError:
        return ""
