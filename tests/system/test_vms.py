"""
One connection on two gateway VMs: one of them is lost, and comes back.

                           .-- vm1 (twinspan) === wan1 ===.
    host --- router (BIRD) |                              | office (twinspan) --- office host
                           '-- vm2 (twinspan) === wan2 ===.
             AS 65100          AS 65000                     AS 65010
"""

from __future__ import annotations

import re
from functools import partial

import pytest

from lab import iperf, tcp, vms
from lab.commands import wait_for
from lab.netns import Lab
from lab.topology import Site
from lab.twinspan import Twinspan
from lab.vms import TwoVms
from tests.system.support import reach_each_other

pytestmark = pytest.mark.system

FLOWS = 32  # that a VM gets none of them by chance: 2 ** -31


@pytest.fixture(scope="module")
def two(lab: Lab) -> TwoVms:
    """Return everything up, with vm1 carrying the traffic both ways."""
    return vms.build(lab)


def test_the_vpc_and_the_office_learn_of_each_other_from_both_vms(two: TwoVms) -> None:
    def both() -> list[tuple[str, str]] | None:
        routes = two.router.birdc("show", "route", "for", two.pair.b.host4, "all")
        ways = re.findall(r"BGP.next_hop: (\S+)\n\s+BGP.med: (\d+)", routes)
        return sorted(ways) if len(ways) == 2 else None

    (first, med), (second, higher) = wait_for("both ways", both, 10.0, every_s=0.2)
    assert (first, second) == tuple(vm.address for vm in two.vms)
    assert int(med) < int(higher)
    reach_each_other(two.pair)


def test_a_lost_vm_is_left_within_a_second_and_taken_again(two: TwoVms) -> None:
    two.wait_settled()
    host, office = two.pair.a, two.pair.b
    with tcp.talk(host.host, office.host, office.host4) as talk:
        flows = two.streams()
        two.vms[0].lose()
        two.wait_by(2, 5.0)
        reach_each_other(two.pair)
        two.vms[0].boot()
        two.wait_settled()
        reach_each_other(two.pair)
        seen = flows.stop()
    for name, one in zip(("to the office", "to the VPC"), seen, strict=True):
        print(f"VM lost, {name}: {one.silence_ms:.0f} ms of silence, {one.lost} lost")
        assert one.goes_on
        assert one.silence_ms <= 1000
        assert one.lost <= one.silence_ms + 10  # the return loses none
    print(f"TCP: {talk.said} said, {talk.silence_s:.2f} s of silence")
    assert (talk.error, talk.heard) == ("", talk.said)
    assert talk.said > 100


def test_equal_preferences_share_the_traffic_among_both_vms(two: TwoVms) -> None:
    edit(two.vms[1].gateway, "preference = 101", "preference = 100")
    inner = 'inner_local = "169.254.10.6"'
    edit(two.office, inner, f"{inner}\npreference = 100")
    a, b = two.pair.a, two.pair.b
    for site, other in ((a, b), (b, a)):
        wait_for("two next hops", partial(has_two_next_hops, site, other), 30.0)
    before = [out_packets(gateway) for gateway in two.gateways]
    iperf.measure(a.host, b.host, b.host4, "-P", str(FLOWS), seconds=2.0)
    iperf.measure(b.host, a.host, a.host4, "-P", str(FLOWS), seconds=2.0)
    after = [out_packets(gateway) for gateway in two.gateways]
    for then, now in zip(before, after, strict=True):
        assert min(now[name] - then[name] for name in now) > 1000


def edit(gateway: Twinspan, old: str, new: str) -> None:
    text = gateway.config.read_text()
    assert text.count(old) == 1
    gateway.write(text.replace(old, new))
    gateway.cli("reload")


def has_two_next_hops(site: Site, other: Site) -> bool:
    return site.gateway.ip("route", "show", other.lan4, "proto", "bird").count("nexthop") == 2


def out_packets(gateway: Twinspan) -> dict[str, int]:
    return {name: tunnel.out_packets for name, tunnel in gateway.tunnels().items()}
