"""
What the failover bench fails: two joined sites, and the failures to try between them.

A bed's module makes its machines; each of its cases is one small `Trial`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.topology import Pair


def nothing() -> None:
    """Repair nothing: the failure has ended by itself."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A failure: `fail` returns when traffic has found its way, `repair` undoes it."""

    fail: Callable[[], None]
    repair: Callable[[], None] = nothing


@dataclass(frozen=True, slots=True)
class Bed:
    """Two joined sites and what can fail there; `settle` returns when all is as at the start."""

    pair: Pair
    settle: Callable[[], None]
    trials: Mapping[str, Trial]
