"""The schemas of the description: of requests, of answers, of lists, and of problems. Pure."""

from __future__ import annotations

from pydantic import BaseModel

from gateway.control.api.examples import EXAMPLE_ALLOCATED, EXAMPLE_TIME, EXAMPLES
from gateway.control.api.render import ALLOCATED, rendered
from gateway.control.resources.kinds import KINDS, Kind
from gateway.control.resources.record import Record
from gateway.control.resources.settings import SETTINGS

Table = dict[str, object]
Schemas = dict[str, Table]

REFERENCE = "#/components/schemas/"
_WARNINGS: Table = {"type": "array", "items": {"type": "string"}}
# What only the answer to the request that has made a resource has.
TOLD_ONCE: dict[str, Schemas] = {
    "node": {
        "registration_token": {"type": "string", "description": "told in this answer only"},
        "registration_token_expires_at": {"type": ["string", "null"], "format": "date-time"},
    }
}
_NEW_ONLY = {"tunnels", "tunnel"}  # what a request may have and a resource has not


def name_of(kind: Kind) -> str:
    """Return the name of a kind in the description: `VpnTunnel`."""
    return "".join(word.capitalize() for word in kind.name.split("_"))


def schemas() -> Schemas:
    """Return the schemas of all kinds: of requests, of answers, of lists, and of problems."""
    found: Schemas = dict(_OTHERS)
    for kind in KINDS.values():
        name = name_of(kind)
        found[f"New{name}"] = _request(kind, found)
        found[f"{name}Patch"] = patch_of(_schema(kind, new=False), f"Change of a {kind.title}")
        found[name] = _resource(kind)
        found[f"{name}List"] = list_schema(name)
        found |= {secret_name(field): _secret(field) for field in kind.secrets}
    for setting, model in SETTINGS.items():
        found |= _setting(setting, model)
    return found


def setting_name(name: str) -> str:
    """Return the name of a setting in the description: `QuotasSetting`."""
    return name.capitalize() + "Setting"


def _setting(name: str, model: type[BaseModel]) -> Schemas:
    """Return the schemas of a setting, and of a change of it."""
    schema = model.model_json_schema(ref_template=REFERENCE + "{model}")
    properties = {"id": {"const": name}, "tenant": {"type": "string"}, **schema["properties"]}
    properties |= {"updated_at": _MOMENT, "revision": {"type": "integer"}}
    title = f"Setting {name}"
    return {
        setting_name(name): {
            "title": title,
            "type": "object",
            "properties": properties,
            "required": list(properties),
        },
        f"{setting_name(name)}Patch": patch_of(schema, f"Change of {title}"),
    }


def _schema(kind: Kind, *, new: bool) -> Table:
    model = kind.new if new else kind.spec
    return model.model_json_schema(ref_template=REFERENCE + "{model}")


def _request(kind: Kind, found: Schemas) -> Table:
    schema = _schema(kind, new=True)
    definitions = schema.pop("$defs", {})
    assert isinstance(definitions, dict)
    found |= definitions
    return schema | {"title": f"New {kind.title}"}


def patch_of(schema: Table, title: str) -> Table:
    """Return what a merge patch of what has a schema may have: any field, null for its default."""
    fields = schema["properties"]
    assert isinstance(fields, dict)
    properties = {
        field: _or_null({key: value for key, value in one.items() if key != "default"})
        for field, one in fields.items()
    }
    return {
        "title": title,
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
    properties |= {
        "created_at": _MOMENT,
        "updated_at": _MOMENT,
        "revision": {"type": "integer"},
        "generation": {"type": "integer"},
        "status": {"type": "object", "description": "how it is now, computed"},
    }
    return {
        "title": kind.title,
        "type": "object",
        "properties": properties | TOLD_ONCE.get(kind.name, {}) | {"warnings": _WARNINGS},
        "required": list(properties),
        "additionalProperties": False,
        "examples": [example_of(kind)],
    }


def example_of(kind: Kind) -> Table:
    """Return what the answer to the example of a request is like."""
    asked = {key: value for key, value in EXAMPLES[kind.name].items() if key not in _NEW_ONLY}
    referred = {key: _example_id(KINDS[of]) for key, of in kind.references.items() if key in asked}
    value = {
        "tenant": "" if kind.is_operators else "main",
        "name": asked.get("name", _example_id(kind)),
        "spec": asked | referred,
        "allocated": EXAMPLE_ALLOCATED.get(kind.name, {}),
        "created_at": EXAMPLE_TIME,
        "updated_at": EXAMPLE_TIME,
        "secret_versions": {"psk": 1} if kind.name == "vpn_tunnel" else {},
    }
    return rendered(kind, Record(kind.name, _example_id(kind), value, 17), {})


def _example_id(kind: Kind) -> str:
    return f"{kind.prefix}-abcdefghij"


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


_MOMENT: Table = {"type": ["string", "null"], "format": "date-time"}
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


def secret_name(field: str) -> str:
    """Return the name of a secret in the description: `BgpPassword`."""
    return "".join(word.capitalize() for word in field.split("_"))


def _secret(field: str) -> Table:
    names = ("id", field, f"{field}_version")
    types = ("string", "string", "integer")
    properties = {name: {"type": each} for name, each in zip(names, types, strict=True)}
    required = list(names)
    return {"title": field, "type": "object", "properties": properties, "required": required}


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
_ME: Table = {
    "title": "Who one is",
    "type": "object",
    "properties": {
        "actor": {"type": "string", "examples": ["user:ada"]},
        "tenant": {"type": "string", "description": 'the project; "" is the operator'},
        "scope": {"enum": ["read", "operate", "admin"]},
    },
    "required": ["actor", "tenant", "scope"],
}
_PASSWORD: Table = {
    "title": "A new password",
    "type": "object",
    "properties": {
        "current_password": {"type": "string", "format": "password"},
        "new_password": {"type": "string", "format": "password"},
    },
    "required": ["current_password", "new_password"],
    "additionalProperties": False,
}
_QUOTAS: Table = {
    "title": "Quotas of a tenant",
    "type": "object",
    "properties": {
        "tenant": {"type": "string"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "limit": {"type": "integer"},
                    "used": {"type": ["integer", "null"], "description": "null: it is per gateway"},
                },
                "required": ["name", "limit", "used"],
            },
        },
        "next": {"type": "null"},
    },
    "required": ["tenant", "items"],
}
_SETTINGS: Table = {
    "title": "All settings",
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "object"}}},
    "required": ["items"],
}
_OTHERS: Schemas = {
    "Quotas": _QUOTAS,
    "SettingList": _SETTINGS,
    "Me": _ME,
    "PasswordChange": _PASSWORD,
    "Problem": _PROBLEM,
    "FieldError": _FIELD_ERROR,
    "Action": _ACTION,
    "AuditLog": _LOG,
}
