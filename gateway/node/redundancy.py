"""
Whether a VPN Connection outlives the loss of any one address. Pure.

The rule is that of the hosted product that this follows: the customer has two addresses or more,
our addresses have tunnels to different ones of them, and each of ours has a tunnel that works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations

from gateway.sa import Address


class HaStatus(Enum):
    """What a VPN Connection's `ha_status` says."""

    REDUNDANCY = "redundancy"
    NO_REDUNDANCY = "no_redundancy"


@dataclass(frozen=True, slots=True)
class Leg:
    """One tunnel of a connection: its outer addresses (the peer's may not be known), its state."""

    local: Address
    remote: Address | None
    works: bool  # it is up, and with BGP its session too


def ha_status(legs: Sequence[Leg]) -> HaStatus:
    """Return whether the connection with these tunnels has redundancy."""
    is_twin = any(_apart(one, other) for one, other in combinations(legs, 2))
    working = {leg.local for leg in legs if leg.works}
    if is_twin and working == {leg.local for leg in legs}:
        return HaStatus.REDUNDANCY
    return HaStatus.NO_REDUNDANCY


def _apart(one: Leg, other: Leg) -> bool:
    """Return whether two tunnels have no address in common, ours or the customer's."""
    known = one.remote is not None and other.remote is not None
    return known and one.local != other.local and one.remote != other.remote
