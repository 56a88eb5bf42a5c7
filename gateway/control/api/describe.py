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
from gateway.control.api.examples import EXAMPLES, SETTING_EXAMPLES
from gateway.control.api.find import SORTS, filters_of
from gateway.control.api.schemas import REFERENCE, Table, name_of, secret_name, setting_name
from gateway.control.resources.kinds import Kind

PATCH_TYPES = ("application/merge-patch+json", "application/json")
# Refusals of every route that needs a credential, and those of writes beside them.
ALWAYS = (400, 401, 403, 404, 422, 429, 500, 503)
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


CASCADES = {
    "vpn_connection": "its tunnels go with it, also those that are up",
    "vpn_tunnel": "also while its admin status is up",
}


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
    cascade: str = ""  # what `?cascade=true` of a deletion does, where there is one

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
        CASCADES.get(kind.name, ""),
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
        refusals=WRITES,
        body=body,
    )


def described_read(noun: Noun) -> About:
    """Return what is said of the route that returns one resource."""
    answers = {200: _answer(noun.name, "The resource", headers=("ETag",))}
    text = f"Return a {noun.title}"
    return _route(f"get{noun.name}", text, answers, [_TENANT])


def described_change(noun: Noun) -> About:
    """Return what is said of the route that changes a resource."""
    return _route(
        f"update{noun.name}",
        f"Change a {noun.title}",
        {200: _answer(noun.name, "The resource as it is now", headers=("ETag",))},
        [_IF_MATCH, _DRY_RUN, _TENANT],
        "A merge patch (RFC 7396): what it does not name stays, null sets the default.",
        refusals=WRITES,
        body=_body(f"{noun.name}Patch", noun.patch_example, PATCH_TYPES),
    )


def described_delete(noun: Noun) -> About:
    """Return what is said of the route that deletes a resource."""
    cascade = [_query("cascade", {"type": "boolean"}, text=noun.cascade)] if noun.cascade else []
    return _route(
        f"delete{noun.name}",
        f"Delete a {noun.title}",
        {204: {"description": "It is gone"}},
        [*cascade, _IF_MATCH, _DRY_RUN, _TENANT],
        refusals=(409, 412),
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
    if verb not in ("up", "down"):  # they may be said twice
        parameters.append(_IDEMPOTENCY)
    if verb == "rekey":
        parameters.append(_query("ike", {"type": "boolean"}, text="of the IKE SA"))
    return _route(
        f"{verb}VpnTunnel",
        text,
        {202: _answer("Action", "It is under way")},
        parameters,
        refusals=(409,),
    )


def described_secret(kind: Kind, field: str) -> About:
    """Return what is said of the route of one secret of a kind."""
    word = secret_name(field)
    return _route(
        f"get{name_of(kind)}{word}",
        f"Return the {field} of a {kind.title}",
        {200: _answer(word, "The secret in clear")},
        [_TENANT],
        "Needs the scope operate. Each call is in the audit log.",
    )


def described_me() -> About:
    """Return what is said of the route about oneself."""
    return _route("getMe", "Return who one is", {200: _answer("Me", "Who one is")}, [])


def described_password() -> About:
    """Return what is said of the route that changes one's own password."""
    example = {
        "current_password": "correct horse battery",
        "new_password": "staple under the bridge",
    }
    return _route(
        "changeMyPassword",
        "Change one's own password",
        {200: _answer("User", "The user as he is now")},
        [],
        "Only who has logged in with a password can. Sessions that were open end.",
        refusals=WRITES,
        body=_body("PasswordChange", example, ("application/json",)),
    )


def described_settings() -> About:
    """Return what is said of the route of all settings."""
    answers = {200: _answer("SettingList", "All settings")}
    return _route("listSettings", "List the settings", answers, [], "The operator's.")


def described_setting(verb: str, name: str) -> About:
    """Return what is said of a route of one setting: get, update, reset."""
    noun = setting_name(name)
    parameters = [_SETTING_TENANT, *([] if verb == "get" else [_IF_MATCH, _DRY_RUN])]
    told = {200: _answer(noun, "The setting", headers=("ETag",))}
    gone: dict[int, Table] = {204: {"description": "It is what it is by default"}}
    is_change = verb == "update"
    return _route(
        f"{verb}{noun}",
        {"get": "Return", "update": "Change", "reset": "Reset"}[verb] + f" the setting {name}",
        gone if verb == "reset" else told,
        parameters,
        "A merge patch (RFC 7396): null sets the default." if is_change else "",
        refusals=() if verb == "get" else WRITES,
        body=_body(f"{noun}Patch", SETTING_EXAMPLES[name], PATCH_TYPES) if is_change else None,
    )


def described_quotas() -> About:
    """Return what is said of the route of quotas."""
    answers = {200: _answer("Quotas", "Each quota, and how much of it is used")}
    return _route("listQuotas", "List what a tenant may have, and has", answers, [_TENANT])


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
_SETTING_TENANT = _query("tenant", {"type": "string"}, text="the setting of one tenant, if it has")
_DRY_RUN = _query("dry_run", {"type": "boolean"}, text="check everything, write nothing")
_IF_MATCH = _header(
    "If-Match", {"type": "string", "pattern": '^"[0-9]{1,18}"$'}, "the ETag as read"
)
_IDEMPOTENCY = _header(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
    "the same key again within 24 hours: the same answer again, nothing new is made",
)
