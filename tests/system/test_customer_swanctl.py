"""
swanctl.conf for the customer's strongSwan, in every variant, loaded by swanctl into a real charon.
"""

from __future__ import annotations

import pytest

from lab.netns import Lab
from lab.strongswan import StrongSwan
from tests.customer.documents import MODES, Edit, rendered
from tests.support.documents import CONNECTION, FIRST

pytestmark = pytest.mark.system

EDITS: tuple[tuple[Edit, ...], ...] = (
    (),
    (((*CONNECTION, "ike_proposals"), []), ((*CONNECTION, "esp_proposals"), [])),
    (((*CONNECTION, "psk"), 'a"quoted" key; with # all'),),
    (((*CONNECTION, "start"), "respond"), ((*FIRST, "liveness_s"), 0.0)),
    (((*FIRST, "ppk"), "0x" + "a7" * 32), ((*FIRST, "ppk_id"), "pq.office")),
    (((*FIRST, "local_id"), "keyid:6c6973626f6e"), ((*FIRST, "child_lifetime_bytes"), 10**9)),
)


@pytest.fixture(scope="module")
def swan(lab: Lab) -> StrongSwan:
    """Return a charon that has nothing to do."""
    text = {file.name: file.text for file in rendered("strongswan", "bgp").files}
    return StrongSwan(lab.namespace("device"), charon_conf=text["charon.conf"]).start()


@pytest.mark.parametrize("device", ["strongswan", "strongswan-libipsec"])
@pytest.mark.parametrize("mode", MODES)
def test_swanctl_takes_every_variant(swan: StrongSwan, device: str, mode: str) -> None:
    for edits in EDITS:
        for file in rendered(device, mode, *edits).files:
            if file.name.endswith("swanctl.conf"):
                swan.load_text(file.text)
