"""The JSON schemas of what the API takes, for the options of `create` and `update`."""

from __future__ import annotations

from gateway.cli.remote.nouns import Noun
from gateway.control.resources.kinds import KINDS

Schema = dict[str, object]


def new_schema(noun: Noun) -> Schema:
    """Return the schema of what a request to make one may have."""
    return KINDS[noun.kind].new.model_json_schema()


def change_schema(noun: Noun) -> Schema:
    """Return the schema of what can be changed."""
    kind = KINDS[noun.kind]
    schema = kind.spec.model_json_schema()
    fixed = kind.fixed
    schema["properties"] = {k: v for k, v in schema["properties"].items() if k not in fixed}
    return schema
