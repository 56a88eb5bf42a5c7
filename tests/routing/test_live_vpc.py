"""
A VPC's router beside two gateway VMs, and an office at the far end of their tunnels.

    host --- router ==== vm1 ==== ts-1 ==== office --- desk
             AS 64900 == vm2 ==== ts-2 ==== AS 65010

Each VM runs BIRD by our configuration. The wires stand for tunnels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from gateway.routing.bird_conf import bird_conf
from gateway.routing.plan import BgpGateway, RoutingPlan
from lab import impair, probe
from lab.bird import Bird, Peer, Speaker
from lab.commands import wait_for
from lab.netns import Lab, Namespace
from tests.routing.plans import OFFICE, VPC_ROUTER

pytestmark = pytest.mark.system

VPC, OFFICE_NET, OTHER = "10.10.0.0/24", "10.20.0.0/16", "10.99.0.0/16"


@dataclass(frozen=True, slots=True)
class Vm:
    """One gateway VM: its tunnel, its link to the router, its BIRD."""

    machine: Namespace
    number: int
    bird: Bird

    def go_over(self, priority: int = 150, preference: int = 100, *, attached: bool = True) -> None:
        text = text_of(self.machine, self.number, priority, preference, attached=attached)
        self.bird.write(text)
        self.bird.birdc("configure")


def text_of(
    machine: Namespace, number: int, priority: int, preference: int, *, attached: bool = True
) -> str:
    router = replace(
        VPC_ROUTER,
        interface="vpc",
        local=ip_address(f"10.10.25{number}.1"),
        remote=ip_address(f"10.10.25{number}.2"),
        preference=priority,
        accepted=(ip_network(VPC),),
        told=(ip_network(OFFICE_NET),),
    )
    tunnel = replace(
        OFFICE,
        interface=f"ts-{number}",
        local=ip_address(f"169.254.1{number}.1"),
        remote=ip_address(f"169.254.1{number}.2"),
        preference=preference,
    )
    plan = RoutingPlan(
        (
            BgpGateway(
                "main",
                IPv4Address(f"192.0.2.{number}"),
                (),
                (router, tunnel) if attached else (tunnel,),
                (),
                (ip_network(VPC), ip_network(f"10.10.25{number}.0/30")),
            ),
        )
    )
    return bird_conf(plan, str(machine.lab.directory / f"{machine.name}-ours.log"))


@dataclass(frozen=True, slots=True)
class Net:
    router: Namespace
    host: Namespace
    office: Namespace
    desk: Namespace
    vms: tuple[Vm, Vm]
    router_bird: Bird
    office_bird: Bird

    def hops(self, prefix: str = OFFICE_NET) -> set[str]:
        """Return by which devices the VPC's router sends to a prefix."""
        text = self.router.ip("route", "show", prefix, "proto", "bird")
        return {text.split()[at + 1] for at, word in enumerate(text.split()) if word == "dev"}

    def wait_hops(self, *devices: str, timeout_s: float = 15.0) -> None:
        wait_for(f"{devices}", lambda: self.hops() == set(devices), timeout_s)


@pytest.fixture(scope="module")
def net(lab: Lab) -> Net:
    names = ("router", "host", "office", "desk", "vm1", "vm2")
    router, host, office, desk, *machines = (lab.namespace(name) for name in names)
    lab.wire((router, "lan", ["10.10.0.1/24"]), (host, "eth0", ["10.10.0.2/24"]))
    host.route("default", "via", "10.10.0.1")
    lab.wire((office, "lan", ["10.20.0.1/16"]), (desk, "eth0", ["10.20.0.2/16"]))
    desk.route("default", "via", "10.20.0.1")
    for at, machine in enumerate(machines, 1):
        lab.wire(
            (router, f"vm{at}", [f"10.10.25{at}.2/30"]), (machine, "vpc", [f"10.10.25{at}.1/30"])
        )
        lab.wire(
            (machine, f"ts-{at}", [f"169.254.1{at}.1/30"]),
            (office, f"ts-{at}", [f"169.254.1{at}.2/30"]),
        )
    vms = tuple(
        Vm(machine, at, Bird(machine, text_of(machine, at, 150, 99 + at)).start())
        for at, machine in enumerate(machines, 1)
    )
    router_bird = Bird(router, Speaker("9.9.9.1", [VPC, OTHER], peers("vm", 64900, "10.10.25")))
    office_bird = Bird(
        office, Speaker("9.9.9.2", [OFFICE_NET, OTHER], peers("ts-", 65010, "169.254.1"))
    )
    made = Net(
        router, host, office, desk, (vms[0], vms[1]), router_bird.start(), office_bird.start()
    )
    for bird in (made.router_bird, made.office_bird):
        wait_for("both VMs", partial(has_both, bird), 30.0)
    made.wait_hops("vm1", timeout_s=30.0)
    return made


