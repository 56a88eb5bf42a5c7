"""
Which route to a prefix won, and why: what BIRD has decided, told by the rule that decided it. Pure.

The rules are those of `order`. BIRD has applied them in its own terms; here each route is read back
into theirs, and of two routes the first rule in which they differ is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from gateway.routing.names import Origin, Owner, owner_of
from gateway.routing.order import DEMOTED_MAX, LOCAL_PREF_BASE, STATIC
from gateway.routing.plan import Hop, Network
from gateway.routing.state import LearnedRoute

_BGP_ORIGINS = {"IGP": 0, "EGP": 1, "Incomplete": 2}  # RFC 4271 section 5.1.1
_HOPS = {Hop.ATTACHMENT: "VPC attachment", Hop.LINE: "direct line", Hop.VPN: "VPN", None: "other"}
_ORIGINS = {Origin.STATIC: "static", Origin.PROPAGATED: "propagated", Origin.EBGP: "EBGP"}


class Fate(Enum):
    """What becomes of a route."""

    BEST = "best"
    SHARES = "shares"  # equal to the best: both carry traffic
    STANDBY = "standby"
    REFUSED = "refused"  # by our import rules


@dataclass(frozen=True, slots=True)
class Judged:
    """A route, what becomes of it, and why; of a best route why it beat the next one."""

    route: LearnedRoute
    fate: Fate
    why: str

    @property
    def owner(self) -> Owner:
        """Return the tunnel, line or attachment it is of, and where it is from."""
        return owner_of(self.route.protocol)


def judge(routes: Iterable[LearnedRoute]) -> tuple[Judged, ...]:
    """Return every route with its fate, by prefix, the best of each prefix first."""
    ordered = sorted(routes, key=lambda route: (_order(route.prefix), route.is_filtered))
    found: list[Judged] = []
    for _, group in groupby(ordered, key=lambda route: route.prefix):
        found += _judge_one([*group])
    return tuple(found)


def _order(prefix: Network) -> tuple[int, int, int]:
    return prefix.version, int(prefix.network_address), prefix.prefixlen


def _judge_one(routes: list[LearnedRoute]) -> list[Judged]:
    refused = [
        Judged(route, Fate.REFUSED, "not accepted from this peer")
        for route in routes
        if route.is_filtered
    ]
    taken = [route for route in routes if not route.is_filtered]
    best = next((route for route in taken if route.is_best), None)
    if best is None:
        unusable = "its next hop is not reachable"
        return [*(Judged(route, Fate.STANDBY, unusable) for route in taken), *refused]
    judged = [_against(best, other) for other in taken if other is not best]
    judged.sort(key=lambda one: _rank(one.route))
    why = _why_best(judged)
    return [Judged(best, Fate.BEST, why), *judged, *refused]


def _why_best(others: list[Judged]) -> str:
    if not others:
        return "the only one"
    return others[0].why


def _against(best: LearnedRoute, other: LearnedRoute) -> Judged:
    """Return `other` with the first rule in which it differs from the best."""
    for rule in _RULES:
        ours, theirs = rule.value(best), rule.value(other)
        if ours != theirs:
            text = f"{rule.name} {rule.shown(ours)} before {rule.shown(theirs)}"
            return Judged(other, Fate.STANDBY, text)
    if best.as_path[:1] == other.as_path[:1] and best.med != other.med:
        # Only metrics of one neighbour can be compared (RFC 4271 section 9.1.2.2 c).
        return Judged(other, Fate.STANDBY, f"MED {best.med} before {other.med}")
    return Judged(other, Fate.SHARES, "equal: traffic is shared by flow")


def _rank(route: LearnedRoute) -> tuple[int, ...]:
    return (*(rule.value(route) for rule in _RULES), route.med)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is compared: the lower value wins. `words` are those of the values, if they have any."""

    name: str
    value: Callable[[LearnedRoute], int]
    words: Mapping[int, str] | None = None

    def shown(self, value: int) -> str:
        return self.words[value] if self.words else str(value)


def _is_demoted(route: LearnedRoute) -> int:
    return int(route.preference <= DEMOTED_MAX)


def _hop(route: LearnedRoute) -> int:
    return [*_HOPS].index(owner_of(route.protocol).hop)


def _origin(route: LearnedRoute) -> int:
    return [*_ORIGINS].index(owner_of(route.protocol).origin)


def _preference(route: LearnedRoute) -> int:
    """Return the preference that the document gives the route's tunnel or line, 0 without one."""
    owner = owner_of(route.protocol)
    if owner.hop in (None, Hop.ATTACHMENT):
        return 0
    if owner.origin is Origin.EBGP:
        return LOCAL_PREF_BASE - route.local_pref
    return 0 if _is_demoted(route) else STATIC[owner.hop] - route.preference


def _bgp_origin(route: LearnedRoute) -> int:
    return _BGP_ORIGINS.get(route.attributes.get("BGP.origin", ""), 0)


_RULES = (
    _Rule("standing", _is_demoted, {0: "normal", 1: "demoted"}),
    _Rule("next-hop type", _hop, dict(enumerate(_HOPS.values()))),
    _Rule("origin", _origin, dict(enumerate(_ORIGINS.values()))),
    _Rule("preference", _preference),
    _Rule("AS path length", lambda route: len(route.as_path)),
    _Rule("BGP origin", _bgp_origin, {n: word for word, n in _BGP_ORIGINS.items()}),
)
