"""The settings of the identity provider: one object of the store, its secret sealed."""

from __future__ import annotations

from gateway.control.auth.claims import OidcSpec
from gateway.control.auth.desk import Desk, shown
from gateway.control.auth.principal import Principal
from gateway.control.auth.specs import parse
from gateway.control.problems import ApiProblem, not_found
from gateway.control.resources.record import Record, Table, bytes_of
from gateway.control.store.interface import Create, Delete, Key, Replace, Write
from gateway.secret import Secret

KEY = Key("setting", "oidc")
SECRET = "client_secret"  # noqa: S105 # the field's name


class OidcSettings:
    """Shows and changes them, for the operator's admin. Calls may raise ApiProblem."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def show(self, who: Principal) -> Table:
        """Return the settings, without the secret. ApiProblem 404 if there are none."""
        who.need_operator()
        record = self._desk.mirror.get(KEY.kind, KEY.id)
        if record is None:
            raise not_found(KEY.kind, KEY.id)
        return _shown(record)

    async def put(
        self, table: Table, who: Principal, *, expected: int | None = None, dry_run: bool = False
    ) -> Table:
        """Make the settings what the table says; a secret that it lacks stays."""
        who.need_operator()
        spec = parse(OidcSpec, KEY.id, table).model_dump(mode="json")
        new = Record(KEY.kind, KEY.id, {}, 0)

        def decide() -> list[Write]:
            nonlocal new
            old = self._expected(who, expected)
            new = Record(KEY.kind, KEY.id, self._value(spec, old), old.revision if old else 0)
            value = bytes_of(new.value)
            return [Replace(KEY, value, old.revision) if old else Create(KEY, value)]

        await self._desk.change(decide, who.actor, dry_run=dry_run)
        stored = None if dry_run else self._desk.mirror.get(KEY.kind, KEY.id)
        return _shown(stored or new)

    async def delete(
        self, who: Principal, *, expected: int | None = None, dry_run: bool = False
    ) -> None:
        """End logins by an identity provider; sessions that have begun go on to their end."""
        who.need_operator()

        def decide() -> list[Write]:
            old = self._expected(who, expected)
            if old is None:
                raise not_found(KEY.kind, KEY.id)
            return [Delete(KEY, old.revision)]

        await self._desk.change(decide, who.actor, dry_run=dry_run)

    @property
    def is_on(self) -> bool:
        """Whether people can log in by an identity provider."""
        return self._desk.mirror.get(KEY.kind, KEY.id) is not None

    def spec(self) -> OidcSpec:
        """Return them with the secret in clear. ApiProblem 404 if there are none."""
        record = self._desk.mirror.get(KEY.kind, KEY.id)
        if record is None:
            raise ApiProblem(404, "not_found", "no identity provider is set up here")
        return self._read(record)

    def _expected(self, who: Principal, expected: int | None) -> Record | None:
        if expected is None:
            return self._desk.mirror.get(KEY.kind, KEY.id)
        return self._desk.expected(KEY.kind, KEY.id, who, expected)

    def _value(self, spec: Table, old: Record | None) -> Table:
        now = self._desk.clock()
        version = 0 if old is None else old.value["secret_versions"][SECRET]
        sealed = None
        if spec[SECRET] is not None:
            sealed = self._desk.ring.seal(Secret(spec[SECRET].encode()), KEY, f"spec/{SECRET}")
            version += 1
        elif old is not None and all(old.spec[n] == spec[n] for n in ("issuer", "client_id")):
            sealed = old.spec[SECRET]  # of another provider it is never told to this one
        return {
            "tenant": "",
            "name": KEY.id,
            "spec": {**spec, SECRET: sealed},
            "secret_versions": {SECRET: version},
            "created_at": now if old is None else old.value["created_at"],
            "updated_at": now,
            "generation": old.generation + 1 if old is not None else 1,
        }

    def _read(self, record: Record) -> OidcSpec:
        """Return the settings with the secret in clear."""
        spec = dict(record.spec)
        if (sealed := spec.get(SECRET)) is not None:
            opened = self._desk.ring.open(sealed, KEY, f"spec/{SECRET}")
            spec[SECRET] = opened.reveal().decode()
        return OidcSpec.model_validate(spec)


def _shown(record: Record) -> Table:
    spec = {name: value for name, value in record.spec.items() if name != SECRET}
    version = record.value["secret_versions"][SECRET]
    return shown(record, {**spec, f"{SECRET}_version": version})
