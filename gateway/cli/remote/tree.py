"""
The tree of a tenant as one document, and what has to be done so that the API has it. Pure.

The document is the one that `twinspan gateway --config` takes: names as references, tunnels inside
their connections. What it leaves open (an address, an inner network) and what of a secret it does
not say stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from pydantic import ValidationError

from gateway.cli.remote.nouns import Json, value_of
from gateway.control.api.render import default_of
from gateway.control.changes.allocate import tunnel_device
from gateway.control.resources.kinds import KINDS, Kind
from gateway.errors import ConfigError

# In the order in which one refers to another.
ORDER = (
    "node",
    "address_pool",
    "border_gateway",
    "vpc_attachment",
    "customer_gateway",
    "vpn_connection",
    "vpn_tunnel",
    "direct_line",
    "route",
)
OPERATORS = ("node", "address_pool")
# What the control plane chooses where nobody says it.
CHOSEN = {
    "vpn_tunnel": frozenset(
        {"name", "local_address", "remote_address", "inner_cidr", "interface", "psk"}
    ),
    "route": frozenset({"name"}),
}
NOT_SHOWN = "(not shown)"
ANOTHER = "(not shown, another)"
_TABLES = {kind for kind in ORDER if kind != "vpn_tunnel"}
Key = tuple[str, ...]  # what a resource is known by, kind first


@dataclass(frozen=True, slots=True)
class Wanted:
    """A resource of the document: what it sets, references as names."""

    key: Key
    fields: Json

    @property
    def kind(self) -> Kind:
        return KINDS[self.key[0]]


@dataclass(frozen=True, slots=True)
class Actual:
    """A resource of the API: its fields, references as names."""

    key: Key
    id: str
    revision: int
    fields: Json
    answer: Json

    @property
    def kind(self) -> Kind:
        return KINDS[self.key[0]]


@dataclass(slots=True)
class Change:
    """
    What happens to one resource: its fields before and after (None: it is not there), the steps.

    `is_certain` is false where only the control plane can say whether a secret differs. Secrets are
    not in the fields; that they are there is.
    """

    key: Key
    old: Json | None
    new: Json | None
    is_certain: bool = True
    deletes: list[Json] = field(default_factory=list)
    makes: list[Json] = field(default_factory=list)

    def without_secrets(self, same: Iterable[str]) -> Change:
        """Return it without those of its secrets that are the same."""
        gone = set(same)
        old, new = (
            None if one is None else {key: each for key, each in one.items() if key not in gone}
            for one in (self.old, self.new)
        )
        return replace(self, old=old, new=new)

    @property
    def step_name(self) -> tuple[str, str]:
        """Kind and name of its steps."""
        return (self.key[0], "/".join(self.key[1:]))

    def secrets(self) -> set[str]:
        """Return the secrets that it sets."""
        return set(KINDS[self.key[0]].secrets) & set(self.new or {})

    @property
    def name(self) -> str:
        """Its kind and name, as a path."""
        return "/".join(self.key)

    @property
    def word(self) -> str:
        """What happens to it, in a word."""
        if self.old is not None and self.new is not None and self.deletes:
            return "made anew"
        return "deleted" if self.new is None else "made" if self.old is None else "changed"


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes in the order of their resources, and what the document does not mention."""

    changes: tuple[Change, ...]
    left: tuple[Key, ...]

    def steps(self) -> list[Json]:
        """Return all steps: what goes goes first, so that what comes finds its names free."""
        deletes = [step for change in reversed(self.changes) for step in change.deletes]
        return deletes + [step for change in self.changes for step in change.makes]


# ---- the document ----


def wanted_of(document: Mapping[str, object]) -> list[Wanted]:
    """Return the resources of a document. Raises ConfigError with every mistake of its shape."""
    problems = [
        f"{name}: unknown table; there are: {', '.join(sorted(_TABLES))}"
        for name in document
        if name not in _TABLES | {"gateway"}
    ]
    found: list[Wanted] = []
    for kind in (each for each in ORDER if each in document):
        tables = document[kind]
        if not _are_tables(tables):
            problems.append(f"{kind}: must be a list of tables: write [[{kind}]]")
            continue
        for at, table in enumerate(cast(list[Json], tables)):
            found += _resources(kind, table, f"{kind}[#{at + 1}]", problems)
    keys = [one.key for one in found]
    problems += [
        f"{'/'.join(key)}: stands twice" for key in dict.fromkeys(keys) if keys.count(key) > 1
    ]
    if problems:
        raise ConfigError(problems)
    return sorted(found, key=lambda one: ORDER.index(one.key[0]))


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _resources(kind: str, table: Json, place: str, problems: list[str]) -> Iterator[Wanted]:
    if kind == "route":
        yield Wanted(_route_key(table), table)
        return
    name = table.get("name")
    if not isinstance(name, str) or not name:
        problems.append(f"{place}.name: is required, and must be a string in quotes")
        return
    if kind != "vpn_connection":
        yield Wanted((kind, name), table)
        return
    tunnels = table.get("tunnel", [])
    if not _are_tables(tunnels):
        problems.append(f"{place}.tunnel: must be a list of tables")
        return
    yield Wanted((kind, name), {key: one for key, one in table.items() if key != "tunnel"})
    for at, tunnel in enumerate(cast(list[Json], tunnels)):
        its = str(tunnel.get("name") or f"{name}-{at + 1}")
        yield Wanted(("vpn_tunnel", name, its), {"name": its, "vpn_connection": name, **tunnel})


