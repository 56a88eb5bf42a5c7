"""
Who waits for news at this moment, by long polls and by the streams of open pages: how many may.
Pure.

One who waits holds a connection, a task and a place in queues. So there is a limit for each
credential, each tenant and for all of them, in each control process: the setting `waits`. The
operator is held to the first one alone, for it is he who has to see what goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import BaseModel, Field, StrictInt, ValidationError

from gateway.control.auth.principal import OPERATOR, Principal
from gateway.control.changes.view import View
from gateway.control.problems import ApiProblem
from gateway.model.settings import CONFIG

SETTING = ("setting", "waits")
AGAIN_S = 10
_Count = Annotated[StrictInt, Field(ge=1, le=20_000)]


class WaitSettings(BaseModel):
    """How many may wait for news at the same time, in each control process."""

    model_config = CONFIG

    per_credential: _Count = Field(
        default=32, description="long polls and open pages of one user or token"
    )
    per_tenant: _Count = Field(
        default=256, description="long polls and open pages of one tenant, not of the operator"
    )
    total: _Count = Field(
        default=4096, description="long polls and open pages of all tenants together"
    )


def wait_settings(view: View) -> WaitSettings:
    """Return what is set; the defaults where nothing is, or what is set is of another version."""
    found = view.get(*SETTING)
    try:
        return WaitSettings.model_validate(dict(found.spec)) if found else WaitSettings()
    except ValidationError:
        return WaitSettings()


class Waits:
    """Counts those who wait. The limits are those of the setting at each moment."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._of_actor: Counter[str] = Counter()
        self._of_tenant: Counter[str] = Counter()

    @contextmanager
    def hold(self, who: Principal) -> Iterator[None]:
        """Count somebody for as long as he waits. Raises ApiProblem 429."""
        self._judge(who, wait_settings(self._view))
        self._of_actor[who.actor] += 1
        self._of_tenant[who.tenant] += 1
        try:
            yield
        finally:
            _less(self._of_actor, who.actor)
            _less(self._of_tenant, who.tenant)

    def _judge(self, who: Principal, most: WaitSettings) -> None:
        if self._of_actor[who.actor] >= most.per_credential:
            raise _too_many("per_credential", most.per_credential, "with this credential")
        if who.tenant == OPERATOR:
            return
        if self._of_tenant[who.tenant] >= most.per_tenant:
            raise _too_many("per_tenant", most.per_tenant, "of this tenant")
        if self._of_tenant.total() - self._of_tenant[OPERATOR] >= most.total:
            raise _too_many("total", most.total, "of all tenants")


def _less(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]


def _too_many(limit: str, most: int, whose: str) -> ApiProblem:
    text = f"{most} requests {whose} wait for news already ({limit} of the setting waits)"
    return ApiProblem(429, "rate_limited", text, retry_after_s=AGAIN_S)
