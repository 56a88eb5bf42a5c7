"""Interfaces toward VPCs against the kernel and a real namespace keeper; iproute2 is the judge."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface
from itertools import count
from pathlib import Path

import pytest

from gateway.dataplane.kernel import may_merge_udp
from gateway.node.journal import Journal
from gateway.node.namespaces import Namespaces
from gateway.node.port import FarEnd, PortPlan
from gateway.node.ports import Ports
from tests.node.network import ip

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("network")]

_numbers = count(1)
ADDRESS, OTHER = ip_interface("10.10.0.1/24"), ip_interface("10.10.0.9/24")
ADDRESS6 = ip_interface("fd00:10::1/64")


@dataclass(slots=True)
class Place:
    """A gateway's namespaces and ports, and what they are called outside."""

    directory: Path
    prefix: str
    namespaces: Namespaces
    ports: Ports

    @property
    def red(self) -> str:
        return f"{self.prefix}-red"

    @property
    def vpc(self) -> str:
        return f"{self.prefix}-vpc"

    def again(self) -> None:
        """Go on as the next gateway process does."""
        self.namespaces.close()
        self.namespaces, self.ports = parts(self.directory)
        self.namespaces.use([self.red])

    def apply(self, *plans: PortPlan) -> dict[str, str]:
        """Make the plans so; return the troubles."""
        self.ports.apply(plans, [ip_address("192.0.2.1")])
        return self.ports.troubles

    def in_red(self, words: str) -> str:
        return ip(f"-n {self.red} {words}")


def parts(directory: Path) -> tuple[Namespaces, Ports]:
    journal = Journal(io.StringIO(), time.time)
    namespaces = Namespaces(directory, journal)
    return namespaces, Ports(namespaces, journal)


@pytest.fixture
def place(tmp_path: Path, network: None) -> Iterator[Place]:
    prefix = f"twp{os.getpid()}-{next(_numbers)}"
    made = Place(tmp_path, prefix, *parts(tmp_path))
    ip(f"netns add {made.vpc}")
    made.namespaces.use([made.red])
    yield made
    made.namespaces.end()
    made.namespaces.close()
    names = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True)
    ip(f"netns del {made.vpc}")
    assert made.red not in names.stdout


def port(place: Place, **changes: object) -> PortPlan:
    plan = PortPlan("vpc_attachment a", place.red, "vpc0", (ADDRESS, ADDRESS6))
    return replace(plan, **changes)  # type: ignore[arg-type]  # checked by the tests


def line(name: str) -> None:
    """Make an interface that can be moved, as a network card can."""
    ip(f"link add {name} type veth peer name outside")


def veth(place: Place) -> PortPlan:
    return port(place, far=FarEnd(place.vpc, "eth0", (ip_interface("10.10.0.2/24"),)))


def test_an_interface_that_exists_is_moved_and_given_back(place: Place) -> None:
    line("vpc0")
    ip("link set vpc0 alias my-line")
    assert place.apply(port(place)) == {}
    shown = place.in_red("addr show vpc0")
    assert "10.10.0.1/24" in shown
    assert "fd00:10::1/64" in shown
    assert "UP" in shown
    assert "vpc0" not in ip("-br link")
    assert place.apply() == {}
    assert "my-line" in ip("link show vpc0")
    assert "vpc0" not in place.in_red("-br link")


def test_in_its_namespace_it_is_told_to_merge_udp(place: Place) -> None:
    line("vpc0")
    assert place.apply(port(place)) == {}
    shown = ip(f"netns exec {place.red} ethtool -k vpc0")
    assert ("rx-udp-gro-forwarding: on" in shown) is may_merge_udp(platform.release())


def test_it_is_given_back_after_a_restart_too(place: Place) -> None:
    line("vpc0")
    place.apply(port(place))
    place.again()
    assert place.apply(port(place)) == {}
    assert "10.10.0.1/24" in place.in_red("addr show vpc0")
    place.again()
    place.apply()
    assert "vpc0" in ip("-br link")
    assert "alias" not in ip("link show vpc0")


def test_a_vlan_is_made_and_made_anew_when_it_differs(place: Place) -> None:
    ip("link add trunk type bridge")
    plan = port(place, vlan=("trunk", 7))
    if "Unknown device type" in str(place.apply(plan)):
        pytest.skip("this kernel has no VLAN devices")
    assert "vlan protocol 802.1Q id 7" in place.in_red("-d link show vpc0")
    before = place.in_red("-o link show vpc0").split(":")[0]
    assert place.apply(plan) == {}
    assert place.in_red("-o link show vpc0").split(":")[0] == before
    assert place.apply(port(place, vlan=("trunk", 8))) == {}
    assert "id 8" in place.in_red("-d link show vpc0")
    place.apply()
    assert "vpc0" not in place.in_red("-br link")
    assert "trunk" in ip("-br link")


