"""
Edits of a tunnel under traffic with strongSwan at the far end, in both orders. What `swanctl` loads
holds there for IKE SAs that begin from now on, so ours begins one beside the old one.

    host a --- gw a (twinspan) ==== wan1 ==== gw b (strongSwan) --- host b
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from functools import partial

import pytest

from lab import probe
from lab.commands import wait_for
from tests.system.support import FIRST, Ends, assert_nothing_lost, wait_status
from tests.system.test_edits import BEFORE, EDITS, RATE, Suites, edit, uses

pytestmark = pytest.mark.system

CHILD_ONLY = Suites(BEFORE.ike, "aes256-sha256-x25519")


@pytest.fixture
def up(ends: Ends) -> Ends:
    ends.agree([ends.connection()], {"start": "initiate", **BEFORE.settings})
    ends.ours.wait_up()
    return ends


def load(ends: Ends, suites: Suites, psk: str | None = None) -> None:
    """Edit strongSwan as `swanctl --load-all` does: it holds for IKE SAs that begin from now on."""
    connection = ends.connection(ike=suites.ike, esp=suites.esp)
    ends.swan.load([replace(connection, psk=psk or connection.psk)])


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("name", [*EDITS, "child"])
def test_an_edit_with_strongswan_at_the_far_end(up: Ends, name: str, first: str) -> None:
    wanted = EDITS.get(name) or CHILD_ONLY
    running = probe.start(up.pair.a.host, up.pair.b.host, up.pair.b.host4, rate=RATE)
    if first == "ours":
        edit(up.ours, wanted.settings)
        wait_for("the refusal", lambda: "refused" in up.ours.cli("status"), 5.0)
        load(up, wanted)
    else:
        load(up, wanted)
        time.sleep(0.5)
        edit(up.ours, wanted.settings)
    wait_for("the new suites", partial(uses, up.ours, wanted), 30.0)
    time.sleep(1.2)  # the old keys are gone by then
    seen = running.stop()
    assert seen.goes_on
    assert seen.spoiled == 0
    assert seen.silence_ms < 1000
    assert "refused" not in up.ours.cli("status")


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_new_key_with_strongswan_at_the_far_end(up: Ends, first: str) -> None:
    key = secrets.token_hex(32)
    running = probe.start(up.pair.a.host, up.pair.b.host, up.pair.b.host4, rate=RATE)
    for who in ("ours", "theirs") if first == "ours" else ("theirs", "ours"):
        if who == "ours":
            edit(up.ours, {}, key)
        else:
            load(up, BEFORE, key)
        time.sleep(0.5)
    assert_nothing_lost(running.stop())
    up.ours.cli("down", FIRST)
    up.ours.cli("up", FIRST)
    wait_status(up.ours, FIRST, "up")
