"""
Events that commits are which no person has made: nodes that come and go, what they have applied,
actions they have carried out, credentials, sign-ins. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.control.events.kept import Kept
from gateway.control.store.interface import LEASE, Change, Commit
from gateway.model.codes import CODES, hint_of
from gateway.model.events import Event, Resource, clean

Table = Mapping[str, Any]
_NODE_LEASE = "node:"
_NODE = "node-"  # how the ids of nodes begin
_PEOPLE = ("user:", "token:", "local:")


def observed(commit: Commit) -> Iterator[Kept]:
    """Yield what a commit says has happened."""
    for change in commit.changes:
        see = _SEEN.get(change.key.kind)
        if see is not None:
            yield from see(commit, change)


def _nodes(commit: Commit, change: Change) -> Iterator[Kept]:
    """A node's lease begins with its first report and ends 15 s after the last."""
    if not change.key.id.startswith(_NODE_LEASE):
        return
    node = change.key.id.removeprefix(_NODE_LEASE)
    if change.before is None:
        yield _event(commit, "node_up", Resource("node", node, node), node=node)
    elif change.value is None:
        yield _event(commit, "node_lost", Resource("node", node, node), node=node)


def _states(commit: Commit, change: Change) -> Iterator[Kept]:
    """A node's state says which generation it has applied, and why not the newest."""
    after, before, node = _table(change.value), _table(change.before), change.key.id
    if not node.startswith(_NODE) or not after:
        return
    resource = Resource("node", node, node)
    applied = (after.get("at") or {}).get("generation")
    if applied and applied != (before.get("at") or {}).get("generation"):
        yield _event(commit, "generation_applied", resource, f"generation {applied}", node=node)
    why = after.get("problem") or {}
    if why and why != before.get("problem"):
        text = str(why.get("text", ""))
        reason = str(why.get("code", ""))
        yield _event(commit, "generation_refused", resource, text, node=node, reason=reason)


def _actions(commit: Commit, change: Change) -> Iterator[Kept]:
    after, before = _table(change.value), _table(change.before)
    now, spec = after.get("allocated") or {}, after.get("spec") or {}
    is_ended = now.get("state") != (before.get("allocated") or {}).get("state")
    code = {"done": "action_done", "failed": "action_failed"}.get(str(now.get("state")))
    if code is None or not is_ended or not before or spec.get("verb") == "explain":
        return
    tunnel = str(spec.get("tunnel"))
    text = f"{spec.get('verb')}, asked for by {spec.get('by')}"
    text += f": {now['text']}" if now.get("text") else ""
    resource = Resource("vpn_tunnel", tunnel, tunnel)
    tenant, node = str(after.get("tenant", "")), str(now.get("node", ""))
    yield _event(commit, code, resource, text, tenant=tenant, node=node)


def _credentials(commit: Commit, change: Change) -> Iterator[Kept]:
    after, before = _table(change.value), _table(change.before)
    spec = (after or before).get("spec") or {}
    node = str(spec.get("node", ""))
    resource = Resource("node", node, node)
    if not before and spec.get("is_fresh"):
        yield _event(commit, "node_renewed", resource, node=node)
    if not after and commit.actor.startswith(_PEOPLE):
        text = f"a credential was revoked by {commit.actor}"
        yield _event(commit, "node_revoked", resource, text, node=node)


def _accesses(commit: Commit, change: Change) -> Iterator[Kept]:
    """Who has read a secret is written down each time anew."""
    after = _table(change.value)
    if after:
        resource = Resource(
            clean(after.get("kind")), clean(after.get("name")), clean(change.key.id)
        )
        text = f"{after.get('field')} was told to {commit.actor}"
        tenant = str(after.get("tenant", ""))
        yield _event(commit, "secret_revealed", resource, text, tenant=tenant)


def _sessions(commit: Commit, change: Change) -> Iterator[Kept]:
    after = _table(change.value)
    if after and change.before is None:
        who = clean(after.get("name"))
        text = f"{who} from {clean(after.get('address')) or 'this machine'}"
        resource, tenant = Resource("user", who, who), str(after.get("tenant", ""))
        yield _event(commit, "signed_in", resource, text, tenant=tenant)


_SEEN: Mapping[str, Callable[[Commit, Change], Iterator[Kept]]] = {
    LEASE: _nodes,
    "state": _states,
    "action": _actions,
    "credential": _credentials,
    "access": _accesses,
    "session": _sessions,
}


def _event(
    commit: Commit,
    code: str,
    resource: Resource,
    text: str = "",
    *,
    tenant: str = "",
    node: str = "",
    reason: str = "",
) -> Kept:
    known = CODES[code]
    said = clean(text) or known.title
    hint = hint_of(reason, code)
    event = Event(
        commit.time,
        code,
        known.severity,
        resource,
        said,
        reason,
        hint=hint,
        sequence=commit.revision,
    )
    return Kept(event, tenant, node)


def _table(value: bytes | None) -> Table:
    found = json.loads(value) if value is not None else {}
    return found if isinstance(found, dict) else {}
