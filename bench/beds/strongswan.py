"""Two strongSwan gateways with two policy tunnels: what people have today."""

from __future__ import annotations

import json
from functools import partial

from bench.beds import Bed, Trial
from lab import impair, sites, topology
from lab.commands import wait_for
from lab.netns import Lab
from lab.strongswan import StrongSwan, Timing
from lab.topology import Pair

_FIRST, _SECOND = sites.tunnel_name(1), sites.tunnel_name(2)
# strongSwan's own defaults of retransmission; it gives up after 165 s.
_TIMING = Timing(timeout_s=4.0, base=1.8, tries=5)
_MOST_S = 240.0


def build(lab: Lab) -> Bed:
    """Make two strongSwan gateways with two policy tunnels, DPD every 10 s, else their defaults."""
    pair, keys = topology.four_machines(lab), sites.Secrets()
    _know_neighbours(pair)
    ends = [
        StrongSwan(
            here.gateway,
            [sites.swan_connection(here, there, keys, n, dpd_delay="10s") for n in (1, 2)],
            _TIMING,
        ).start()
        for here, there in ((pair.a, pair.b), (pair.b, pair.a))
    ]

    def settle() -> None:
        for name in (_SECOND, _FIRST):  # the newest of equal policies carries the traffic
            if not ends[0].children(name):
                ends[0].initiate(name)

    def fail() -> None:
        impair.cut(pair.b.gateway, "wan1")
        wait_for(
            "both ends to give tunnel 1 up",
            lambda: not any(end.children(_FIRST) for end in ends),
            _MOST_S,
            every_s=0.2,
        )

    repair = partial(impair.mend, pair.b.gateway, "wan1")
    return Bed(pair, settle, {"strongswan.path_cut": Trial(fail, repair)})


def _know_neighbours(pair: Pair) -> None:
    """
    Let a cut look as it does behind a provider's router, which still answers to ARP.

    Or the datagrams that wait for a neighbour would fill charon's only socket, and stall tunnel 2.
    """
    for here, there in ((pair.a, pair.b), (pair.b, pair.a)):
        for device, address in zip(("wan1", "wan2"), there.public4, strict=True):
            (link,) = json.loads(there.gateway.ip("-j", "link", "show", "dev", device))
            mac = str(link["address"])
            here.gateway.ip(
                "neigh", "replace", address, "lladdr", mac, "dev", device, "nud", "permanent"
            )
