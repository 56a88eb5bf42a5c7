"""`twinspan events` for a person; the gateway's part is tested with the gateway."""

from __future__ import annotations

import os
import time

import pytest

from gateway.cli.events import RING, event_lines, titles_of
from gateway.model.codes import Severity
from gateway.model.events import Event, Resource
from gateway.node import event_log


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TZ", "UTC")
    time.tzset()


def test_an_event_that_matters_has_both_ends_values_and_a_hint() -> None:
    event = Event(
        1764086400.25,
        "tunnel_down",
        Severity.WARNING,
        Resource("vpn_tunnel", "office-1"),
        "no proposal in common for IKE",
        "no_proposal_chosen",
        "aes256gcm16-prfsha384-x25519",
        "3des-sha1-modp1024",
        "make the proposals overlap",
    )
    assert event_lines(event.as_json(), {}) == [
        "2025-11-25 16:00:00.250 warning office-1 tunnel_down [no_proposal_chosen]:"
        " no proposal in common for IKE",
        "    ours: aes256gcm16-prfsha384-x25519",
        "    theirs: 3des-sha1-modp1024",
        "    hint: make the proposals overlap",
    ]


def test_an_event_as_it_should_be_is_one_line() -> None:
    event = Event(0.0, "gateway_up", Severity.INFO, Resource("node", "gw1"), "Gateway up")
    assert event_lines(event.as_json(), {}) == [
        "1970-01-01 00:00:00.000 info    gw1 gateway_up: Gateway up"
    ]


def test_what_people_have_named_is_called_so() -> None:
    titles = titles_of(
        {
            "tunnels": [{"name": "tun-a1", "title": "office-1"}, {"name": "tun-a2", "title": ""}],
            "connections": [{"name": "conn-b1", "title": "office"}],
        }
    )
    text = "Traffic has moved (left tun-a1, by tun-a2)"
    event = Event(0.0, "switchover", Severity.INFO, Resource("vpn_connection", "conn-b1"), text)
    assert event_lines(event.as_json(), titles) == [
        "1970-01-01 00:00:00.000 info    office switchover:"
        " Traffic has moved (left office-1, by tun-a2)"
    ]


def test_as_many_can_be_asked_for_as_a_node_keeps() -> None:
    assert RING == event_log.RING
