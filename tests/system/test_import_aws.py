"""
A connection made from AWS's own file: both tunnels and BGP come up, and one takes over.

The other end has what the file says of AWS's endpoints: it is made from the imported connection,
as a device of strongSwan and BIRD.
"""

from __future__ import annotations

import pytest

from lab import impair, office, topology
from lab.netns import Lab
from lab.office import Hybrid
from lab.twinspan import Document, Twinspan
from tests.importer import files
from tests.system.support import reach_each_other

pytestmark = pytest.mark.system


def of_lab() -> str:
    """Return AWS's file with the lab's addresses: one of ours for each path."""
    first, second = files.aws_xml().split("</ipsec_tunnel>", 1)
    second = second.replace("192.0.2.1<", "198.51.100.1<")
    text = f"{first}</ipsec_tunnel>{second}"
    text = text.replace("<hold_time>30", "<hold_time>6")
    changes = {files.OUTER[0]: "192.0.2.2", files.OUTER[1]: "198.51.100.2", "65010": "65000"}
    for old, new in (*changes.items(), ("64512", str(office.ASN))):
        text = text.replace(f">{old}<", f">{new}<")
    return text


@pytest.fixture(scope="module")
def hybrid(lab: Lab) -> Hybrid:
    """Return both sites with the imported connection up, and traffic on its first tunnel."""
    cloud = topology.site(lab, "a", topology.public4("a"), 2, ("gateway", "vpc"))
    made = office.build(lab, cloud, bfd=None)
    gateway = Twinspan(cloud.gateway, Document("gw", cloud.public4, [cloud.lan4], []))
    given = gateway.directory / "vpn.xml"
    given.write_text(of_lab())
    words = ("--name", "office", "--remote-cidr", made.site.lan4, "--yes")
    gateway.cli("import", "aws", str(given), "--config", str(gateway.config), *words)
    made.equip(gateway)
    made.start()
    gateway.start()
    whole = Hybrid(cloud, gateway, made)
    whole.wait_settled()
    return whole


def test_both_tunnels_come_up_and_carry_traffic(hybrid: Hybrid) -> None:
    reach_each_other(hybrid.pair)
    status = hybrid.gateway.cli("status")
    assert "2 of 2 tunnels up" in status
    assert "aes256-sha256" in status  # the first of the file's own


def test_the_second_takes_over(hybrid: Hybrid) -> None:
    """Without BFD we find a dead path by liveness, the other end by BGP's hold time."""
    with impair.cut_off(hybrid.office.devices[0].machine, "wan1"):
        hybrid.wait_by(2)
        reach_each_other(hybrid.pair)
