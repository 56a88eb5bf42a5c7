"""Users, tokens, tenants, sessions and who asks, put together for the control process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.control.auth.authenticate import Authenticator, Limits
from gateway.control.auth.desk import Desk
from gateway.control.auth.fetch import Fetch
from gateway.control.auth.oidc import Oidc
from gateway.control.auth.oidc_settings import OidcSettings
from gateway.control.auth.passwords import Cost, Passwords
from gateway.control.auth.seen import Seen
from gateway.control.auth.sessions import Sessions
from gateway.control.auth.sweep import sweep
from gateway.control.auth.tenants import Tenants
from gateway.control.auth.tokens import Tokens
from gateway.control.auth.users import Users
from gateway.control.problems import ApiProblem
from gateway.control.store.interface import StoreError
from gateway.node.journal import Journal

EVERY_S = 60.0  # times of use are written, and what is over is taken away


@dataclass(frozen=True, slots=True)
class Auth:
    """All of it. `run` belongs beside the API for as long as the process runs."""

    desk: Desk
    users: Users
    tokens: Tokens
    tenants: Tenants
    sessions: Sessions
    seen: Seen
    oidc: Oidc
    oidc_settings: OidcSettings
    authenticator: Authenticator

    async def run(self) -> None:
        """Make the tenant `main`; then keep the store tidy for ever."""
        await self.desk.mirror.ready.wait()
        while True:
            await self.tidy()
            await asyncio.sleep(EVERY_S)

    async def tidy(self) -> None:
        """Do once what `run` does again and again. A store that is away is no error."""
        try:
            await self.tenants.ensure_main()
            await self.seen.flush()
            await sweep(self.desk, self.sessions)
        except (StoreError, ApiProblem):
            return


def make_auth(
    desk: Desk,
    *,
    cost: Cost | None = None,
    limits: Limits | None = None,
    journal: Journal | None = None,
) -> Auth:
    """Return all parts over one store and its mirror; failed logins go to the journal."""
    seen = Seen(desk)
    users = Users(desk, Passwords(cost), seen)
    tokens = Tokens(desk, users, seen)
    sessions = Sessions(desk, users, seen)
    settings = OidcSettings(desk)
    oidc = Oidc(desk, settings, Fetch())
    authenticator = Authenticator(users, tokens, sessions, oidc, limits, journal)
    tenants = Tenants(desk)
    return Auth(desk, users, tokens, tenants, sessions, seen, oidc, settings, authenticator)
