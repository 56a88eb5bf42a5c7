"""
Customers are kept apart by the kernel itself, whatever their routes and packets say.

    east (10.1.0.2) --- ts-east [ gateway ] ts-west --- west (10.2.0.2)
                                  lan --- vpc (10.9.0.2)

The devices are pairs of virtual Ethernet devices here; which kind they are makes no difference.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.model.tunnels import resolve_tunnels
from gateway.nft import has_table, nft_socket, remove_table
from gateway.node.isolation import ISOLATED, SHARED, TABLE, Isolation
from gateway.node.journal import Journal
from gateway.node.namespaces import Namespaces
from gateway.node.spokes import Spoke, is_filtered, spokes_of
from tests.node.network import ip
from tests.support.documents import CONNECTION, document

pytestmark = pytest.mark.system

EAST = Spoke("", "ts-east", "east", is_isolated=True)
WEST = Spoke("", "ts-west", "west", is_isolated=True)


def shared(spoke: Spoke) -> Spoke:
    return replace(spoke, is_isolated=False)


@dataclass(slots=True)
class Host:
    """A network namespace behind one device of the gateway."""

    process: subprocess.Popen[bytes]
    address: str

    def run(self, *argv: str) -> int:
        enter = ["nsenter", "-t", str(self.process.pid), "-n", *argv]
        return subprocess.run(enter, check=False, capture_output=True).returncode

    def reaches(self, other: Host) -> bool:
        return self.run("ping", "-n", "-q", "-c", "2", "-i", "0.05", "-W", "1", other.address) == 0


def host(device: str, network: str, where: str = "") -> Host:
    """Make a host behind a new device of a namespace, by itself that of the calling thread."""
    process = subprocess.Popen(["unshare", "-n", "sleep", "120"])
    own = Path("/proc/thread-self/ns/net").readlink()
    while Path(f"/proc/{process.pid}/ns/net").readlink() == own:
        time.sleep(0.01)
    made = Host(process, f"{network}.2")
    at = f"-n {where} " if where else ""
    ip(f"{at}link add {device} type veth peer name eth0 netns {process.pid}")
    ip(f"{at}addr add {network}.1/24 dev {device}")
    ip(f"{at}link set {device} up")
    made.run("ip", "addr", "add", f"{network}.2/24", "dev", "eth0")
    made.run("ip", "link", "set", "eth0", "up")
    made.run("ip", "route", "add", "default", "via", f"{network}.1")
    return made


@pytest.fixture
def hosts(network: None) -> Iterator[tuple[Host, Host, Host]]:
    """Return what is behind ts-east, ts-west and lan."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    places = [("ts-east", "10.1.0"), ("ts-west", "10.2.0"), ("lan", "10.9.0")]
    made = [host(*place) for place in places]
    yield made[0], made[1], made[2]
    for one in made:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def isolation(network: None, tmp_path: Path) -> Iterator[Isolation]:
    journal = Journal(io.StringIO(), time.time)
    with contextlib.closing(Namespaces(tmp_path, journal)) as namespaces:
        yield Isolation(namespaces, journal)


def groups() -> dict[str, int]:
    """Return the group of every interface that is in none of its own names."""
    found = json.loads(ip("-j -N link show"))
    return {one["ifname"]: int(one.get("group", 0)) for one in found}


def is_there() -> bool:
    with nft_socket() as link:
        return has_table(link, TABLE)


def test_isolated_customers_reach_the_vpc_and_not_each_other(
    hosts: tuple[Host, Host, Host], isolation: Isolation
) -> None:
    east, west, vpc = hosts
    assert east.reaches(west)
    isolation.apply((EAST, WEST))
    assert isolation.troubles == {}
    assert not east.reaches(west)
    assert not west.reaches(east)
    for customer in (east, west):
        assert customer.reaches(vpc)
        assert vpc.reaches(customer)
    isolation.apply((shared(EAST), shared(WEST)))
    assert east.reaches(west)
    assert not is_there()
    isolation.apply((EAST, WEST))
    assert not east.reaches(west)


