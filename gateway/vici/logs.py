"""The gateway's log entries as VICI's log events: strongSwan's groups and levels. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from gateway.vici.wire import Section


class LogLevel(IntEnum):
    """strongSwan's log levels that we use."""

    AUDIT = 0
    CONTROL = 1
    MORE = 2


# By the first word of an entry's event; DMN is everything else.
GROUPS = {
    "ike_sa": "IKE",
    "child_sa": "CHD",
    "failed": "IKE",
    "note": "IKE",
    "dropped": "NET",
    "path_changed": "NET",
    "unknown_spi": "ESP",
    "hard_limit": "ESP",
    "bird": "CFG",
    "reload": "CFG",
    "reloaded": "CFG",
    "document": "CFG",
    "machine": "KNL",
    "device_failed": "KNL",
    "worker_failed": "KNL",
}


def level_of(syslog: int) -> LogLevel:
    """Return strongSwan's level for one of syslog's: errors 0, information 1, messages seen 2."""
    if syslog <= 4:
        return LogLevel.AUDIT
    return LogLevel.CONTROL if syslog <= 6 else LogLevel.MORE


def log_section(
    event: str, syslog: int, fields: Mapping[str, object], number: int | None
) -> Section:
    """Return a log or control-log event; `number` is the unique number of the tunnel's IKE SA."""
    tunnel = fields.get("tunnel")
    # The tunnel too: swanctl does not show ikesa-name.
    words = " ".join(f"{key}={_shown(value)}" for key, value in fields.items())
    section = {
        "group": GROUPS.get(event.split()[0] if event else "", "DMN"),
        "level": str(level_of(syslog).value),
        "thread": "0",
    }
    if tunnel is not None:
        section["ikesa-name"] = str(tunnel)
        section |= {"ikesa-uniqueid": str(number)} if number is not None else {}
    return section | {"msg": f"{event} {words}".strip()[:8000]}


def _shown(value: object) -> str:
    text = str(value)
    return f'"{text}"' if " " in text or not text else text
