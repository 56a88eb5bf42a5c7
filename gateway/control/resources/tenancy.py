"""
What a commit has in it that makes something in a tenant, so that none is left when he ends. Pure.

Who ends a tenant marks him first, looks once more whether he has anything, and only then deletes
him, at the revision of the mark. What was made before the mark is seen by that look. Whoever makes
something after it takes the mark away in the same commit, and the deletion does not happen.
"""

from __future__ import annotations

from gateway.control.resources.record import Record, bytes_of
from gateway.control.store.interface import Check, Replace, Write

CLOSING = "closing"


def is_marked(tenant: Record) -> bool:
    """Say whether somebody is about to delete a tenant, or was."""
    return bool(tenant.value.get(CLOSING))


def mark(tenant: Record) -> Write:
    """Return what says that a tenant is to go."""
    return Replace(tenant.key, bytes_of({**tenant.value, CLOSING: True}), tenant.revision)


def standing_on(tenant: Record) -> Write:
    """Return what is in each commit that makes something in a tenant."""
    if not is_marked(tenant):
        return Check(tenant.key, tenant.revision)
    value = {name: part for name, part in tenant.value.items() if name != CLOSING}
    return Replace(tenant.key, bytes_of(value), tenant.revision)
