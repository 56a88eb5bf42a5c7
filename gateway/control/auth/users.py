"""
Users with a password.

A name is unique in all tenants, so that a login is a name and a password. The password's hash is
sealed with the master key: a copy of the store alone gives nobody anything to try passwords on. A
new password ends the user's sessions.
"""

from __future__ import annotations

import base64
import contextlib

from gateway.control.api.render import moment
from gateway.control.auth.desk import CLAIM, Beside, Desk, not_unique, shown
from gateway.control.auth.passwords import Passwords, judge_password
from gateway.control.auth.principal import MAIN_TENANT, OPERATOR, Principal, Scope
from gateway.control.auth.seen import Seen
from gateway.control.auth.specs import (
    NewUser,
    PasswordChange,
    UserSpec,
    parse,
    patched,
    scope_of,
)
from gateway.control.problems import ApiProblem, forbidden, invalid
from gateway.control.resources.record import Record, Table, bytes_of
from gateway.control.store.interface import (
    Create,
    Delete,
    Key,
    Replace,
    StoreError,
    Write,
)
from gateway.secret import Secret

KIND = "user"
_FIELD = "password"


class Users:
    """Makes, changes and finds users; checks their passwords. Calls may raise ApiProblem."""

    def __init__(self, desk: Desk, passwords: Passwords, seen: Seen) -> None:
        self._desk = desk
        self._passwords = passwords
        self._seen = seen

    # ---- for the API ----

    def list(self, who: Principal, tenant: str | None = None) -> list[Table]:
        """Return the users that somebody sees: an admin those of his tenant, others themselves."""
        return [
            self.shown(record)
            for record in self._desk.mirror.of_kind(KIND, tenant)
            if who.sees(record.tenant) and (who.may(Scope.ADMIN) or _is_self(record, who))
        ]

    def shown(self, record: Record) -> Table:
        """Return a user as he is answered."""
        fields = {
            **UserSpec.model_validate(record.spec).model_dump(mode="json"),
            "password_version": record.value["password_version"],
            "last_login_at": moment(self._seen.last(record.id)),
        }
        return shown(record, fields)

    def show(self, id: str, who: Principal) -> Table:
        """Return one user, by id or name."""
        record = self._get(id, who)
        if not _is_self(record, who):
            who.need(Scope.ADMIN)
        return self.shown(record)

    async def create(
        self,
        table: Table,
        who: Principal,
        *,
        tenant: str | None,
        dry_run: bool = False,
        beside: Beside | None = None,
    ) -> Table:
        """Make a user; `tenant` is his if the table names none, and `main` if nobody does."""
        who.need(Scope.ADMIN)
        wanted = parse(NewUser, KIND, table)
        judge_password(wanted.password, wanted.name, "user.password")
        owner = next(one for one in (wanted.tenant, tenant, MAIN_TENANT) if one is not None)
        self._desk.tenant_check(owner, who)
        hashed = "" if dry_run else await self._passwords.hash(wanted.password)
        word = base64.b32encode(self._desk.noise(10))[:10].decode().lower()
        key = Key(KIND, f"user-{word}")
        value: Table = {
            "tenant": owner,
            "name": wanted.name,
            "spec": wanted.model_dump(mode="json", include=set(UserSpec.model_fields)),
            _FIELD: self._desk.ring.seal(Secret(hashed.encode()), key, _FIELD),
            "password_version": 1,
        }

        def judge() -> list[Write]:
            if self.named(wanted.name) is not None:
                raise not_unique("user.name", wanted.name)
            claim = bytes_of({"tenant": owner, "by": key.id})
            checks = self._desk.tenant_check(owner, who)
            return [Create(Key(CLAIM, _claim(wanted.name)), claim), *checks]

        made = await self._desk.make(
            key,
            value,
            who,
            judge,
            dry_run=dry_run,
            beside=lambda record: beside(self.shown(record)) if beside is not None else (),
        )
        return self.shown(made)

    async def update(
        self,
        id: str,
        patch: Table,
        who: Principal,
        *,
        expected: int | None = None,
        dry_run: bool = False,
    ) -> Table:
        """Change what a merge patch names; a `password` in it is the user's new one."""
        who.need(Scope.ADMIN)
        record = self._get(id, who)
        spec_patch = {name: value for name, value in patch.items() if name != _FIELD}
        patched(UserSpec, KIND, record.spec, spec_patch)
        hashed = await self._new_hash(patch.get(_FIELD), record, dry_run)

        def change(old: Record) -> Table:
            more = self._password(old, hashed) if hashed is not None else {}
            return {**old.value, "spec": patched(UserSpec, KIND, old.spec, spec_patch), **more}

        return self.shown(
            await self._desk.edit(KIND, record.id, who, change, expected=expected, dry_run=dry_run)
        )

    async def delete(
        self, id: str, who: Principal, *, expected: int | None = None, dry_run: bool = False
    ) -> None:
        """End a user, and with him his sessions and tokens."""
        who.need(Scope.ADMIN)
        record = self._get(id, who)

        def decide() -> list[Write]:
            old = self._desk.expected(KIND, record.id, who, expected)
            claim = self._desk.mirror.get(CLAIM, _claim(old.name))
            writes: list[Write] = [Delete(old.key, old.revision)]
            return writes + ([Delete(claim.key, claim.revision)] if claim is not None else [])

        await self._desk.change(decide, who.actor, dry_run=dry_run)

    async def change_password(self, table: Table, who: Principal) -> Table:
        """Give somebody who knows his password another one."""
        wanted = parse(PasswordChange, KIND, table)
        record = self.of_actor(who)
        if record is None or not who.actor.startswith("user:"):
            raise forbidden("only a user who has logged in with a password can change it")
        if not await self._passwords.verify(wanted.current_password, self._hash_of(record)):
            raise invalid("user.current_password", None, "is not the user's", code="wrong_password")
        hashed = await self._new_hash(wanted.new_password, record, False, "user.new_password")
        assert hashed is not None

        def change(old: Record) -> Table:
            return {**old.value, **self._password(old, hashed)}

        return self.shown(await self._desk.edit(KIND, record.id, who, change))

    # ---- for the other parts of the process ----

    def named(self, name: str) -> Record | None:
        """Return the user of a name, None if there is none."""
        claim = self._desk.mirror.get(CLAIM, _claim(name))
        return None if claim is None else self._desk.mirror.get(KIND, str(claim.value["by"]))

    def of_id(self, id: str) -> Record | None:
        """Return the user of an id, None if there is none."""
        return self._desk.mirror.get(KIND, id)

    def of_actor(self, who: Principal) -> Record | None:
        """Return the user that a principal is, himself or by a token of his."""
        kind, _, name = who.actor.partition(":")
        if kind == "user":
            return self.named(name)
        token = self._desk.mirror.get("token", name) if kind == "token" else None
        return None if token is None else self.of_id(str(token.value.get("user")))

    def principal(self, record: Record) -> Principal | None:
        """Return who a user is; None if he is disabled or his tenant is no more."""
        gone = record.tenant and self._desk.mirror.get("tenant", record.tenant) is None
        if gone or record.spec.get("disabled"):
            return None
        return Principal(f"user:{record.name}", record.tenant, scope_of(record.spec.get("scope")))

    async def with_password(self, name: str, password: str) -> Record | None:
        """Return the user who has this name and password; None, after the same time, if none."""
        record = self.named(name.lower())
        hashed = self._hash_of(record) if record is not None else None
        matches = await self._passwords.verify(password, hashed)
        if record is None or not matches or self.principal(record) is None:
            return None
        if hashed is not None and self._passwords.is_outdated(hashed):
            with contextlib.suppress(ApiProblem, StoreError):  # the next login does it as well
                await self._renew_hash(record, password)
        self._seen.note(record)
        return record

    async def first_admin(self, name: str, password: str, actor: str) -> Table:
        """Make the operator's first admin. Works only while there is no user. ApiProblem 409."""
        if any(True for _ in self._desk.mirror.of_kind(KIND)):
            raise ApiProblem(409, "conflict", "there are users already: one of them makes the next")
        table = {"name": name, "password": password, "scope": "admin", "tenant": OPERATOR}
        return await self.create(table, Principal(actor, OPERATOR, Scope.ADMIN), tenant=OPERATOR)

    # ---- within ----

    def _get(self, id: str, who: Principal) -> Record:
        named = self.named(id)
        return self._desk.get(KIND, named.id if named is not None else id, who)

    async def _new_hash(
        self, password: object, record: Record, dry_run: bool, field: str = "user.password"
    ) -> str | None:
        if password is None:
            return None
        if not isinstance(password, str):
            raise invalid(field, None, "must be text", code="wrong_type")
        judge_password(password, record.name, field)
        return "" if dry_run else await self._passwords.hash(password)

    async def _renew_hash(self, record: Record, password: str) -> None:
        """Keep the hash at today's cost, which is no change of the password."""
        hashed = await self._passwords.hash(password)
        sealed = self._desk.ring.seal(Secret(hashed.encode()), record.key, _FIELD)

        def decide() -> list[Write]:
            now = self._desk.mirror.get(KIND, record.id)
            if now is None or now.value[_FIELD] != record.value[_FIELD]:
                return []
            return [Replace(now.key, bytes_of({**now.value, _FIELD: sealed}), now.revision)]

        await self._desk.change(decide, "system:auth")

    def _password(self, old: Record, hashed: str) -> Table:
        """Return what a new password changes in a user's value."""
        sealed = self._desk.ring.seal(Secret(hashed.encode()), old.key, _FIELD)
        return {_FIELD: sealed, "password_version": int(old.value["password_version"]) + 1}

    def _hash_of(self, record: Record) -> str:
        return self._desk.ring.open(str(record.value[_FIELD]), record.key, _FIELD).reveal().decode()


def _claim(name: str) -> str:
    return f"user:{name}"


def _is_self(record: Record, who: Principal) -> bool:
    return who.actor == f"user:{record.name}"
