"""
A resource as the API answers it: what was set, defaults, what was allocated, what is. Pure.

    {"id", "tenant", the resource's fields, "psk_version", "created_at", "updated_at", "revision",
     "generation", "status"}

A secret is never in it, only how often it was set. A field of a tunnel that is not set is null: the
connection says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType

from pydantic_core import to_jsonable_python

from gateway.control.resources.kinds import KINDS, Kind
from gateway.control.resources.record import Record
from gateway.model.settings import TunnelSettings

Json = object
Table = dict[str, Json]
StatusOf = Callable[[Record], Table]

# What the control plane chooses and people see, beside the fields of the resource itself.
ALLOCATED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vpn_connection": ("public_addresses",),
        "vpn_tunnel": ("position", "customer_gateway", "node"),
    }
)


def rendered(kind: Kind, record: Record, status: Table) -> Table:
    """Return a resource as an answer has it."""
    fixed = record.memo.get("rendered")
    if fixed is None:
        fixed = record.memo["rendered"] = _fixed(kind, record)
    return {**fixed, "status": status}


def _fixed(kind: Kind, record: Record) -> Table:
    """Return all of an answer but the status; that is as it is as long as the record is."""
    answer: Table = {"id": record.id, "tenant": record.tenant, "name": record.name}
    answer |= {
        field: default if (value := record.of(field)) is None else value
        for field, default in _fields(kind.name)
    }
    answer |= {field: record.allocated.get(field) for field in ALLOCATED.get(kind.name, ())}
    versions = record.value.get("secret_versions") or {}
    answer |= {f"{field}_version": versions.get(field, 0) for field in sorted(kind.secrets)}
    return answer | {
        "created_at": moment(record.value.get("created_at", 0)),
        "updated_at": moment(record.value.get("updated_at", 0)),
        "revision": record.revision,
        "generation": record.generation,
    }


@cache
def _fields(name: str) -> tuple[tuple[str, Json], ...]:
    """Return the fields of a kind that are shown, each with its default."""
    kind = KINDS[name]
    fields = [field for field in kind.spec.model_fields if field not in kind.secrets | {"name"}]
    return tuple((field, default_of(kind, field)) for field in fields)


def default_of(kind: Kind, field: str) -> Json:
    """Return the default of a field as JSON has it, None if it has none."""
    info = kind.spec.model_fields.get(field)
    is_inherited = kind.inherits and field in TunnelSettings.model_fields
    if info is None or info.is_required() or is_inherited:
        return None
    value: Json = to_jsonable_python(info.get_default(call_default_factory=True, validated_data={}))
    return value


def moment(at: float | None) -> str | None:
    """Return seconds since 1970 as RFC 3339 has them, in UTC; None for no time."""
    if not at:
        return None
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