def has_both(bird: Bird) -> bool:
    """Return whether a machine has learned the one prefix that there is from both VMs."""
    return bird.birdc("show", "route").count("[to_") == 2


def peers(device: str, asn: int, network: str) -> list[Peer]:
    """Return the sessions of a machine with both VMs; the last byte of its addresses is 2."""
    return [
        Peer(f"to_{n}", f"{device}{n}", f"{network}{n}.2", f"{network}{n}.1", asn, 65000)
        for n in (1, 2)
    ]


def test_the_router_prefers_the_vm_whose_tunnel_is_preferred(net: Net) -> None:
    """The tunnels have the preferences 100 and 101, the attachments one priority."""
    shown = net.router_bird.birdc("show", "route", OFFICE_NET, "all")
    assert "BGP.med: 150001100" in shown
    assert "BGP.med: 150001101" in shown
    assert "BGP.as_path: 65000 65010" in shown


def test_it_is_told_and_tells_what_the_document_says_only(net: Net) -> None:
    assert net.hops(OTHER) == set()  # outside propagate_cidrs
    for vm in net.vms:
        known = vm.bird.birdc("show", "route", "all")
        assert VPC in known
        # From the office it is taken, from the router it is outside cidrs.
        assert "(100)" in vm.bird.birdc("show", "route", OTHER)
        assert "(65200)" not in vm.bird.birdc("show", "route", OTHER)
    assert OTHER not in net.office.ip("route", "show", "proto", "bird")


def test_the_office_learns_the_vpc_by_both_with_its_as_path(net: Net) -> None:
    shown = net.office_bird.birdc("show", "route", VPC, "all")
    assert "BGP.as_path: 65000 64900" in shown
    assert "BGP.med: 1100" in shown
    assert "BGP.med: 1101" in shown


def test_the_priority_comes_before_the_tunnels_preference(net: Net) -> None:
    net.vms[1].go_over(priority=101, preference=101)
    net.wait_hops("vm2")
    net.vms[1].go_over(preference=101)
    net.wait_hops("vm1")


def test_equal_vms_share_the_traffic(net: Net) -> None:
    net.vms[1].go_over(preference=100)
    net.wait_hops("vm1", "vm2")
    net.vms[1].go_over(preference=101)
    net.wait_hops("vm1")


def test_a_lost_vm_is_left_within_the_time_of_bfd_and_taken_again(net: Net) -> None:
    """Both its sides go silent at once, as those of a machine that lost its power do."""
    vm = net.vms[0].machine
    running = probe.start(net.host, net.desk, "10.20.0.2")
    with impair.cut_off(vm, "vpc"), impair.cut_off(vm, "ts-1"):
        net.wait_hops("vm2", timeout_s=10.0)
    net.wait_hops("vm1", timeout_s=30.0)
    seen = running.stop()
    lost_ms = len(seen.lost) * seen.period_ms
    print(f"VM lost: {seen.silence_ms:.0f} ms of silence, {lost_ms:.0f} ms lost")
    assert seen.goes_on
    assert 300 < lost_ms < 2000


def test_a_vm_without_a_tunnel_tells_the_router_nothing_more(net: Net) -> None:
    net.office.ip("link", "set", "ts-1", "down")
    net.wait_hops("vm2")
    net.office.ip("link", "set", "ts-1", "up")
    net.wait_hops("vm1", timeout_s=30.0)


def test_a_detached_vpc_is_forgotten_by_all_and_forgets_all(net: Net) -> None:
    for vm in net.vms:
        vm.go_over(preference=99 + vm.number, attached=False)
    wait_for("the router to forget", lambda: net.hops() == set(), 15.0)
    wait_for("the office to forget", lambda: VPC not in known_by(net.office), 15.0)
    for vm in net.vms:
        assert VPC not in known_by(vm.machine)
        vm.go_over(preference=99 + vm.number)
    net.wait_hops("vm1", timeout_s=30.0)
    wait_for("the office to learn", lambda: VPC in known_by(net.office), 15.0)


def known_by(machine: Namespace) -> str:
    return machine.ip("route", "show", "proto", "bird")
