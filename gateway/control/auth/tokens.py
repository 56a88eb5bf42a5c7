"""
API tokens: shown once, kept as a hash, with a scope, a tenant and an end.

A token of a user never has more than its user has at that moment, and ends with the user. A token
without a user belongs to its tenant; an admin makes it.
"""

from __future__ import annotations

from gateway.control.api.render import moment
from gateway.control.auth import credentials
from gateway.control.auth.credentials import TOKEN, Credential
from gateway.control.auth.desk import Beside, Desk, shown
from gateway.control.auth.principal import OPERATOR, Principal, Scope
from gateway.control.auth.seen import Seen
from gateway.control.auth.specs import DAY_S, NewToken, TokenSpec, parse, patched, scope_of
from gateway.control.auth.users import Users
from gateway.control.problems import forbidden, invalid, not_found
from gateway.control.resources.record import Record, Table
from gateway.control.store.interface import Check, Delete, Key, Write

KIND = TOKEN.name


class Tokens:
    """Makes, changes, finds and ends API tokens. Calls may raise ApiProblem."""

    def __init__(self, desk: Desk, users: Users, seen: Seen) -> None:
        self._desk = desk
        self._users = users
        self._seen = seen

    # ---- for the API ----

    def list(self, who: Principal, tenant: str | None = None) -> list[Table]:
        """Return the tokens that somebody sees: an admin those of his tenant, others their own."""
        return [
            self.shown(record)
            for record in self._desk.mirror.of_kind(KIND, tenant)
            if who.sees(record.tenant) and (who.may(Scope.ADMIN) or self._is_his(record, who))
        ]

    def shown(self, record: Record) -> Table:
        """Return a token as it is answered, without what it is itself."""
        user = self._users.of_id(str(record.value.get("user")))
        fields = {
            "description": record.spec.get("description", ""),
            "scope": record.value["scope"],
            "user": None if user is None else user.name,
            "expires_at": moment(record.value.get("expires_at")),
            "expired": self.is_over(record),
            "last_used_at": moment(self._seen.last(record.id)),
        }
        return shown(record, fields)

    def show(self, id: str, who: Principal) -> Table:
        """Return one token."""
        return self.shown(self._get(id, who))

    async def create(
        self,
        table: Table,
        who: Principal,
        *,
        tenant: str | None,
        dry_run: bool = False,
        beside: Beside | None = None,
    ) -> Table:
        """
        Make a token and return it with `token`, which nobody is told again.

        Its tenant is the table's, else the request's (`tenant`), else its user's.
        """
        wanted = parse(NewToken, KIND, table)
        user = self._user(wanted, who)
        owner = self._owner(wanted, user, who, tenant)
        _judge_scope(wanted, user, who)
        text = credentials.make(TOKEN, self._desk.noise(credentials.SECRET_BYTES))
        credential = credentials.read(TOKEN, text)
        assert credential is not None
        value = self._value(wanted, owner, user, credential)

        def judge() -> list[Write]:
            now = self._users.of_id(user.id) if user is not None else None
            if user is not None and now is None:
                raise not_found("user", user.name)
            checks = self._desk.tenant_check(owner, who)
            return [*checks, *([Check(now.key, now.revision)] if now is not None else [])]

        def answer(record: Record) -> Table:
            return {**self.shown(record), "token": "" if dry_run else text}

        made = await self._desk.make(
            Key(KIND, credential.id),
            value,
            who,
            judge,
            dry_run=dry_run,
            beside=lambda record: beside(answer(record)) if beside is not None else (),
        )
        return answer(made)

    async def update(
        self,
        id: str,
        patch: Table,
        who: Principal,
        *,
        expected: int | None = None,
        dry_run: bool = False,
    ) -> Table:
        """Change its name or description; what it may is fixed."""
        self._get(id, who)

        def change(old: Record) -> Table:
            spec = patched(TokenSpec, KIND, {"name": old.name, **old.spec}, patch)
            return {**old.value, "name": spec.pop("name"), "spec": spec}

        return self.shown(
            await self._desk.edit(KIND, id, who, change, expected=expected, dry_run=dry_run)
        )

    async def delete(
        self, id: str, who: Principal, *, expected: int | None = None, dry_run: bool = False
    ) -> None:
        """Revoke a token: from now on nobody gets in by it."""
        self._get(id, who)

        def decide() -> list[Write]:
            old = self._desk.expected(KIND, id, who, expected)
            return [Delete(old.key, old.revision)]

        await self._desk.change(decide, who.actor, dry_run=dry_run)

    # ---- for the other parts of the process ----

    def principal(self, text: str) -> Principal | None:
        """Return who has a token; None if there is none such, or its time or user is over."""
        credential = credentials.read(TOKEN, text)
        record = None if credential is None else self._desk.mirror.get(KIND, credential.id)
        if record is None or credential is None or not credential.is_of(record.value.get("hash")):
            return None
        if self.is_over(record):
            return None
        found = self._principal(record)
        if found is not None:
            self._seen.note(record)
        return found

    def is_over(self, record: Record) -> bool:
        """Say whether a token has come to its end."""
        until = record.value.get("expires_at")
        return until is not None and self._desk.clock() >= until

    # ---- within ----

    def _principal(self, record: Record) -> Principal | None:
        tenant, scope = record.tenant, scope_of(record.value.get("scope"))
        if tenant and self._desk.mirror.get("tenant", tenant) is None:
            return None
        if (user_id := record.value.get("user")) is not None:
            user = self._users.of_id(str(user_id))
            now = None if user is None else self._users.principal(user)
            if now is None or not now.sees(tenant):
                return None
            scope = min(scope, now.scope)
        return Principal(f"token:{record.id}", tenant, scope)

    def _get(self, id: str, who: Principal) -> Record:
        """Return a token that somebody may know of: his own or, as admin, one of his tenant."""
        record = self._desk.get(KIND, id, who)
        if not (who.may(Scope.ADMIN) or self._is_his(record, who)):
            raise not_found(KIND, id)
        return record

    def _is_his(self, record: Record, who: Principal) -> bool:
        """Say whether it is the token of a user who has logged in, or the token that asks."""
        if who.actor == f"token:{record.id}":
            return True
        user = self._users.of_actor(who) if who.actor.startswith("user:") else None
        return user is not None and user.id == record.value.get("user")

    def _user(self, wanted: NewToken, who: Principal) -> Record | None:
        """Return whose token it is to be: who asks or, as an admin may say, another one."""
        if not who.actor.startswith("user:"):
            who.need(Scope.ADMIN)  # else a token that leaks could outlive itself in another one
        own = self._users.of_actor(who)
        if wanted.user is None or (own is not None and own.name == wanted.user):
            return own
        who.need(Scope.ADMIN)
        named = self._users.named(wanted.user)
        if named is None or not who.sees(named.tenant):
            raise not_found("user", wanted.user)
        return named

    def _owner(
        self, wanted: NewToken, user: Record | None, who: Principal, tenant: str | None
    ) -> str:
        """Return the tenant that a token is of. Raises ApiProblem 404, 422."""
        own = who.tenant if user is None else user.tenant
        named = tenant if wanted.tenant is None else wanted.tenant
        owner = own if named is None else named
        self._desk.tenant_check(owner, who)
        if own not in (OPERATOR, owner):
            text = f"the token's user is of the tenant {own}"
            raise invalid("token.tenant", owner, text, code="other_tenant")
        return owner

    def _value(
        self, wanted: NewToken, owner: str, user: Record | None, credential: Credential
    ) -> Table:
        now = self._desk.clock()
        days = wanted.lifetime_days
        return {
            "tenant": owner,
            "name": wanted.name,
            "spec": {"description": wanted.description},
            "hash": credential.hash,
            "scope": wanted.scope,
            "user": None if user is None else user.id,
            "expires_at": now + days * DAY_S if days else None,
        }


def _judge_scope(wanted: NewToken, user: Record | None, who: Principal) -> None:
    """Raise ApiProblem 403 for a token that would have more than who makes it, or its user."""
    scope = scope_of(wanted.scope)
    most = who.scope if user is None else min(who.scope, scope_of(user.spec.get("scope")))
    if scope > most:
        raise forbidden(f"token.scope: {wanted.scope} is more than {most.word}")
