"""A finding: what one check says about one thing. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How well something is. UNKNOWN: it could not be seen, the finding says why."""

    OK = "ok"
    WARNING = "warning"  # works now, or works badly
    FAILURE = "failure"  # keeps tunnels or their traffic from working
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Unseen:
    """A fact that could not be gathered, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What `check` says `about` one thing: value found, value wanted, and what to do."""

    check: str
    about: str
    verdict: Verdict
    found: str
    wanted: str = ""
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        return {
            "check": self.check,
            "about": self.about,
            "verdict": self.verdict.value,
            "found": self.found,
            "wanted": self.wanted,
            "remedy": self.remedy,
        }


def ok(check: str, about: str, found: str, wanted: str = "") -> Finding:
    """Return a finding that all is well."""
    return Finding(check, about, Verdict.OK, found, wanted)


def warning(check: str, about: str, found: str, wanted: str, remedy: str) -> Finding:
    """Return a finding of what works badly, or will not always work."""
    return Finding(check, about, Verdict.WARNING, found, wanted, remedy)


def failure(check: str, about: str, found: str, wanted: str, remedy: str) -> Finding:
    """Return a finding of what does not work."""
    return Finding(check, about, Verdict.FAILURE, found, wanted, remedy)


def unknown(check: str, about: str, unseen: Unseen, remedy: str = "") -> Finding:
    """Return a finding of what could not be seen."""
    return Finding(check, about, Verdict.UNKNOWN, unseen.why, "", remedy)
