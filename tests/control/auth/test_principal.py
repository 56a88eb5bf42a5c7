"""Who asks, what he may and what he sees."""

from __future__ import annotations

import itertools

import pytest

from gateway.control.auth.principal import SCOPES, Principal, Scope, system
from gateway.control.problems import ApiProblem

READER = Principal("user:ann", "red", Scope.READ)


@pytest.mark.parametrize(("has", "asked"), list(itertools.product(Scope, Scope)))
def test_a_scope_has_all_of_the_ones_before_it(has: Scope, asked: Scope) -> None:
    assert Principal("user:a", "red", has).may(asked) == (list(Scope).index(has) >= asked - 1)


def test_scopes_are_named_by_their_words() -> None:
    assert SCOPES == {"read": Scope.READ, "operate": Scope.OPERATE, "admin": Scope.ADMIN}


def test_a_tenants_principal_sees_its_own_and_the_operator_sees_all() -> None:
    assert READER.sees("red")
    assert not READER.sees("blue")
    assert not READER.sees("")
    assert system("test").sees("red")
    assert system("test").sees("")


def test_too_little_scope_is_told_with_both() -> None:
    with pytest.raises(ApiProblem, match="scope operate is needed, this credential has read") as e:
        READER.need(Scope.OPERATE)
    assert (e.value.status, e.value.code) == (403, "forbidden")


def test_the_admin_of_a_tenant_is_not_the_operator() -> None:
    with pytest.raises(ApiProblem, match="only the operator may"):
        Principal("user:a", "red", Scope.ADMIN).need_operator()
    with pytest.raises(ApiProblem, match="scope admin is needed"):
        Principal("user:a", "", Scope.OPERATE).need_operator()
    system("test").need_operator()
