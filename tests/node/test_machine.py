"""What a gateway notes about the machine it runs on."""

from __future__ import annotations

import io
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.node import machine
from gateway.node.journal import Journal
from gateway.node.namespaces import Namespaces
from gateway.node.plan import NodePlan, plan
from tests.node.network import ip
from tests.routing.plans import OFFICE, plan_of
from tests.support.documents import CONNECTION, document

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("network")]


def sysctl(*settings: str) -> None:
    subprocess.run(["sysctl", "-qw", *settings], check=True)


def notes(plan: NodePlan, workers: int) -> list[str]:
    namespaces = Namespaces(Path("/nowhere"), Journal(io.StringIO(), time.time))
    found = machine.notes(plan, workers, namespaces)
    namespaces.close()
    return found


def wanted(*prefixes: str) -> NodePlan:
    return plan(document(((*CONNECTION, "remote_cidrs"), list(prefixes))))


@pytest.fixture
def addresses(network: None) -> None:
    for address in ("192.0.2.1/32", "198.51.100.1/32"):
        ip(f"addr add {address} dev lo")


@pytest.mark.usefixtures("addresses")
def test_a_machine_that_is_set_up_needs_no_note() -> None:
    sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    assert notes(wanted("10.20.0.0/16", "fd02::/64"), workers=2) == []


@pytest.mark.usefixtures("addresses")
@pytest.mark.parametrize("value", [1, 2])
def test_a_reverse_path_filter_over_all_devices_is_noted(value: int) -> None:
    sysctl("net.ipv4.ip_forward=1", f"net.ipv4.conf.all.rp_filter={value}")
    (note,) = notes(wanted("10.20.0.0/16"), workers=2)
    assert note.startswith(f"net.ipv4.conf.all.rp_filter is {value}: what comes by a tunnel")


@pytest.mark.usefixtures("addresses")
def test_forwarding_that_is_off_is_noted_for_the_families_in_use() -> None:
    sysctl("net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    (note,) = notes(wanted("10.20.0.0/16"), workers=2)
    assert note.startswith("net.ipv4.ip_forward is 0: IPv4")
    assert len(notes(wanted("10.20.0.0/16", "fd02::/64"), workers=2)) == 2


def test_an_address_that_is_not_here_is_noted() -> None:
    sysctl("net.ipv4.ip_forward=1")
    ip("addr add 192.0.2.1/32 dev lo")
    (note,) = notes(wanted("10.20.0.0/16"), workers=2)
    assert note.startswith("198.51.100.1 is not an address of this machine")


@pytest.mark.usefixtures("addresses")
def test_a_data_plane_with_another_number_of_workers_is_noted() -> None:
    sysctl("net.ipv4.ip_forward=1")
    (note,) = notes(wanted("10.20.0.0/16"), workers=1)
    assert "runs 1 workers, the document wants 2" in note


@pytest.mark.usefixtures("addresses")
def test_ipv6_that_would_stay_on_a_dead_tunnel_is_noted() -> None:
    sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    ip("link add ts-office-1 type bridge")
    assert "IPv6 does not leave" in notes(wanted("fd02::/64"), workers=2)[0]
    assert notes(wanted("10.20.0.0/16"), workers=2) == []
    sysctl("net.ipv6.conf.ts-office-1.ignore_routes_with_linkdown=1")
    assert notes(wanted("fd02::/64"), workers=2) == []


@pytest.mark.usefixtures("addresses")
def test_a_receive_buffer_that_is_too_small_for_so_much_bfd_is_noted() -> None:
    sysctl("net.ipv4.ip_forward=1")
    least = int(Path("/proc/sys/net/core/rmem_default").read_text())
    many = least // 1024  # sessions; as many packets come in 0.3 s
    peers = tuple(replace(OFFICE, name=f"office-{number}") for number in range(many + 150))
    few = replace(wanted(), tunnels=(), routing=(plan_of(*peers[: many // 2]),))
    assert notes(few, workers=2) == []
    (note,) = notes(replace(few, routing=(plan_of(*peers),)), workers=2)
    assert note.startswith(f"net.core.rmem_default is {least}: BIRD loses BFD packets")


@pytest.mark.usefixtures("addresses")
def test_a_route_that_holds_the_peer_itself_is_noted() -> None:
    sysctl("net.ipv4.ip_forward=1")
    ip("link add ts-office-1 type bridge")
    ip("link set ts-office-1 up")
    ip("route add 203.0.113.0/24 dev ts-office-1")
    (first, second) = notes(wanted("10.20.0.0/16"), workers=2)
    assert first.startswith(
        "packets to 203.0.113.9, the peer of office-1, are routed into a tunnel"
    )
    assert "203.0.113.10" in second
    ip("route add 203.0.113.8/29 dev lo")
    assert notes(wanted("10.20.0.0/16"), workers=2) == []
