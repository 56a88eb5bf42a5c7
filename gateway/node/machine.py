"""What about this machine keeps a gateway from doing its work: notes for the person who runs it."""

from __future__ import annotations

from gateway.node.namespaces import OWN, Namespaces
from gateway.node.netlink import Netlink
from gateway.node.plan import NodePlan
from gateway.node.udp import is_local
from gateway.routing.plan import RoutingPlan

_BFD_HELD_S = 0.3  # how long BIRD may have to wait on a busy machine
_BFD_BYTES = 1024  # that a BFD packet takes of a socket's buffer, the kernel's own data with it


def notes(plan: NodePlan, workers: int, namespaces: Namespaces) -> list[str]:
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
    for namespace in namespaces:
        found += _of_namespace(plan, namespace, namespaces.of(namespace))
    return found + _loops(plan, namespaces.own)


def _of_namespace(plan: NodePlan, name: str, kernel: Netlink) -> list[str]:
    found = [
        *_forwarding(plan, name, kernel),
        *_filtered(kernel),
        *_small_buffer(plan, name, kernel),
        *_dead_routes(plan, name, kernel),
    ]
    return [f"in namespace {name}: {note}" if name else note for note in found]


def _forwarding(plan: NodePlan, namespace: str, kernel: Netlink) -> list[str]:
    tunnels = [tunnel for tunnel in plan.tunnels if tunnel.namespace == namespace]
    versions = {route.prefix.version for tunnel in tunnels for route in tunnel.routes}
    versions |= {peer.local.version for r in _routing(plan, namespace) for peer in r.peers}
    switches = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
    wanted = sorted(versions)
    values = kernel.settings(*(switches[version] for version in wanted))
    return [
        f"net.{switches[version].replace('/', '.')} is 0:"
        f" IPv{version} of hosts behind this gateway is not forwarded"
        for version, value in zip(wanted, values, strict=True)
        if value == "0"
    ]


def _filtered(kernel: Netlink) -> list[str]:
    """Say that the kernel drops what comes by a tunnel while no route leads back."""
    (value,) = kernel.settings("ipv4/conf/all/rp_filter")
    if value in ("0", ""):
        return []
    return [
        f"net.ipv4.conf.all.rp_filter is {value}: what comes by a tunnel is dropped while no route"
        " leads back, as when the peer's BGP starts again"
    ]


def _small_buffer(plan: NodePlan, namespace: str, kernel: Netlink) -> list[str]:
    """Say that BIRD's one socket for all BFD holds less than the packets of 0.3 s."""
    needed = bfd_buffer_bytes(plan, namespace)
    (value,) = kernel.settings("core/rmem_default")
    if not value or needed <= int(value):
        return []
    return [
        f"net.core.rmem_default is {value}: BIRD loses BFD packets when it waits for a core, and"
        f" sessions with them; {needed} is enough"
    ]


def bfd_buffer_bytes(plan: NodePlan, namespace: str) -> int:
    """Return how large a buffer BIRD's one socket for all BFD of a namespace needs."""
    peers = [peer for routing in _routing(plan, namespace) for peer in routing.peers]
    per_s = sum(1000 // peer.bfd.interval_ms for peer in peers if peer.bfd is not None)
    return int(_BFD_HELD_S * per_s * _BFD_BYTES)


def _routing(plan: NodePlan, namespace: str) -> list[RoutingPlan]:
    return [routing for routing in plan.routing if routing.namespace == namespace]


def _dead_routes(plan: NodePlan, namespace: str, kernel: Netlink) -> list[str]:
    """
    Say where IPv6 goes on using a tunnel that is down.

    IPv4 takes the setting by netlink, IPv6 only as a sysctl, which the service's sandbox does not
    let it write.
    """
    interfaces = [
        tunnel.interface
        for tunnel in plan.tunnels
        if tunnel.namespace == namespace
        and any(route.prefix.version == 6 for route in tunnel.routes)
    ]
    peers = [peer for routing in _routing(plan, namespace) for peer in routing.peers]
    interfaces += [peer.interface for peer in peers if peer.local.version == 6]
    switch = "ipv6/conf/{}/ignore_routes_with_linkdown"
    values = kernel.settings(*(switch.format(name) for name in interfaces))
    if all(value in ("1", "") for value in values):
        return []
    return [
        "net.ipv6.conf.default.ignore_routes_with_linkdown was not 1 when the tunnels were made:"
        " IPv6 does not leave a tunnel that is down"
    ]


def _loops(plan: NodePlan, kernel: Netlink) -> list[str]:
    """
    Say where a tunnel's route holds the peer itself: ESP packets would go into a tunnel, not to the
    peer. ESP leaves from the VM's own namespace.
    """
    interfaces = {tunnel.interface for tunnel in plan.tunnels if tunnel.namespace == OWN}
    remotes = {tunnel.remote: tunnel.name for tunnel in plan.tunnels if tunnel.remote is not None}
    return [
        f"packets to {remote}, the peer of {name}, are routed into a tunnel:"
        f" give {remote} a route of its own"
        for remote, name in remotes.items()
        if kernel.device_toward(remote) in interfaces
    ]
