"""
Edits of a tunnel under traffic, on one end first and then on the other (F12 of the product's
scenarios): key, group and cipher, in both orders, a thousand datagrams a second all the while.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import pytest

from lab import impair, probe, sites, stalls, stream, topology
from lab.commands import wait_for
from lab.netns import Lab
from lab.topology import Pair
from lab.twinspan import Twinspan, Value
from tests.system.support import (
    FIRST,
    SECOND,
    assert_nothing_lost,
    reach_each_other,
    wait_status,
)

pytestmark = pytest.mark.system

RATE = 1000


@dataclass(frozen=True, slots=True)
class Suites:
    """One proposal for each of the two."""

    ike: str
    esp: str

    @property
    def settings(self) -> dict[str, Value]:
        return {"ike_proposals": [self.ike], "esp_proposals": [self.esp]}


BEFORE = Suites("aes256gcm16-prfsha384-x25519", "aes256gcm16-x25519")
EDITS = {
    "group": Suites("aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"),
    "cipher": Suites("aes256-sha256-x25519", "aes256-sha256-x25519"),
}
ORDERS = [("a", "b"), ("b", "a")]


def edit(end: Twinspan, settings: Mapping[str, Value], psk: str | None = None) -> str:
    """Edit the first tunnel of a gateway, and return what `twinspan reload` says."""
    document = end.document
    (connection,) = document.connections
    first, *others = connection.tunnels
    first = replace(first, psk=psk or first.psk, settings={**first.settings, **settings})
    end.write(replace(document, connections=[replace(connection, tunnels=[first, *others])]))
    return end.cli("reload")


def in_use(end: Twinspan, name: str = FIRST) -> Mapping[str, object]:
    """Return the Child SA that a tunnel sends on; those that linger are left out."""
    children = end.tunnels()[name].raw["children"]
    assert isinstance(children, list)
    return next((child for child in children if child["sends"]), {"suite": "", "spi_in": ""})


def ike_suite(end: Twinspan) -> str:
    ike = end.tunnels()[FIRST].raw["ike"]
    assert isinstance(ike, dict)
    return str(ike.get("suite"))


def uses(end: Twinspan, wanted: Suites) -> bool:
    """Say whether the first tunnel has what is wanted."""
    child = str(in_use(end)["suite"]).removesuffix("-esn")
    return (ike_suite(end), child) == (wanted.ike, wanted.esp)


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    return topology.four_machines(lab)


@pytest.fixture(scope="module")
def gateways(pair: Pair) -> dict[str, Twinspan]:
    """Return our two gateways with both tunnels up; site a begins."""
    keys, found = sites.Secrets(), {}
    for here, there, start in ((pair.b, pair.a, "respond"), (pair.a, pair.b, "initiate")):
        document = sites.document(
            here, there, keys, settings={**BEFORE.settings, "start": start, "flap_damping": False}
        )
        found[here.name] = Twinspan(here.gateway, document).start()
    for end in found.values():
        end.wait_up()
    return found


@pytest.mark.parametrize("order", ORDERS, ids="".join)
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_both_ends_in_any_order_loses_nothing(
    pair: Pair, gateways: dict[str, Twinspan], name: str, order: tuple[str, str]
) -> None:
    first, second = (gateways[one] for one in order)
    twins = {one: in_use(end, SECOND)["spi_in"] for one, end in gateways.items()}
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=RATE)
    for wanted in (EDITS[name], BEFORE):
        assert f"{FIRST} (rekeyed)" in edit(first, wanted.settings)
        wait_for("the refusal", lambda: "refused" in first.cli("status"), 5.0)
        said = first.cli("explain", FIRST)
        assert "no_proposal_chosen" in said
        assert "(in use, and stays)" in said
        assert f"{FIRST} (rekeyed)" in edit(second, wanted.settings)
        for end in gateways.values():
            wait_for("the new suites", partial(uses, end, wanted), 10.0)
        assert "refused" not in first.cli("status")
    time.sleep(0.5)
    assert_nothing_lost(running.stop())
    for one, end in gateways.items():
        assert in_use(end, SECOND)["spi_in"] == twins[one]


@pytest.mark.parametrize("order", ORDERS, ids="".join)
def test_a_new_key_interrupts_nothing_and_holds_for_the_next_ike_sa(
    pair: Pair, gateways: dict[str, Twinspan], order: tuple[str, str]
) -> None:
    first, second = (gateways[one] for one in order)
    before = in_use(first)["spi_in"]
    key = secrets.token_hex(32)
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=RATE)
    for end in (first, second):
        assert f"{FIRST} (keys kept, IKE settings taken over)" in edit(end, {}, key)
        time.sleep(0.5)
    assert in_use(first)["spi_in"] == before
    assert_nothing_lost(running.stop())
    gateways["a"].cli("down", FIRST)
    wait_status(gateways["b"], FIRST, "down")
    gateways["a"].cli("up", FIRST)
    for end in gateways.values():
        wait_status(end, FIRST, "up")


def test_lifetimes_and_timers_hold_at_once_under_the_same_keys(
    pair: Pair, gateways: dict[str, Twinspan]
) -> None:
    a = gateways["a"]
    before = in_use(a)["spi_in"]
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=RATE)
    edit(a, {"child_lifetime_s": 600, "ike_lifetime_s": 7200, "liveness_s": 5})
    rekey_in_s = in_use(a)["rekey_in_s"]
    assert isinstance(rekey_in_s, float)
    assert 0 < rekey_in_s <= 600
    assert in_use(a)["spi_in"] == before
    assert_nothing_lost(running.stop())


def test_closing_loses_nothing_that_is_under_way(pair: Pair, gateways: dict[str, Twinspan]) -> None:
    """Without moving the traffic away first: `--now`. The twin has it from then on."""
    a, b = gateways["a"], gateways["b"]
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=RATE)
    time.sleep(0.3)
    with stalls.noted() as stood_still:
        a.cli("down", "--now", FIRST)
        wait_status(b, FIRST, "down")
        time.sleep(0.5)
    seen = running.stop()
    a.cli("up", FIRST)
    wait_status(b, FIRST, "up")
    assert seen.goes_on
    # What the queue of the TUN device held, more where its reader stood still, and nothing else.
    assert len(seen.lost) <= 20 + stood_still.total_ms * RATE / 1000


@pytest.fixture
def slow_liveness(gateways: dict[str, Twinspan]) -> None:
    """Give the first tunnel the default of 10 s, and 3 s for an answer."""
    for end in gateways.values():
        edit(end, {"liveness_s": 10, "liveness_timeout_s": 3})
        wait_status(end, FIRST, "up", 90.0)


@pytest.mark.usefixtures("slow_liveness")
def test_a_silent_cut_is_left_before_liveness_would_have_asked(
    pair: Pair, gateways: dict[str, Twinspan]
) -> None:
    """Traffic both ways that nobody answers: each end asks after 3 s."""
    a, b = pair.a, pair.b
    running = stream.both_ways((a.host, a.host4), (b.host, b.host4))
    with impair.cut_off(pair.b.gateway, "wan1"):
        _wait_left(gateways)
        reach_each_other(pair)
        for seen in running.stop():
            assert seen.goes_on
            assert seen.silence_ms < 9_000


@pytest.mark.usefixtures("slow_liveness")
def test_the_end_that_only_answers_leaves_a_silent_cut_as_soon(
    pair: Pair, gateways: dict[str, Twinspan]
) -> None:
    """It sends nothing when the path is cut; but what came steadily has stopped."""
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=RATE)
    time.sleep(4.0)
    with impair.cut_off(pair.b.gateway, "wan1"):
        _wait_left(gateways)
        reach_each_other(pair)
        seen = running.stop()
    assert seen.goes_on
    assert seen.silence_ms < 9_000


def _wait_left(gateways: dict[str, Twinspan]) -> None:
    for end in gateways.values():
        wait_for("the first tunnel to be left", partial(_is_down, end), 20.0)


def _is_down(end: Twinspan) -> bool:
    return not end.tunnels()[FIRST].is_up
