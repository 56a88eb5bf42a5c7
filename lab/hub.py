"""
A hub with three branches, each a device of strongSwan and BIRD with hosts behind it.

                              .-- 203.0.113.6 == branch 1 --- host   10.1.0.0/16, AS 65001
    vpc --- hub --- internet -+-- 203.0.113.10 == branch 2 --- host  10.2.0.0/16, AS 65002
    10.10.0.0/24, AS 65000    '-- 203.0.113.14 == branch 3 --- host  10.3.0.0/16, AS 65003

What our gateway is told stands in docs/scenarios/branch-hub.md; the branches have what it makes for
them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations

from lab import office, pages, pings, topology
from lab.commands import LabError, wait_for
from lab.netns import Lab, Namespace
from lab.office import Device
from lab.topology import Site
from lab.twinspan import Twinspan

_PAGE = "branch-hub"
_PUBLIC, _ROUTER = "192.0.2.1", "192.0.2.254"
NUMBERS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch with the host behind its device."""

    number: int
    device: Device
    host: Namespace

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


@dataclass(slots=True)
class Hub:
    """The hub's gateway, the VPC host behind it, the branches."""

    cloud: Site
    gateway: Twinspan
    branches: tuple[Branch, ...]
    text: str  # the page's document

    def start(self) -> None:
        """Start every daemon and wait until every branch knows the VPC."""
        for branch in self.branches:
            branch.device.start()
        self.gateway.start()
        self.gateway.wait_up()
        self.wait_known({branch.name: {self.cloud.lan4} for branch in self.branches}, 30.0)
        for branch in self.branches:
            branch.device.bird.wait_established()

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
            return pings.are_answered(machine, address, count=2, wait_s=1)

        with ThreadPoolExecutor(len(pairs)) as pool:
            return dict(zip(pairs, pool.map(answered, pairs), strict=True))

    def knows(self, branch: Branch) -> set[str]:
        """Return the prefixes that a branch has learned through its tunnel."""
        lines = branch.device.machine.ip("route", "show", "proto", "bird").splitlines()
        return {line.split()[0] for line in lines}

    def isolate(self, hub: bool, *kept: Branch) -> None:
        """Set whether branches are kept from each other, and which are so in any case."""
        text = self.text
        if not hub:
            text = text.replace("spoke_isolation = true", "spoke_isolation = false")
        for branch in kept:
            line = f'customer_gateway = "{branch.name}"\n'
            text = text.replace(line, f"{line}spoke_isolation = true\n")
        self.gateway.write(text)
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
    (text,) = pages.blocks(_PAGE, "toml")
    gateway = Twinspan(cloud.gateway, text)
    for number in NUMBERS:
        file = gateway.directory / f"branch{number}.psk"
        file.write_text(secrets.token_hex(32) + "\n")
        file.chmod(0o600)
    branches = tuple(_branch(lab, internet, gateway, number) for number in NUMBERS)
    made = Hub(cloud, gateway, branches, text)
    made.start()
    return made


def _branch(lab: Lab, internet: Namespace, hub: Twinspan, number: int) -> Branch:
    machine, host = lab.namespace(f"branch{number}"), lab.namespace(f"host{number}")
    outer, lan = f"203.0.113.{number * 4 + 2}", f"10.{number}.0"
    router = f"203.0.113.{number * 4 + 1}"
    lab.wire((machine, "wan1", (f"{outer}/30",)), (internet, f"to{number}", (f"{router}/30",)))
    machine.route("192.0.2.0/24", "via", router)
    lab.wire((machine, "lan", (f"{lan}.1/16",)), (host, "eth0", (f"{lan}.2/16",)))
    host.route("default", "via", f"{lan}.1")
    name = f"branch{number}"
    return Branch(number, office.device(machine, hub, name, name), host)
