"""
Whether the resources would be a good wanted document after a change. Pure.

The rules are those of a gateway's file (`gateway.model.check`), so nothing that the API takes is
refused by a node. Only what a change can touch is put together for them: a connection with its
Border Gateway and the connections that have a prefix of its own too; or the whole Border Gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.control.changes.compose import Parts, parts_around, tables
from gateway.control.changes.parse import field_text, refused
from gateway.control.changes.view import After, Pair, View
from gateway.control.problems import FieldError
from gateway.control.resources.record import Record, Table
from gateway.control.secrets import is_sealed
from gateway.model.document import build_document
from gateway.model.locate import Path
from gateway.model.problem import SECRET_KEYS, Problem, value_at
from gateway.model.types import UNSEEN_KEY

# Stand for keys that were judged when they were set, and are sealed now.
_GOOD_KEYS = {"psk": "0x" + "5a" * 32, "ppk": "0x" + "a5" * 32, "private_key": UNSEEN_KEY}
_NOBODYS = "192.0.0.8"  # RFC 7600: never an address of anybody
_BARE = "none-of-"  # how the name of a tunnel begins that stands for none
_ONE_CONNECTION = frozenset({"vpn_connection", "vpn_tunnel", "route"})


@dataclass(frozen=True, slots=True)
class Draft:
    """A Border Gateway as a document would have it after a change; `asked` is what is changed."""

    table: Table
    asked: Record


def drafts(view: View, changes: Sequence[Pair]) -> list[Draft]:
    """Return what is to be judged of some changes. The drafts stand on no view any more."""
    after = After(view, changes)
    changed = [new for _, new in changes if new is not None]
    found = []
    for parts in _scopes(after, changed):
        table = tables(after, parts, stand_in, _bare)
        table["gateway"] = {"public_addresses": _addresses(table)}
        found.append(Draft(table, changed[0]))
    return found


def _bare(connection: Record) -> list[Table]:
    """Return what stands for the tunnels of a connection without any, so that it can be judged."""
    name = _BARE + connection.id
    return [{"name": name, "local_address": _NOBODYS, "psk": _GOOD_KEYS["psk"]}]


def judge(found: Iterable[Draft]) -> list[str]:
    """
    Return what is probably not meant in drafts, in words. A thousand tunnels take 0.2 s.

    Raises ApiProblem with every mistake, each at its resource and field.
    """
    errors: dict[str, FieldError] = {}
    warnings: dict[str, None] = {}
    for draft in found:
        for problem in build_document(draft.table)[1]:
            if problem.path[:1] != ("gateway",) and not _is_of_bare(draft.table, problem):
                told = _error(draft.table, problem, draft.asked)
                if problem.is_warning:
                    warnings[f"{told.field}: {told.detail}"] = None
                else:
                    errors.setdefault(told.field, told)
    if errors:
        raise refused(list(errors.values()))
    return list(warnings)


def _is_of_bare(table: Table, problem: Problem) -> bool:
    """Say whether a problem is of the tunnel that stands for none."""
    kind, at, part, *_ = (*problem.path, "", "", "")
    if kind != "vpn_connection" or part != "tunnel":
        return False
    tunnels = value_at(table, (kind, at, part))
    return isinstance(tunnels, list) and str(tunnels[0]["name"]).startswith(_BARE)


def _scopes(view: View, changed: Sequence[Record]) -> Iterator[Parts]:
    """
    Yield each Border Gateway that a change touches, with those of its connections that it may; and
    Customer Gateways that no connection has yet.
    """
    for record in changed:
        if record.kind == "customer_gateway" and not any(view.users(record.id)):
            yield Parts((), (), (record,), (), (), (), ())
    whole: dict[str, bool] = {}
    touched: dict[str, dict[str, Record]] = {}
    for record in changed:
        for connection in _connections(view, record):
            gateway = str(connection.spec["border_gateway"])
            touched.setdefault(gateway, {})[connection.id] = connection
        if record.kind == "border_gateway":
            whole[record.id] = True
        elif record.kind in ("vpc_attachment", "direct_line"):
            whole[str(record.spec["border_gateway"])] = True
    for id in dict.fromkeys([*whole, *touched]):
        gateway_record = view.get("border_gateway", id)
        if gateway_record is None:
            continue
        siblings = list(view.children("vpn_connection", id))
        if id not in whole:
            siblings = [*touched[id].values(), *_alike(siblings, touched[id])]
        yield parts_around(view, gateway_record, siblings)


def _connections(view: View, record: Record) -> Iterator[Record]:
    if record.kind == "vpn_connection":
        yield record
    elif record.kind in _ONE_CONNECTION:
        found = view.get("vpn_connection", str(record.spec["vpn_connection"]))
        if found is not None:
            yield found
    elif record.kind == "customer_gateway":
        yield from view.children("vpn_connection", record.id)


def _alike(siblings: Sequence[Record], touched: dict[str, Record]) -> Iterator[Record]:
    """Yield the other connections that have one of the touched ones' prefixes."""
    prefixes = {cidr for one in touched.values() for cidr in _prefixes(one)}
    for sibling in siblings:
        if sibling.id not in touched and not prefixes.isdisjoint(_prefixes(sibling)):
            yield sibling


def _prefixes(connection: Record) -> set[str]:
    found = {str(cidr) for cidr in connection.spec.get("remote_cidrs", ())}
    for rule in connection.spec.get("rule", ()):
        found |= {str(cidr) for cidr in rule["remote_cidrs"]}
    return found


def stand_in(record: Record, where: str, value: str) -> str:
    """Return a secret that is being set, or for one that is sealed a good one."""
    if not is_sealed(value):
        return value
    return _GOOD_KEYS.get(where.rpartition("/")[2], "sealed")


def _addresses(table: Table) -> list[str]:
    found = {
        str(tunnel["local_address"])
        for connection in table["vpn_connection"]
        for tunnel in connection["tunnel"]
        if "local_address" in tunnel
    }
    return sorted(found) or [_NOBODYS]


def _error(table: Table, problem: Problem, asked: Record) -> FieldError:
    """Return a problem of the document as one of the resource that it is in."""
    path = problem.path
    kind, depth = str(path[0]), 2
    if _is_of_tunnel(path) and not _is_made_with(table, path, asked):
        kind, depth = "vpn_tunnel", 4
    owner = value_at(table, path[:depth])
    id = str(owner.get("name", "")) if isinstance(owner, dict) else ""
    place = kind if id in ("", asked.id) else f"{kind}[{id}]"
    value = None if SECRET_KEYS & set(path) else value_at(table, path)
    if isinstance(value, dict | list):
        value = None
    return FieldError(problem.code, field_text(place, path[depth:]), str(problem), value)


def _is_of_tunnel(path: Path) -> bool:
    return path[0] == "vpn_connection" and len(path) > 3 and path[2] == "tunnel"


def _is_made_with(table: Table, path: Path, asked: Record) -> bool:
    """Say whether a tunnel is made in one request with its connection: nobody knows its id yet."""
    is_new = asked.kind == "vpn_connection" and not asked.revision
    return is_new and value_at(table, (*path[:2], "name")) == asked.id
