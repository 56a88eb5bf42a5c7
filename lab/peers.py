"""The ways to join two sites that the demo and the benches compare, each ready to carry traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lab import card, sites, topology, wireguard
from lab.commands import LabError, wait_for
from lab.netns import Lab, Namespace
from lab.strongswan import StrongSwan
from lab.topology import Pair
from lab.twinspan import Twinspan, Value


@dataclass(frozen=True, slots=True)
class Joined:
    """
    Two sites that reach each other, and the processes of each gateway that carry the traffic.

    `pollers` are the threads of the kernel that poll its inner devices.
    """

    pair: Pair
    pids: tuple[tuple[int, ...], ...]
    pollers: frozenset[int] = frozenset()


def plain(lab: Lab, mtu: int) -> Joined:
    """Join the sites by plain forwarding."""
    pair = topology.four_machines(lab, 1, mtu)
    topology.plain_routes(pair)
    return Joined(pair, ())


def strongswan(lab: Lab, mtu: int) -> Joined:
    """Join the sites by strongSwan's kernel-libipsec at both ends, AES-256-GCM."""
    pair, keys = topology.four_machines(lab, 1, mtu), sites.Secrets()
    ends = [
        StrongSwan(here.gateway, [sites.swan_connection(here, there, keys)]).start()
        for here, there in ((pair.a, pair.b), (pair.b, pair.a))
    ]
    ends[0].initiate(sites.tunnel_name(1))
    return Joined(pair, tuple((end.pid,) for end in ends))


def wireguard_go(lab: Lab, mtu: int) -> Joined:
    """Join the sites by wireguard-go at both ends."""
    pair = topology.four_machines(lab, 1, mtu)
    return Joined(pair, tuple((pid,) for pid in wireguard.start_pair(pair, mtu)))


def twinspan(lab: Lab, mtu: int) -> Joined:
    """Join the sites by our gateway at both ends, AES-256-GCM, one tunnel."""
    pair, keys = topology.four_machines(lab, 1, mtu), sites.Secrets()
    first = Twinspan(
        pair.a.gateway, sites.document(pair.a, pair.b, keys, settings=_suite("initiate"))
    )
    second = Twinspan(
        pair.b.gateway, sites.document(pair.b, pair.a, keys, settings=_suite("respond"))
    )
    second.start()
    first.start()
    first.wait_up()
    second.wait_up()
    return Joined(pair, tuple(tuple(end.pids()) for end in (first, second)))


def _suite(start: str) -> dict[str, Value]:
    return {
        "ike_proposals": ["aes256gcm16-prfsha384-x25519"],
        "esp_proposals": ["aes256gcm16-x25519"],
        "start": start,
    }


PEERS: Mapping[str, Callable[[Lab, int], Joined]] = {
    "plain": plain,
    "twinspan": twinspan,
    "strongswan": strongswan,
    "wireguard_go": wireguard_go,
}


def reaches(machine: Namespace, address: str, timeout_s: float = 10.0) -> None:
    """Return when `address` answers a ping. Raises LabError if it does not in time."""

    def answers() -> bool:
        out = machine.run("ping", "-n", "-c", "1", "-W", "1", address, check=False)
        return " 0% packet loss" in out

    try:
        wait_for(f"{address} to answer {machine.name}", answers, timeout_s)
    except LabError as error:
        state = machine.ip("route") + machine.ip("-br", "addr")
        raise LabError(f"{error}\n{state}") from error


def _poll_inside(pair: Pair) -> frozenset[int]:
    """Make the inner devices of both gateways poll; return the threads that do."""
    made = [card.poll(one.gateway, "lan", one.host, "eth0") for one in (pair.a, pair.b)]
    return frozenset().union(*made)


def join(name: str, prefix: str, mtu: int = 1500, *, is_polled: bool = False) -> tuple[Lab, Joined]:
    """
    Make a lab in which the two sites are joined in the way `name`, and try it with a ping.

    `mtu` is that of all wires. With `is_polled` the gateways' inner devices poll as cards do.
    """
    lab = Lab(prefix)
    try:
        joined = PEERS[name](lab, mtu)
        if is_polled:
            joined = replace(joined, pollers=_poll_inside(joined.pair))
        reaches(joined.pair.a.host, joined.pair.b.host4)
    except BaseException:
        lab.close()
        raise
    return lab, joined
