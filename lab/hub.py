"""
A hub with three branches, each a device of strongSwan and BIRD with hosts behind it.

                              .-- 203.0.113.6 == branch 1 --- host   10.1.0.0/16, AS 65001
    vpc --- hub --- internet -+-- 203.0.113.10 == branch 2 --- host  10.2.0.0/16, AS 65002
    10.10.0.0/24, AS 65000    '-- 203.0.113.14 == branch 3 --- host  10.3.0.0/16, AS 65003

The hub has one public address, 192.0.2.1, and a connection with one tunnel to each branch.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import permutations

from lab import office, topology
from lab.bird import Peer, Speaker
from lab.commands import LabError, wait_for
from lab.netns import Lab, Namespace
from lab.office import ANY, OUR_ASN, TUN, Device
from lab.strongswan import Child
from lab.strongswan import Connection as SwanConnection
from lab.topology import Site
from lab.twinspan import Connection, Document, Tunnel, Twinspan, Value

_PUBLIC, _ROUTER = "192.0.2.1", "192.0.2.254"
NUMBERS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch with the host behind its device."""

    number: int
    device: Device
    host: Namespace
    psk: str

    @property
    def name(self) -> str:
        """Return the name of the branch, its connection and its tunnel."""
        return f"branch{self.number}"

    @property
    def address(self) -> str:
        """Return the address of its host."""
        return f"10.{self.number}.0.2"

    @property
    def prefix(self) -> str:
        """Return what it announces."""
        return f"10.{self.number}.0.0/16"

    @property
    def asn(self) -> int:
        """Return its AS number."""
        return OUR_ASN + self.number

    @property
    def outer(self) -> str:
        """Return its public address."""
        return _outer(self.number)[1]


@dataclass(slots=True)
class Hub:
    """The hub's gateway, the VPC host behind it, the branches."""

    cloud: Site
    gateway: Twinspan
    branches: tuple[Branch, ...]

    @property
    def hosts(self) -> Mapping[str, tuple[Namespace, str]]:
        """Return every host by name, with its address."""
        found = {"vpc": (self.cloud.host, self.cloud.host4)}
        return found | {each.name: (each.host, each.address) for each in self.branches}

    def reaches(self) -> dict[tuple[str, str], bool]:
        """Return for each pair of hosts whether the first gets an answer of the second."""
        pairs = list(permutations(self.hosts, 2))

        def answered(pair: tuple[str, str]) -> bool:
            (machine, _), (_, address) = self.hosts[pair[0]], self.hosts[pair[1]]
            words = ("ping", "-n", "-q", "-c", "2", "-i", "0.2", "-W", "1", address)
            return " 0% packet loss" in machine.run(*words, check=False)

        with ThreadPoolExecutor(len(pairs)) as pool:
            return dict(zip(pairs, pool.map(answered, pairs), strict=True))

    def knows(self, branch: Branch) -> set[str]:
        """Return the prefixes that a branch has learned through its tunnel."""
        lines = branch.device.machine.ip("route", "show", "proto", "bird").splitlines()
        return {line.split()[0] for line in lines}

    def isolate(self, hub: bool, **of_branch: bool) -> None:
        """Set whether branches are kept from each other, for the hub and for single branches."""
        self.gateway.write(_document(self.cloud, self.branches, hub, of_branch))
        self.gateway.cli("reload")

    def wait_known(self, expected: Mapping[str, set[str]], timeout_s: float = 15.0) -> None:
        """Wait until each branch named has learned exactly these prefixes."""
        for branch in self.branches:
            if branch.name in expected:
                self._wait_knows(branch, expected[branch.name], timeout_s)

    def _wait_knows(self, branch: Branch, expected: set[str], timeout_s: float) -> None:
        try:
            wait_for(branch.name, lambda: self.knows(branch) == expected, timeout_s)
        except LabError as error:
            words = f"{branch.name} knows {self.knows(branch)}, not {expected}"
            raise LabError(f"{words}\n{self.gateway.cli('routes')}") from error


def build(lab: Lab) -> Hub:
    """Make the machines, start every daemon, wait until every branch knows the VPC."""
    cloud = topology.site(lab, "a", (_PUBLIC,), 1, ("hub", "vpc"))
    internet = lab.namespace("internet")
    wan = (cloud.gateway, "wan1", (f"{_PUBLIC}/24",))
    lab.wire(wan, (internet, "tohub", (f"{_ROUTER}/24",)))
    cloud.gateway.route("203.0.113.0/24", "via", _ROUTER)
    branches = tuple(_branch(lab, internet, number) for number in NUMBERS)
    document = _document(cloud, branches, True, {})
    made = Hub(cloud, Twinspan(cloud.gateway, document), branches)
    for branch in branches:
        branch.device.start()
    made.gateway.start()
    made.gateway.wait_up()
    made.wait_known({branch.name: {cloud.lan4} for branch in branches}, 30.0)
    return made


def _outer(number: int) -> tuple[str, str]:
    """Return the addresses of the internet and of a branch on the wire between them, a /30."""
    return f"203.0.113.{number * 4 + 1}", f"203.0.113.{number * 4 + 2}"


def _inner(number: int) -> str:
    return f"169.254.1{number}"


def _branch(lab: Lab, internet: Namespace, number: int) -> Branch:
    machine, host = lab.namespace(f"branch{number}"), lab.namespace(f"host{number}")
    theirs, ours = _outer(number)
    lab.wire((machine, "wan1", (f"{ours}/30",)), (internet, f"to{number}", (f"{theirs}/30",)))
    machine.route("192.0.2.0/24", "via", theirs)
    lan = f"10.{number}.0"
    lab.wire((machine, "lan", (f"{lan}.1/16",)), (host, "eth0", (f"{lan}.2/16",)))
    host.route("default", "via", f"{lan}.1")
    psk, inner = secrets.token_hex(32), _inner(number)
    connection = SwanConnection(
        name=f"branch{number}",
        local=ours,
        remote=_PUBLIC,
        local_id=ours,
        remote_id=_PUBLIC,
        psk=psk,
        child=Child(ANY, ANY, esp="aes256gcm16-x25519"),
        ike="aes256gcm16-prfsha384-x25519",
    )
    peer = Peer("cloud", TUN, f"{inner}.2", f"{inner}.1", OUR_ASN + number, OUR_ASN)
    speaker = Speaker(ours, (f"{lan}.0/16",), [peer])
    device = office.device(machine, connection, speaker, f"{inner}.2/30")
    return Branch(number, device, host, psk)


def _document(
    cloud: Site, branches: tuple[Branch, ...], isolated: bool, of_branch: Mapping[str, bool]
) -> Document:
    return Document(
        name="hub",
        public=[_PUBLIC],
        cidrs=[cloud.lan4],
        connections=[_connection(branch, of_branch.get(branch.name)) for branch in branches],
        border={"spoke_isolation": isolated},
    )


def _connection(branch: Branch, isolated: bool | None) -> Connection:
    own: dict[str, Value] = {} if isolated is None else {"spoke_isolation": isolated}
    tunnel = Tunnel(branch.name, _PUBLIC, branch.outer, f"{_inner(branch.number)}.0/30", branch.psk)
    made = Connection(branch.name, [branch.prefix], [tunnel], {"routing": "bgp", **own})
    return replace(made, customer={"asn": branch.asn})
