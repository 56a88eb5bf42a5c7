"""Changes to resources that exist, and their end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.control.changes import parse
from gateway.control.changes.make import judge_pool, judge_unique
from gateway.control.changes.view import Pair, View
from gateway.control.problems import ApiProblem, invalid
from gateway.control.resources.kinds import KINDS, SECRETS, Kind
from gateway.control.resources.record import Record, Table

IN_USE_SHOWN = 5


def edited(view: View, old: Record, patch: object, now: float) -> Record:
    """
    Return a resource with a merge patch applied (RFC 7396); the same one if nothing differs.

    What the patch does not name stays. Raises ApiProblem.
    """
    kind = KINDS[old.kind]
    merged = parse.patched(old.spec, patch)
    spec = parse.read(kind, kind.spec, merged, view, old.tenant, before=old.spec)
    if spec == dict(old.spec):
        return old
    _judge_fixed(view, kind, old, spec)
    value = dict(old.value)
    versions = dict(value.get("secret_versions") or {})
    for key in SECRETS:
        if spec.get(key) != old.spec.get(key):
            versions[key] = int(versions.get(key, 0)) + 1
    value |= {
        "name": spec.get("name") or old.id,
        "spec": spec,
        "updated_at": now,
        "generation": old.generation + 1,
        "secret_versions": versions,
    }
    new = Record(old.kind, old.id, value, old.revision)
    judge_unique(view, new)
    return new


def _judge_fixed(view: View, kind: Kind, old: Record, spec: Table) -> None:
    for field in sorted(kind.fixed):
        if spec.get(field) != old.spec.get(field) and spec.get(field) != old.of(field):
            text = f"can not change; it is {old.of(field)}"
            raise invalid(f"{kind.name}.{field}", spec.get(field), text, code="field_immutable")
    if kind.name == "customer_gateway":
        _judge_customer(view, old, spec)
    if kind.name == "node":
        _judge_node(view, old, spec)
    if kind.name == "address_pool":
        judge_pool(view, spec)
    if kind.name == "vpn_tunnel":
        _judge_name(view, old, spec)
    if kind.name == "border_gateway" and spec.get("namespace") != old.spec.get("namespace"):
        _judge_namespace(view, old, spec)


def _judge_customer(view: View, old: Record, spec: Mapping[str, Any]) -> None:
    if spec.get("public_addresses") == old.spec.get("public_addresses"):
        return
    tunnels = list(view.children("vpn_tunnel", old.id))
    if tunnels:
        text = f"can not change while tunnels go to it: {_names(tunnels)}"
        raise ApiProblem(
            409,
            "in_use",
            f"customer_gateway.public_addresses: {text}",
            field="customer_gateway.public_addresses",
            value=spec.get("public_addresses"),
        )


def _judge_name(view: View, old: Record, spec: Mapping[str, Any]) -> None:
    siblings = view.children("vpn_tunnel", str(old.of("vpn_connection")))
    if any(one.name == spec.get("name") for one in siblings if one.id != old.id):
        text = "another tunnel of the connection has this name"
        raise invalid("vpn_tunnel.name", spec.get("name"), text, code="name_in_use")


def _judge_node(view: View, old: Record, spec: Mapping[str, Any]) -> None:
    """An address that tunnels stand on stays."""
    left = set(spec.get("public_addresses", ()))
    for tunnel in view.children("vpn_tunnel", old.id):
        address = tunnel.of("local_address")
        if address not in left:
            text = f"tunnel {tunnel.name} ({tunnel.id}) stands on {address}"
            raise ApiProblem(
                409,
                "in_use",
                f"node.public_addresses: {text}",
                field="node.public_addresses",
                value=address,
            )


def _judge_namespace(view: View, old: Record, spec: Mapping[str, Any]) -> None:
    if any(view.children("vpn_connection", old.id)):
        text = "can not change while the gateway has connections"
        raise invalid(
            "border_gateway.namespace", spec.get("namespace"), text, code="field_immutable"
        )


def judge_deletion(view: View, record: Record, *, cascade: bool = False) -> list[Record]:
    """
    Return what goes with a resource: nothing but itself, or with `cascade` its tunnels too.

    Raises ApiProblem 409 if others still refer to it, or it is still allowed to be up; with
    `cascade` neither is asked of tunnels.
    """
    users = [one for one in view.users(record.id) if one.kind in KINDS]
    going = [one for one in users if _goes_along(record, one)] if cascade else []
    users = [one for one in users if one not in going]
    if users:
        raise ApiProblem(
            409,
            "in_use",
            f"{record.kind} {record.name}: is used by {_names(users)}",
            extra={"used_by": [{"kind": one.kind, "id": one.id} for one in users[:100]]},
        )
    if record.kind == "vpn_tunnel" and not cascade and _admin(view, record) != "down":
        text = f'vpn_tunnel {record.name}: set admin to "down" first'
        raise ApiProblem(409, "tunnel_admin_up", text, field="vpn_tunnel.admin", value="up")
    return [record, *going]


def _goes_along(record: Record, user: Record) -> bool:
    return record.kind == "vpn_connection" and user.kind == "vpn_tunnel"


def _admin(view: View, tunnel: Record) -> str:
    connection = view.get("vpn_connection", str(tunnel.of("vpn_connection")))
    inherited = connection.spec.get("admin") if connection is not None else None
    return str(tunnel.spec.get("admin") or inherited or "up")


def _names(records: list[Record]) -> str:
    shown = [f"{one.kind} {one.name} ({one.id})" for one in records[:IN_USE_SHOWN]]
    more = len(records) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def precondition_failed(record: Record, expected: int) -> ApiProblem:
    """Return the problem of a writer who has not seen the last change."""
    text = f"{record.kind} {record.name}: is at revision {record.revision}, not {expected}"
    return ApiProblem(412, "precondition_failed", text, extra={"revision": record.revision})


def restored(view: View, kind: str, id: str, before: Table | None, now: float) -> list[Pair]:
    """
    Return the change that makes a resource what it was before, None: nothing at all.

    With a connection go the tunnels that were made with it. Raises ApiProblem 409.
    """
    old = view.get(kind, id)
    if before is not None:
        generation = old.generation if old is not None else int(before.get("generation", 1))
        value = {**before, "generation": generation + 1, "updated_at": now}
        new = Record(kind, id, value, old.revision if old is not None else 0)
        judge_unique(view, new)
        return [(old, new)]
    if old is None:
        return []
    made_with = [
        one
        for one in view.users(id)
        if kind == "vpn_connection"
        and one.kind == "vpn_tunnel"
        and one.value.get("created_at") == old.value.get("created_at")
    ]
    others = [one for one in view.users(id) if one.kind in KINDS and one not in made_with]
    if others:
        text = f"{kind} {old.name}: is used by {_names(others)}"
        raise ApiProblem(409, "in_use", text)
    return [*((one, None) for one in made_with), (old, None)]