def test_one_isolated_customer_is_kept_from_all_others(
    hosts: tuple[Host, Host, Host], isolation: Isolation
) -> None:
    east, west, vpc = hosts
    lan = Spoke("", "lan", "third", is_isolated=False)
    isolation.apply((EAST, shared(WEST), lan))
    assert not east.reaches(west)
    assert not west.reaches(east)
    assert not vpc.reaches(east)
    assert west.reaches(vpc)
    assert {name: number for name, number in groups().items() if number} == {
        "ts-east": ISOLATED,
        "ts-west": SHARED,
        "lan": SHARED,
    }


def test_a_packet_of_a_forged_source_does_not_pass_either(
    hosts: tuple[Host, Host, Host], isolation: Isolation
) -> None:
    """East claims to be the VPC's host; what it sends to west must not arrive there."""
    east, west, vpc = hosts
    Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("0")
    Path("/proc/sys/net/ipv4/conf/ts-east/rp_filter").write_text("0")
    isolation.apply((EAST, WEST))
    east.run("ip", "addr", "add", f"{vpc.address}/32", "dev", "eth0")
    forged = ("ping", "-n", "-q", "-c", "3", "-i", "0.05", "-W", "1", "-I", vpc.address)
    before = received(west)
    east.run(*forged, west.address)
    assert received(west) == before
    isolation.remove()
    east.run(*forged, west.address)
    assert received(west) > before


def received(at: Host) -> int:
    """Return how many echo requests a host has received."""
    enter = ["nsenter", "-t", str(at.process.pid), "-n", "cat", "/proc/net/snmp"]
    lines = subprocess.run(enter, check=True, capture_output=True, text=True).stdout.splitlines()
    head, values = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(values[head.index("InEchos")])


def test_customers_are_kept_apart_in_a_border_gateways_namespace(
    network: None, tmp_path: Path
) -> None:
    """The keeper opens the socket there; the gateway process never enters."""
    journal = Journal(io.StringIO(), time.time)
    namespaces, red = Namespaces(tmp_path, journal), f"twi{os.getpid()}-red"
    hosts = []
    try:
        namespaces.use([red])
        hosts = [host("ts-east", "10.1.0", red), host("ts-west", "10.2.0", red)]
        east, west = hosts
        assert east.reaches(west)
        isolation = Isolation(namespaces, journal)
        isolation.apply((replace(EAST, namespace=red), replace(WEST, namespace=red)))
        assert isolation.troubles == {}
        assert not east.reaches(west)
        assert not is_there()  # in this namespace
        isolation.remove()
        assert east.reaches(west)
    finally:
        for one in hosts:
            one.process.kill()
            one.process.wait()
        namespaces.end()
        namespaces.close()


def test_a_table_that_somebody_flushed_is_made_again(isolation: Isolation) -> None:
    isolation.apply((EAST, WEST))
    with nft_socket() as link:
        remove_table(link, TABLE)
    assert not is_there()
    isolation.apply((EAST, WEST))
    assert is_there()


def test_what_an_earlier_process_left_is_removed(isolation: Isolation, tmp_path: Path) -> None:
    isolation.apply((EAST, WEST))
    journal = Journal(io.StringIO(), time.time)
    with contextlib.closing(Namespaces(tmp_path, journal)) as namespaces:
        Isolation(namespaces, journal).apply((EAST,))
    assert not is_there()


def test_one_customer_alone_meets_nobody() -> None:
    assert not is_filtered((EAST, replace(EAST, interface="ts-east-2")))
    assert not is_filtered((shared(EAST), shared(WEST)))
    assert is_filtered((EAST, shared(WEST)))


def test_the_spokes_of_a_document_are_its_tunnels_and_lines() -> None:
    line = {
        "name": "line",
        "border_gateway": "main",
        "customer_gateway": "office",
        "interface": "eth2",
        "address": "172.16.0.1/30",
        "peer_address": "172.16.0.2",
        "spoke_isolation": False,
    }
    made = document((("direct_line",), [line]), ((*CONNECTION, "spoke_isolation"), True))
    assert spokes_of(made, resolve_tunnels(made)) == (
        Spoke("", "ts-office-1", "office", is_isolated=True),
        Spoke("", "ts-office-2", "office", is_isolated=True),
        Spoke("", "eth2", "office", is_isolated=False),
    )