def _route_key(table: Json) -> Key:
    named = table.get("name")
    if isinstance(named, str) and not named.startswith("route-"):
        return ("route", named)
    return (
        "route",
        *(str(table.get(key)) for key in ("border_gateway", "prefix", "vpn_connection")),
    )


# ---- the API's answers ----


def actual_of(items: Mapping[str, Sequence[Json]], others: Sequence[Json] = ()) -> list[Actual]:
    """Return the resources of the API's lists by kind; `others` are only referred to."""
    known = (*others, *(item for listed in items.values() for item in listed))
    names = {str(item["id"]): str(item.get("name") or item["id"]) for item in known}
    return [
        _actual(KINDS[kind], item, names)
        for kind in ORDER
        for item in sorted(items.get(kind, ()), key=_position)
    ]


def _position(item: Json) -> int:
    position = item.get("position")
    return position if isinstance(position, int) else 0


def _actual(kind: Kind, item: Json, names: Mapping[str, str]) -> Actual:
    fields = {key: item.get(key) for key in kind.spec.model_fields if key not in kind.secrets}
    for key in kind.references:
        if fields.get(key):
            fields[key] = names.get(str(fields[key]), fields[key])
    if kind.name == "vpn_tunnel" and fields["interface"] == tunnel_device(str(item["id"])):
        fields["interface"] = None  # chosen by its id
    if kind.name == "route" and fields.get("name") == item["id"]:
        fields["name"] = None
    known_by: Key = (kind.name, str(item.get("name")))
    if kind.name == "vpn_tunnel":
        known_by = (kind.name, str(fields["vpn_connection"]), known_by[1])
    elif kind.name == "route":
        known_by = _route_key(fields)
    return Actual(known_by, str(item["id"]), int(cast(int, item["revision"])), fields, item)


def document_of(actual: Iterable[Actual], secrets: Mapping[str, Json]) -> Json:
    """Return the document of what the API has; `secrets` are those to be told, by id."""
    document: dict[str, list[Json]] = {}
    connections: dict[str, Json] = {}
    for one in actual:
        table = {**set_fields(one.kind, one.fields), **secrets.get(one.id, {})}
        if one.kind.name == "vpn_tunnel":
            connection = connections[str(table.pop("vpn_connection"))]
            cast(list[Json], connection.setdefault("tunnel", [])).append(table)
            continue
        document.setdefault(one.kind.name, []).append(table)
        if one.kind.name == "vpn_connection":
            connections[one.key[1]] = table
    return dict(document)


def set_fields(kind: Kind, fields: Mapping[str, object]) -> Json:
    """Return the fields that are not what they would be without being said, the name first."""
    return {
        key: _plain(one)
        for key in dict.fromkeys(("name", *kind.references, *fields))
        if (one := fields.get(key)) is not None and one != default_of(kind, key)
    }


