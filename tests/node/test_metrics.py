"""What Prometheus reads: every tunnel with all its series, whatever names and states there are."""

from __future__ import annotations

import time
from typing import Any

from gateway.node.failovers import Failovers
from gateway.node.metrics import metrics_text


def tunnel(name: str, **more: object) -> dict[str, Any]:
    return {
        "name": name,
        "title": None,
        "connection": "office",
        "border_gateway": "main",
        "status": "down",
        "admin": "up",
        "active": False,
        "reason": {"code": "peer_unreachable", "text": "no answer"},
        "since": 0.0,
        "ike": {"state": "idle"},
        "children": [],
        "mtu": None,
        "bgp": None,
        "probe": None,
        "round_trip": None,
        "rekeys": {"ike": 0, "child": 0},
        "in_bps": 0,
        "out_bps": 0,
        "drops": {},
        **more,
    }


def _neighbour(name: str, **states: bool | None) -> dict[str, Any]:
    return {"name": name, "kind": "direct_line", "border_gateway": "main", **states}


def status(*tunnels: dict[str, Any]) -> dict[str, Any]:
    return {
        "gateway": "gw",
        "version": "1",
        "since_s": 1.5,
        "notes": [],
        "connections": [
            {"name": "office", "border_gateway": "main", "ha_status": "redundancy", "working": 2}
        ],
        "tunnels": list(tunnels),
        "workers": [{"rx_packets": 7}, {"rx_packets": 8}],
        "neighbours": [
            _neighbour("leased", established=True, bfd_up=False),
            _neighbour("leased2", established=None, bfd_up=True),
        ],
        "counters": {
            "ike": {"sent": 3},
            "drops": {"replay": 1},
            "send_errors": {},
        },
    }


