"""The JSON schemas of what the API takes, for the options of `create` and `update`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from gateway.cli.remote.nouns import Noun
from gateway.control.auth import specs
from gateway.control.resources.kinds import KINDS

Schema = dict[str, object]

# Of each kind that the table of kinds does not have: what makes one, and what can be changed.
_OTHERS: Mapping[str, tuple[type[BaseModel], type[BaseModel]]] = {
    "tenant": (specs.NewTenant, specs.TenantSpec),
    "user": (specs.NewUser, specs.UserSpec),
    "token": (specs.NewToken, specs.TokenSpec),
}


def new_schema(noun: Noun) -> Schema:
    """Return the schema of what a request to make one may have."""
    model = _OTHERS[noun.kind][0] if noun.kind in _OTHERS else KINDS[noun.kind].new
    return _without(model, {"tenant"})  # every command has --tenant


def change_schema(noun: Noun) -> Schema:
    """Return the schema of what can be changed."""
    if noun.kind in _OTHERS:
        return _without(_OTHERS[noun.kind][1], set())
    kind = KINDS[noun.kind]
    return _without(kind.spec, kind.fixed)


def _without(model: type[BaseModel], fields: set[str] | frozenset[str]) -> Schema:
    schema = model.model_json_schema()
    kept = {key: one for key, one in schema["properties"].items() if key not in fields}
    return {**schema, "properties": kept}
