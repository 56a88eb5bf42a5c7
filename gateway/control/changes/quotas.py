"""
How many resources a tenant may have: settings with defaults. Pure.

Two control processes may each make the last one that is allowed, at the same time. So whatever
makes one writes the count of its kind and tenant, in the same commit and at the revision that it
knows: the slower one is refused by the store, and judges anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from gateway.control.changes.view import After, View
from gateway.control.problems import ApiProblem
from gateway.control.resources.parents import claim_id
from gateway.control.resources.record import Record, bytes_of
from gateway.control.store.interface import Create, Delete, Key, Replace, Write

COUNT = "count"

DEFAULTS: Mapping[str, int] = {
    "border_gateway": 50,
    "vpc_attachment": 500,
    "customer_gateway": 5000,
    "vpn_connection": 5000,
    "vpn_tunnel": 10_000,
    "direct_line": 500,
    "route": 5000,
    "user": 500,
    "token": 1000,
    "attachments_per_border_gateway": 50,
    "routes_per_border_gateway": 500,
}
_PER_GATEWAY = {
    "vpc_attachment": "attachments_per_border_gateway",
    "route": "routes_per_border_gateway",
}


def limits(view: View, tenant: str) -> dict[str, int]:
    """Return the quotas of a tenant: its own, else those set for all, else the defaults."""
    found = dict(DEFAULTS)
    for id in ("quotas", f"quotas:{tenant}"):
        setting = view.get("setting", id)
        if setting is not None:
            found |= {name: int(most) for name, most in setting.spec.items() if name in found}
    return found


def used(view: View, tenant: str) -> dict[str, int]:
    """Return how many resources of each kind a tenant has."""
    per_gateway = _PER_GATEWAY.values()
    return {kind: view.count(kind, tenant) for kind in DEFAULTS if kind not in per_gateway}


def counts_of(view: View, made: Iterable[Record]) -> Iterator[Write]:
    """Yield the new counts of what is to be made, for the commit that makes it."""
    for (tenant, kind), number in Counter((one.tenant, one.kind) for one in made).items():
        if kind in DEFAULTS:
            key, value = _count_key(tenant, kind), {"count": view.count(kind, tenant) + number}
            known = view.get(COUNT, key.id)
            yield (
                Create(key, bytes_of(value))
                if known is None
                else Replace(key, bytes_of(value), known.revision)
            )


def end_of_counts(view: View, tenant: str) -> Iterator[Write]:
    """Yield the end of a tenant's counts, for the commit that ends him."""
    for kind in DEFAULTS:
        known = view.get(COUNT, _count_key(tenant, kind).id)
        if known is not None:
            yield Delete(known.key, known.revision)


def _count_key(tenant: str, kind: str) -> Key:
    return Key(COUNT, claim_id(f"{kind}:{tenant}"))


def judge(view: View, made: list[Record]) -> None:
    """Raise ApiProblem 409 if the resources that are to be made are more than a quota allows."""
    after = After(view, [(None, record) for record in made])
    for (tenant, kind), _ in Counter((one.tenant, one.kind) for one in made).items():
        if kind not in DEFAULTS:
            continue
        allowed = limits(view, tenant)
        _compare(kind, after.count(kind, tenant), allowed[kind])
        if kind in _PER_GATEWAY:
            gateway = next(str(one.of("border_gateway")) for one in made if one.kind == kind)
            count = sum(1 for _ in after.children(kind, gateway))
            _compare(_PER_GATEWAY[kind], count, allowed[_PER_GATEWAY[kind]])


def _compare(name: str, count: int, most: int) -> None:
    if count > most:
        text = f"quota {name}: {most} are allowed, this would be number {count}"
        raise ApiProblem(409, "quota_exceeded", text, field=name, value=most)
