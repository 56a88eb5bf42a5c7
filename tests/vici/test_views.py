"""Our status values as strongSwan spells them."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import ip_address

import pytest

from gateway.dataplane.interface import SaStats
from gateway.ike.iana import Group, ProtocolId
from gateway.ike.proposals import DEFAULT_ESP, DEFAULT_IKE
from gateway.ike.selectors import parse_selector
from gateway.ike.status import ChildStatus, TunnelIkeStatus
from gateway.node.plan import TunnelPlan, plan
from gateway.pki.credentials import Credentials
from gateway.pki.issue import make_key
from gateway.sa import Path
from gateway.vici.logs import log_section
from gateway.vici.views import (
    COUNTERS,
    Numbers,
    Traffic,
    child_key,
    child_name,
    child_section,
    conn_section,
    counters_section,
    duration_text,
    group_name,
    ike_section,
    slots_named,
    stats_section,
    suite_section,
)
from gateway.vici.wire import decode_message, encode_message
from tests.support.documents import document

NOW = 1000.0
PATH = Path(ip_address("192.0.2.1"), 4500, ip_address("203.0.113.9"), 4500)
CHILD = ChildStatus(
    0x0A0B0C0D,
    0xC0000001,
    "aes256gcm16-x25519",
    (parse_selector("10.1.0.0/16"),),
    (parse_selector("10.2.0.0/16"), parse_selector("10.3.0.0/16[tcp/443]")),
    up_at=NOW - 61.5,
    rekey_at=NOW + 3000.9,
    esn=True,
    encap=True,
    state="installed",
    is_outbound=True,
    hard_at=NOW + 4000.0,
)
IKE = TunnelIkeStatus(
    "established",
    bytes.fromhex("0011223344556677"),
    bytes.fromhex("8899aabbccddeeff"),
    "aes256gcm16-prfsha384-x25519",
    age_s=62.9,
    path=PATH,
    peer_id="b.gw.test",
    original_initiator=True,
    rekey_at=NOW + 14000.0,
    nat_remote=True,
    children=(CHILD,),
)


@pytest.fixture
def tunnel() -> TunnelPlan:
    return plan(document()).tunnels[0]


def test_an_ike_sa_has_strongswans_fields(tunnel: TunnelPlan) -> None:
    section = ike_section(tunnel, IKE, 7, NOW)
    assert section == {
        "uniqueid": "7",
        "version": "2",
        "state": "ESTABLISHED",
        "local-host": "192.0.2.1",
        "local-port": "4500",
        "local-id": str(tunnel.ike.local_id),
        "remote-host": "203.0.113.9",
        "remote-port": "4500",
        "remote-id": "b.gw.test",
        "initiator": "yes",
        "initiator-spi": "0011223344556677",
        "responder-spi": "8899aabbccddeeff",
        "nat-remote": "yes",
        "nat-any": "yes",
        "encr-alg": "AES_GCM_16",
        "encr-keysize": "256",
        "prf-alg": "PRF_HMAC_SHA2_384",
        "dh-group": "CURVE_25519",
        "established": "62",
        "rekey-time": "14000",
        "child-sas": {},
    }
    assert decode_message(encode_message(section)) == section


def test_states_and_tasks(tunnel: TunnelPlan) -> None:
    for status, state in (
        (replace(IKE, task="rekey_ike"), "REKEYING"),
        (replace(IKE, state="connecting"), "CONNECTING"),
        (replace(IKE, state="closing", task="close"), "DELETING"),
    ):
        assert ike_section(tunnel, status, 1, NOW)["state"] == state
    assert ike_section(tunnel, replace(IKE, task="new_child"), 1, NOW)["tasks-active"] == [
        "CHILD_CREATE"
    ]
    connecting = ike_section(tunnel, TunnelIkeStatus("connecting", b"i" * 8), 1, NOW)
    assert not connecting.keys() & {"local-host", "encr-alg", "established", "rekey-time"}


def test_a_child_sa_has_strongswans_fields(tunnel: TunnelPlan) -> None:
    traffic = Traffic(SaStats(5, 420, 5, NOW - 3.2), SaStats(6, 500, 6, 0.0))
    assert child_section(tunnel, 2, CHILD, 9, traffic, NOW) == {
        "name": "office-1",
        "uniqueid": "9",
        "reqid": "33",
        "state": "INSTALLED",
        "mode": "TUNNEL",
        "protocol": "ESP",
        "encap": "yes",
        "spi-in": "0a0b0c0d",
        "spi-out": "c0000001",
        "encr-alg": "AES_GCM_16",
        "encr-keysize": "256",
        "dh-group": "CURVE_25519",
        "esn": "1",
        "bytes-in": "420",
        "packets-in": "5",
        "use-in": "3",
        "bytes-out": "500",
        "packets-out": "6",
        "rekey-time": "3000",
        "life-time": "4000",
        "install-time": "61",
        "local-ts": ["10.1.0.0/16"],
        "remote-ts": ["10.2.0.0/16", "10.3.0.0/16[tcp/443]"],
    }
    assert child_key(tunnel, CHILD, 9) == "office-1-9"


def test_times_that_are_never_are_left_out(tunnel: TunnelPlan) -> None:
    child = replace(CHILD, rekey_at=math.inf, hard_at=math.inf, encap=False, esn=False)
    section = child_section(tunnel, 1, child, 1, Traffic(), NOW)
    assert not section.keys() & {"rekey-time", "life-time", "encap", "esn", "use-in", "use-out"}
    assert (section["bytes-in"], section["packets-out"]) == ("0", "0")


SUITES = [
    (
        "aes256-sha256-modp2048",
        ProtocolId.IKE,
        "AES_CBC 256 HMAC_SHA2_256_128 PRF_HMAC_SHA2_256 MODP_2048",
    ),
    (
        "chacha20poly1305-prfsha512-ecp521",
        ProtocolId.IKE,
        "CHACHA20_POLY1305 PRF_HMAC_SHA2_512 ECP_521",
    ),
    ("aes128-sha512-ecp384-esn", ProtocolId.ESP, "AES_CBC 128 HMAC_SHA2_512_256 ECP_384"),
    ("aes256gcm16", ProtocolId.ESP, "AES_GCM_16 256"),
    ("aes256gcm16-x25519-ke2_mlkem1024", ProtocolId.ESP, "AES_GCM_16 256 CURVE_25519 ML_KEM_1024"),
    ("", ProtocolId.ESP, ""),
]


@pytest.mark.parametrize(("suite", "protocol", "words"), SUITES)
def test_algorithms_have_strongswans_names(suite: str, protocol: ProtocolId, words: str) -> None:
    assert " ".join(map(str, suite_section(suite, protocol).values())) == words


def test_every_algorithm_of_ours_has_a_name() -> None:
    for group in Group:
        assert group_name(group).startswith(("MODP_", "ECP_", "CURVE_", "ML_KEM_"))
    for proposal in (*DEFAULT_IKE, *DEFAULT_ESP):
        assert suite_section(str(proposal), ProtocolId(proposal.protocol))


def test_several_children_have_names_of_their_own(tunnel: TunnelPlan) -> None:
    further = (tunnel.ike.selectors[0], tunnel.ike.selectors[0])
    several = replace(tunnel, ike=replace(tunnel.ike, further=further))
    assert [child_name(several, slot) for slot in range(3)] == [
        "office-1/1",
        "office-1/2",
        "office-1/3",
    ]
    assert slots_named(several, "office-1") == (0, 1, 2)
    for_workers = replace(tunnel, ike=replace(tunnel.ike, resources=2))
    assert [child_name(for_workers, slot) for slot in range(3)] == ["office-1"] * 3
    assert slots_named(for_workers, "office-1") == (0, 1, 2)
    assert slots_named(several, "office-1/2") == (1,)
    assert slots_named(several, "office-1/4") == slots_named(tunnel, "office-1/1") == ()
    children = conn_section(several)["children"]
    assert list(children) == [child_name(several, slot) for slot in range(3)]


def test_a_connection_is_what_the_document_wants(tunnel: TunnelPlan) -> None:
    section = conn_section(tunnel)
    assert section["version"] == "IKEv2"
    assert section["local_addrs"] == [str(tunnel.local)]
    assert section["local-1"] == {"class": "pre-shared key", "id": str(tunnel.ike.local_id)}
    anybody = replace(tunnel, ike=replace(tunnel.ike, remote=None, remote_id=None))
    assert conn_section(anybody)["remote_addrs"] == ["%any"]
    assert conn_section(anybody)["remote-1"] == {"class": "pre-shared key", "id": "%any"}
    signed = replace(tunnel, ike=replace(tunnel.ike, credentials=Credentials(make_key("ed25519"))))
    assert conn_section(signed)["local-1"]["class"] == "public key"  # type: ignore[call-overload,index]
    assert tunnel.ike.psk is not None
    assert tunnel.ike.psk.reveal() not in encode_message(section)


def test_numbers_are_given_once_and_forgotten_when_gone() -> None:
    numbers = Numbers()
    assert [numbers.of(spi) for spi in (b"a", b"b", b"a")] == [1, 2, 1]
    numbers.keep([b"b", b"c"])
    assert len(numbers) == 1
    assert [numbers.of(spi) for spi in (b"b", b"a")] == [2, 3]


def test_counters_are_the_sums_of_ours() -> None:
    ours = {"rekey_child.done": 2, "rekey_child.answered": 3, "in.request.ike_sa_init": 7}
    section = counters_section(ours)
    assert section.keys() == COUNTERS.keys()
    assert len(section) == 21
    assert (section["child-rekey"], section["ike-init-in-req"]) == ("5", "7")
    assert section["info-out-resp"] == "0"


def test_stats_count_half_open_ike_sas() -> None:
    states = [TunnelIkeStatus(state) for state in ("idle", "connecting", "established")]
    section = stats_section("2 hours", "Nov 25 14:00:00 2026", 2, states)
    assert section["ikesas"] == {"total": "2", "half-open": "1"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7200, "2 hours"),
        (200000, "2 days"),
    ],
)
def test_time_spans_are_worded_as_strongswans(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_log_entries_have_groups_and_levels() -> None:
    section = log_section("ike_sa up", 6, {"tunnel": "office-1", "peer": "b", "text": "a b"}, 4)
    assert section == {
        "group": "IKE",
        "level": "1",
        "thread": "0",
        "ikesa-name": "office-1",
        "ikesa-uniqueid": "4",
        "msg": 'ike_sa up tunnel=office-1 peer=b text="a b"',
    }
    assert log_section("gateway up", 3, {}, None) == {
        "group": "DMN",
        "level": "0",
        "thread": "0",
        "msg": "gateway up",
    }
    assert log_section("dropped", 7, {}, None)["level"] == "2"
