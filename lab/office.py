"""
The customer with a high-availability set: two devices of strongSwan and BIRD, a router behind them.

               .-- wan1, 192.0.2.0/24 ===== device 1 (charon, BIRD) --- dev1 --.
    gateway ---                                                                 router --- host
               '-- wan2, 198.51.100.0/24 == device 2 (charon, BIRD) --- dev2 --'
    AS 65000       BGP and BFD in tunnels    AS 65001      IBGP and BFD        BIRD    10.20.0.2

One charon's kernel-libipsec has a single TUN device, so each device holds one tunnel, with any
address to any in its Child SA; BIRD's routes say what goes in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lab import sites, stream, topology
from lab.bird import Bird, Peer, Speaker
from lab.commands import LabError, wait_for
from lab.netns import Lab, Namespace
from lab.stream import BothWays
from lab.strongswan import Connection, StrongSwan, Timing
from lab.topology import Pair, Site
from lab.twinspan import Document, Twinspan, Value

TUN = "ipsec0"
ANY = ("0.0.0.0/0",)
OUR_ASN, ASN = 65000, 65001
NO_SETTINGS: Mapping[str, Value] = {}
# kernel-libipsec always routes its selectors, here everything, to its device, in a table of its
# own: that one is asked after the main one, where BIRD's routes are, instead of before. What BIRD
# has no route for goes nowhere.
_ROUTES_LAST = ("routing_table_prio = 40000",)
_NOWHERE = ("rule", "add", "priority", "39000", "unreachable")
# A peer that is gone is given up after 6.6 s; BFD has moved the traffic long before.
_TIMING = Timing(timeout_s=0.5, base=1.5, tries=4)


@dataclass(slots=True)
class Device:
    """One customer device: a charon with one tunnel, and its BIRD."""

    machine: Namespace
    swan: StrongSwan
    bird: Bird
    inner: str  # its address in the tunnel, with length

    def start(self) -> None:
        """Start both daemons; our gateway is to begin."""
        self.start_charon()
        self.bird.start()

    def start_charon(self) -> None:
        """Start charon, and give its TUN device, which is new then, the inner address."""
        self.swan.start()
        wait_for(f"{TUN} of {self.machine.name}", self._has_tun, 5.0)
        self.machine.address(TUN, self.inner)

    def _has_tun(self) -> bool:
        return f"{TUN}:" in self.machine.ip("-o", "link")


@dataclass(frozen=True, slots=True)
class Office:
    """The customer's site: `site` has the router as its gateway."""

    site: Site
    devices: tuple[Device, ...]
    router: Bird

    def start(self) -> None:
        """Start every daemon."""
        self.router.start()
        for device in self.devices:
            device.start()

    def wait_established(self, timeout_s: float = 30.0) -> None:
        """Wait until the router and the devices have all their sessions."""
        for speaker in (self.router, *(device.bird for device in self.devices)):
            speaker.wait_established(timeout_s)


def build(lab: Lab, cloud: Site, keys: sites.Secrets, bfd: str | None = "300x3") -> Office:
    """Make the machines and wires of the office behind both paths of `cloud`; nothing runs yet."""
    site = topology.site(lab, "b", topology.public4("b"), 2, ("router", "office"))
    devices = tuple(_device(lab, cloud, site, keys, number, bfd) for number in (1, 2))
    peers = [
        Peer(f"dev{n}", f"dev{n}", f"10.255.{n}.2", f"10.255.{n}.1", ASN, ASN, bfd) for n in (1, 2)
    ]
    router = Bird(site.gateway, Speaker("10.255.0.1", (site.lan4,), peers))
    return Office(site, devices, router)


