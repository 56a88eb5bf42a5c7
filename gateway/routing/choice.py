"""
Which route to a prefix won, and why: what BIRD has decided, told by the rule that decided it. Pure.

The rules are the product's, in BIRD's terms: attachments before static routes before what is
learned (BIRD's preference); then the tunnel's preference (LOCAL_PREF); then the AS path, the
origin, the peer's MED; routes that are equal in all of these share the traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from gateway.routing.bird_conf import (
    ANNOUNCE,
    ATTACHED_PREFERENCE,
    BGP,
    LOCAL_PREF_BASE,
    STATIC,
    STATIC_PREFERENCE,
    STATIC_SUM_MAX,
)
from gateway.routing.plan import Network
from gateway.routing.state import LearnedRoute

_ORIGINS = {"IGP": 0, "EGP": 1, "Incomplete": 2}  # RFC 4271 section 5.1.1


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
    def owner(self) -> str:
        """Return the tunnel of a static or learned route, or the attachment of an announced one."""
        return owner_of(self.route.protocol)

    @property
    def kind(self) -> str:
        """Return where the route is from: "vpc_attachment", "static" or "bgp"."""
        names = {ANNOUNCE: "vpc_attachment", STATIC: "static", BGP: "bgp"}
        return next((k for p, k in names.items() if self.route.protocol.startswith(p)), "other")


def owner_of(protocol: str) -> str:
    """Return the tunnel or attachment that a protocol of our configuration is named after."""
    if protocol.startswith(ANNOUNCE):
        return protocol.split("_", 3)[-1]
    return protocol.removeprefix(STATIC).removeprefix(BGP)


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
    for name, value in _RULES:
        ours, theirs = value(best), value(other)
        if ours != theirs:
            text = f"{name} {_shown(name, ours)} before {_shown(name, theirs)}"
            return Judged(other, Fate.STANDBY, text)
    if best.as_path[:1] == other.as_path[:1] and best.med != other.med:
        # Only metrics of one neighbour can be compared (RFC 4271 section 9.1.2.2 c).
        return Judged(other, Fate.STANDBY, f"MED {best.med} before {other.med}")
    return Judged(other, Fate.SHARES, "equal: traffic is shared by flow")


def _rank(route: LearnedRoute) -> tuple[int, ...]:
    return (*(value(route) for _, value in _RULES), route.med)


def _origin(route: LearnedRoute) -> int:
    return _ORIGINS.get(route.attributes.get("BGP.origin", ""), 0)


# What is compared, in order; the lower value wins.
_RULES: tuple[tuple[str, Callable[[LearnedRoute], int]], ...] = (
    ("type", lambda route: -route.preference),
    ("preference", lambda route: -route.local_pref),
    ("AS path length", lambda route: len(route.as_path)),
    ("origin", _origin),
)


def _shown(name: str, value: int) -> str:
    if name == "preference":
        return str(LOCAL_PREF_BASE + value)
    if name == "origin":
        return next(word for word, number in _ORIGINS.items() if number == value)
    if name != "type":
        return str(value)
    if -value == ATTACHED_PREFERENCE:
        return "vpc_attachment"
    if -value >= STATIC_PREFERENCE - STATIC_SUM_MAX:
        return f"static of preference {STATIC_PREFERENCE + value}"
    return "bgp"