def test_a_vlan_without_its_parent_is_a_trouble_with_its_name(place: Place) -> None:
    assert place.apply(port(place, vlan=("trunk", 7))) == {
        "vpc_attachment a": "there is no interface trunk to be parent of a VLAN"
    }


def test_a_veth_pair_reaches_into_another_namespace(place: Place) -> None:
    assert place.apply(veth(place)) == {}
    assert "10.10.0.2/24" in ip(f"-n {place.vpc} addr show eth0")
    argv = ["ip", "netns", "exec", place.vpc, "ping", "-c", "1", "-W", "2", "10.10.0.1"]
    assert subprocess.run(argv, check=False, capture_output=True).returncode == 0
    place.again()
    before = place.in_red("-o link show vpc0").split(":")[0]
    assert place.apply(veth(place)) == {}
    assert place.in_red("-o link show vpc0").split(":")[0] == before
    place.apply()
    assert "vpc0" not in place.in_red("-br link")
    assert "eth0" not in ip(f"-n {place.vpc} -br link")


def test_an_end_that_went_is_made_again(place: Place) -> None:
    place.apply(veth(place))
    ip(f"-n {place.vpc} link del eth0")
    assert place.apply(veth(place)) == {}
    assert "10.10.0.2/24" in ip(f"-n {place.vpc} addr show eth0")


def test_the_far_end_follows_a_namespace_that_was_made_anew(place: Place) -> None:
    place.apply(veth(place))
    ip(f"netns del {place.vpc}")
    end = time.monotonic() + 5
    while "vpc0" in place.in_red("-br link"):  # the kernel removes it by and by
        assert time.monotonic() < end
        time.sleep(0.05)
        assert "there is no network namespace" in str(place.apply(veth(place)))
    ip(f"netns add {place.vpc}")
    assert place.apply(veth(place)) == {}
    assert "10.10.0.2/24" in ip(f"-n {place.vpc} addr show eth0")


def test_a_far_end_without_its_namespace_is_a_trouble(place: Place) -> None:
    troubles = place.apply(port(place, far=FarEnd("twp-nobody", "eth0")))
    assert troubles == {"vpc_attachment a": "there is no network namespace twp-nobody"}
    assert "vpc0" not in place.in_red("-br link")


def test_addresses_differ_by_what_was_given_only(place: Place) -> None:
    ip("link add vpc0 type bridge")
    own = port(place, namespace="")
    ip("addr add 10.9.9.9/32 dev vpc0")
    assert place.apply(own) == {}
    assert "10.10.0.1/24" in ip("addr show vpc0")
    assert place.apply(replace(own, addresses=(OTHER,))) == {}
    shown = ip("addr show vpc0")
    assert "10.10.0.9/24" in shown
    assert "10.10.0.1/24" not in shown
    assert "10.9.9.9/32" in shown
    place.again()  # the next process has a document without it
    assert place.apply() == {}
    shown = ip("addr show vpc0")
    assert "10.10.0.9" not in shown
    assert "10.9.9.9/32" in shown


def test_an_interface_that_is_not_there_or_taken_is_told_by_name(place: Place) -> None:
    missing = f"there is no interface vpc0 in namespace {place.red}, nor in the VM's own"
    assert place.apply(port(place)) == {"vpc_attachment a": missing}
    assert place.apply(port(place, namespace="")) == {
        "vpc_attachment a": "there is no interface vpc0"
    }
    ip("link add vpc0 type bridge")
    ip("addr add 192.0.2.1/24 dev vpc0")
    assert place.apply(port(place)) == {
        "vpc_attachment a": "interface vpc0 is taken: it has our public address 192.0.2.1"
    }
    ip("link del vpc0")
    ip("link add br0 type bridge")
    ip("link add vpc0 type veth peer name other")
    ip("link set vpc0 master br0")
    (text,) = place.apply(port(place)).values()
    assert text == "interface vpc0 is taken: it is part of a bridge or bond"
    assert place.ports.notes == [f"vpc_attachment a: {text}"]
    (state,) = place.ports.report()
    assert (state["name"], state["status"], state["reason"]) == ("a", "down", text)


def test_one_that_can_not_be_moved_stays_as_it_was(place: Place) -> None:
    ip("link add vpc0 type bridge")
    (text,) = place.apply(port(place)).values()
    assert text.startswith("link vpc0 move: Invalid argument")
    assert "alias" not in ip("link show vpc0")


def test_an_interface_in_the_way_of_one_to_be_made_stays(place: Place) -> None:
    place.in_red("link add vpc0 type bridge")
    assert place.apply(veth(place)) == {
        "vpc_attachment a": "an interface named vpc0 exists already"
    }
    place.apply()
    assert "vpc0" in place.in_red("-br link")


def test_what_fails_holds_up_no_other(place: Place) -> None:
    line("good")
    troubles = place.apply(
        port(place), port(place, owner="vpc_attachment b", interface="good", addresses=(OTHER,))
    )
    assert list(troubles) == ["vpc_attachment a"]
    assert "10.10.0.9/24" in place.in_red("addr show good")
