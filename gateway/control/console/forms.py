"""
Forms from the resources' own models, and what was typed back to what the API takes. Pure.

Each field of a model becomes a field of the form with its description. An empty field is not set: a
new resource gets the default, an existing one goes back to it.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gateway.control.console.states import label
from gateway.control.resources.kinds import KINDS, SECRETS, Kind
from gateway.model.settings import PEM

Table = dict[str, Any]

# What most people set; the rest is folded away.
_FIRST = {
    "border_gateway": ("name", "asn", "spoke_isolation"),
    "vpc_attachment": ("name", "border_gateway", "interface", "cidrs"),
    "customer_gateway": ("name", "public_addresses", "asn", "identity"),
    "vpn_connection": (
        "name",
        "border_gateway",
        "customer_gateway",
        "routing",
        "remote_cidrs",
        "tunnels",
    ),
    "vpn_tunnel": ("vpn_connection", "name", "inner_cidr", "psk", "admin"),
    "direct_line": (
        "name",
        "border_gateway",
        "customer_gateway",
        "interface",
        "address",
        "peer_address",
        "routing",
    ),
    "route": ("border_gateway", "prefix", "vpn_connection"),
    "address_pool": ("name", "addresses", "exclusive"),
    "node": ("name", "public_addresses"),
    "alarm_target": ("name", "type", "url", "server", "sender", "recipients"),
}
_LAST = ("description", "tags")
_TABLES = frozenset({"rule", "veth", "tunnel"})  # tables within: written as JSON


class Input(Enum):
    """How a field is asked for."""

    TEXT = "text"
    NUMBER = "number"
    CHOICE = "choice"
    LINES = "lines"
    PAIRS = "pairs"
    SECRET = "secret"  # noqa: S105 # a kind of field
    PEM = "pem"
    PEM_SECRET = "pem_secret"  # noqa: S105 # the same
    JSON = "json"


@dataclass(frozen=True, slots=True)
class FormField:
    """One field: `value` is its text, `error` what is wrong with it, `default` what empty means."""

    name: str
    label: str
    help: str
    input: Input
    required: bool
    choices: tuple[tuple[str, str], ...] = ()
    value: str = ""
    default: str = ""
    error: str = ""
    fixed: bool = False
    only_with: str = ""  # shown only while another field has a value: NAME=VALUE


def fields_of(
    kind: Kind, choices: Mapping[str, Sequence[tuple[str, str]]], *, is_new: bool
) -> list[FormField]:
    """
    Return the fields of a kind's form, the common ones first.

    `choices` are id and name of what each reference can be.
    """
    model = kind.new if is_new else kind.spec
    return [
        _field(kind, name, model.model_fields[name], choices, is_new=is_new)
        for name in _order(kind, model)
    ]


def is_common(kind: Kind, field: FormField) -> bool:
    """Say whether a field is among those that most people set."""
    return field.name in _FIRST.get(kind.name, ()) or field.required


def _order(kind: Kind, model: type[BaseModel]) -> list[str]:
    names = [name for name in model.model_fields if name != "tunnel"]
    first = [name for name in _FIRST.get(kind.name, ()) if name in names]
    rest = sorted(name for name in names if name not in first and name not in _LAST)
    return [*first, *rest, *(name for name in _LAST if name in names)]


def _field(
    kind: Kind,
    name: str,
    info: FieldInfo,
    choices: Mapping[str, Sequence[tuple[str, str]]],
    *,
    is_new: bool,
) -> FormField:
    how, options = _input(name, info.annotation)
    if info.json_schema_extra == PEM:
        how = Input.PEM_SECRET if name in SECRETS else Input.PEM
    if name in kind.references:
        how, options = Input.CHOICE, tuple(choices.get(name, ()))
    return FormField(
        name=name,
        label=label(name),
        help=info.description or "",
        input=how,
        required=info.is_required(),
        choices=options,
        default=_default(kind, info),
        fixed=not is_new and name in kind.fixed,
    )


def _input(name: str, annotation: object) -> tuple[Input, tuple[tuple[str, str], ...]]:
    if name == "tags":
        return Input.PAIRS, ()
    if name in SECRETS:
        return Input.SECRET, ()
    if name in _TABLES:
        return Input.JSON, ()
    kinds = _kinds(annotation)
    if any(get_origin(one) is tuple for one in kinds):
        return Input.LINES, ()
    for one in kinds:
        if get_origin(one) is Literal:
            return Input.CHOICE, tuple((str(value), str(value)) for value in get_args(one))
        if isinstance(one, type) and issubclass(one, Enum):
            return Input.CHOICE, tuple((str(item.value), str(item.value)) for item in one)
        if one is bool:
            return Input.CHOICE, (("true", "yes"), ("false", "no"))
    if SecretStr in kinds:
        return Input.SECRET, ()
    return (Input.NUMBER if {int, float} & set(kinds) else Input.TEXT), ()


def _kinds(annotation: object) -> list[Any]:
    """Return the types that an annotation can be, without what is said about them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [annotation]


