"""Any JSON is a user, a token, a tenant, settings, claims, or a refusal that can be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from gateway.control.auth.claims import OidcSpec, principal_of
from gateway.control.auth.principal import OPERATOR
from gateway.control.auth.specs import (
    Login,
    NewTenant,
    NewToken,
    NewUser,
    PasswordChange,
    UserSpec,
    parse,
    patched,
)
from gateway.control.problems import ApiProblem

T = TypeVar("T")
SECRET = "a secret that nobody tells"
MODELS: list[type[BaseModel]] = [NewUser, NewToken, NewTenant, Login, PasswordChange, OidcSpec]
TEXT = st.text() | st.sampled_from(
    ["read", "admin", "net", "", "\0", "\u202e", "a" * 5000, "https://a.b"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
SETTINGS = OidcSpec.model_validate(
    {
        "issuer": "https://login.example.net",
        "client_id": "twinspan",
        "redirect_uri": "https://vpn.example.net/v1/oidc/callback",
        "rules": [
            {"claim": "groups", "value": "net", "scope": "admin", "tenant": ""},
            {"claim": "role", "value": "read", "scope": "read", "tenant_claim": "org"},
        ],
    }
)


def outcome(call: Callable[[], T]) -> T | ApiProblem:
    """Return what a call returns, or how it is refused."""
    try:
        return call()
    except ApiProblem as problem:
        return problem


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_any_table_is_read_or_refused(model: type[BaseModel], data: st.DataObject) -> None:
    fields = st.sampled_from([*model.model_fields, "another"])
    table: dict[str, Any] = data.draw(st.dictionaries(fields, JSON))
    table |= {name: [SECRET] for name in ("password", "new_password", "client_secret")}
    with pytest.raises(ApiProblem) as error:
        parse(model, "noun", table)
    text = json.dumps(error.value.as_json(), allow_nan=False, ensure_ascii=False)
    assert error.value.status == 422
    assert SECRET not in text
    assert len(text.encode()) < 20_000


@settings(max_examples=40)
@given(patch=st.dictionaries(st.sampled_from([*UserSpec.model_fields, "name"]), JSON))
def test_any_patch_gives_whole_fields_or_a_refusal(patch: dict[str, Any]) -> None:
    made = outcome(lambda: patched(UserSpec, "user", {"scope": "operate"}, patch))
    if isinstance(made, ApiProblem):
        assert made.status == 422
        return
    assert set(made) == set(UserSpec.model_fields)
    assert made["scope"] == ("operate" if "scope" not in patch else patch["scope"] or "read")


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["groups", "role", "org", "sub"]), JSON))
def test_any_claims_are_somebody_or_nobody(claims: dict[str, Any]) -> None:
    who = outcome(lambda: principal_of(claims, SETTINGS))
    if isinstance(who, ApiProblem):
        assert who.status == 403
        return
    groups = claims.get("groups")
    in_group = groups == "net" or (isinstance(groups, list) and "net" in groups)
    assert (who.tenant == OPERATOR) == in_group
