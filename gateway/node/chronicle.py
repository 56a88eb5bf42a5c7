"""
Which entries of the journal are events, and what event each is. Pure.

The journal says everything once, where it happens; events are those entries whose name is in the
list of codes. So nothing can be in the one and be forgotten in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.model.codes import CODES, PLANNED, Severity, hint_of
from gateway.model.events import Event, Resource, clean
from gateway.node.journal import Entry, Value

# Entries whose name is not the code's, but for blanks.
_NAMES = {
    "bird found": "bird_started",
    "bgp prefix limit kept again": "bgp_prefix_limit_over",
    "device is down": "device_down",
    "reload failed": "document_failed",
    "reload refused": "document_refused",
    "reloaded": "document_applied",
    "refused": "document_refused",
    "tunnel taken down": "tunnel_taken_down",
}
_KINDS = {
    "tunnel": "vpn_tunnel",
    "connection": "vpn_connection",
    "direct_line": "direct_line",
    "vpc_attachment": "vpc_attachment",
}
_OWN_PLACE = {*_KINDS, "reason", "text", "problem", "ours", "theirs", "hint", "left_out"}
_NEVER = {"traceback"}  # too long, and of no use but in the log
_FAILURES = {"tunnel_failed", "rekey_failed"}


@dataclass(slots=True)
class Chronicle:
    """Makes events of entries, and hands them to `add`."""

    add: Callable[[Event], object]
    node: str = ""  # the name of this gateway VM
    _failures: dict[str, tuple[object, ...]] = field(default_factory=dict)  # the last, by tunnel

    def take(self, entry: Entry) -> None:
        """Take one entry of the journal."""
        event = event_of(entry, self.node)
        if event is not None and self._is_news(event):
            self.add(event)

    def _is_news(self, event: Event) -> bool:
        """Return whether a failure is another one than before: that it lasts is no change."""
        name = event.resource.name
        if event.code not in _FAILURES:
            if event.code in ("tunnel_up", "tunnel_down", "tunnel_removed"):
                self._failures.pop(name, None)
            return True
        failure = (event.code, event.reason, event.ours, event.theirs)
        is_news = self._failures.get(name) != failure
        self._failures[name] = failure
        return is_news


def event_of(entry: Entry, node: str) -> Event | None:
    """Return the event that an entry of the journal is, None if it is none."""
    code = _code_of(entry)
    known = CODES.get(code)
    if known is None:
        return None
    fields = entry.fields
    reason = _reason_of(entry)
    kinds = [key for key in _KINDS if key in fields]
    resource = Resource(_KINDS[kinds[0]], clean(fields[kinds[0]])) if kinds else None
    return Event(
        entry.at,
        code,
        Severity.INFO if code == "tunnel_down" and reason in PLANNED else known.severity,
        resource or Resource("node", node),
        _text(known.title, fields),
        reason,
        clean(fields.get("ours")),
        clean(fields.get("theirs")),
        clean(fields.get("hint")) or hint_of(reason, code),
    )


def _code_of(entry: Entry) -> str:
    name, fields = entry.event, entry.fields
    if name == "standing":
        return _standing(str(fields.get("standing")), str(fields.get("cause")))
    if name == "failed" and "tunnel" in fields:
        return "tunnel_failed"
    return _NAMES.get(name, name.replace(" ", "_"))


def _standing(standing: str, causes: str) -> str:
    if standing == "normal":
        return "traffic_returns"
    return "tunnel_damped" if "damped" in causes.split(", ") else "traffic_leaves"


def _reason_of(entry: Entry) -> str:
    """Return why: as the entry says; of a standing the first cause."""
    if entry.event == "standing":
        cause = str(entry.fields.get("cause")).split(", ")[0]
        return {"none": "", "probe": "probe_failed"}.get(cause, cause)
    reason = str(entry.fields.get("reason", ""))
    return reason if reason in CODES else ""


def _text(title: str, fields: Mapping[str, Value]) -> str:
    """Return what the entry says, or the code's title and the particular values."""
    said = fields.get("text") or fields.get("problem")
    rest = [
        f"{k} {v}"
        for k, v in fields.items()
        if k not in _OWN_PLACE and k not in _NEVER and v not in ("", "none")
    ]
    head = str(said) if said else title
    return clean(f"{head} ({', '.join(rest)})" if rest else head)