def samples(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(line.rsplit(" ", 1) for line in lines)


def test_a_tunnel_that_is_down_has_all_the_series_of_one_that_is_up() -> None:
    up = tunnel("t1", status="up", reason=None, in_bytes=10, ike={"age_s": 5, "attempts": 0})
    found = samples(metrics_text(status(up, tunnel("t2")), Failovers()))
    of_up = {name.replace('"t1"', '"t2"') for name in found if 'id="t1"' in name}
    of_down = {name for name in found if 'id="t2"' in name}
    plain = {name for name in of_up if "state=" not in name}
    assert plain == {name for name in of_down if "state=" not in name}
    labels = '{tunnel="t2",id="t2",connection="office",border_gateway="main"'
    assert found[f"twinspan_tunnel_up{labels}}}"] == "0"
    assert found[f'twinspan_tunnel_state{labels},state="down",reason="peer_unreachable"}}'] == "1"


def test_any_name_is_one_label() -> None:
    odd = tunnel("t", title='a"b\\c\nd', drops={"icv": 4})
    found = samples(metrics_text(status(odd), Failovers()))
    labels = r'{tunnel="a\"b\\c\nd",id="t",connection="office",border_gateway="main"'
    assert found[f'twinspan_tunnel_drops_total{labels},reason="icv"}}'] == "4"


def test_a_thousand_tunnels_are_written_in_well_under_a_fifth_of_a_second() -> None:
    many = status(*(tunnel(f"t{number}") for number in range(1000)))
    began = time.process_time()
    text = metrics_text(many, Failovers())
    used = time.process_time() - began
    assert text.count("\ntwinspan_tunnel_up{") == 1000
    assert used < 1.0  # 0.02 s; never a matter of how busy the machine is


LABELS = 'tunnel="t",id="t",connection="office",border_gateway="main"'
INSIDE = {
    "state": "answered",
    "by": "icmp",
    "rtt_ms": 12.5,
    "min_ms": 12.0,
    "max_ms": 14.25,
    "jitter_ms": 0.5,
    "loss_percent": 2.5,
}


def test_round_trip_and_loss_are_told_of_both_sides() -> None:
    outside = dict.fromkeys(INSIDE, None) | {"state": "no_answer"}
    both = tunnel("t", round_trip={"inside": INSIDE, "outside": outside})
    found = samples(metrics_text(status(both), Failovers()))
    wanted = {
        "rtt_seconds": ("0.0125", "NaN"),
        "rtt_min_seconds": ("0.012", "NaN"),
        "rtt_max_seconds": ("0.01425", "NaN"),
        "rtt_jitter_seconds": ("0.0005", "NaN"),
        "loss_ratio": ("0.025", "NaN"),
        "answered": ("1", "0"),
    }
    for name, values in wanted.items():
        for path, value in zip(("inside", "outside"), values, strict=True):
            assert found[f'twinspan_tunnel_{name}{{{LABELS},path="{path}"}}'] == value


def test_a_tunnel_that_is_not_measured_has_the_series_all_the_same() -> None:
    found = samples(metrics_text(status(tunnel("t")), Failovers()))
    assert found[f'twinspan_tunnel_rtt_seconds{{{LABELS},path="inside"}}'] == "NaN"


def test_rekeys_drops_and_workers_are_counted() -> None:
    one = tunnel("t", rekeys={"ike": 2, "child": 7}, drops={"icv": 4, "replay": 1})
    found = samples(metrics_text(status(one), Failovers()))
    assert found[f'twinspan_tunnel_rekeys_total{{{LABELS},sa="child"}}'] == "7"
    assert found[f"twinspan_tunnel_dropped_packets_total{{{LABELS}}}"] == "5"
    assert found['twinspan_worker_total{worker="1",counter="rx_packets"}'] == "8"


def test_failovers_are_a_histogram_of_each_connection_from_the_first_scrape_on() -> None:
    failovers, labels = Failovers(), 'connection="office",id="office",border_gateway="main"'
    name = "twinspan_connection_failover_silence_seconds"
    assert samples(metrics_text(status(), failovers))[f"{name}_count{{{labels}}}"] == "0"
    for silent_s in (0.75, 3.0, None):
        failovers.add("office", silent_s)
    found = samples(metrics_text(status(), failovers))
    assert found[f'{name}_bucket{{{labels},le="0.5"}}'] == "0"
    assert found[f'{name}_bucket{{{labels},le="1"}}'] == "1"
    assert found[f'{name}_bucket{{{labels},le="+Inf"}}'] == "2"
    assert found[f"{name}_sum{{{labels}}}"] == "3.75"
    assert found[f"twinspan_connection_failovers_total{{{labels}}}"] == "3"
    failovers.keep(frozenset())
    assert samples(metrics_text(status(), failovers))[f"{name}_count{{{labels}}}"] == "0"


def test_lines_have_their_sessions() -> None:
    found = samples(metrics_text(status(), Failovers()))
    wanted = {("bgp_established", "leased"): "1", ("bfd_up", "leased"): "0"}
    wanted |= {("bfd_up", "leased2"): "1"}
    told = {name: value for name, value in found.items() if "_neighbour_" in name}
    rest = 'kind="direct_line",border_gateway="main"'
    assert told == {
        f'twinspan_neighbour_{what}{{name="{name}",{rest}}}': value
        for (what, name), value in wanted.items()
    }


def test_bfd_that_is_not_wanted_is_not_down() -> None:
    session = {"state": "established", "bfd": "off"}
    text = metrics_text(status(tunnel("t", bgp=session)), Failovers())
    assert "twinspan_tunnel_bfd_up{" not in text


def test_set_ups_that_are_refused_or_fail_are_told_by_reason() -> None:
    told = status()
    told["counters"]["ike"] |= {
        "refused.authentication_failed": 4,
        "refused.certificate_revoked": 1,
        "failed.peer_unreachable": 2,
        "drop.unknown_peer": 9,
        "drop.bad_icv": 5,
    }
    found = samples(metrics_text(told, Failovers()))
    assert {name: value for name, value in found.items() if "_ike_refused_total" in name} == {
        'twinspan_ike_refused_total{reason="authentication_failed"}': "4",
        'twinspan_ike_refused_total{reason="identity_mismatch"}': "0",
        'twinspan_ike_refused_total{reason="no_proposal_chosen"}': "0",
        'twinspan_ike_refused_total{reason="certificate_revoked"}': "1",
        'twinspan_ike_refused_total{reason="unknown_peer"}': "9",
        'twinspan_ike_refused_total{reason="half_open_limit"}': "0",
    }
    assert found['twinspan_ike_failed_total{reason="peer_unreachable"}'] == "2"
