"""
Our daemon against strongSwan: who begins, every suite both can do, families, refusals.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (strongSwan) --- host b
    10.10.0.2      192.0.2.1, 198.51.100.1      192.0.2.2, 198.51.100.2     10.20.0.2
    fd00:10::2     2001:db8:1::1                2001:db8:1::2               fd00:20::2

One pair of daemons serves all tests; each test gives both a new configuration by reload and vici.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.commands import LabError, wait_for
from lab.twinspan import Value
from tests.system.support import FIRST, Ends, reach_each_other, wait_reason, wait_status

pytestmark = pytest.mark.system

# IKE and ESP proposal, and what charon then shows of the IKE SA and of the Child SA.
SUITES = [
    (
        "aes256gcm16-prfsha384-x25519",
        "aes256gcm16-x25519",
        "AES_GCM_16-256-PRF_HMAC_SHA2_384-CURVE_25519",
        "AES_GCM_16-256",
    ),
    (
        "aes128gcm16-prfsha256-ecp256",
        "aes128gcm16-ecp256",
        "AES_GCM_16-128-PRF_HMAC_SHA2_256-ECP_256",
        "AES_GCM_16-128",
    ),
    (
        "chacha20poly1305-prfsha256-x25519",
        "chacha20poly1305",
        "CHACHA20_POLY1305-PRF_HMAC_SHA2_256-CURVE_25519",
        "CHACHA20_POLY1305",
    ),
    (
        "aes256-sha256-prfsha256-modp2048",
        "aes256-sha256",
        "AES_CBC-256-HMAC_SHA2_256_128-PRF_HMAC_SHA2_256-MODP_2048",
        "AES_CBC-256-HMAC_SHA2_256_128",
    ),
    (
        "aes128-sha384-prfsha384-modp3072",
        "aes128-sha384-modp3072",
        "AES_CBC-128-HMAC_SHA2_384_192-PRF_HMAC_SHA2_384-MODP_3072",
        "AES_CBC-128-HMAC_SHA2_384_192",
    ),
    (
        "aes256-sha512-prfsha512-modp4096",
        "aes256-sha512",
        "AES_CBC-256-HMAC_SHA2_512_256-PRF_HMAC_SHA2_512-MODP_4096",
        "AES_CBC-256-HMAC_SHA2_512_256",
    ),
    (
        "aes256gcm16-prfsha512-ecp521",
        "aes256gcm16-ecp521",
        "AES_GCM_16-256-PRF_HMAC_SHA2_512-ECP_521",
        "AES_GCM_16-256",
    ),
    (
        "aes192gcm16-prfsha384-ecp384",
        "aes192gcm16",
        "AES_GCM_16-192-PRF_HMAC_SHA2_384-ECP_384",
        "AES_GCM_16-192",
    ),
    (
        "aes192-sha256-prfsha256-x25519",
        "aes192-sha384",
        "AES_CBC-192-HMAC_SHA2_256_128-PRF_HMAC_SHA2_256-CURVE_25519",
        "AES_CBC-192-HMAC_SHA2_384_192",
    ),
    (
        "aes128gcm16-prfsha384-ecp384",
        "aes128-sha256-ecp384",
        "AES_GCM_16-128-PRF_HMAC_SHA2_384-ECP_384",
        "AES_CBC-128-HMAC_SHA2_256_128",
    ),
]
NAMES = [f"{ike}.{esp}" for ike, esp, _, _ in SUITES]


@pytest.mark.parametrize("start", ["initiate", "respond"])
@pytest.mark.parametrize(("ike", "esp", "ike_seen", "esp_seen"), SUITES, ids=NAMES)
def test_every_suite_comes_up_from_either_end_and_carries_traffic(
    ends: Ends, start: str, ike: str, esp: str, ike_seen: str, esp_seen: str
) -> None:
    settings = {"ike_proposals": [ike], "esp_proposals": [esp], "start": start}
    ends.agree([ends.connection(ike=ike, esp=esp)], settings)
    if start == "respond":
        ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    reach_each_other(ends.pair)
    (sa,) = ends.swan.sas()
    assert (sa.suite, sa.initiator) == (ike_seen, start == "respond")
    (child,) = sa.children
    assert (child.encr, child.encap) == (esp_seen, True)
    assert min(child.packets_in, child.packets_out) >= 6


@pytest.mark.parametrize("start", ["initiate", "respond"])
def test_the_default_proposals_suit_strongswans(ends: Ends, start: str) -> None:
    # It knows nothing of RFC 9611 before 6.0.2, and so ignores that we would have more Child SAs.
    wanted: dict[str, Value] = {"start": start, "workers": 2, "per_resource_sas": True}
    ends.agree([ends.connection(ike="default", esp="default")], wanted)
    if start == "respond":
        ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    reach_each_other(ends.pair)
    assert len(ends.ours.tunnels()[FIRST].spis) == 1


@pytest.mark.parametrize("start", ["initiate", "respond"])
@pytest.mark.parametrize("outer", [4, 6])
def test_both_families_travel_inside_either_family(ends: Ends, outer: int, start: str) -> None:
    families = (4, 6)
    connection = ends.connection(outer=outer, families=families)
    ends.agree([connection], {"start": start}, outer=outer, families=families)
    if start == "respond":
        ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    reach_each_other(ends.pair, 4)
    reach_each_other(ends.pair, 6)


def test_a_wrong_group_guess_is_corrected_when_we_respond(ends: Ends) -> None:
    """IKE_SA_INIT with KE for ecp384 meets INVALID_KE_PAYLOAD and comes again with x25519."""
    offer = "aes256gcm16-prfsha384-ecp384-x25519"
    ours = {"ike_proposals": ["aes256gcm16-prfsha384-x25519"], "start": "respond"}
    ends.agree([ends.connection(ike=offer)], ours)
    ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    reach_each_other(ends.pair)
    assert "CURVE_25519" in ends.swan.sas()[0].suite


def test_a_wrong_group_guess_is_corrected_when_we_initiate(ends: Ends) -> None:
    ours = {"ike_proposals": ["aes256gcm16-prfsha384-ecp384-x25519"], "start": "initiate"}
    ends.agree([ends.connection(ike="aes256gcm16-prfsha384-x25519")], ours)
    ends.ours.wait_up()
    reach_each_other(ends.pair)


@pytest.mark.parametrize("start", ["initiate", "respond"])
def test_a_long_list_of_selectors_travels_in_ike_fragments(ends: Ends, start: str) -> None:
    """Twenty-five networks on each side make IKE_AUTH longer than 576 bytes (RFC 7383)."""
    here, there = ends.pair.b, ends.pair.a
    base = ends.connection()
    child = replace(
        base.child,
        local_ts=(here.lan4, *(f"10.20.0.{number}/32" for number in range(10, 34))),
        remote_ts=(there.lan4, *(f"10.99.{number}.0/24" for number in range(24))),
    )
    selectors = {"local_ts": list(child.remote_ts), "remote_ts": list(child.local_ts)}
    settings: dict[str, Value] = {"start": start, "fragment_size": 576, **selectors}
    ends.agree([replace(base, child=child)], settings)
    if start == "respond":
        ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    reach_each_other(ends.pair)
    assert "N(FRAG_SUP)" in ends.swan.log_text()
    assert "received fragment #1" in ends.swan.log_text()


def test_a_wrong_key_brings_nothing_up_and_the_status_says_so(ends: Ends) -> None:
    wrong = replace(ends.connection(), psk="not the key that was agreed on")
    ends.agree([wrong], {"start": "initiate"})
    wait_reason(ends.ours, FIRST, "authentication_failed")
    assert not ends.swan.children()


def test_a_peer_with_a_wrong_key_is_refused(ends: Ends) -> None:
    wrong = replace(ends.connection(), psk="not the key that was agreed on")
    ends.agree([wrong], {"start": "respond"})
    with pytest.raises(LabError, match="AUTHENTICATION_FAILED"):
        ends.swan.initiate(FIRST, timeout_s=20.0)
    wait_reason(ends.ours, FIRST, "authentication_failed")


def test_proposals_without_anything_in_common_are_refused_with_both_lists(ends: Ends) -> None:
    ours = {"ike_proposals": ["aes256gcm16-prfsha384-ecp384"], "start": "initiate"}
    ends.agree([ends.connection(ike="aes128-sha256-modp2048")], ours)
    wait_reason(ends.ours, FIRST, "no_proposal_chosen")
    explained = ends.ours.cli("explain", FIRST)
    assert "aes256gcm16-prfsha384-ecp384" in explained


def test_a_peer_of_another_version_is_told_from_one_that_is_silent(ends: Ends) -> None:
    ends.agree([replace(ends.connection(), version="1")], {"start": "respond"})
    with pytest.raises(LabError):
        ends.swan.initiate(FIRST, timeout_s=2.0)
    wait_reason(ends.ours, FIRST, "version_mismatch")
    last = ends.ours.events(FIRST)[-1]
    assert (last["ours"], last["theirs"]) == ("2", "1")


def test_selectors_without_anything_in_common_are_refused(ends: Ends) -> None:
    settings: dict[str, Value] = {
        "start": "initiate",
        "local_ts": ["10.77.0.0/24"],
        "remote_ts": ["10.78.0.0/24"],
    }
    ends.agree([ends.connection()], settings)
    wait_reason(ends.ours, FIRST, "ts_unacceptable")


def test_a_deleted_tunnel_comes_back_by_itself(ends: Ends) -> None:
    ends.agree([ends.connection()], {"start": "initiate"})
    ends.ours.wait_up()
    ends.swan.terminate(FIRST)
    wait_status(ends.ours, FIRST, "up")
    reach_each_other(ends.pair)


def test_down_and_up_from_the_command_line(ends: Ends) -> None:
    ends.agree([ends.connection()], {"start": "initiate"})
    ends.ours.wait_up()
    ends.ours.cli("down", FIRST)
    wait_for("strongSwan to hear of it", lambda: not ends.swan.sas(), 5.0)
    assert ends.ours.tunnels()[FIRST].status == "down"
    ends.ours.cli("up", FIRST)
    ends.ours.wait_up()
    reach_each_other(ends.pair)
