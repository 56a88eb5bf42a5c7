"""The pictures are well formed, whatever names people give, and say in words what they show."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis.strategies import text

from gateway.control.console import picture, states
from gateway.control.console.picture import SHOWN, Scene


def tunnel(number: int, operational: str, name: str = "t") -> dict[str, Any]:
    status = {"admin": "up", "operational": operational, "reason": None}
    return {
        "id": f"tun-{number}",
        "name": name,
        "vpn_connection": f"conn-{number}",
        "status": status,
    }


def scene(count: int, name: str = "office", down: int = -1) -> Scene:
    connections = [
        {
            "id": f"conn-{at}",
            "name": f"{name}{at:04}",
            "border_gateway": "bgw-1",
            "customer_gateway": "cgw-1",
        }
        for at in range(count)
    ]
    return Scene(
        gateways=[{"id": "bgw-1", "name": name, "asn": 65000}],
        attachments=[{"id": "att-1", "name": name, "border_gateway": "bgw-1", "cidrs": []}],
        customers={"cgw-1": {"id": "cgw-1", "name": name, "asn": 65001}},
        connections=connections,
        tunnels={
            f"conn-{at}": [tunnel(at, "down" if at == down else "up", name)] for at in range(count)
        },
    )


@given(text(max_size=40))
def test_any_name_gives_a_picture_that_a_browser_reads(name: str) -> None:
    clean = "".join(c for c in name if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF)
    root = ET.fromstring(str(picture.topology(scene(2, clean))))
    assert root.tag.endswith("svg") or root.tag == "svg"
    assert {one.get("data-tunnel") for one in root.iter() if one.get("data-tunnel")} == {
        "tun-0",
        "tun-1",
    }


def test_of_very_many_connections_those_that_need_somebody_are_shown() -> None:
    text_of = str(picture.topology(scene(1000, down=777)))
    assert "/console/vpn-connections/conn-777" in text_of
    assert text_of.count("data-tunnel") == SHOWN
    assert f"and {1000 - SHOWN} connections more" in text_of
    assert "1000 connections with 1000 tunnels, 999 of them up" in text_of


def test_tunnels_begin_at_the_node_that_carries_them() -> None:
    carried = {
        f"conn-{at}": [tunnel(at, "up") | {"node": f"node-{name}"}]
        for at, name in enumerate(("gw-a", "gw-b"))
    }
    seen = replace(scene(2), tunnels=carried)
    nodes: dict[str, dict[str, Any]] = {
        f"node-{name}": {"id": f"node-{name}", "name": name, "status": {"operational": state}}
        for name, state in (("gw-a", "up"), ("gw-b", "lost"), ("gw-c", "up"))
    }
    shown = str(picture.topology(replace(seen, nodes=nodes)))
    root = ET.fromstring(shown)
    places = [one.get("href") for one in root.iter("a") if "/nodes/" in str(one.get("href"))]
    assert places == ["/console/nodes/node-gw-a", "/console/nodes/node-gw-b"]  # gw-c has none
    assert "node gw-b: lost" in shown
    starts = {
        str(one.get("d")).partition(" ")[0]
        for one in root.iter("path")
        if one.get("data-tunnel") is not None
    }
    assert len(starts) == 2
    assert all(start.startswith("M634,") for start in starts)  # the right end of a node
    assert "/nodes/" not in str(picture.topology(seen))  # a tenant sees none


def test_a_time_line_covers_only_what_is_known() -> None:
    root = ET.fromstring(str(picture.timeline([(50.0, 75.0, "up"), (0.0, 20.0, "down")], 0, 100)))
    bars = [(one.get("class"), one.get("x"), one.get("width")) for one in root.iter("rect")]
    assert bars == [
        ("unknown", None, "960"),
        ("up", "480.0", "240.0"),
        ("down", "0.0", "192.0"),
    ]


def test_keys_are_written_as_people_write_them() -> None:
    assert [states.label(key) for key in ("bgp_hold_s", "vpn_connection", "cordoned", "asn")] == [
        "BGP hold (s)",
        "VPN connection",
        "Cordoned",
        "AS number",
    ]


def test_numbers_are_as_people_read_them() -> None:
    assert [states.bits(n) for n in (None, 0, 999, 1000, 123456789)] == [
        "-",
        "0 bit/s",
        "999 bit/s",
        "1 kbit/s",
        "123 Mbit/s",
    ]
    assert [states.span(n) for n in (None, 0, 59, 3661, 90061)] == [
        "-",
        "0 s",
        "59 s",
        "1 h 1 min",
        "1 d 1 h",
    ]
