"""
An alarm as the store keeps it. Pure.

There is one object for each code and resource, whose id is made of both, so two processes can not
raise the same alarm twice. It stays when it is cleared, for some time, and is raised again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from gateway.control.alarms.judge import Condition, Name
from gateway.control.resources.kinds import ID_CHARACTERS, ID_LEN
from gateway.control.resources.record import Record, Table
from gateway.control.store.interface import Key
from gateway.model.codes import hint_of, severity_of
from gateway.model.events import Resource

KIND = "alarm"
RAISED, CLEARED = "raised", "cleared"


def alarm_key(name: Name) -> Key:
    """Return the name in the store of the alarm for a code and a resource."""
    digest = hashlib.sha256("\0".join(name).encode()).digest()
    return Key(KIND, "alarm-" + "".join(ID_CHARACTERS[byte & 31] for byte in digest[:ID_LEN]))


def name_of(alarm: Record) -> Name:
    """Return the code and the resource of an alarm."""
    resource = alarm.value.get("resource") or {}
    return (str(alarm.value.get("code")), str(resource.get("kind")), str(resource.get("id")))


def is_raised(alarm: Record) -> bool:
    """Say whether an alarm is raised."""
    return alarm.value.get("state") == RAISED


def raised(condition: Condition, before: Record | None, now: float) -> Table:
    """Return an alarm's value when its condition holds; `before` is the one of an earlier time."""
    resource = condition.resource
    return {
        "tenant": condition.tenant,
        "code": condition.code,
        "severity": severity_of(condition.code).value,
        "resource": {"kind": resource.kind, "name": resource.name, "id": resource.id},
        "text": condition.text,
        "reason": condition.reason,
        "hint": hint_of(condition.reason, condition.code),
        "node": condition.node,
        "state": RAISED,
        "since": min(condition.since or now, now),
        "raised_at": now,
        "cleared_at": None,
        "acknowledged_at": None,
        "acknowledged_by": "",
        "count": int(before.value.get("count", 0)) + 1 if before is not None else 1,
        "told": "",
    }


def cleared(alarm: Record, now: float) -> Table:
    """Return an alarm's value when its condition is over."""
    return {**alarm.value, "state": CLEARED, "cleared_at": now}


def condition_of(alarm: Record) -> Condition:
    """Return the condition of an alarm that was raised."""
    value: Mapping[str, Any] = alarm.value
    found = value.get("resource") or {}
    resource = Resource(str(found.get("kind")), str(found.get("name")), str(found.get("id")))
    return Condition(
        str(value.get("code")),
        resource,
        alarm.tenant,
        str(value.get("text", "")),
        float(value.get("since") or 0.0),
        str(value.get("reason", "")),
        str(value.get("node", "")),
    )
