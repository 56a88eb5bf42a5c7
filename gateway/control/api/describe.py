"""
The OpenAPI 3.1 description of the resources' routes and schemas, from the table of kinds. Pure.

FastAPI knows of a route what its function says; bodies are read by the registry, so what they may
have is described here, from the models that judge them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.control.api.conditions import DEFAULT_LIMIT, MAX_LIMIT
from gateway.control.api.examples import EXAMPLES
from gateway.control.api.find import SORTS, filters_of
from gateway.control.api.render import ALLOCATED
from gateway.control.resources.kinds import KINDS, Kind

Table = dict[str, object]
Schemas = dict[str, Table]

REFERENCE = "#/components/schemas/"
PATCH_TYPES = ("application/merge-patch+json", "application/json")
# Refusals of every route that needs a credential, and those of writes beside them.
ALWAYS = (400, 401, 403, 422, 429, 500, 503)
WRITES = (409, 412, 413, 415)
REFUSALS: Mapping[int, str] = {
    400: "The request can not be understood",
    401: "The request needs a valid credential",
    403: "The credential does not reach",
    404: "It does not exist, or is another tenant's",
    405: "The path does not have this method",
    409: "The state of this or another resource does not allow it",
    412: "It has been changed since: If-Match is not its ETag",
    413: "The body has more than 1 MiB",
    415: "The body is not JSON",
    422: "A value is not allowed; `errors` has each mistake with its field",
    429: "Too many requests; Retry-After says when to come again",
    500: "A mistake of the control plane; its journal has more under `number`",
    503: "The store can not be reached; Retry-After says when to come again",
}


def name_of(kind: Kind) -> str:
    """Return the name of a kind in the description: `VpnTunnel`."""
    return "".join(word.capitalize() for word in kind.name.split("_"))


@dataclass(frozen=True, slots=True)
class About:
    """What the description says of one route, beside its method and path."""

    operation: str
    summary: str
    text: str
    status: int
    responses: Mapping[int, Table]
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Noun:
    """A collection of resources in words: its path, its schemas' name, what its lists filter by."""

    name: str
    title: str
    path: str
    filters: frozenset[str]
    example: Mapping[str, object]
    patch_example: Mapping[str, object]

    @property
    def one(self) -> str:
        """The path of one resource, as a template."""
        return self.path + "/{id}"


def noun_of(kind: Kind) -> Noun:
    """Return a kind of the registry as a noun."""
    return Noun(
        name_of(kind),
        kind.title,
        f"/v1/{kind.path}",
        filters_of(kind),
        EXAMPLES[kind.name],
        {"description": "changed"},
    )


def described_list(noun: Noun) -> About:
    """Return what is said of the route that lists resources."""
    filters = sorted(noun.filters - {"name"})
    parameters = [
        _query("limit", _LIMIT, DEFAULT_LIMIT),
        _query("after", {"type": "string"}, text="`next` of the page before"),
        _query("sort", {"enum": [*SORTS, *(f"-{each}" for each in SORTS)]}, "name"),
        _query("name", {"type": "string"}, text="only the one of this name"),
        *(_query(one, {"type": "string"}, text=f"only those with this {one}") for one in filters),
        _TENANT,
    ]
    answer = _answer(f"{noun.name}List", "A page")
    text = "Filter by tags as well, where they have tags: `tag.KEY=VALUE`."
    return _route(f"list{noun.name}s", f"List {noun.title}s", {200: answer}, parameters, text)


def described_create(noun: Noun) -> About:
    """Return what is said of the route that makes a resource."""
    body = _body(f"New{noun.name}", noun.example, ("application/json",))
    answer = _answer(noun.name, "It is made", headers=("ETag", "Location"))
    return _route(
        f"create{noun.name}",
        f"Create a {noun.title}",
        {201: answer},
        [_IDEMPOTENCY, _DRY_RUN, _TENANT],
        refusals=(*WRITES, 404),
        body=body,
    )


def described_read(noun: Noun) -> About:
    """Return what is said of the route that returns one resource."""
    answers = {200: _answer(noun.name, "The resource", headers=("ETag",))}
    text = f"Return a {noun.title}"
    return _route(f"get{noun.name}", text, answers, [_TENANT], refusals=(404,))


def described_change(noun: Noun) -> About:
    """Return what is said of the route that changes a resource."""
    return _route(
        f"update{noun.name}",
        f"Change a {noun.title}",
        {200: _answer(noun.name, "The resource as it is now", headers=("ETag",))},
        [_IF_MATCH, _DRY_RUN, _TENANT],
        "A merge patch (RFC 7396): what it does not name stays, null sets the default.",
        refusals=(*WRITES, 404),
        body=_body(f"{noun.name}Patch", noun.patch_example, PATCH_TYPES),
    )


