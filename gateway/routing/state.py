"""What BIRD reports, as values: sessions, BFD sessions, routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.routing.plan import Network


@dataclass(frozen=True, slots=True)
class BgpState:
    """
    One BGP session. `state` is RFC 4271's (section 8.2.2), as in "Established".

    `since` is local time as BIRD prints it. `received` counts what the peer announced and BIRD
    holds: `imported` and `filtered` by our rules; what a reached limit blocked is in neither.
    """

    protocol: str
    state: str
    since: str
    error: str  # the last one, "" if none
    imported: int
    filtered: int
    exported: int
    limit_hit: bool
    hold_s: float  # agreed; 0 without a session
    local_asn: int
    asn: int
    neighbor_id: str

    @property
    def is_up(self) -> bool:
        return self.state == "Established"


@dataclass(frozen=True, slots=True)
class BfdState:
    """One BFD session; interval and timeout are seconds, as agreed."""

    address: str
    interface: str
    state: str
    since: str
    interval_s: float
    timeout_s: float

    @property
    def is_up(self) -> bool:
        return self.state == "Up"


@dataclass(frozen=True, slots=True)
class LearnedRoute:
    """One route of BIRD's tables. `vias` are pairs of next hop ("" if none) and interface."""

    prefix: Network
    protocol: str
    since: str
    is_best: bool
    preference: int
    vias: tuple[tuple[str, str], ...]
    is_filtered: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def as_path(self) -> tuple[str, ...]:
        """Return the AS path, nearest first; empty for static routes."""
        return tuple(self.attributes.get("BGP.as_path", "").split())

    @property
    def local_pref(self) -> int:
        """Return the LOCAL_PREF, 0 where there is none."""
        return int(self.attributes.get("BGP.local_pref", "0"))

    @property
    def med(self) -> int:
        """Return the MULTI_EXIT_DISC, 0 where there is none (RFC 4271 section 9.1.2.2 c)."""
        return int(self.attributes.get("BGP.med", "0"))
