"""What Prometheus reads: every tunnel with all its series, whatever names and states there are."""

from __future__ import annotations

import time
from typing import Any

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
        "in_bps": 0,
        "out_bps": 0,
        "drops": {},
        **more,
    }


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
        "counters": {"ike": {"sent": 3}, "workers": {}, "drops": {"replay": 1}, "send_errors": {}},
    }


def samples(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(line.rsplit(" ", 1) for line in lines)


def test_a_tunnel_that_is_down_has_all_the_series_of_one_that_is_up() -> None:
    up = tunnel("t1", status="up", reason=None, in_bytes=10, ike={"age_s": 5, "attempts": 0})
    found = samples(metrics_text(status(up, tunnel("t2"))))
    of_up = {name.replace('"t1"', '"t2"') for name in found if 'id="t1"' in name}
    of_down = {name for name in found if 'id="t2"' in name}
    plain = {name for name in of_up if "state=" not in name}
    assert plain == {name for name in of_down if "state=" not in name}
    labels = '{tunnel="t2",id="t2",connection="office",border_gateway="main"'
    assert found[f"twinspan_tunnel_up{labels}}}"] == "0"
    assert found[f'twinspan_tunnel_state{labels},state="down",reason="peer_unreachable"}}'] == "1"


def test_any_name_is_one_label() -> None:
    odd = tunnel("t", title='a"b\\c\nd', drops={"icv": 4})
    found = samples(metrics_text(status(odd)))
    labels = r'{tunnel="a\"b\\c\nd",id="t",connection="office",border_gateway="main"'
    assert found[f'twinspan_tunnel_drops_total{labels},reason="icv"}}'] == "4"


def test_a_thousand_tunnels_are_written_in_well_under_a_fifth_of_a_second() -> None:
    many = status(*(tunnel(f"t{number}") for number in range(1000)))
    began = time.process_time()
    text = metrics_text(many)
    used = time.process_time() - began
    assert text.count("\ntwinspan_tunnel_up{") == 1000
    assert used < 1.0  # 0.02 s; never a matter of how busy the machine is
