"""Two ends as the system tests use them: ours at site a, strongSwan or ours at site b."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lab import pings, probe, sites
from lab.commands import LabError, wait_for
from lab.netns import Lab, Namespace
from lab.strongswan import Connection, StrongSwan
from lab.topology import Pair
from lab.twinspan import Twinspan, Value
from tests.dataplane.machines import inside

FIRST, SECOND = sites.tunnel_name(1), sites.tunnel_name(2)
UP_S = 15.0
_AT_HOME = sites.Customer()


@dataclass(slots=True)
class Ends:
    """Our gateway at site a and strongSwan at site b, with the keys they share."""

    lab: Lab
    pair: Pair
    keys: sites.Secrets
    ours: Twinspan
    swan: StrongSwan

    def agree(
        self,
        connections: Sequence[Connection],
        settings: Mapping[str, Value],
        *,
        outer: int = 4,
        families: tuple[int, ...] = (4,),
        tunnels: int = 1,
        customer: sites.Customer = _AT_HOME,
    ) -> None:
        """Give both ends new configurations; what they had before is gone at both."""
        empty = sites.document(self.pair.a, self.pair.b, self.keys, settings={"admin": "down"})
        self.ours.write(empty)
        self.ours.cli("reload")
        self.swan.abandon_all()
        self.swan.load(connections)
        self.ours.write(
            sites.document(
                self.pair.a,
                self.pair.b,
                self.keys,
                outer=outer,
                families=families,
                settings=settings,
                tunnels=tunnels,
                customer=customer,
            )
        )
        self.ours.cli("reload")

    def connection(self, number: int = 1, **settings: object) -> Connection:
        """Return strongSwan's connection for a tunnel; `settings` as `sites.swan_connection`'s."""
        return sites.swan_connection(
            self.pair.b,
            self.pair.a,
            self.keys,
            number,
            **settings,  # type: ignore[arg-type]  # checked there
        )


def ping(machine: Namespace, address: str, *options: str) -> bool:
    """Say whether every one of three pings is answered."""
    return pings.are_answered(machine, address, *options)


def reach_each_other(pair: Pair, family: int = 4) -> None:
    """Check that the hosts reach each other, both ways."""
    assert ping(pair.a.host, pair.b.host_address(family))
    assert ping(pair.b.host, pair.a.host_address(family))


def carried_by_tunnel(gateway: Twinspan, name: str, run: object) -> int:
    """Return how many packets left through a tunnel while `run` was called."""
    before = gateway.tunnels()[name].out_packets
    assert callable(run)
    run()
    return gateway.tunnels()[name].out_packets - before


def wait_status(gateway: Twinspan, name: str, status: str, timeout_s: float = UP_S) -> None:
    """Wait until a tunnel has that status. Raises LabError with the log."""
    try:
        wait_for(
            f"{name} {status}",
            lambda: gateway.tunnels()[name].status == status,
            timeout_s,
        )
    except LabError as error:
        raise LabError(f"{error}\n{gateway.log_text()[-3000:]}") from error


def wait_reason(gateway: Twinspan, name: str, code: str, timeout_s: float = 10.0) -> None:
    """Wait until a tunnel is down for that reason; there is an event of it, with a hint."""
    wait_for(code, lambda: gateway.tunnels()[name].reason == code, timeout_s)
    assert not gateway.tunnels()[name].is_up
    assert any(event["reason"] == code and event["hint"] for event in gateway.events(name))


def counters(gateway: Twinspan) -> dict[str, int]:
    """Return the gateway's counters, named as in "ike.drop.malformed" and "drops.icv"."""
    status = gateway.status()
    found, tunnels = status["counters"], status["tunnels"]
    assert isinstance(found, dict)
    assert isinstance(tunnels, list)
    named = {
        f"{group}.{name}": int(value)
        for group, values in found.items()
        for name, value in values.items()
    }
    # What could be told to be of a tunnel is counted there, the rest by the worker.
    for tunnel in tunnels:
        for name, value in tunnel["drops"].items():
            named[f"drops.{name}"] = named.get(f"drops.{name}", 0) + int(value)
    return named


def drops(gateway: Twinspan) -> int:
    """Return how many datagrams that came in were dropped, under whatever reason."""
    return sum(
        value
        for name, value in counters(gateway).items()
        # The kernel's own multicast reports go out by the TUN and do not fit the selectors; and a
        # peer may keep a NAT's mapping alive at any moment.
        if name.startswith(("ike.drop.", "drops."))
        and name not in ("drops.selector_out", "drops.keepalive")
    )


def assert_nothing_lost(seen: probe.Result) -> None:
    """Check that every probe came back, whole."""
    assert seen.sent > 100
    assert seen.spoiled == 0
    assert seen.lost == (), f"{len(seen.lost)} of {seen.sent} lost, from {seen.lost[:5]}"


class Since:
    """Since when a BGP session is up. BIRD computes it anew each time, some ms more or less."""

    def __init__(self, peer: Mapping[str, object]) -> None:
        self._at = datetime.fromisoformat(str(peer["since"]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Since):
            return NotImplemented
        return abs((self._at - other._at).total_seconds()) < 0.5

    __hash__ = None  # type: ignore[assignment]  # what is equal may differ

    def __repr__(self) -> str:
        return str(self._at)


def inject(machine: Namespace, packets: Sequence[bytes]) -> None:
    """Send whole IP packets from a machine, as they are."""
    with inside(machine, _raw_socket) as link:
        for packet in packets:
            link.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


def _raw_socket() -> socket.socket:
    """Return a socket for whole IPv4 packets; it fills in nothing but checksum and length."""
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def silences_ms(gateway: Twinspan) -> list[float]:
    """Return how long traffic was silent in each failover, by the gateway's own account."""
    texts = [str(each["text"]) for each in gateway.events() if each["code"] == "failover"]
    return [
        float(found[1]) * 1000
        for text in texts
        if (found := re.search(r"silent_s ([0-9.]+)", text))
    ]
