"""
The customer with a high-availability set: two devices of strongSwan and BIRD, a router behind them.

               .-- wan1, 192.0.2.0/24 ===== device 1 (charon, BIRD) --- dev1 --.
    gateway ---                                                                 router --- host
               '-- wan2, 198.51.100.0/24 == device 2 (charon, BIRD) --- dev2 --'
    AS 65000       BGP and BFD in tunnels    AS 65001      IBGP and BFD        BIRD    10.20.0.2

One charon's kernel-libipsec has a single TUN device, so each device holds one tunnel. The devices
have what `twinspan customer-config` makes, unchanged; a session with the router stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.model.load import load
from gateway.model.tunnels import resolve_tunnels
from lab import sites, stream, topology
from lab.bird import Bird, Peer, Speaker, session_conf
from lab.commands import LabError, wait_for
from lab.fleet import Fleet
from lab.netns import Lab, Namespace
from lab.stream import BothWays
from lab.strongswan import StrongSwan
from lab.topology import Pair, Site
from lab.twinspan import Document, Twinspan, Value

TUN = "ipsec0"
DEVICE = "strongswan-libipsec"
OUR_ASN, ASN = 65000, 65001
NO_SETTINGS: Mapping[str, Value] = {}


@dataclass(slots=True)
class Device:
    """One customer device: a charon with one tunnel, and its BIRD."""

    machine: Namespace
    swan: StrongSwan
    bird: Bird
    conf: str  # swanctl.conf

    def start(self) -> None:
        """Start both daemons; our gateway is to begin."""
        self.start_charon()
        self.bird.start()

    def start_charon(self) -> None:
        """Start charon, and load its connection."""
        self.swan.start()
        self.swan.load_text(self.conf)


@dataclass(slots=True)
class Office:
    """The customer's site: `site` has the router as its gateway. `equip` gives it its devices."""

    site: Site
    machines: tuple[Namespace, ...]
    router: Bird
    bfd: str | None
    devices: tuple[Device, ...] = ()

    def equip(self, gateway: Twinspan) -> None:
        """Configure a device for each tunnel, by what our gateway says of its connections."""
        tunnels = resolve_tunnels(load(gateway.config).document)
        self.devices = tuple(
            device(machine, gateway, tunnel.connection.name, tunnel.name)
            for machine, tunnel in zip(self.machines, tunnels, strict=True)
        )
        self.join_router()

    def join_router(self) -> None:
        """Give the devices a session with the router, beside what is generated."""
        for number, each in enumerate(self.devices, 1):
            each.bird.write_beside(session_conf(beside(number, self.bfd)))

    def start(self) -> None:
        """Start every daemon."""
        self.router.start()
        for device in self.devices:
            device.start()

    def wait_established(self, timeout_s: float = 30.0) -> None:
        """Wait until the router and the devices have all their sessions."""
        for speaker in (self.router, *(device.bird for device in self.devices)):
            speaker.wait_established(timeout_s)


def build(lab: Lab, cloud: Site, bfd: str | None = "300x3") -> Office:
    """Make the machines and wires of the office behind both paths of `cloud`; nothing runs yet."""
    site = topology.site(lab, "b", topology.public4("b"), 2, ("router", "office"))
    machines = tuple(_machine(lab, cloud, site, number) for number in (1, 2))
    peers = [
        Peer(f"dev{n}", f"dev{n}", f"10.255.{n}.2", f"10.255.{n}.1", ASN, ASN, bfd) for n in (1, 2)
    ]
    router = Bird(site.gateway, Speaker("10.255.0.1", (site.lan4,), peers))
    return Office(site, machines, router, bfd)


def _machine(lab: Lab, cloud: Site, site: Site, number: int) -> Namespace:
    machine, net = lab.namespace(f"device{number}"), f"10.255.{number}"
    topology.path(lab, number, cloud.gateway, machine)
    lab.wire(
        (machine, "office", (f"{net}.1/30",)), (site.gateway, f"dev{number}", (f"{net}.2/30",))
    )
    return machine


def beside(number: int, bfd: str | None) -> Peer:
    """Return the session of a device with the office's router, beside what is generated."""
    net = f"10.255.{number}"
    return Peer("office", "office", f"{net}.1", f"{net}.2", ASN, ASN, bfd)


def device(machine: Namespace, gateway: Twinspan, connection: str, tunnel: str) -> Device:
    """
    Return the device of a tunnel, with the files that `customer-config` makes, unchanged.

    Nothing runs yet.
    """
    out = machine.lab.directory / f"{machine.name}-files"
    words = ("--device", DEVICE, "--tunnel", tunnel, "--secrets", "--out", str(out))
    gateway.cli("customer-config", connection, "--config", str(gateway.config), *words)
    return installed(machine, out)


def installed(machine: Namespace, out: Path) -> Device:
    """Return the device that has the files of a folder; its routes and rules are there."""
    text = {file.name: file.read_text() for file in out.iterdir()}
    machine.run("sh", str(out / "setup.sh"))
    swan = StrongSwan(machine, charon_conf=text["charon.conf"])
    return Device(machine, swan, Bird(machine, text["bird.conf"]), text["swanctl.conf"])


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

    def streams(self, rate: int = 1000) -> BothWays:
        """Start a stream of `rate` datagrams a second from the VPC to the office, and one back."""
        a, b = self.cloud, self.office.site
        return stream.both_ways((a.host, a.host4), (b.host, b.host4), rate)

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
    fleet: Fleet | None = None,
) -> Hybrid:
    """
    Make both sites, start every daemon, wait until path 1 carries the traffic.

    `settings` stand on our gateway's connection; `alter` changes its document. With a `fleet` our
    gateway is a node of it, and the document is applied to its control plane.
    """
    cloud = topology.site(lab, "a", topology.public4("a"), 2, ("gateway", "vpc"))
    keys = sites.Secrets()
    office = build(lab, cloud, bfd)
    wanted = sites.bgp_document(
        cloud, office.site, keys, (OUR_ASN, ASN), settings={"bfd": bfd, **settings}
    )
    wanted = alter(wanted) if alter else wanted
    gateway = fleet.adopt(cloud.gateway, wanted) if fleet else Twinspan(cloud.gateway, wanted)
    made = Hybrid(cloud, gateway, office)
    office.equip(gateway)
    office.start()
    gateway.start()
    made.wait_settled()
    return made
