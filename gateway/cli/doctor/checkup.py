"""All checks together: facts first, then what they mean."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.cli.doctor.facts import (
    OWN,
    DeviceSeen,
    Facts,
    GatewaySeen,
    PathSeen,
)
from gateway.cli.doctor.judge import firewall, machine, paths, routing, service, sockets
from gateway.cli.doctor.look import document as look_document
from gateway.cli.doctor.look import machine as look_machine
from gateway.cli.doctor.look import mtu, network, proc
from gateway.cli.doctor.look.document import Place
from gateway.cli.doctor.look.gateway import gateway as look_gateway
from gateway.cli.doctor.look.gateway import pid_of
from gateway.cli.doctor.verdict import Finding, Unseen
from gateway.errors import GatewayError
from gateway.node.plan import NodePlan
from gateway.node.port import cards_of
from gateway.node.udp import outer_mtu
from gateway.sa import Address

PROBED_MAX = 32  # peers; the rest is left in peace
_PROBES_AT_ONCE = 8
_WATCH_S = 0.3  # how long the processors are watched at least

CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    service.document,
    service.gateway,
    service.units,
    service.rights,
    service.descriptors,
    sockets.addresses,
    sockets.ports,
    sockets.raw_esp,
    sockets.esp_takers,
    sockets.nat,
    paths.path_mtu,
    paths.device_mtu,
    paths.device_offloads,
    paths.inner_offloads,
    routing.namespaces,
    routing.forwarding,
    routing.reverse_path,
    routing.settings,
    routing.overlaps,
    routing.conntrack,
    firewall.firewall,
    service.bird,
    machine.kernel,
    machine.offloads,
    machine.tun,
    machine.crypto,
    machine.processors,
    machine.clock,
)


def findings(facts: Facts, now: float) -> list[Finding]:
    """Return what all checks say; `now` is in seconds since 1970."""
    found = [finding for check in CHECKS for finding in check(facts)]
    return [*found, *service.last_reading(facts, now), *service.credential(facts, now)]


def examine(place: Place, runtime_dir: Path) -> Facts:
    """Return the facts of this machine. The calling thread may then be in another namespace."""
    before, began_at = look_machine.ticks(), time.monotonic()
    by_inode = proc.holders()
    _go_home(pid_of(runtime_dir))
    servers = proc.servers(runtime_dir, by_inode)
    gateway = look_gateway(runtime_dir, servers)
    source = gateway.source if isinstance(gateway, GatewaySeen) else ""
    document = look_document.seen(place.of(gateway), source)
    table = proc.Sockets(by_inode, _ours(gateway, servers))
    wanted = document.plan if isinstance(document.plan, NodePlan) else None
    names = (OWN, *(wanted.namespaces if wanted else ()))
    found = _paths(wanted) if wanted else ()
    return Facts(
        is_root=os.geteuid() == 0,
        document=document,
        gateway=gateway,
        sockets=table.table("udp"),
        raw_sockets=table.table("raw"),
        may_open_raw=proc.may_open_raw(),
        namespaces={name: network.namespace(name) for name in names},
        paths=found,
        devices=tuple(_devices(found)),
        inner_devices=tuple(_inner_devices(wanted)) if wanted else (),
        kernel=look_machine.kernel(),
        clock=look_machine.clock(),
        cpu=look_machine.cpu(_after(before, began_at)),
        bird=look_machine.bird(),
        units=look_machine.units(),
    )


def _go_home(pid: int | None) -> None:
    """Enter the namespace of the gateway process, if there is one: it is the VM's own."""
    try:
        if pid is not None:
            network.go_home(pid)
    except (GatewayError, OSError):
        return  # not root: what is seen here is then judged as if it were the VM's own


def _ours(gateway: GatewaySeen | Unseen, servers: frozenset[int]) -> frozenset[int]:
    return servers | ({gateway.pid} if isinstance(gateway, GatewaySeen) else frozenset())


def _after(before: tuple[int, int], began_at: float) -> tuple[int, int]:
    """Return `before`, when enough time has gone by since."""
    time.sleep(max(0.0, began_at + _WATCH_S - time.monotonic()))
    return before


def _paths(wanted: NodePlan) -> tuple[PathSeen, ...]:
    """Return the ways to all peers, the first of them probed, some at once."""
    pairs = dict.fromkeys(
        (tunnel.local, tunnel.remote)
        for tunnel in wanted.tunnels
        if tunnel.remote is not None and tunnel.admin_up
    )
    with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
        jobs = [
            pool.submit(_path, local, remote, is_probed=at < PROBED_MAX)
            for at, (local, remote) in enumerate(pairs)
        ]
        return tuple(job.result() for job in jobs)


def _path(local: Address, remote: Address, *, is_probed: bool) -> PathSeen:
    device, known = network.device_toward(remote, local), outer_mtu(local, remote)
    takes: int | Unseen = Unseen(f"not probed: only the first {PROBED_MAX} peers are")
    if device is None or known is None:
        takes = Unseen("no route")
    elif is_probed:
        takes = mtu.probe(local, remote, network.device(device).mtu)
    return PathSeen(local, remote, device, known, takes)


def _devices(found: tuple[PathSeen, ...]) -> Iterator[DeviceSeen]:
    for name in dict.fromkeys(path.device for path in found if path.device):
        yield network.device(name)


def _inner_devices(wanted: NodePlan) -> Iterator[DeviceSeen]:
    cards = dict.fromkeys(card for port in wanted.ports for card in cards_of(port))
    for namespace, name in cards:
        seen = network.inner_device(name) if namespace == OWN else None
        if seen is not None:
            yield seen
