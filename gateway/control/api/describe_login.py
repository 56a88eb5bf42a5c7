"""What the API's description says of login, logout and the identity provider's settings. Pure."""

from __future__ import annotations

from gateway.control.api.describe import ALWAYS, WRITES, About, refused
from gateway.control.api.schemas import REFERENCE, Schemas, Table
from gateway.control.auth.claims import OidcSpec
from gateway.control.auth.specs import Login

EXAMPLE: Table = {
    "issuer": "https://login.example.net/realm",
    "client_id": "twinspan",
    "client_secret": "as the provider gave it",
    "redirect_uri": "https://vpn.example.net/v1/oidc/callback",
    "rules": [
        {"claim": "groups", "value": "network", "scope": "admin", "tenant": ""},
        {"claim": "role", "value": "viewer", "scope": "read", "tenant_claim": "org"},
    ],
    "api_audience": "twinspan-api",
}


def login_schemas() -> Schemas:
    """Return the schemas of login and of the settings."""
    spec = OidcSpec.model_json_schema(ref_template=REFERENCE + "{model}")
    definitions = spec.pop("$defs", {})
    properties = {name: one for name, one in spec["properties"].items() if name != "client_secret"}
    properties |= {
        "id": _TEXT,
        "tenant": _TEXT,
        "name": _TEXT,
        "client_secret_version": {"type": "integer"},
        "created_at": _MOMENT,
        "updated_at": _MOMENT,
        "revision": {"type": "integer"},
    }
    return {
        **definitions,
        "Login": Login.model_json_schema(),
        "Session": _SESSION,
        "NewOidc": spec | {"title": "Settings of the identity provider"},
        "Oidc": {
            "title": "Identity provider",
            "type": "object",
            "properties": properties,
            "required": list(properties),
        },
    }


_TEXT: Table = {"type": "string"}
_MOMENT: Table = {"type": ["string", "null"], "format": "date-time"}
_SESSION: Table = {
    "title": "A session that has begun",
    "type": "object",
    "properties": {
        "actor": {"type": "string", "examples": ["user:ada"]},
        "tenant": {"type": "string", "description": '"" is the operator'},
        "scope": {"enum": ["read", "operate", "admin"]},
        "csrf_token": {"type": "string", "description": "for the header X-CSRF-Token of writes"},
        "expires_in_s": {"type": "integer"},
    },
    "required": ["actor", "tenant", "scope", "csrf_token", "expires_in_s"],
}
_DRY_RUN: Table = {"name": "dry_run", "in": "query", "schema": {"type": "boolean"}}
_IF_MATCH: Table = {
    "name": "If-Match",
    "in": "header",
    "schema": {"type": "string", "pattern": '^"[0-9]{1,18}"$'},
    "description": "the ETag as read",
}


def _body(schema: str, example: Table) -> Table:
    content = {"schema": {"$ref": REFERENCE + schema}, "example": example}
    return {"required": True, "content": {"application/json": content}}


def _answer(schema: str, text: str) -> Table:
    content = {"application/json": {"schema": {"$ref": REFERENCE + schema}}}
    return {"description": text, "content": content}


LOGIN = About(
    "login",
    "Begin a session with a user's password",
    "For browsers: the answer sets a cookie. Programs use tokens.",
    200,
    {200: _answer("Session", "It has begun"), **refused(*ALWAYS, 413, 415)},
    {
        "security": [],
        "requestBody": _body("Login", {"name": "ada", "password": "correct horse battery"}),
    },
)
LOGOUT = About(
    "logout",
    "End the session of the cookie",
    "",
    204,
    {204: {"description": "It has ended"}, **refused(*ALWAYS)},
    {},
)
_PROVIDER = "the identity provider (OpenID Connect)"
GET_OIDC = About(
    "getOidc",
    f"Return the settings of {_PROVIDER}",
    "The operator's. The client's secret is not told.",
    200,
    {200: _answer("Oidc", "The settings"), **refused(*ALWAYS, 404)},
    {},
)
PUT_OIDC = About(
    "putOidc",
    f"Set up {_PROVIDER}",
    "All settings at once; without `client_secret` the one that is there stays.",
    200,
    {200: _answer("Oidc", "The settings as they are now"), **refused(*ALWAYS, *WRITES, 404)},
    {"parameters": [_DRY_RUN, _IF_MATCH], "requestBody": _body("NewOidc", EXAMPLE)},
)
DELETE_OIDC = About(
    "deleteOidc",
    f"End logins by {_PROVIDER}",
    "Sessions that have begun go on to their end.",
    204,
    {204: {"description": "It is gone"}, **refused(*ALWAYS, 404, 409, 412)},
    {"parameters": [_DRY_RUN, _IF_MATCH]},
)
