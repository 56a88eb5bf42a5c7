"""
Planned work toward a customer with two devices of strongSwan and BIRD (F10 of the product's
scenarios): the customer's network is asked by BGP to leave a tunnel before it closes.
"""

from __future__ import annotations

import pytest

from lab import office
from lab.commands import wait_for
from lab.netns import Lab
from lab.office import Hybrid
from tests.system.support import FIRST

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def hybrid(lab: Lab) -> Hybrid:
    return office.hybrid(lab)


def test_a_planned_down_and_up_loses_nothing(hybrid: Hybrid) -> None:
    streams = hybrid.streams()
    said = hybrid.gateway.cli("down", FIRST)
    assert "traffic has moved to the other tunnels, both ways" in said
    assert hybrid.goes_by(2)
    wait_for("the close", lambda: not hybrid.office.devices[0].swan.children(FIRST), 10.0)
    hybrid.gateway.cli("up", FIRST)
    hybrid.wait_settled()
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.lost == 0
