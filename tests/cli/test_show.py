"""What `status` and `explain` print, from the JSON a gateway answers with."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.client import Json
from gateway.cli.show import explain_lines, status_lines
from gateway.cli.table import amount, duration, paint, table, width_of

UP: Json = {
    "name": "office-1",
    "connection": "office",
    "border_gateway": "main",
    "interface": "ts-office-1",
    "admin": "up",
    "status": "up",
    "reason": None,
    "refused": [],
    "local": "192.0.2.1",
    "remote": "203.0.113.9",
    "since_s": 3725.0,
    "ike": {
        "state": "established",
        "suite": "aes256gcm16-prfsha384-x25519-ke1_mlkem768",
        "post_quantum": True,
        "spi_i": "01",
    },
    "children": [{"spi_in": "0x00500001", "suite": "aes256gcm16-esn", "local_ts": ["::/0"]}],
    "in_bytes": 12_300_000,
    "out_bytes": 999,
    "in_packets": 10,
    "out_packets": 20,
    "in_bps": 1_500_000_000,
    "out_bps": 0,
    "drops": {"replay": 2, "icv": 1},
    "mtu": 1438,
    "active": True,
    "standing": "normal",
    "causes": [],
    "wanted": {"local_id": "a.gw.test", "routes": ["10.20.0.0/16 metric 100"]},
}
DOWN: Json = {
    **UP,
    "name": "office-2",
    "status": "connecting",
    "active": False,
    "ike": {"state": "connecting"},
    "children": [],
    "drops": {},
    "mtu": None,
    "reason": {
        "code": "no_proposal_chosen",
        "text": "no proposal in common for ESP",
        "ours": "aes256gcm16",
        "theirs": "3des-sha1",
        "hint": "make the ESP proposals of both ends overlap",
    },
}
STATUS: Json = {
    "gateway": "gw1",
    "pid": 42,
    "since_s": 90061.0,
    "connections": [{"name": "office", "ha_status": "no_redundancy"}],
    "tunnels": [UP, DOWN],
    "notes": ["forwarding is off"],
    "counters": {},
}


def test_status_is_a_table_that_says_why_a_tunnel_is_down() -> None:
    lines = status_lines(STATUS, colours=False)

    assert lines[0] == "gw1: 1 of 2 tunnels up, pid 42, since 1d 1h"
    assert lines[1].split() == [
        *("CONNECTION", "HA", "TUNNEL", "STATE", "LOCAL", "REMOTE", "SUITE", "PQ", "SINCE"),
        *("IN", "OUT", "RECEIVED", "SENT", "DROPS"),
    ]
    assert "office      no_redundancy  office-1  up*" in lines[2]
    assert "aes256gcm16-esn  yes  1h 2m  1.50 Gbit/s  0 bit/s   12.3 MB  999 B      3" in lines[2]
    assert "office-2  connecting" in lines[3]
    assert lines[4] == (
        "office-2: no_proposal_chosen: no proposal in common for ESP"
        " (ours: aes256gcm16; theirs: 3des-sha1); make the ESP proposals of both ends overlap"
    )
    assert lines[5] == "note: forwarding is off"


def test_a_line_has_the_beginning_of_a_long_list_and_the_whole_hint() -> None:
    ours = ", ".join(["aes256gcm16-aes128gcm16-x25519-ecp384"] * 9)
    reason = {**DOWN["reason"], "ours": ours}  # type: ignore[dict-item]  # a table
    line = status_lines({**STATUS, "tunnels": [UP, {**DOWN, "reason": reason}]}, colours=False)[4]
    assert f"(ours: {ours[:120]}...; theirs: 3des-sha1)" in line
    assert line.endswith("; make the ESP proposals of both ends overlap")


PROBE: Json = {
    "state": "healthy",
    "since_s": 12.0,
    "address": "169.254.10.2",
    "interval_ms": 200,
    "missing": 3,
    "rtt_ms": 21.5,
    "rtt_mean_ms": 20.04,
    "loss_percent": 2.0,
}


def test_status_shows_probes_where_a_tunnel_has_them() -> None:
    fresh = {**PROBE, "state": "unanswered", "rtt_ms": None, "rtt_mean_ms": None}
    tunnels = [{**UP, "probe": PROBE}, {**UP, "probe": {**fresh, "loss_percent": None}}, UP]
    lines = status_lines({**STATUS, "tunnels": tunnels}, colours=False)
    assert lines[1].split()[3:6] == ["STATE", "PROBE", "LOCAL"]
    assert "up*    healthy, 20.0 ms, 2% lost  192.0.2.1" in lines[2]
    assert "up*    unanswered                 192.0.2.1" in lines[3]
    assert "up*    -                          192.0.2.1" in lines[4]


def test_explain_shows_the_probe() -> None:
    lines = explain_lines({**UP, "probe": PROBE})
    assert "  probe     state = healthy" in lines
    assert "  probe     address = 169.254.10.2" in lines


def test_explain_shows_what_is_measured() -> None:
    inside = {"state": "answered", "by": "icmp", "rtt_ms": 12.34, "loss_percent": 0.0}
    outside = {"state": "no_answer", "by": "icmp", "rtt_ms": None, "loss_percent": None}
    both: Json = {"inside": inside, "outside": outside}
    lines = explain_lines({**UP, "round_trip": both})
    assert "  inside    rtt_ms = 12.34" in lines
    assert "  outside   state = no_answer" in lines
    assert not any(line.startswith("  outside   loss") for line in lines)


def test_columns_stand_below_each_other_with_colours_too() -> None:
    plain = status_lines(STATUS, colours=False)
    coloured = status_lines(STATUS, colours=True)
    assert "\x1b[32mup*\x1b[0m" in coloured[2]
    assert [width_of(line) for line in coloured] == [len(line) for line in plain]


def test_a_tunnel_taken_down_by_an_operator_says_so() -> None:
    tunnel = {**copy.deepcopy(DOWN), "admin": "down", "status": "down"}
    lines = status_lines({**STATUS, "tunnels": [tunnel]}, colours=False)
    assert "down (admin down)" in lines[2]


def test_a_tunnel_that_must_not_carry_traffic_says_why() -> None:
    held = {**UP, "name": "office-2", "standing": "withdrawn", "causes": ["failback", "probe"]}
    lines = status_lines({**STATUS, "tunnels": [UP, held]}, colours=False)
    words = "it was down, traffic stays where it is; nobody answers through it"
    assert lines[4] == f"office-2: carries no traffic: {words}"
    assert f"  standing  carries no traffic: {words}" in explain_lines(held)


def test_another_data_plane_process_is_named_with_what_it_cost() -> None:
    replaced = {"tunnels": 3, "renewed": 2, "silent_s": 0.152, "at": 1795649396.2}
    lines = status_lines({**STATUS, "data_plane_replaced": replaced}, colours=False)
    (line,) = [line for line in lines if line.startswith("data plane replaced at 20")]
    assert line.endswith(": 2 of 3 tunnels have new keys, silent for 0.152 s at most")
    assert not [line for line in status_lines(STATUS, colours=False) if "replaced" in line]


def test_a_gateway_without_tunnels_has_one_line() -> None:
    lines = status_lines({**STATUS, "tunnels": [], "notes": []}, colours=False)
    assert lines == ["gw1: 0 of 0 tunnels up, pid 42, since 1d 1h"]


def test_explain_shows_both_sides_sas_routes_and_drops() -> None:
    text = "\n".join(explain_lines(UP))
    assert "office-1 of office: admin up, up since 1h 2m, carries traffic" in text
    assert "device    ts-office-1, MTU 1438 bytes" in text
    assert "child     spi_in = 0x00500001" in text
    assert "wanted    routes = 10.20.0.0/16 metric 100" in text
    assert "drops     replay 2, icv 1" in text


def test_explain_says_why_with_both_ends_values() -> None:
    lines = explain_lines(DOWN)
    assert lines[1:5] == [
        "  why       no_proposal_chosen: no proposal in common for ESP",
        "  ours      aes256gcm16",
        "  theirs    3des-sha1",
        "  hint      make the ESP proposals of both ends overlap",
    ]
    assert "  drops     none" in lines


def test_a_rekey_that_the_peer_refuses_is_shown_though_the_tunnel_is_up() -> None:
    refused: Json = {**UP, "refused": [DOWN["reason"]]}
    assert explain_lines(refused)[1:5] == [
        "  refused   no_proposal_chosen: no proposal in common for ESP; it is tried again",
        "  ours      aes256gcm16",
        "  theirs    3des-sha1",
        "  hint      make the ESP proposals of both ends overlap",
    ]
    lines = status_lines({**STATUS, "tunnels": [refused], "notes": []}, colours=False)
    assert lines[-1] == (
        "office-1: a rekey is refused, tried again: no_proposal_chosen: no proposal in common for "
        "ESP (ours: aes256gcm16; theirs: 3des-sha1); make the ESP proposals of both ends overlap"
    )


def test_a_pair_without_child_sa_is_shown_though_the_tunnel_is_up() -> None:
    sides: Json = {"local_ts": ["10.1.1.0/24"], "remote_ts": ["10.2.1.0/24"]}
    counts: Json = {"in_packets": 12, "out_packets": 14, "in_bytes": 1, "out_bytes": 1}
    well: Json = {**sides, "status": "up", "reason": None, **counts}
    missing: Json = {**sides, "status": "down", "reason": DOWN["reason"], **counts}
    waiting: Json = {**missing, "reason": None}
    tunnel: Json = {**UP, "pairs": [well, missing, waiting]}
    lines = status_lines({**STATUS, "tunnels": [tunnel], "notes": []}, colours=False)
    first = "office-1: no Child SA for 10.1.1.0/24 === 10.2.1.0/24"
    assert lines[-2].startswith(f"{first}: no_proposal_chosen: no proposal in common")
    assert lines[-1] == first
    explained = explain_lines(tunnel)
    assert "  pair      10.1.1.0/24 === 10.2.1.0/24: up, 12 packets received, 14 sent" in explained
    assert explained.count("  pair      10.1.1.0/24 === 10.2.1.0/24: down") == 2
    down: Json = {**tunnel, "status": "down", "reason": DOWN["reason"]}
    assert not any(
        "no Child SA" in line for line in status_lines({**STATUS, "tunnels": [down]}, colours=False)
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_996, "10.0 kB"),
        (12_345, "12.3 kB"),
        (999_600, "1.00 MB"),
        (123_456_789, "123 MB"),
        (4.2e12, "4.20 TB"),
    ],
)
def test_amounts_have_three_digits(value: float, text: str) -> None:
    assert amount(value, "B") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m 0s"), (3600, "1h 0m"), (90061, "1d 1h")],
)
def test_durations_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.lists(st.lists(st.text("ab c\x1b", max_size=5), min_size=2, max_size=2), max_size=4))
def test_any_cells_make_a_table(rows: list[list[str]]) -> None:
    assert len(table(("A", ">B"), rows)) == len(rows) + 1


def test_without_colours_nothing_is_painted() -> None:
    assert paint("up", "green", colours=False) == "up"