def _default(kind: Kind, info: FieldInfo) -> str:
    if info.is_required():
        return ""
    value = info.get_default(call_default_factory=True, validated_data={})
    if kind.inherits and value not in (None, "", (), {}):
        return "as its connection"
    return text_of(value.value if isinstance(value, Enum) else value)


def text_of(value: object) -> str:
    """Return a value of the API as the form writes it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict():
            if all(isinstance(one, str) for one in value.values()):
                return "\n".join(f"{key}={text}" for key, text in value.items())
            return json.dumps(value, indent=1)
        case list() | tuple():
            if any(isinstance(one, dict) for one in value):
                return json.dumps(value, indent=1)
            return "\n".join(str(one) for one in value)
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def filled(
    fields: Iterable[FormField], values: Mapping[str, str], errors: Mapping[str, str]
) -> list[FormField]:
    """Return the fields with the texts and the mistakes of the last attempt."""
    return [
        replace(one, value=values.get(one.name, one.value), error=errors.get(one.name, ""))
        for one in fields
    ]


def values_of(kind: Kind, resource: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a form for a resource as the API answers it."""
    names = kind.spec.model_fields.keys() - kind.secrets
    return {name: text_of(resource.get(name)) for name in names}


def request_of(
    fields: Iterable[FormField], typed: Mapping[str, str]
) -> tuple[Table, dict[str, str]]:
    """Return what to ask the API for, only what was filled in, and mistakes of form by field."""
    table: Table = {}
    errors = {}
    for field in fields:
        text = typed.get(field.name, "").replace("\r\n", "\n")
        if not text.strip() or field.fixed:
            continue
        try:
            table[field.name] = _value(field, text)
        except ValueError as error:
            errors[field.name] = str(error)
    return table, errors


def patch_of(
    fields: Iterable[FormField], before: Mapping[str, str], typed: Mapping[str, str]
) -> tuple[Table, dict[str, str]]:
    """
    Return a merge patch of what was typed otherwise than it was before, mistakes by field.

    An empty field goes back to its default; an empty secret stays as it is.
    """
    changed = [
        one
        for one in fields
        if not one.fixed
        and one.name in typed
        and typed[one.name].replace("\r\n", "\n").strip() != before.get(one.name, "").strip()
    ]
    patch, errors = request_of(changed, typed)
    for field in changed:
        if field.name not in errors and field.input not in (Input.SECRET, Input.PEM_SECRET):
            patch.setdefault(field.name, None)
    if "tags" in patch:
        gone = set(_pairs(before.get("tags", ""))) - set(patch["tags"] or {})
        patch["tags"] = {**dict.fromkeys(gone), **(patch["tags"] or {})}
    return patch, errors


def _value(field: FormField, text: str) -> object:
    match field.input:
        case Input.LINES:
            words = [word for line in text.split("\n") for word in line.replace(",", " ").split()]
            return words[0] if words == ["any"] else words
        case Input.PAIRS:
            return _pairs(text)
        case Input.NUMBER:
            return _number(text.strip())
        case Input.JSON:
            try:
                return json.loads(text)
            except ValueError as error:
                raise ValueError(f"is not JSON: {error}") from None
        case Input.CHOICE if text in ("true", "false"):
            return text == "true"
        case Input.SECRET:
            return text
        case _:
            return text.strip() if field.name != "description" else text


def _number(text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError("must be a number")


def _pairs(text: str) -> dict[str, str]:
    lines = [line for line in text.split("\n") if line.strip()]
    if any("=" not in line for line in lines):
        raise ValueError("must be lines of key=value")
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def by_field(kind: Kind, errors: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the details of a problem document's errors by the field of the form."""
    found: dict[str, str] = {}
    for error in errors:
        name = str(error.get("field") or "")
        name = name.removeprefix(f"{kind.name}.").partition("[")[0].partition(".")[0]
        found.setdefault(name, str(error.get("detail", "")))
    return found


def kind_of_path(path: str) -> Kind | None:
    """Return the kind whose resources are under a path, None if there is none."""
    return next((kind for kind in KINDS.values() if kind.path == path), None)
