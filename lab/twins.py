"""
Two of our gateways with twin tunnels, by BGP with BFD or by static routes.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b
               AS 65000                              AS 65001

Tunnel 1 is preferred at both ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from lab import sites, topology
from lab.commands import LabError, wait_for
from lab.netns import Lab
from lab.topology import Pair, Site
from lab.twinspan import Document, Twinspan, Value

_ASNS = {"a": 65000, "b": 65001}
_NO_SETTINGS: Mapping[str, Value] = {}


@dataclass(frozen=True, slots=True)
class Twins:
    """The two sites with their gateways; `bfd` is None with static routes."""

    pair: Pair
    a: Twinspan
    b: Twinspan
    bfd: str | None

    def goes_by(self, number: int) -> bool:
        """Say whether the kernels of both gateways send by that tunnel now."""
        ends = ((self.pair.a, self.pair.b), (self.pair.b, self.pair.a))
        return all(_goes_by(here, there, number) for here, there in ends)

    def wait_by(self, number: int, timeout_s: float = 40.0) -> None:
        """Wait until both gateways send by that tunnel. Raises LabError with both logs."""
        try:
            wait_for(
                f"both ends to send by tunnel {number}",
                partial(self.goes_by, number),
                timeout_s,
                every_s=0.02,
            )
        except LabError as error:
            words = (f"{end.log_text()[-2000:]}\n{end.cli('status')}" for end in (self.a, self.b))
            raise LabError("\n".join([str(error), *words])) from error

    def wait_settled(self, timeout_s: float = 60.0) -> None:
        """Wait until tunnels and sessions are up at both ends and tunnel 1 carries the traffic."""
        for end in (self.a, self.b):
            end.wait_up(timeout_s=timeout_s)
            wait_for("the probes", partial(is_answered, end), timeout_s)
            if self.bfd is not None:
                wait_for("BGP and BFD", partial(has_all_sessions, end), timeout_s)
        self.wait_by(1, timeout_s)


def _goes_by(here: Site, there: Site, number: int) -> bool:
    try:
        found = here.gateway.ip("route", "get", there.host4)
    except LabError:
        return False  # no tunnel: the route is "unreachable"
    return f"dev ts-{sites.tunnel_name(number)} " in found


def has_all_sessions(gateway: Twinspan) -> bool:
    """Say whether every BGP session is established, with BFD where it is wanted."""
    peers = gateway.bgp()
    return bool(peers) and all(
        peer["state"] == "established" and peer["bfd"] in ("up", "off") for peer in peers
    )


def is_answered(gateway: Twinspan) -> bool:
    """Say whether the probes of every tunnel that has some are answered."""
    probes = (tunnel.raw["probe"] for tunnel in gateway.tunnels().values())
    return all(not isinstance(one, dict) or one["state"] == "healthy" for one in probes)


def bird_pid(gateway: Twinspan) -> int | None:
    """Return the process id of a gateway's BIRD; None while there is none that has begun."""
    try:
        return int((gateway.directory / "bird.pid").read_text())
    except (FileNotFoundError, ValueError):  # BIRD makes the file before it writes
        return None


def document(
    here: Site, there: Site, keys: sites.Secrets, bfd: str | None, settings: Mapping[str, Value]
) -> Document:
    """Return the document of `here`: BGP with that `bfd`, or static routes."""
    if bfd is None:
        return sites.document(here, there, keys, settings=settings)
    with_bgp = {"routing": "bgp", "local_asn": _ASNS[here.name], "bfd": bfd, **settings}
    made = sites.document(here, there, keys, settings=with_bgp)
    (connection,) = made.connections
    customer: Mapping[str, Value] = {"asn": _ASNS[there.name]}
    return replace(made, connections=[replace(connection, customer=customer)])


def build(lab: Lab, bfd: str | None, settings: Mapping[str, Value] = _NO_SETTINGS) -> Twins:
    """
    Make the machines, start both gateways and wait until the traffic goes by tunnel 1.

    `settings` are further ones of the connection, at both ends.
    """
    pair, keys = topology.four_machines(lab), sites.Secrets()
    a, b = (
        Twinspan(here.gateway, document(here, there, keys, bfd, {"start": start, **settings}))
        for here, there, start in ((pair.a, pair.b, "initiate"), (pair.b, pair.a, "respond"))
    )
    b.start()
    a.start()
    made = Twins(pair, a, b, bfd)
    made.wait_settled()
    return made
