"""Checks of the rules of policy routing: which pairs of prefixes get a Child SA of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

from gateway.model.locate import Path
from gateway.model.problem import Problem, shown
from gateway.model.resources import Document, PolicyRule, VpnConnection
from gateway.model.settings import CHILD_SAS_MAX
from gateway.model.tunnels import rule_pairs
from gateway.model.types import AnyNetwork

RULES_MAX = 5  # as the hosted products have it

SIDES = ("local_cidrs", "remote_cidrs")
ConnectionCheck = Callable[[VpnConnection, Path], Iterable[Problem]]


def _counts(connection: VpnConnection, path: Path) -> Iterator[Problem]:
    count, pairs = len(connection.rule), len(rule_pairs(connection))
    if count > RULES_MAX:
        text = f"has {count} rules, at most {RULES_MAX}"
        yield Problem((*path, "rule"), text, code="rule_limit")
    elif pairs > CHILD_SAS_MAX:
        text = f"gives {pairs} pairs of prefixes, one Child SA each, at most {CHILD_SAS_MAX}"
        yield Problem((*path, "rule"), text, code="rule_limit")


def _fitting(connection: VpnConnection, path: Path) -> Iterator[Problem]:
    """Rules say it all: nothing that gives selectors may stand beside them."""
    if connection.routing != "policy":
        yield Problem((*path, "rule"), 'has a meaning with routing = "policy" only')
    for key in SIDES:
        if getattr(connection, key):
            yield Problem((*path, key), "stands in each rule where there are rules")
    for key in ("local_ts", "remote_ts"):
        if getattr(connection, key):
            yield Problem((*path, key), "has no meaning beside rules")
        for at, tunnel in enumerate(connection.tunnel):
            if getattr(tunnel, key):
                yield Problem((*path, "tunnel", at, key), "has no meaning beside rules")


def _families(connection: VpnConnection, path: Path) -> Iterator[Problem]:
    for at, rule in enumerate(connection.rule):
        for key, other in (SIDES, SIDES[::-1]):
            versions = {cidr.version for cidr in getattr(rule, other)}
            for place, cidr in enumerate(getattr(rule, key)):
                if cidr.version not in versions:
                    text = f"none of {other} is of its IP version"
                    yield Problem((*path, "rule", at, key, place), text, shown(str(cidr)))


def _sources(connection: VpnConnection, path: Path) -> Iterator[Problem]:
    """A source belongs to one rule: the peer's device finds its policy by it."""
    seen: dict[AnyNetwork, int] = {}
    for at, rule in enumerate(connection.rule):
        for place, cidr in enumerate(rule.local_cidrs):
            first = seen.setdefault(cidr, at)
            if first != at:
                text = f"is a source of rule {first + 1} already"
                where = (*path, "rule", at, "local_cidrs", place)
                yield Problem(where, text, shown(str(cidr)), code="rule_overlap")


def _overlaps(connection: VpnConnection, path: Path) -> Iterator[Problem]:
    """A packet that fits two pairs could go by either of their Child SAs."""
    for at, rule in enumerate(connection.rule):
        for key in SIDES:
            cidrs = tuple(enumerate(getattr(rule, key)))
            for (_, first), (place, second) in combinations(cidrs, 2):
                if first.overlaps(second):
                    text = f"overlaps {first} of the same rule"
                    where = (*path, "rule", at, key, place)
                    yield Problem(where, text, shown(str(second)), code="rule_overlap")
    for (first_at, one), (at, two) in combinations(enumerate(connection.rule), 2):
        if found := _common(one, two):
            text = f"overlaps {found[0][0]} to {found[0][1]} of rule {first_at + 1}"
            both = f"{found[1][0]} to {found[1][1]}"
            yield Problem((*path, "rule", at), text, both, code="rule_overlap")


Pair = tuple[AnyNetwork, AnyNetwork]


def _common(one: PolicyRule, two: PolicyRule) -> tuple[Pair, Pair] | None:
    """Return a pair of each rule that some packet fits both of; equal sources are told apart."""
    if set(one.local_cidrs) & set(two.local_cidrs):
        return None
    for a in one.pairs():
        for b in two.pairs():
            if a[0].overlaps(b[0]) and a[1].overlaps(b[1]):
                return a, b
    return None


CHECKS: tuple[ConnectionCheck, ...] = (_counts, _fitting, _families, _sources, _overlaps)


def policy_rules(document: Document) -> Iterator[Problem]:
    """Judge the rules of each connection that has some."""
    for at, connection in enumerate(document.vpn_connection):
        if connection.rule:
            for one in CHECKS:
                yield from one(connection, ("vpn_connection", at))