def _device(
    lab: Lab, cloud: Site, site: Site, keys: sites.Secrets, number: int, bfd: str | None
) -> Device:
    machine, net, inner = lab.namespace(f"device{number}"), f"10.255.{number}", _inner(number)
    topology.path(lab, number, cloud.gateway, machine)
    lab.wire(
        (machine, "office", (f"{net}.1/30",)), (site.gateway, f"dev{number}", (f"{net}.2/30",))
    )
    peers = [
        Peer("cloud", TUN, f"{inner}.2", f"{inner}.1", ASN, OUR_ASN, bfd),
        Peer("office", "office", f"{net}.1", f"{net}.2", ASN, ASN, bfd),
    ]
    connection = sites.swan_connection(site, cloud, keys, number)
    child = replace(connection.child, local_ts=ANY, remote_ts=ANY)
    connections = (replace(connection, child=child),)
    return device(machine, connections, Speaker(f"{net}.1", (), peers), f"{inner}.2/30")


def device(
    machine: Namespace, connections: Sequence[Connection], speaker: Speaker | str, inner: str
) -> Device:
    """Return a customer device; nothing runs yet. `inner` is its address inside, with length."""
    swan = StrongSwan(machine, connections, _TIMING, options=_ROUTES_LAST)
    machine.ip(*_NOWHERE)
    return Device(machine, swan, Bird(machine, speaker), inner)


def _inner(number: int) -> str:
    """Return the first three bytes of the addresses inside tunnel `number`, as in `sites`."""
    return f"169.254.1{number}"


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Our gateway in front of a VPC and the office with its set, by BGP; tunnel 1 is preferred."""

    cloud: Site
    gateway: Twinspan
    office: Office

    @property
    def pair(self) -> Pair:
        """Return the two sites."""
        return Pair(self.cloud, self.office.site)

    def streams(self) -> BothWays:
        """Start a stream of 1,000 datagrams a second from the VPC to the office, and one back."""
        a, b = self.cloud, self.office.site
        return stream.both_ways((a.host, a.host4), (b.host, b.host4))

    def goes_by(self, number: int) -> bool:
        """Say whether the kernels of our gateway and of the office's router send by that path."""
        return self.leaves_by(f"ts-{sites.tunnel_name(number)}", f"dev{number}")

    def leaves_by(self, ours: str, theirs: str) -> bool:
        """Say whether our gateway sends by that device, and the office's router by that one."""
        hops = (
            (self.cloud.gateway, self.office.site.host4, ours),
            (self.office.site.gateway, self.cloud.host4, theirs),
        )
        return all(
            f" dev {device} " in machine.run("ip", "route", "get", address, check=False)
            for machine, address, device in hops
        )

    def wait_by(self, number: int, timeout_s: float = 30.0) -> None:
        """Wait until both directions go by that path. Raises LabError with the gateway's log."""
        try:
            wait_for(f"path {number}", lambda: self.goes_by(number), timeout_s, every_s=0.02)
        except LabError as error:
            words = self.gateway.cli("bgp") + self.gateway.log_text()[-3000:]
            raise LabError(f"{error}\n{words}") from error

    def wait_settled(self, timeout_s: float = 30.0) -> None:
        """Wait until all tunnels and sessions are up and path 1 carries the traffic."""
        self.gateway.wait_up(timeout_s=timeout_s)
        self.office.wait_established(timeout_s)
        self.wait_by(1, timeout_s)


def hybrid(
    lab: Lab,
    bfd: str = "300x3",
    settings: Mapping[str, Value] = NO_SETTINGS,
    alter: Callable[[Document], Document] | None = None,
) -> Hybrid:
    """
    Make both sites, start every daemon, wait until path 1 carries the traffic.

    `settings` stand on our gateway's connection; `alter` changes its document.
    """
    cloud = topology.site(lab, "a", topology.public4("a"), 2, ("gateway", "vpc"))
    keys = sites.Secrets()
    office = build(lab, cloud, keys, bfd)
    wanted = sites.bgp_document(
        cloud, office.site, keys, (OUR_ASN, ASN), settings={"bfd": bfd, **settings}
    )
    gateway = Twinspan(cloud.gateway, alter(wanted) if alter else wanted)
    made = Hybrid(cloud, gateway, office)
    office.start()
    gateway.start()
    made.wait_settled()
    return made
