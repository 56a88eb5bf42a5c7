"""
Sessions of the console: objects of the store that a cookie names.

The cookie is 256 random bits of which the store has the hash, so a copy of the store opens no
session, and ending one is deleting its object: there is no key to rotate. A session ends after
some hours without use, after a day in any case, with a new password, and with its user.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.control.auth import credentials
from gateway.control.auth.credentials import SESSION
from gateway.control.auth.desk import Desk
from gateway.control.auth.principal import Principal
from gateway.control.auth.seen import Seen
from gateway.control.auth.specs import scope_of
from gateway.control.auth.users import Users
from gateway.control.resources.record import Record, Table
from gateway.control.store.interface import MAX_WRITES, Delete, Key, Write

KIND = SESSION.name
COOKIE = "twinspan_session"
IDLE_S = 4 * 3600
ABSOLUTE_S = 24 * 3600
SESSIONS_MAX = 20  # of one person; the oldest one makes room


@dataclass(frozen=True, slots=True)
class Started:
    """A session that has begun: what the cookie holds, and for how long at most."""

    cookie: str
    csrf_token: str
    max_age_s: int
    principal: Principal


class Sessions:
    """Begins, finds and ends sessions."""

    def __init__(
        self,
        desk: Desk,
        users: Users,
        seen: Seen,
        *,
        idle_s: int = IDLE_S,
        absolute_s: int = ABSOLUTE_S,
    ) -> None:
        self._desk = desk
        self._users = users
        self._seen = seen
        self._idle_s = idle_s
        self._absolute_s = absolute_s

    async def start(self, user: Record, address: str) -> Started:
        """Begin the session of a user whose password was right. `address`: where from."""
        who = self._users.principal(user)
        assert who is not None, "a disabled user has no password that is right"
        own = {"user": user.id, "password_version": user.value["password_version"]}
        return await self._start(who, address, own)

    async def start_as(self, who: Principal, address: str) -> Started:
        """Begin the session of somebody that an identity provider has named."""
        return await self._start(who, address, {"actor": who.actor, "scope": who.scope.word})

    async def _start(self, who: Principal, address: str, own: Table) -> Started:
        text = credentials.make(SESSION, self._desk.noise(credentials.SECRET_BYTES))
        credential = credentials.read(SESSION, text)
        assert credential is not None
        value = {
            "tenant": who.tenant,
            "name": who.actor,
            "hash": credential.hash,
            "address": address[:64],
            "expires_at": self._desk.clock() + self._absolute_s,
            **own,
        }
        await self._desk.make(
            Key(KIND, credential.id), value, who, lambda: self._make_room(who.actor)
        )
        return Started(text, credentials.csrf_token(text), self._absolute_s, who)

    def _make_room(self, actor: str) -> list[Write]:
        """Return what ends the oldest sessions of somebody who has too many to begin another."""
        own = [record for record in self._desk.mirror.of_kind(KIND) if record.name == actor]
        own.sort(key=lambda record: float(record.value["created_at"]))
        over = own[: max(0, len(own) - SESSIONS_MAX + 1)][: MAX_WRITES // 2]
        return [Delete(record.key, record.revision) for record in over]

    def principal(self, cookie: str) -> Principal | None:
        """Return whose session a cookie is; None if there is none, or it is over."""
        record = self._find(cookie)
        if record is None or self.is_over(record):
            return None
        self._seen.note(record)
        return self._principal(record)

    def is_over(self, record: Record) -> bool:
        """Say whether a session has come to its end."""
        now = self._desk.clock()
        last = max(self._seen.last(record.id) or 0, record.value["created_at"])
        ended = now >= record.value["expires_at"] or now - last >= self._idle_s
        return ended or self._principal(record) is None

    async def end(self, cookie: str, actor: str) -> None:
        """End a session: logout. It is not an error if it has ended."""
        found = self._find(cookie)
        if found is None:
            return

        def decide() -> list[Write]:
            record = self._desk.mirror.get(KIND, found.id)
            return [] if record is None else [Delete(record.key, record.revision)]

        await self._desk.change(decide, actor)

    def _find(self, cookie: str) -> Record | None:
        credential = credentials.read(SESSION, cookie)
        record = None if credential is None else self._desk.mirror.get(KIND, credential.id)
        if record is None or credential is None or not credential.is_of(record.value.get("hash")):
            return None
        return record

    def _principal(self, record: Record) -> Principal | None:
        """Return who a session's user is now, None if he may not be in any more."""
        if "user" not in record.value:
            return self._identified(record)
        user = self._users.of_id(str(record.value["user"]))
        if user is None or user.value["password_version"] != record.value["password_version"]:
            return None
        return self._users.principal(user)

    def _identified(self, record: Record) -> Principal | None:
        """Return whom the identity provider named when the session began."""
        if record.tenant and self._desk.mirror.get("tenant", record.tenant) is None:
            return None
        return Principal(
            str(record.value["actor"]), record.tenant, scope_of(record.value.get("scope"))
        )
