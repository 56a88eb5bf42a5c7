"""From a request's table to a resource's fields: references, types, values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.control.changes.view import View
from gateway.control.problems import MOST_ERRORS, ApiProblem, FieldError
from gateway.control.resources.kinds import KINDS, SECRETS, Kind
from gateway.control.resources.record import Record, Table
from gateway.control.secrets import is_sealed
from gateway.model.document import problem_of
from gateway.model.locate import Path
from gateway.model.problem import FILE_KEYS, Problem, value_at
from gateway.model.types import UNSEEN_KEY

_NOTHING: Mapping[str, Any] = MappingProxyType({})
OTHER_KEYS = {
    file: f"names a file of a gateway VM; give {key}" for file, key in FILE_KEYS.items()
} | {"title": "is the name here"}


def read(
    kind: Kind,
    model: type[BaseModel],
    table: object,
    view: View,
    tenant: str,
    before: Mapping[str, Any] = _NOTHING,
) -> Table:
    """
    Return the fields of a resource as a table of JSON, only what was set, secrets in clear.

    Names of other resources become their ids. `before` is what was set already: secrets that are as
    they were there stay sealed. Raises ApiProblem 422 with every mistake.
    """
    if not isinstance(table, dict):
        raise ApiProblem(422, "wrong_type", "the body must be a JSON object")
    resolved, errors = _resolve(kind, table, view, tenant)
    kept = {key for key in SECRETS & set(resolved) if resolved[key] == before.get(key)}
    errors += [
        FieldError("invalid_value", f"{kind.name}.{key}", "has the form of a sealed secret")
        for key in (SECRETS & set(resolved)) - kept
        if is_sealed(resolved[key]) or resolved[key] == UNSEEN_KEY
    ]
    try:
        made = model.model_validate({key: resolved[key] for key in resolved if key not in kept})
    except ValidationError as error:
        told = {each.field for each in errors}
        errors += islice(_mistakes(kind, error, resolved, told), MOST_ERRORS)
    if errors:
        raise refused(errors)
    return with_secrets(made.model_dump(mode="json", exclude_unset=True), resolved)


def with_secrets(dumped: Table, given: Mapping[str, Any]) -> Table:
    """Put the secrets back that a model does not tell, on it and on the tunnels within."""
    for key in SECRETS & set(given):
        if given[key] is not None:
            dumped[key] = given[key]
    for tunnel, its in zip(dumped.get("tunnel", ()), given.get("tunnel", ()), strict=False):
        with_secrets(tunnel, its)
    return dumped


def refused(errors: list[FieldError]) -> ApiProblem:
    """Return the problem of a request with mistakes: the first names it, all are told."""
    first = errors[0]
    detail = f"{first.field}: {first.detail}"
    if len(errors) > 1:
        detail += f" (and {len(errors) - 1} more)"
    status = 409 if first.code.endswith("_in_use") else 422
    return ApiProblem(
        status, first.code, detail, field=first.field, value=first.value, errors=errors
    )


def patched(old: Mapping[str, Any], patch: object) -> Table:
    """Return a table with a merge patch applied (RFC 7396): null takes a field out."""
    if not isinstance(patch, dict):
        raise ApiProblem(422, "wrong_type", "the body must be a JSON object")
    new = dict(old)
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, dict):
            before = new.get(key)
            new[key] = patched(before if isinstance(before, dict) else {}, value)
        else:
            new[key] = value
    return new


def _resolve(kind: Kind, table: Table, view: View, tenant: str) -> tuple[Table, list[FieldError]]:
    """Return the table with ids where it had names, and what is referred to in vain."""
    resolved, errors = dict(table), []
    for field, target in kind.references.items():
        value = table.get(field)
        if not isinstance(value, str):
            continue
        found = find(view, target, value, tenant)
        if len(found) == 1:
            resolved[field] = found[0].id
            continue
        there = ", ".join(sorted(one.name for one in _of(view, target, tenant))[:8]) or "none"
        text = f"no {target} has this id or name"
        if not KINDS[target].is_operators:  # whose names are not everybody's to know
            text += f"; there is: {there}"
        if found:
            text = f"several have this name: {', '.join(one.id for one in found)}; give an id"
        errors.append(FieldError("reference_not_found", f"{kind.name}.{field}", text, value))
    return resolved, errors


def find(view: View, kind: str, word: str, tenant: str) -> list[Record]:
    """Return the resource of an id, else those of a name, as far as the tenant sees them."""
    record = view.get(kind, word)
    if record is not None and record.tenant in (tenant, ""):
        return [record]
    return [record for record in _of(view, kind, tenant) if record.name == word]


def _of(view: View, kind: str, tenant: str) -> Iterator[Record]:
    return view.of_kind(kind, "" if KINDS[kind].is_operators else tenant)


def _mistakes(
    kind: Kind, error: ValidationError, table: Table, told: set[str]
) -> Iterator[FieldError]:
    for one in error.errors(include_url=False, include_input=False):
        path = _path(one["loc"], table, one["type"])
        problem = problem_of(one, path, value_at(table, path))
        field = field_text(kind.name, path)
        if field in told:
            continue
        told.add(field)
        if path and path[-1] in OTHER_KEYS and one["type"] == "extra_forbidden":
            problem = Problem(path, OTHER_KEYS[str(path[-1])], code="unknown_field")
        yield FieldError(problem.code, field, problem.text, _shown(table, path))


def _path(place: tuple[int | str, ...], table: Table, error: str) -> Path:
    """Return an error's place without the union members that `pydantic` puts between."""
    path: Path = ()
    for part in place:
        here = value_at(table, path) if path else table
        inside = isinstance(here, dict) and part in here
        if inside or (isinstance(here, list) and isinstance(part, int) and part < len(here)):
            path = (*path, part)
    return (*path, place[-1]) if error == "missing" else path


def _shown(table: Table, path: Path) -> object:
    value = value_at(table, path)
    if SECRETS & set(path) or isinstance(value, dict | list):
        return None
    return value


def field_text(kind: str, path: Path) -> str:
    """Return a field as problems name it, as in `vpn_connection.remote_cidrs[0]`."""
    text = kind
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{str(part)[:64]}"
    return text
