"""
Exchanges with a strongSwan that has ML-KEM, as `lab/record.py` has recorded them: its AUTH over
IKE_INTERMEDIATE, its ciphertexts, its keys after rekeys, and our own messages byte for byte.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path as File
from typing import Any

import pytest

from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import ChildSaUp, Event, Failed, IkeSaUp, Send
from gateway.sa import Path
from lab.record import PPK, RECORDED, Draws, config
from tests.support.tap import FOLLOWUP, INTERMEDIATE, Tap

DIRECTORY = File(__file__).parents[1] / "vectors" / "pq"
Recording = dict[str, Any]


def load(name: str) -> Recording:
    found = json.loads((DIRECTORY / f"{name}.json").read_text())
    assert isinstance(found, dict)
    return found


def again(recording: Recording) -> list[Event]:
    """Let the core do the same with what it drew then; return what it says."""
    endpoint = IkeEndpoint(Draws(recording["draws"], is_again=True), 0.0)
    tunnel = config(recording["exchange"], recording["ppk"])
    events: list[Event] = []
    for step in recording["steps"]:
        now = step["now"]
        match step["call"]:
            case "configure":
                made = endpoint.configure([tunnel], now)
            case "receive":
                ports = step["ports"]
                path = Path(ip_address("192.0.2.1"), ports[0], ip_address("192.0.2.2"), ports[1])
                made = endpoint.receive(bytes.fromhex(step["datagram"]), path, now)
            case "on_time":
                made = endpoint.on_time(now)
            case name:
                made = getattr(endpoint, name)(tunnel.name, now)
        sent = [event.datagram.hex() for event in made if isinstance(event, Send)]
        assert sent == step["sent"], step["call"]
        events += made
    return events


def tap_of(recording: Recording) -> Tap:
    """Return a listener that knows what our end drew, and has heard all."""
    privates = [
        (int(kind.split()[1]), bytes.fromhex(value))
        for kind, values in recording["draws"].items()
        if kind.startswith("private")
        for value in values
    ]
    tap = Tap(recording["psk"].encode(), privates, bytes.fromhex(PPK.removeprefix("0x")))
    for step in recording["steps"]:
        for datagram in ([step["datagram"]] if step["call"] == "receive" else []) + step["sent"]:
            tap.feed(bytes.fromhex(datagram))
    return tap


@pytest.mark.parametrize("name", RECORDED)
def test_the_core_does_the_same_once_more(name: str) -> None:
    recording = load(name)
    assert recording["made_with"].startswith("strongSwan 6.")
    events = again(recording)
    assert not [event for event in events if isinstance(event, Failed)]
    suites = [event.suite for event in events if isinstance(event, IkeSaUp)]
    assert suites == [f"aes256gcm16-prfsha384-{RECORDED[name]}"] * 2
    children = [event.suite for event in events if isinstance(event, ChildSaUp)]
    assert children == ["aes256gcm16", *[f"aes256gcm16-{RECORDED[name]}"] * 2]


@pytest.mark.parametrize("name", RECORDED)
def test_strongswans_auth_and_all_keys_are_those_of_the_rfcs(name: str) -> None:
    recording = load(name)
    tap = tap_of(load(name))
    exchanges = RECORDED[name].count("_")
    assert tap.verified == [*(["ppk"] if recording["ppk"] else []), "auth"]
    assert tap.exchanges.count(INTERMEDIATE) == 2 * exchanges
    assert tap.exchanges.count(FOLLOWUP) == 3 * 2 * exchanges
    children = [event for event in again(recording) if isinstance(event, ChildSaUp)]
    assert len(children) == 3
    for up in children:
        assert up.inbound.encr_key.reveal() == tap.child_keys[up.inbound.spi]
        assert up.outbound.encr_key.reveal() == tap.child_keys[up.outbound.spi]
