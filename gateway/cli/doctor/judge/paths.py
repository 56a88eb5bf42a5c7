"""The ways to the peers: route, device, and how large a packet they take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.cli.doctor.facts import DeviceSeen, Facts, PathSeen
from gateway.cli.doctor.verdict import Finding, Unseen, failure, ok, unknown, warning
from gateway.dataplane.kernel import may_merge_udp
from gateway.node.mtu import inner_mtu
from gateway.node.plan import NodePlan
from gateway.node.port import GRO, GRO_LIST, UDP_GRO_FORWARDING
from gateway.sa import Address

_LEAST = 1280  # bytes: IPv6 needs it of every link (RFC 8200 section 5)


def path_mtu(facts: Facts) -> Iterator[Finding]:
    """Each peer is reached, by packets as large as the kernel believes."""
    for path in facts.paths:
        yield _path(path, facts.plan)


def _path(path: PathSeen, plan: NodePlan | None) -> Finding:
    about = f"{path.local} to {path.remote}"
    if path.device is None or path.kernel_mtu is None:
        remedy = f"ip route add {path.remote} via GATEWAY dev DEVICE"
        return failure("path_mtu", about, "no route to the peer", "a route", remedy)
    wanted = f"{path.kernel_mtu} bytes, as the kernel reckons with"
    if isinstance(path.takes, Unseen):
        return unknown("path_mtu", about, Unseen(f"{path.takes.why}; the kernel: {wanted}"))
    if path.takes >= path.kernel_mtu:
        return ok("path_mtu", about, f"{path.takes} bytes", wanted)
    found = f"{path.takes} bytes; larger packets vanish, and no ICMP says so"
    return failure("path_mtu", about, found, wanted, _smaller(path.remote, path.takes, plan))


def _smaller(remote: Address, takes: int, plan: NodePlan | None) -> str:
    """Return the settings that make all tunnels to a peer fit."""
    tunnels = [tunnel for tunnel in plan.tunnels if tunnel.remote == remote] if plan else []
    words = [f"mtu = {inner_mtu(each, None, takes).mtu} for {each.name}" for each in tunnels]
    return "; ".join([*words, f"or ip route replace {remote} ... mtu lock {takes}"])


def device_mtu(facts: Facts) -> Iterator[Finding]:
    """The devices toward the peers take packets of a usual size."""
    wanted = f"at least {_LEAST} bytes"
    for device in facts.devices:
        found = f"{device.mtu} bytes"
        if device.mtu >= _LEAST:
            yield ok("device_mtu", device.name, found, wanted)
        else:
            remedy = f"ip link set {device.name} mtu 1500"
            yield warning("device_mtu", device.name, found, wanted, remedy)


_WORDS: Mapping[bool | None, str] = {True: "on", False: "off", None: "not known"}
_FLAGS = {"tx checksum": "tx", "GSO": "gso", "GRO": "gro"}


def device_offloads(facts: Facts) -> Iterator[Finding]:
    """The devices toward the peers take and give batches: without, a core does half the traffic."""
    for device in facts.devices:
        yield _offloads(device)


def _offloads(device: DeviceSeen) -> Finding:
    wanted = ", ".join(f"{name} on" for name in _FLAGS)
    states = device.offloads
    if all(state is None for state in states.values()):
        return unknown("device_offloads", device.name, Unseen("the driver does not say"))
    found = ", ".join(f"{name} {_WORDS[state]}" for name, state in states.items())
    off = [_FLAGS[name] for name, state in states.items() if state is False]
    if not off:
        return ok("device_offloads", device.name, found, wanted)
    remedy = f"ethtool -K {device.name} " + " ".join(f"{flag} on" for flag in off)
    return warning("device_offloads", device.name, found, wanted, remedy)


# With these, UDP that is forwarded is merged.
_MERGING: Mapping[str, bool] = {GRO: True, UDP_GRO_FORWARDING: True, GRO_LIST: False}


def inner_offloads(facts: Facts) -> Iterator[Finding]:
    """The cards toward the VPCs merge UDP: without, each packet costs a system call of its own."""
    if may_merge_udp(facts.kernel.release):
        for device in facts.inner_devices:
            yield _merges(device)


def _merges(device: DeviceSeen) -> Finding:
    states = {name: device.offloads.get(name) for name in _MERGING}
    wrong = [name for name, state in states.items() if state not in (_MERGING[name], None)]
    found, wanted = (
        ", ".join(f"{name} {_WORDS[state]}" for name, state in each.items())
        for each in (states, _MERGING)
    )
    if not wrong:
        return ok("inner_offloads", device.name, found, wanted)
    flags = " ".join(f"{name} {_WORDS[_MERGING[name]]}" for name in wrong)
    remedy = f"ethtool -K {device.name} {flags}"
    return warning("inner_offloads", device.name, found, wanted, remedy)
