"""Principals and a clock for the tests of users, tokens and tenants."""

from __future__ import annotations

from gateway.control.auth.authenticate import Peer
from gateway.control.auth.principal import Principal, Scope
from gateway.control.auth.service import Auth

ROOT = Principal("local:root", "", Scope.ADMIN)
PASSWORD = "correct horse battery"
PEER = Peer("192.0.2.7")


class Clock:
    """A time that moves when it is told to, in seconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def add_user(auth: Auth, name: str, scope: str = "admin", tenant: str = "main") -> Principal:
    """Make a user, and the tenant if it is not there; return who he is."""
    if tenant and auth.desk.mirror.get("tenant", tenant) is None:
        await auth.tenants.create({"name": tenant}, ROOT)
    table = {"name": name, "password": PASSWORD, "scope": scope}
    await auth.users.create(table, ROOT, tenant=tenant)
    record = auth.users.named(name)
    assert record is not None
    who = auth.users.principal(record)
    assert who is not None
    return who


async def add_token(auth: Auth, who: Principal, scope: str = "read", **more: object) -> str:
    """Make a token and return it."""
    table = {"name": "test", "scope": scope, **more}
    made = await auth.tokens.create(table, who, tenant=None)
    return str(made["token"])


def bearer(token: str) -> dict[str, str]:
    """Return the headers of a request with a token."""
    return {"authorization": f"Bearer {token}"}
