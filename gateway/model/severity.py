"""What a code is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"  # it is as it should be
    WARNING = "warning"  # somebody may look at it
    ERROR = "error"  # somebody must


@dataclass(frozen=True, slots=True)
class Code:
    """One code, with what it means and what to look at, for people."""

    code: str
    severity: Severity
    title: str
    meaning: str
    hint: str = ""
