"""How many may wait for news: each credential, each tenant, all together."""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

import pytest

from gateway.control.auth.principal import OPERATOR, Principal, Scope
from gateway.control.changes.view import View
from gateway.control.problems import ApiProblem
from gateway.control.resources.record import Record
from gateway.control.waits import Waits, WaitSettings, wait_settings


class Settings:
    """A view that has nothing but the setting `waits`."""

    def __init__(self, **spec: object) -> None:
        self.spec = spec

    def get(self, kind: str, id: str) -> Record | None:
        assert (kind, id) == ("setting", "waits")
        return Record(kind, id, {"spec": self.spec}, 1)


def set_to(**spec: object) -> View:
    return cast("View", Settings(**spec))


def someone(name: str, tenant: str = "acme") -> Principal:
    return Principal(f"user:{name}", tenant, Scope.READ)


@pytest.mark.parametrize(
    ("limit", "others"),
    [
        ("per_credential", [someone("ann"), someone("ann")]),
        ("per_tenant", [someone("ann"), someone("bob")]),
        ("total", [someone("ann"), someone("bob", "beta")]),
    ],
)
def test_who_waits_beyond_a_limit_is_refused_and_let_in_again(
    limit: str, others: list[Principal]
) -> None:
    waits = Waits(set_to(**{"per_credential": 9, "per_tenant": 9, "total": 9, limit: 2}))
    with ExitStack() as stack:
        for each in others:
            stack.enter_context(waits.hold(each))
        with pytest.raises(ApiProblem, match=limit) as refused, waits.hold(someone("ann")):
            pass
        assert refused.value.status == 429
        assert refused.value.retry_after_s == 10
        with waits.hold(someone("olga", OPERATOR)):  # tenants never keep the operator out
            pass
    with waits.hold(someone("ann")):
        pass


def test_nothing_is_kept_of_who_waited() -> None:
    waits = Waits(set_to())
    with waits.hold(someone("ann")):
        pass
    assert not waits._of_actor
    assert not waits._of_tenant


def test_what_another_version_has_set_is_the_default() -> None:
    assert wait_settings(set_to(per_tenant="many")) == WaitSettings()