def described_delete(noun: Noun) -> About:
    """Return what is said of the route that deletes a resource."""
    return _route(
        f"delete{noun.name}",
        f"Delete a {noun.title}",
        {204: {"description": "It is gone"}},
        [_IF_MATCH, _DRY_RUN, _TENANT],
        refusals=(409, 412, 404),
    )


def _route(
    operation: str,
    summary: str,
    answers: Mapping[int, Table],
    parameters: list[Table],
    text: str = "",
    *,
    refusals: tuple[int, ...] = (),
    body: Table | None = None,
) -> About:
    extra: dict[str, Any] = {"parameters": parameters}
    if body is not None:
        extra["requestBody"] = body
    responses = {**answers, **refused(*ALWAYS, *refusals)}
    return About(operation, summary, text, min(answers), responses, extra)


def described_verb(verb: str, text: str) -> About:
    """Return what is said of a verb of a tunnel."""
    parameters = [_TENANT]
    if verb == "rekey":
        parameters.append(_query("ike", {"type": "boolean"}, text="of the IKE SA"))
    return _route(
        f"{verb}VpnTunnel",
        text,
        {202: _answer("Action", "It is under way")},
        parameters,
        refusals=(404, 409),
    )


def described_secret(kind: Kind, field: str) -> About:
    """Return what is said of the route of one secret of a kind."""
    word = "".join(part.capitalize() for part in field.split("_"))
    return _route(
        f"get{name_of(kind)}{word}",
        f"Return the {field} of a {kind.title}",
        {200: _answer(word, "The secret in clear")},
        [_TENANT],
        "Needs the scope operate. Each call is in the audit log.",
        refusals=(404,),
    )


def described_log() -> About:
    """Return what is said of the audit log."""
    parameters = [
        _query("limit", _LIMIT, DEFAULT_LIMIT),
        _query("after", {"type": "string"}, text="`next` of the page before"),
        _query("kind", {"type": "string"}, text="only changes of this kind of resource"),
        _query("id", {"type": "string"}, text="only changes of this resource"),
        _TENANT,
    ]
    return _route(
        "listAuditLog",
        "List who changed what, the newest first",
        {200: _answer("AuditLog", "A page")},
        parameters,
        "What each resource was before and after, secrets masked. Empty pages may have a `next`.",
    )


def refused(*statuses: int) -> dict[int, Table]:
    """Return the responses of refusals, for a route."""
    return {
        status: {
            "description": REFUSALS[status],
            "content": {"application/problem+json": {"schema": {"$ref": REFERENCE + "Problem"}}},
        }
        for status in sorted(set(statuses))
    }


def _answer(schema: str, text: str, headers: tuple[str, ...] = ()) -> Table:
    answer: Table = {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": REFERENCE + schema}}},
    }
    if headers:
        answer["headers"] = {each: {"schema": {"type": "string"}} for each in headers}
    return answer


def _body(schema: str, example: object, types: tuple[str, ...]) -> Table:
    content = {"schema": {"$ref": REFERENCE + schema}, "example": example}
    return {"required": True, "content": {each: copy.deepcopy(content) for each in types}}


def _query(name: str, schema: Table, default: object = None, text: str = "") -> Table:
    if default is not None:
        schema = schema | {"default": default}
    return {"name": name, "in": "query", "schema": schema, "description": text}


def _header(name: str, schema: Table, text: str) -> Table:
    return {"name": name, "in": "header", "schema": schema, "description": text}


_LIMIT: Table = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
_TENANT = _query("tenant", {"type": "string"}, text="the operator names a tenant; `main` if not")
_DRY_RUN = _query("dry_run", {"type": "boolean"}, text="check everything, write nothing")
_IF_MATCH = _header(
    "If-Match", {"type": "string", "pattern": '^"[0-9]{1,18}"$'}, "the ETag as read"
)
_IDEMPOTENCY = _header(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
    "the same key again within 24 hours: the same answer again, nothing new is made",
)


# ---- schemas ----


def schemas() -> Schemas:
    """Return the schemas of all kinds: of requests, of answers, of lists, and of problems."""
    found: Schemas = dict(_OTHERS)
    for kind in KINDS.values():
        name = name_of(kind)
        found[f"New{name}"] = _request(kind, found)
        found[f"{name}Patch"] = _patch(kind)
        found[name] = _resource(kind)
        found[f"{name}List"] = list_schema(name)
    return found


def _schema(kind: Kind, *, new: bool) -> Table:
    model = kind.new if new else kind.spec
    return model.model_json_schema(ref_template=REFERENCE + "{model}")


def _request(kind: Kind, found: Schemas) -> Table:
    schema = _schema(kind, new=True)
    definitions = schema.pop("$defs", {})
    assert isinstance(definitions, dict)
    found |= definitions
    return schema | {"title": f"New {kind.title}"}


