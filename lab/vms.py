"""
One VPN Connection on two gateway VMs, with the documents of the guide and `twinspan split`.

                           .-- vm1 (twinspan) === wan1 ===.
    host --- router (BIRD) |                              | office (twinspan) --- office host
                           '-- vm2 (twinspan) === wan2 ===.
             AS 65100          AS 65000                     AS 65010

The VMs are 10.10.255.11 and .12 on a segment with the VPC's router, 10.10.255.1.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import impair, pages, stream, topology
from lab.bird import Bird
from lab.commands import LabError, run, wait_for
from lab.netns import Lab, Namespace
from lab.stream import BothWays
from lab.topology import Pair, Site
from lab.twins import has_all_sessions
from lab.twinspan import ROOT, Twinspan

_NET = "10.10.255"
_SEGMENT = "vms"  # the router's device
_NODES = ("--node", "vm1=192.0.2.1", "--node", "vm2=198.51.100.1")
_KEY_FILE = "office.psk"


@dataclass(frozen=True, slots=True)
class Vm:
    """A gateway VM: on the VPC's segment by device vpc, outside by device wan1 or wan2."""

    number: int
    gateway: Twinspan

    @property
    def machine(self) -> Namespace:
        """Return its namespace."""
        return self.gateway.machine

    @property
    def address(self) -> str:
        """Return its address in the VPC."""
        return f"{_NET}.{10 + self.number}"

    def lose(self) -> None:
        """Take its power: silent at once and all processes gone, while no peer's carrier falls."""
        for device in self._devices():
            impair.cut(self.machine, device)
        for pid in self.machine.pids():
            os.kill(pid, signal.SIGKILL)
        wait_for("the end of its processes", lambda: not self.machine.pids(), 5.0)

    def boot(self) -> None:
        """Give it power after `lose`: it starts with nothing but its files."""
        for file in self.gateway.directory.iterdir():
            if file.name not in (self.gateway.config.name, _KEY_FILE):
                file.unlink()
        self.machine.ip("route", "flush", "proto", "bird")
        self.machine.ip("route", "flush", "proto", "85")
        for device in self._devices():
            impair.mend(self.machine, device)
        self.gateway.start()

    def _devices(self) -> tuple[str, str]:
        return "vpc", f"wan{self.number}"


@dataclass(frozen=True, slots=True)
class TwoVms:
    """The VPC with its router and VMs, and the office; vm1 is preferred."""

    pair: Pair
    router: Bird
    vms: Sequence[Vm]
    office: Twinspan

    @property
    def gateways(self) -> Sequence[Twinspan]:
        """Return all gateways: the VMs', then the office's."""
        return *(vm.gateway for vm in self.vms), self.office

    def streams(self) -> BothWays:
        """Start a stream of 1,000 datagrams a second from the VPC to the office, and one back."""
        a, b = self.pair.a, self.pair.b
        return stream.both_ways((a.host, a.host4), (b.host, b.host4))

    def goes_by(self, number: int) -> bool:
        """Say whether the kernels of the VPC's router and of the office send by that VM."""
        vm, a, b = self.vms[number - 1], self.pair.a, self.pair.b
        return all(
            way in machine.run("ip", "route", "get", address, check=False)
            for machine, address, way in (
                (a.gateway, b.host4, f" via {vm.address} "),
                (b.gateway, a.host4, f" dev ts-cloud-{number} "),
            )
        )

    def wait_by(self, number: int, timeout_s: float = 40.0) -> None:
        """Wait until both directions go by that VM."""
        self._wait(f"traffic by vm{number}", partial(self.goes_by, number), timeout_s)

    def wait_settled(self, timeout_s: float = 60.0) -> None:
        """Wait until all tunnels and sessions are up, and vm1 carries the traffic."""
        for gateway in self.gateways:
            gateway.wait_up(timeout_s=timeout_s)
            self._wait("sessions", partial(has_all_sessions, gateway), timeout_s)
        self.router.wait_established(timeout_s)
        self.wait_by(1, timeout_s)

    def _wait(self, what: str, question: Callable[[], bool], timeout_s: float) -> None:
        """Wait for it. Raises LabError with what all of them say of themselves."""
        try:
            wait_for(what, question, timeout_s, every_s=0.02)
        except LabError as error:
            alive = (gateway for gateway in self.gateways if gateway.is_alive)
            words = [f"{end.cli('bgp')}\n{end.cli('routes')}" for end in alive]
            routes = self.router.birdc("show", "route", "all")
            raise LabError("\n".join([str(error), *words, routes])) from error


def build(lab: Lab) -> TwoVms:
    """Make the machines, split the description, start all of them and wait until vm1 carries."""
    vpc = topology.site(lab, "a", topology.public4("a"), 2, ("router", "vpc"))
    office = topology.site(lab, "b", topology.public4("b"), 2, ("office", "branch"))
    _segment(vpc.gateway)
    description, customer = pages.blocks("two-vms", "toml")
    (bird,) = pages.blocks("two-vms", "bird")
    key = f"{secrets.token_hex(32)}\n"
    parts = _split(lab.directory / "description", description, key)
    vms = [_vm(lab, number, vpc, office, text, key) for number, text in enumerate(parts, 1)]
    far = _gateway(office.gateway, customer, key)
    made = TwoVms(Pair(vpc, office), Bird(vpc.gateway, bird), vms, far)
    made.router.start()
    far.start()
    for vm in vms:
        vm.gateway.start()
    made.wait_settled()
    return made


def _segment(router: Namespace) -> None:
    router.ip("link", "add", _SEGMENT, "type", "bridge")
    router.address(_SEGMENT, f"{_NET}.1/24")
    router.sysctl("net.ipv4.fib_multipath_hash_policy=1")  # equal routes are chosen among by flow


def _gateway(machine: Namespace, text: str, key: str) -> Twinspan:
    """Return a gateway with its key file, on a machine with the parameters that are shipped."""
    machine.run("sysctl", "-qp", str(ROOT / "deploy/sysctl.d/60-twinspan.conf"))
    made = Twinspan(machine, text)
    _write_key(made.config.with_name(_KEY_FILE), key)
    return made


def _write_key(file: Path, key: str) -> None:
    file.write_text(key)
    file.chmod(0o600)


def _split(directory: Path, description: str, key: str) -> list[str]:
    """Return the documents of vm1 and vm2, which the command makes of the description."""
    directory.mkdir()
    whole = directory / "gateway.toml"
    whole.write_text(description)
    _write_key(directory / _KEY_FILE, key)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run(sys.executable, "-m", "gateway", "split", str(whole), *_NODES, "--yes", env=env)
    return [(directory / f"vm{number}.toml").read_text() for number in (1, 2)]


def _vm(lab: Lab, number: int, vpc: Site, office: Site, text: str, key: str) -> Vm:
    machine = lab.namespace(f"vm{number}")
    vm = Vm(number, _gateway(machine, text, key))
    lab.wire((machine, "vpc", (f"{vm.address}/24",)), (vpc.gateway, machine.name, ()))
    vpc.gateway.ip("link", "set", machine.name, "master", _SEGMENT)
    topology.path(lab, number, machine, office.gateway)
    return vm
