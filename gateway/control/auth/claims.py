"""
What an identity provider is trusted with: settings, and from claims to tenant and scope. Pure.

Rules are tried in their order, and the first that fits decides. Whom none fits gets nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, StrictStr, model_validator

from gateway.control.auth.principal import Principal
from gateway.control.auth.specs import ScopeWord, TenantName, is_tenant_name, scope_of
from gateway.control.problems import forbidden
from gateway.model.settings import CONFIG

RULES_MAX = 100
WORD_MAX = 256
ACTOR_MAX = 128


def is_private_url(url: str) -> bool:
    """Say whether nobody else can read what goes there: https, or http within this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    try:
        return parts.scheme == "http" and ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _url(value: str) -> str:
    try:
        is_private = is_private_url(value)
    except ValueError:
        is_private = False
    if not is_private or len(value) > 1024 or not value.isprintable() or " " in value:
        raise ValueError("must be a URL with https, as in https://login.example.net/realm")
    parts = urlsplit(value)
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("must have no query, no fragment and no user in it")
    return value


def _word(value: str) -> str:
    if not 1 <= len(value) <= WORD_MAX or not value.isprintable():
        raise ValueError(f"must have 1 to {WORD_MAX} characters that print")
    return value


Url = Annotated[StrictStr, AfterValidator(_url)]
Word = Annotated[StrictStr, AfterValidator(_word)]


class Rule(BaseModel):
    """Who has a claim of a value gets a scope in a tenant."""

    model_config = CONFIG

    claim: Word = Field(description="name of the claim; a list fits if one of it does")
    value: Word = Field(description="what it must be")
    scope: ScopeWord = Field(description="read, operate or admin")
    tenant: TenantName | Literal[""] | None = Field(
        default=None, description='the project; "" is the operator'
    )
    tenant_claim: Word | None = Field(
        default=None, description="instead: name of the claim that holds the project's name"
    )

    @model_validator(mode="after")
    def _one_tenant(self) -> Rule:
        if (self.tenant is None) == (self.tenant_claim is None):
            raise ValueError("needs tenant or tenant_claim, not both")
        return self


class OidcSpec(BaseModel):
    """The identity provider (OpenID Connect) that people log in with, and programs if it may."""

    model_config = CONFIG

    issuer: Url = Field(description="as in its discovery document, letter by letter")
    client_id: Word = Field(description="how the provider knows this control plane")
    client_secret: Word | None = Field(
        default=None,
        description="if the provider gave one; never in an answer",
        json_schema_extra={"writeOnly": True},
    )
    redirect_uri: Url = Field(
        description="where browsers come back to: https://THIS HOST/v1/oidc/callback"
    )
    scopes: tuple[Word, ...] = Field(
        default=("openid", "profile", "email"), max_length=20, description="what is asked for"
    )
    name_claim: Word = Field(
        default="sub", description="the claim that the audit log names people by"
    )
    rules: tuple[Rule, ...] = Field(
        min_length=1, max_length=RULES_MAX, description="who gets what; the first that fits"
    )
    api_audience: Word | None = Field(
        default=None, description="JWTs for this audience are credentials of the API; none: no JWT"
    )

    @model_validator(mode="after")
    def _judge(self) -> OidcSpec:
        if "openid" not in self.scopes:
            raise ValueError("scopes must have openid")
        if self.api_audience == self.client_id:
            # Else each ID token that a browser has had in hand would open the API.
            raise ValueError("api_audience must be another than client_id")
        return self


def principal_of(claims: Mapping[str, Any], spec: OidcSpec) -> Principal:
    """Return who the claims make somebody. Raises ApiProblem 403 if no rule fits."""
    for rule in spec.rules:
        if not _fits(claims.get(rule.claim), rule.value):
            continue
        tenant = rule.tenant
        if rule.tenant_claim is not None:
            tenant = _tenant(claims.get(rule.tenant_claim))
        if tenant is not None:
            return Principal(f"oidc:{_name(claims, spec)}", tenant, scope_of(rule.scope))
    raise forbidden("the identity provider knows you, but no rule lets you in here")


def _fits(found: object, value: str) -> bool:
    return found == value or (isinstance(found, list) and value in found)


def _tenant(found: object) -> str | None:
    """Return the tenant that a claim names; the operator is never named by one."""
    return found if isinstance(found, str) and is_tenant_name(found) else None


def _name(claims: Mapping[str, Any], spec: OidcSpec) -> str:
    """Return what the audit log calls somebody. Raises ApiProblem 403."""
    name = claims.get(spec.name_claim)
    if not isinstance(name, str) or not 1 <= len(name) <= ACTOR_MAX or not name.isprintable():
        raise forbidden(f"the claim {spec.name_claim} is no name of 1 to {ACTOR_MAX} characters")
    return name
