"""
Two regions of one control plane (F5 of the product's scenarios): both Customer Gateways begin with
placeholder addresses, which are exchanged for the real ones before there is a tunnel; first static
routes, then BGP.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import pytest

from lab import topology
from lab.commands import wait_for
from lab.control import Api, Refused, Table
from lab.fleet import Fleet
from lab.netns import Lab
from lab.topology import Pair, Site
from tests.system.support import reach_each_other

pytestmark = pytest.mark.system

PLACEHOLDERS = ["203.0.113.1", "203.0.113.2"]


@dataclass(slots=True)
class Region:
    """One region: its pool, its Border Gateway, the other region as its customer."""

    site: Site
    asn: int
    gateway: Table
    customer: Table
    connection: Table


def make(api: Api, site: Site, asn: int, other_asn: int) -> Region:
    """Make a region as far as it can be made without knowing the other one's addresses."""
    name = f"region-{site.name}"
    api.create("address-pools", name=name, addresses=list(site.public4))
    gateway = api.create("border-gateways", name=name, asn=asn, address_pool=name)
    api.create(
        "vpc-attachments",
        name=f"vpc-{site.name}",
        border_gateway=gateway["id"],
        interface="lan",
        cidrs=[site.lan4],
    )
    customer = api.create(
        "customer-gateways", name=f"from-{name}", public_addresses=PLACEHOLDERS, asn=other_asn
    )
    connection = api.create(
        "vpn-connections",
        name=f"from-{name}",
        border_gateway=gateway["id"],
        customer_gateway=customer["id"],
        tunnels=0,
    )
    return Region(site, asn, gateway, customer, connection)


def join(api: Api, region: Region, other: Region, keys: list[str]) -> None:
    """Exchange the placeholders and make the tunnels, whose inner networks both ends share."""
    addresses = other.connection["public_addresses"]
    api.change(f"customer-gateways/{region.customer['id']}", public_addresses=addresses)
    api.change(f"vpn-connections/{region.connection['id']}", remote_cidrs=[other.site.lan4])
    for number, (local, remote, psk) in enumerate(
        zip(region.connection["public_addresses"], addresses, keys, strict=True), 1
    ):
        host = 1 if region.site.name == "a" else 2
        api.create(
            "vpn-tunnels",
            vpn_connection=region.connection["id"],
            local_address=local,
            remote_address=remote,
            inner_cidr=f"169.254.2{number}.0/30",
            inner_local=f"169.254.2{number}.{host}",
            psk=psk,
        )


@pytest.fixture(scope="module")
def regions(lab: Lab) -> tuple[Fleet, Pair, tuple[Region, Region]]:
    pair, fleet = topology.four_machines(lab), Fleet.build(lab)
    for site in (pair.a, pair.b):
        fleet.join(site.gateway, *site.public4)
    api = fleet.control.api()
    one, two = make(api, pair.a, 65000, 65010), make(api, pair.b, 65010, 65000)
    keys = [secrets.token_hex(32) for _ in range(2)]
    join(api, one, two, keys)
    join(api, two, one, keys)
    fleet.wait_tunnels("up", timeout_s=60.0)
    return fleet, pair, (one, two)


def test_static_routes_join_both_vpcs(
    regions: tuple[Fleet, Pair, tuple[Region, Region]],
) -> None:
    fleet, pair, both = regions
    for region in both:
        assert region.connection["public_addresses"] == list(region.site.public4)
    reach_each_other(pair)
    with pytest.raises(Refused) as caught:
        fleet.control.api().change(
            f"customer-gateways/{both[0].customer['id']}", public_addresses=PLACEHOLDERS
        )
    assert caught.value.code == "in_use"


def test_bgp_joins_them_too(regions: tuple[Fleet, Pair, tuple[Region, Region]]) -> None:
    fleet, pair, both = regions
    api = fleet.control.api()
    for region in both:
        api.change(f"vpn-connections/{region.connection['id']}", routing="bgp")
    fleet.wait_applied(20.0)

    def established() -> bool:
        return all(one["status"]["bgp"] == "established" for one in fleet.tunnels().values())

    wait_for("all BGP sessions", established, 60.0)
    for here, there in ((pair.a, pair.b), (pair.b, pair.a)):
        wait_for(
            "the route",
            lambda: here.gateway.ip("route", "show", there.lan4, "proto", "bird") != "",  # noqa: B023
            20.0,
        )
    reach_each_other(pair)