def _plain(value: object) -> object:
    """Return a value without the nulls and empty lists within, which TOML can not say."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if one not in (None, [])}
    return [_plain(one) for one in value] if isinstance(value, list) else value


# ---- the difference ----


def planned(wanted: Sequence[Wanted], actual: Sequence[Actual], *, prune: bool) -> Plan:
    """
    Return what makes the API have what is wanted. Raises ConfigError for what can not be.

    What is not mentioned is deleted with `prune` only. A field that can not change makes the
    resource, and those that refer to it, be made anew.
    """
    here = {one.key: one for one in actual}
    there = {one.key: one for one in wanted}
    managed = {one.key[1] for one in wanted if one.key[0] == "vpn_tunnel"}
    extra = [one for one in actual if one.key not in there]
    kept_tunnels = {
        one.key
        for one in extra
        if one.key[0] == "vpn_tunnel"
        and ("vpn_connection", one.key[1]) in there
        and one.key[1] not in managed
    }
    gone = {one.key for one in extra if prune and one.key not in kept_tunnels}
    anew = _made_anew(there, here, gone, kept_tunnels)
    changes = [
        _change(there.get(key), here.get(key), key in anew) for key in _in_order(there, here)
    ]
    found = [
        change
        for change in changes
        if change is not None and (change.new is not None or change.key in gone)
    ]
    _put_together(found)
    left = tuple(one.key for one in extra if one.key not in gone | kept_tunnels)
    return Plan(tuple(found), left)


def _put_together(changes: Sequence[Change]) -> None:
    """Let a new connection come with its tunnels in one step: its addresses are then theirs."""
    making = {change.key[1]: change for change in changes if change.key[0] == "vpn_connection"}
    for change in changes:
        connection = making.get(change.key[1])
        if change.key[0] != "vpn_tunnel" or connection is None or not change.makes:
            continue
        for step in connection.makes:
            if step["action"] == "create":
                (tunnel,) = change.makes
                body = {**cast(Json, tunnel["body"])}
                del body["vpn_connection"]
                cast(Json, step["body"]).setdefault("tunnel", [])
                cast(list[Json], cast(Json, step["body"])["tunnel"]).append(body)
                change.makes = []


def _in_order(there: Mapping[Key, Wanted], here: Mapping[Key, Actual]) -> list[Key]:
    return sorted(dict.fromkeys([*there, *here]), key=lambda key: ORDER.index(key[0]))


def _made_anew(
    there: Mapping[Key, Wanted], here: Mapping[Key, Actual], gone: set[Key], kept: set[Key]
) -> set[Key]:
    """
    Return the resources that must be made anew. Raises ConfigError if one is not wanted.

    Of a connection that names no tunnels, those that it has, `kept`, go with it: it gets others.
    """
    anew: set[Key] = set()
    for key in _in_order(there, here):
        if key not in here:
            continue
        old = here[key]
        parents = {(of, str(old.fields.get(name))) for name, of in old.kind.references.items()}
        is_moved = bool(parents & anew)
        if key not in there:
            if is_moved and key in kept:
                gone.add(key)
            elif is_moved and key not in gone:
                parent = next(iter(parents & anew))
                text = f"{'/'.join(parent)}: must be made anew, and {'/'.join(key)} refers to it"
                raise ConfigError([f"{text}, but is not in the file: --prune deletes it"])
            continue
        patch = patch_of(there[key], old)
        if is_moved or set(patch) & old.kind.fixed:
            anew.add(key)
    return anew


def _change(new: Wanted | None, old: Actual | None, is_anew: bool) -> Change | None:
    """Return the change of one resource, None if it is as it is wanted."""
    if new is None:
        assert old is not None
        return Change(old.key, _told(old), None, deletes=_deleting(old))
    told = set_fields(new.kind, {**new.fields, **normal(new)})
    told |= dict.fromkeys(new.kind.secrets & set(told), NOT_SHOWN)
    if old is None:
        return Change(new.key, None, told, makes=[_making(new)])
    if is_anew:
        return Change(new.key, _told(old), told, deletes=_deleting(old), makes=[_making(new)])
    patch = patch_of(new, old)
    if not patch:
        return None
    fields = {key: one for key, one in patch.items() if key not in new.kind.secrets}
    step = _step("update", old.key, id=old.id, expected=old.revision, body=patch)
    after = set_fields(new.kind, {**old.fields, **fields})
    before = _told(old)
    for secret in new.kind.secrets & set(patch):
        if old.answer.get(f"{secret}_version"):
            before[secret] = NOT_SHOWN
        after[secret] = ANOTHER if secret in before else NOT_SHOWN
    return Change(new.key, before, after, is_certain=bool(fields), makes=[step])


def patch_of(new: Wanted, old: Actual) -> Json:
    """Return the merge patch that makes a resource what is wanted; secrets are always in it."""
    kind, patch = new.kind, {}
    fields = normal(new)
    for key, value in old.fields.items():
        if key in fields:
            if fields[key] != value:
                patch[key] = fields[key]
        elif key not in CHOSEN.get(kind.name, ()) and value != default_of(kind, key):
            patch[key] = None
    unknown = {key: one for key, one in fields.items() if key not in old.fields}
    return {**patch, **{key: one for key, one in unknown.items() if key != "tunnels"}}


def normal(new: Wanted) -> Json:
    """
    Return a resource's fields as the API tells them: 10.0.0.0/8 for "10.0.0.0/8 ", 1.0 for 1.

    What is wrong stays as it is: the control plane says so.
    """
    fields = dict(new.fields)
    try:
        made = new.kind.new.model_validate(fields)
    except ValidationError:
        return fields
    dumped = made.model_dump(mode="json", exclude_unset=True)
    return {key: one if key in new.kind.secrets else dumped.get(key) for key, one in fields.items()}


def _told(old: Actual) -> Json:
    return set_fields(old.kind, old.fields)


def _making(new: Wanted) -> Json:
    return _step("create", new.key, body=dict(new.fields))


def _deleting(old: Actual) -> list[Json]:
    step = _step("delete", old.key, id=old.id)
    if old.kind.name == "vpn_tunnel" and value_of(old.answer, "status.admin") != "down":
        down = {"admin": "down"}
        # Only what is down can be deleted: nobody loses a tunnel by one slip.
        return [step, _step("update", old.key, id=old.id, expected=old.revision, body=down)][::-1]
    return [{**step, "expected": old.revision}]


def _step(action: str, key: Key, **more: object) -> Json:
    return {"action": action, "kind": key[0], "name": "/".join(key[1:]), **more}