def _patch(kind: Kind) -> Table:
    """Return what a merge patch may have: any field, or null for its default."""
    properties = {}
    for field, schema in _properties(kind).items():
        plain = {key: value for key, value in schema.items() if key != "default"}
        properties[field] = _or_null(plain)
    return {
        "title": f"Change of a {kind.title}",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _resource(kind: Kind) -> Table:
    """Return what an answer has: the fields but for secrets, and what is computed."""
    properties: Schemas = {
        "id": {"type": "string", "pattern": f"^{kind.prefix}-[a-z2-7]{{10}}$"},
        "tenant": {"type": "string"},
    }
    for field, schema in _properties(kind).items():
        if field not in kind.secrets:
            properties[field] = _or_null(schema)
    properties |= {field: {} for field in ALLOCATED.get(kind.name, ())}
    properties |= {f"{field}_version": {"type": "integer"} for field in sorted(kind.secrets)}
    moment: Table = {"type": ["string", "null"], "format": "date-time"}
    properties |= {
        "created_at": moment,
        "updated_at": moment,
        "revision": {"type": "integer"},
        "generation": {"type": "integer"},
        "status": {"type": "object", "description": "how it is now, computed"},
    }
    return {
        "title": kind.title,
        "type": "object",
        "properties": properties | {"warnings": {"type": "array", "items": {"type": "string"}}},
        "required": list(properties),
        "additionalProperties": False,
    }


def list_schema(name: str) -> Table:
    """Return the schema of a page of the resources that have a schema's name."""
    return {
        "title": f"A page of {name}s",
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"$ref": REFERENCE + name}},
            "next": {"type": ["string", "null"], "description": "`after` of the next page"},
            "revision": {"type": "integer", "description": "of the store, that this is of"},
        },
        "required": ["items", "next", "revision"],
    }


def _properties(kind: Kind) -> dict[str, Table]:
    properties = _schema(kind, new=False)["properties"]
    assert isinstance(properties, dict)
    return properties


def _or_null(schema: Table) -> Table:
    options = schema.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        return schema
    outer: Table = {
        key: schema[key] for key in ("title", "description", "default") if key in schema
    }
    inner = {key: value for key, value in schema.items() if key not in outer}
    return {"anyOf": [inner, {"type": "null"}], **outer}


_FIELD_ERROR: Table = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "field": {"type": "string"},
        "value": {},
        "detail": {"type": "string"},
    },
    "required": ["code", "field", "detail"],
}
_PROBLEM: Table = {
    "title": "Problem",
    "description": "Why a request is refused (RFC 9457). Programs branch on `code`.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "field": {"type": "string"},
        "value": {},
        "errors": {"type": "array", "items": {"$ref": REFERENCE + "FieldError"}},
    },
    "required": ["type", "title", "status", "code", "detail"],
    "example": {
        "type": "https://twinspan.dev/problems/inner_cidr_in_use",
        "title": "Conflict",
        "status": 409,
        "code": "inner_cidr_in_use",
        "detail": "vpn_tunnel.inner_cidr: another tunnel has this network",
        "field": "vpn_tunnel.inner_cidr",
        "value": "169.254.10.0/30",
    },
}
_ACTION: Table = {
    "title": "Action",
    "description": "What a node was told; `action` is null where nothing has to be waited for.",
    "type": "object",
    "properties": {"action": {"type": ["string", "null"]}},
    "required": ["action"],
}


def _secret(field: str, title: str) -> Table:
    names = ("id", field, f"{field}_version")
    types = ("string", "string", "integer")
    properties = {name: {"type": each} for name, each in zip(names, types, strict=True)}
    return {"title": title, "type": "object", "properties": properties, "required": list(names)}


_CHANGE: Table = {
    "title": "One change",
    "type": "object",
    "properties": {
        "action": {"enum": ["create", "update", "delete"]},
        "kind": {"type": "string"},
        "id": {"type": "string"},
        "name": {"type": "string"},
        "before": {"type": ["object", "null"]},
        "after": {"type": ["object", "null"]},
    },
    "required": ["action", "kind", "id", "name", "before", "after"],
}
_LOG: Table = {
    "title": "A page of the audit log",
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "revision": {"type": "integer"},
                    "at": {"type": ["string", "null"], "format": "date-time"},
                    "actor": {
                        "type": "string",
                        "examples": ["user:ada", "token:tok-...", "local:root"],
                    },
                    "changes": {"type": "array", "items": _CHANGE},
                },
                "required": ["revision", "at", "actor", "changes"],
            },
        },
        "next": {"type": ["string", "null"]},
    },
    "required": ["items", "next"],
}
_OTHERS: Schemas = {
    "Problem": _PROBLEM,
    "FieldError": _FIELD_ERROR,
    "Action": _ACTION,
    "Psk": _secret("psk", "Pre-shared key"),
    "BgpPassword": _secret("bgp_password", "Password of a BGP session"),
    "AuditLog": _LOG,
}
