"""
The fields of users, tokens and tenants, and how a request's table becomes them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)

from gateway.control.auth.principal import SCOPES, Scope
from gateway.control.problems import ApiProblem, FieldError
from gateway.control.resources.specs import Text
from gateway.model.document import problem_of
from gateway.model.problem import value_at
from gateway.model.settings import CONFIG

Table = dict[str, Any]

NAME_MAX = 64
DAY_S = 86400
TOKEN_DAYS = 365
TOKEN_DAYS_MAX = 3650
SECRETS = frozenset({"password", "current_password", "new_password", "client_secret"})
_USER = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def _like(pattern: re.Pattern[str]) -> AfterValidator:
    def judge(value: str) -> str:
        if pattern.fullmatch(value) is None:
            raise ValueError(f"must be like {pattern.pattern}")
        return value

    return AfterValidator(judge)


def _label(value: str) -> str:
    if not 1 <= len(value) <= NAME_MAX or not value.isprintable():
        raise ValueError(f"must have 1 to {NAME_MAX} characters that print")
    return value


UserName = Annotated[StrictStr, _like(_USER)]
TenantName = Annotated[StrictStr, _like(_TENANT)]
Label = Annotated[StrictStr, AfterValidator(_label)]
ScopeWord = Literal["read", "operate", "admin"]

_SCOPE: Any = Field(default="read", description="read, operate (tunnels up, down, ...) or admin")
_DESCRIPTION = Field(default="", description="for people, at most 256 characters")


class UserSpec(BaseModel):
    """What of a user can be changed; the password is beside it."""

    model_config = CONFIG

    scope: ScopeWord = _SCOPE
    disabled: StrictBool = Field(default=False, description="can not log in; no token works")
    description: Text = _DESCRIPTION


class NewUser(UserSpec):
    """A user who logs in with a password."""

    name: UserName = Field(description="unique in all tenants; small letters, digits, . _ @ -")
    tenant: TenantName | Literal[""] | None = Field(
        default=None, description='the project; "" is the operator. Without it, the request\'s'
    )
    password: StrictStr = Field(
        description="at least 12 characters; never in an answer",
        json_schema_extra={"writeOnly": True},
    )


class TokenSpec(BaseModel):
    """What of an API token can be changed."""

    model_config = CONFIG

    name: Label = Field(description="for people, 1 to 64 characters")
    description: Text = _DESCRIPTION


class NewToken(TokenSpec):
    """An API token. It is told once, in the answer to this request."""

    scope: ScopeWord = _SCOPE
    tenant: TenantName | Literal[""] | None = Field(
        default=None, description='the project; "" is the operator. Without it, the request\'s'
    )
    user: UserName | None = Field(
        default=None, description="whose it is: it ends with the user. Without it, who asks"
    )
    lifetime_days: Annotated[StrictInt, Field(ge=0, le=TOKEN_DAYS_MAX)] = Field(
        default=TOKEN_DAYS, description="days until it expires; 0 is never"
    )


class TenantSpec(BaseModel):
    """What of a tenant can be changed."""

    model_config = CONFIG

    description: Text = _DESCRIPTION
    own_namespaces: StrictBool = Field(
        default=True, description="its Border Gateways are in network namespaces of their own"
    )


class NewTenant(TenantSpec):
    """A tenant (project): it sees its own resources and no others."""

    name: TenantName = Field(description="unique; small letters, digits, -")


class Login(BaseModel):
    """A user's name and password."""

    model_config = CONFIG

    name: StrictStr
    password: StrictStr


class PasswordChange(BaseModel):
    """A user's own password, old and new."""

    model_config = CONFIG

    current_password: StrictStr
    new_password: StrictStr


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], noun: str, table: Mapping[str, Any]) -> Model:
    """Return a request's table as its model. Raises ApiProblem 422 with every mistake."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        found = [_field_error(noun, each, table) for each in error.errors(include_url=False)]
        raise refused(found) from None


def refused(errors: list[FieldError]) -> ApiProblem:
    """Return the problem of a request with mistakes: the first one names it, all are told."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ApiProblem(
        422,
        first.code,
        f"{first.field}: {first.detail}{more}",
        field=first.field,
        value=first.value,
        errors=errors,
    )


def patched(model: type[Model], noun: str, old: Mapping[str, Any], patch: Table) -> Table:
    """
    Return the fields of `old` with a merge patch (RFC 7396) on them: null is the default again.

    Raises ApiProblem 422.
    """
    merged = {name: value for name, value in {**old, **patch}.items() if value is not None}
    return parse(model, noun, merged).model_dump(mode="json")


def is_tenant_name(text: str) -> bool:
    """Say whether a text can be the name of a tenant."""
    return _TENANT.fullmatch(text) is not None


def scope_of(word: object) -> Scope:
    """Return the scope that is stored by its word; the least for what is none."""
    return SCOPES.get(str(word), Scope.READ)


def _field_error(noun: str, error: Mapping[str, Any], table: Mapping[str, Any]) -> FieldError:
    path = tuple(error["loc"])
    while len(path) > 1 and value_at(table, path) is None:  # pydantic adds names of union members
        path = path[:-1]
    value = None if SECRETS & {str(part) for part in path} else value_at(table, path)
    problem = problem_of(error, path, value)  # type: ignore[arg-type] # of pydantic's own making
    place = ".".join([noun, *(str(part)[:64] for part in path)])
    # A table may hold a secret.
    told = value if isinstance(value, str | int | float) else None
    return FieldError(problem.code, place, problem.text, told)
