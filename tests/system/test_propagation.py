"""
A VPC on the gateway VM takes the customer's routes over into its own table; the picture is in
lab/tenants.py. The red VPC does, the blue one does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab import tenants
from lab.commands import LabError, wait_for
from lab.netns import Lab
from lab.tenants import OFFICE, OFFICE_HOST, VPC_GATEWAY, Network, Tenant
from tests.system.support import ping

pytestmark = pytest.mark.system

TAKEN_OVER = f"{OFFICE} via {VPC_GATEWAY} dev eth0 metric 150"


def taken_over(tenant: Tenant) -> str:
    """Return the routes of ours in a VPC's table."""
    return " ".join(tenant.vpc.ip("route", "show", "proto", "85").split())


def wait_taken_over(network: Network, text: str, timeout_s: float = 30.0) -> None:
    red = network.tenants["red"]
    try:
        wait_for(text or "no route", lambda: taken_over(red) == text, timeout_s, every_s=0.3)
    except LabError as error:
        raise LabError(f"{error}\n{network.ours.cli('routes')}\n{taken_over(red)}") from error


def write(network: Network, *told: str) -> None:
    made = network.document()
    red, blue = (network.tenants[colour] for colour in ("red", "blue"))
    attachments = [red.attachment(told=told), blue.attachment()]
    network.ours.write(replace(made, attachments=attachments))


@pytest.fixture(scope="module")
def network(lab: Lab) -> Iterator[Network]:
    made = tenants.build(lab)
    for gateway in made.customers.values():
        gateway.start()
    write(made, OFFICE, "10.99.0.0/16")
    made.ours.start()
    made.ours.wait_up()
    yield made
    made.ours.end()


def test_a_vpc_reaches_the_customer_by_the_route_it_took_over(network: Network) -> None:
    red, blue = (network.tenants[colour] for colour in ("red", "blue"))
    wait_taken_over(network, TAKEN_OVER)
    wait_for("the way back", lambda: ping(red.vpc, OFFICE_HOST), 15.0)
    assert taken_over(blue) == ""


def test_it_goes_with_the_last_tunnel_and_comes_back(network: Network) -> None:
    network.ours.cli("down", "--now", "red-1")
    wait_for("the other tunnel", lambda: ping(network.tenants["red"].vpc, OFFICE_HOST), 15.0)
    assert taken_over(network.tenants["red"]) == TAKEN_OVER
    network.ours.cli("down", "--now", "red-2")
    wait_taken_over(network, "")
    for name in ("red-1", "red-2"):
        network.ours.cli("up", name)
    wait_taken_over(network, TAKEN_OVER, 40.0)


def test_what_is_not_asked_for_any_more_is_taken_back(network: Network) -> None:
    write(network, "10.20.0.0/25")
    network.ours.cli("reload")
    wait_taken_over(network, "")
    write(network, "10.20.0.0/16")
    network.ours.cli("reload")
    wait_taken_over(network, TAKEN_OVER)
    write(network)
    network.ours.cli("reload")
    wait_taken_over(network, "")
