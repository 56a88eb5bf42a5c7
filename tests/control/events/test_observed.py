"""Events that the store's history is: nodes, actions, credentials, secrets, sign-ins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.control.events.changes import events_of
from gateway.control.events.timeline import timed
from gateway.control.store.interface import Change, Commit, Key

NODE = "node-aaaaaaaaaa"
TUNNEL = "tun-aaaaaaaaaa"


def told(
    kind: str, id: str, before: Any, after: Any, actor: str = "system:nodes"
) -> list[tuple[str, str, str]]:
    """Return code, resource and text of what a commit of one change tells."""
    old, new = (json.dumps(one).encode() if one is not None else None for one in (before, after))
    commit = Commit(7, 1_764_086_400.0, actor, (Change(Key(kind, id), new, old),))
    return [(e.event.code, e.event.resource.id, e.event.text) for e in events_of(commit)]


def test_a_node_comes_and_goes_with_its_lease() -> None:
    lease: dict[str, object] = {"holder": NODE}
    assert told("lease", f"node:{NODE}", None, lease) == [("node_up", NODE, "Node reports")]
    assert told("lease", f"node:{NODE}", lease, lease) == []
    assert told("lease", f"node:{NODE}", lease, None) == [("node_lost", NODE, "Node lost")]
    assert told("lease", "alarms", lease, None) == []


def test_the_end_of_a_lease_that_nobody_has_timed_is_as_old_as_the_commit_before() -> None:
    times = [Commit(number, at, "a", ()) for number, at in enumerate((0.0, 7.0, 0.0, 9.0, 0.0))]
    assert [one.time for one in timed(times, 99.0)] == [7.0, 7.0, 7.0, 9.0, 9.0]
    assert [one.time for one in timed(times[:1], 99.0)] == [99.0]


def test_what_a_node_has_applied_and_refused() -> None:
    one, two = {"at": {"generation": 1}}, {"at": {"generation": 2}}
    assert told("state", NODE, one, two) == [("generation_applied", NODE, "generation 2")]
    assert told("state", NODE, two, {**two, "version": "1"}) == []
    problem = {"code": "document_refused", "text": "asn: must be a number"}
    assert told("state", NODE, two, {**two, "problem": problem}) == [
        ("generation_refused", NODE, "asn: must be a number")
    ]
    assert told("state", TUNNEL, one, two) == []


@pytest.mark.parametrize(("state", "code"), [("done", "action_done"), ("failed", "action_failed")])
def test_how_an_action_has_ended(state: str, code: str) -> None:
    spec = {"verb": "rekey", "tunnel": TUNNEL, "by": "user:ada"}
    begun = {"tenant": "main", "spec": spec, "allocated": {"node": NODE, "state": "pending"}}
    ended = {**begun, "allocated": {"node": NODE, "state": state, "text": "not up"}}
    assert told("action", "act-a", None, begun) == []
    assert told("action", "act-a", begun, ended) == [
        (code, TUNNEL, "rekey, asked for by user:ada: not up")
    ]
    assert told("action", "act-a", ended, ended) == []


def test_credentials_are_renewed_and_revoked() -> None:
    fresh = {"spec": {"node": NODE, "is_fresh": True}}
    assert [code for code, *_ in told("credential", "12", None, fresh)] == ["node_renewed"]
    assert told("credential", "12", fresh, None, "node:x") == []
    assert told("credential", "12", fresh, None, "user:ada") == [
        ("node_revoked", NODE, "a credential was revoked by user:ada")
    ]


def test_who_has_read_a_secret_and_who_has_signed_in() -> None:
    access = {"tenant": "main", "name": "office-1", "kind": "vpn_tunnel", "field": "psk"}
    assert told("access", TUNNEL, access, access, "token:tok-a") == [
        ("secret_revealed", TUNNEL, "psk was told to token:tok-a")
    ]
    session = {"tenant": "main", "name": "user:ada", "address": "192.0.2.1"}
    assert told("session", "s1", None, session, "user:ada") == [
        ("signed_in", "user:ada", "user:ada from 192.0.2.1")
    ]
    assert told("session", "s1", session, session) == []
