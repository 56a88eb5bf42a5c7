"""
An event: something that has changed, when, why, and what to look at. Pure.

The shape is the same on the node, in its reports, in the control plane's store and in the API.
What comes as JSON may come from another version, or from a node that was taken over: every text is
cut and cleaned, and a code that is not known here is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.errors import GatewayError
from gateway.model.codes import Severity, severity_of

Json = dict[str, object]

TEXT_MAX = 1000  # characters: a list of proposals is long
NAME_MAX = 256
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


class EventError(GatewayError):
    """What should be an event is none."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What an event is about. Kinds are those of the API; on a node a name is the API's id."""

    kind: str
    name: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """
    One event. `at` is in seconds since 1970, `reason` a code that says why, "" if there is none.

    `ours` and `theirs` are both ends' values where they are known. `sequence` grows with each event
    of one node, also over its restarts; 0 where an event has none.
    """

    at: float
    code: str
    severity: Severity
    resource: Resource
    text: str
    reason: str = ""
    ours: str = ""
    theirs: str = ""
    hint: str = ""
    sequence: int = 0

    def as_json(self) -> Json:
        """Return it as JSON."""
        return {
            "at": round(self.at, 6),
            "code": self.code,
            "severity": self.severity.value,
            "resource": {
                "kind": self.resource.kind,
                "name": self.resource.name,
                "id": self.resource.id,
            },
            "text": self.text,
            "reason": self.reason,
            "ours": self.ours,
            "theirs": self.theirs,
            "hint": self.hint,
            "sequence": self.sequence,
        }

    def numbered(self, sequence: int) -> Event:
        """Return it with its number."""
        return replace(self, sequence=sequence)


def event_of_json(value: object) -> Event:
    """Return the event that `as_json` made of it. Raises EventError."""
    if not isinstance(value, Mapping):
        raise EventError("an event is a JSON object")
    code, at, sequence = value.get("code"), value.get("at"), value.get("sequence", 0)
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise EventError(f"code: {str(code)[:80]!r} is none")
    if isinstance(at, bool) or not isinstance(at, int | float) or not _is_time(at):
        raise EventError(f"at: {str(at)[:80]!r} is no time")
    if isinstance(sequence, bool) or not isinstance(sequence, int) or not 0 <= sequence < 1 << 63:
        raise EventError(f"sequence: {str(sequence)[:80]!r} is no number of an event")
    severities = [each for each in Severity if each.value == value.get("severity")]
    reason = value.get("reason")
    return Event(
        float(at),
        code,
        severities[0] if severities else severity_of(code),
        _resource(value.get("resource")),
        clean(value.get("text")),
        reason if isinstance(reason, str) and _CODE.fullmatch(reason) else "",
        clean(value.get("ours")),
        clean(value.get("theirs")),
        clean(value.get("hint")),
        sequence,
    )


def _is_time(at: float) -> bool:
    return math.isfinite(at) and 0 <= at < 1e11


def _resource(value: object) -> Resource:
    table = value if isinstance(value, Mapping) else {}
    kind, name, id_ = (clean(table.get(key), NAME_MAX) for key in ("kind", "name", "id"))
    return Resource(kind, name, id_)


def clean(value: object, most: int = TEXT_MAX) -> str:
    """Return a text without control characters, cut to `most` characters; "" for what is none."""
    if not isinstance(value, str):
        return ""
    text = value[:most] if len(value) <= most else value[: most - 3] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
