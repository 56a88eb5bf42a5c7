"""What a target is told: the body of a webhook, the subject and text of a mail. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any

from gateway.control.alarms import template
from gateway.control.api.render import moment
from gateway.control.resources.record import Record
from gateway.model.codes import CODES, Severity
from gateway.model.events import clean

SIGNATURE, TIMESTAMP = "X-Twinspan-Signature", "X-Twinspan-Timestamp"
SUBJECT = "[{{ severity }}] {{ text if event == 'raised' else 'over: ' ~ text }}"
BODY = """\
{{ text }}

{{ title }} ({{ code }}), {{ severity }}, {{ event }}
{{ resource.kind }}: {{ resource.name }} ({{ resource.id }})
tenant: {{ tenant or "the operator" }}
since: {{ raised_at }}{% if cleared_at %}, over: {{ cleared_at }}{% endif %}
{% if hint %}
Look at: {{ hint }}
{% endif %}"""
_ORDER = list(Severity)

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Message:
    """One alarm that was raised or is over, or a test. `id` tells repetitions apart."""

    id: str
    tenant: str
    values: Values

    @property
    def event(self) -> str:
        """raised, cleared or test."""
        return str(self.values["event"])


def message_of(alarm: Record, event: str) -> Message:
    """Return what is said of an alarm; `event` is raised or cleared."""
    value: Mapping[str, Any] = alarm.value
    code = str(value.get("code"))
    values = {
        "event": event,
        "id": alarm.id,
        "tenant": alarm.tenant,
        "code": code,
        "title": CODES[code].title if code in CODES else code,
        **{name: value.get(name, "") for name in ("severity", "text", "reason", "hint", "node")},
        "resource": dict(value.get("resource") or {}),
        "raised_at": moment(value.get("raised_at")),
        "cleared_at": moment(value.get("cleared_at")),
        "count": value.get("count", 1),
    }
    return Message(f"{alarm.id}-{value.get('count', 1)}-{event}", alarm.tenant, values)


def trial_message(target: Record, now: float) -> Message:
    """Return a message that only shows that a target can be reached."""
    values = {
        **template.SAMPLE,
        "event": "test",
        "id": "",
        "tenant": target.tenant,
        "code": "test",
        "title": "Test",
        "severity": "info",
        "text": f"a test of the alarm target {target.name}",
        "reason": "",
        "hint": "",
        "node": "",
        "resource": {"kind": "alarm_target", "name": target.name, "id": target.id},
        "raised_at": moment(now),
    }
    return Message(f"test-{round(now * 1000)}", target.tenant, values)


def is_for(spec: Mapping[str, Any], message: Message) -> bool:
    """Say whether a target wants to be told."""
    values = message.values
    if message.event == "test":
        return True
    least = Severity(spec.get("min_severity", "warning"))
    matters = _ORDER.index(Severity(str(values["severity"]))) >= _ORDER.index(least)
    is_named = not spec.get("codes") or values["code"] in spec["codes"]
    is_told = message.event == "raised" or spec.get("tell_cleared", True)
    return bool(spec.get("enabled", True) and matters and is_named and is_told)


def webhook_body(spec: Mapping[str, Any], message: Message) -> bytes:
    """Return the JSON that is posted. A template that fails gives way to the plain form."""
    body = spec.get("body")
    if body:
        try:
            text = template.rendered(body, message.values)
            json.loads(text)
        except ValueError:
            pass
        else:
            return text.encode()
    return json.dumps(dict(message.values), ensure_ascii=False).encode()


def signed(body: bytes, secret: bytes, now: float) -> dict[str, str]:
    """
    Return the headers that prove who sent a body, and when: HMAC-SHA256 of `TIMESTAMP.BODY`.

    Who checks them refuses old timestamps, so nobody can send a message a second time.
    """
    at = str(int(now))
    digest = hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {TIMESTAMP: at, SIGNATURE: f"sha256={digest}"}


def mail_of(spec: Mapping[str, Any], message: Message, now: float) -> EmailMessage:
    """Return the mail that is sent."""
    mail = EmailMessage()
    mail["Subject"] = clean(_text(spec.get("subject"), SUBJECT, message.values).strip(), 200)
    mail["From"] = spec["sender"]
    mail["To"] = ", ".join(spec["recipients"])
    mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    mail["Message-ID"] = make_msgid(message.id, domain=str(spec["sender"]).rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notes in answer
    mail.set_content(_text(spec.get("body"), BODY, message.values))
    return mail


def _text(own: object, ours: str, values: Values) -> str:
    if isinstance(own, str):
        try:
            return template.rendered(own, values)
        except ValueError:
            pass
    return template.rendered(ours, values)
