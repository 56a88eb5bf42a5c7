"""
Registration tokens and credentials of nodes.

A token is 256 random bits; the store has its hash, the node it is for and when it ends. It is used
up in the commit that makes the node's credential, so two can not use it. A credential is the serial
number of a certificate: one that is not in the store is not accepted, whatever its dates say, so a
node is locked out by deleting it. A renewed one takes the place of the others when the node first
uses it: an answer that was lost on the way locks nobody out.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
import time
from collections.abc import Callable, Iterable

from gateway.control.auth.principal import Principal, Scope
from gateway.control.mirror import Mirror
from gateway.control.nodes.authority import Trust
from gateway.control.nodes.ca import Issued, serial_of
from gateway.control.nodes.writing import commit, decide_and_commit
from gateway.control.problems import ApiProblem, not_found
from gateway.control.resources.record import Record, bytes_of, record_of
from gateway.control.store.interface import (
    Conflict,
    Create,
    Delete,
    Key,
    NotFound,
    Replace,
    Store,
    Unavailable,
    Write,
)
from gateway.fleet.messages import Credential, token_text

TOKEN, CREDENTIAL = "registration", "credential"  # kinds in the store
TOKEN_S = 24 * 3600.0
TOKEN_LEAST_S, TOKEN_MOST_S = 60.0, 30 * 24 * 3600.0
SECRET_BYTES = 32
SWEPT = 20  # objects in one commit

Clock = Callable[[], float]


class Credentials:
    """Issues, checks and revokes. Raises ApiProblem."""

    def __init__(
        self, store: Store, mirror: Mirror, trust: Trust, clock: Clock = time.time
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._trust = trust
        self._clock = clock

    # ---- tokens ----

    async def new_token(
        self, node: str, who: Principal, ttl_s: float = TOKEN_S
    ) -> tuple[str, float]:
        """Return a token that registers a node, and when it ends. One before it is void."""
        who.need_operator(Scope.ADMIN)
        if self._mirror.get("node", node) is None:
            raise not_found("node", node)
        made, token, expires_at = self.first_token(node, ttl_s)
        await decide_and_commit(
            self._store,
            self._mirror,
            lambda: [made, *_deleted(self._of(TOKEN, node))],
            who.actor,
        )
        return token, expires_at

    def first_token(self, node: str, ttl_s: float = TOKEN_S) -> tuple[Write, str, float]:
        """Return the write that makes a token, the token, and when it ends."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        expires_at = self._clock() + min(max(ttl_s, TOKEN_LEAST_S), TOKEN_MOST_S)
        value = {"tenant": "", "spec": {"node": node, "expires_at": expires_at}}
        write = Create(Key(TOKEN, _hash(secret)), bytes_of(value))
        return write, token_text(secret, self._trust.authority.fingerprint), expires_at

    async def register(self, secret: str, csr: str) -> Credential:
        """Return a credential for a token, which is used up. The node's others are void."""
        key = Key(TOKEN, _hash(secret))
        try:
            token = record_of(await self._store.get(key))
        except NotFound:
            raise _refused("the token is not known: it was used, replaced or made up") from None
        except Unavailable as error:
            raise ApiProblem(503, "unavailable", str(error), retry_after_s=1) from None
        node = str(token.spec["node"])
        if self._clock() >= float(token.spec["expires_at"]):
            raise _refused("the token has expired: twinspan node token makes another")
        if self._mirror.get("node", node) is None:
            raise _refused("the token's node does not exist any more")
        issued = self._issued(csr, node)
        writes = [
            Delete(key, token.revision),
            _create(issued, node, is_fresh=False),
            *_deleted(self._of(CREDENTIAL, node)),
        ]
        try:
            await commit(self._store, self._mirror, writes, f"node:{node}")
        except (Conflict, NotFound):
            raise _refused("the token is used at this moment by somebody else") from None
        return self._told(issued, node)

    # ---- credentials ----

    async def node_of(self, der: bytes) -> str:
        """Return the node whose certificate TLS has accepted. ApiProblem 401 if it is revoked."""
        serial, node = serial_of(der)
        record = self._mirror.get(CREDENTIAL, serial) or await self._not_seen_yet(serial)
        if record is None or record.spec.get("node") != node:
            raise _refused("the certificate was revoked or replaced", code="credential_revoked")
        if self._mirror.get("node", node) is None:
            raise _refused("the node does not exist any more", code="credential_revoked")
        if record.spec.get("is_fresh"):
            await self._in_use(record, node)
        return node

    async def _not_seen_yet(self, serial: str) -> Record | None:
        """Return a credential that another control process made a moment ago."""
        try:
            return record_of(await self._store.get(Key(CREDENTIAL, serial)))
        except NotFound:
            return None
        except Unavailable as error:
            raise ApiProblem(503, "unavailable", str(error), retry_after_s=1) from None

    async def _in_use(self, fresh: Record, node: str) -> None:
        """The node has its renewed certificate: the ones before are void."""

        def decide() -> list[Write]:
            record = self._mirror.get(CREDENTIAL, fresh.id)
            if record is None or not record.spec.get("is_fresh"):
                return []
            others = [one for one in self._of(CREDENTIAL, node) if one.id != fresh.id]
            value = {**record.value, "spec": {**record.spec, "is_fresh": False}}
            return [Replace(record.key, bytes_of(value), record.revision), *_deleted(others)]

        await decide_and_commit(self._store, self._mirror, decide, f"node:{node}")

    async def renew(self, node: str, csr: str) -> Credential:
        """
        Return the next credential of a node. The one in use holds until that is used.

        Another one that was never used is void: a node that asks for many has two all the same, so
        one commit can lock it out.
        """
        issued = self._issued(csr, node)

        def decide() -> list[Write]:
            unused = [one for one in self._of(CREDENTIAL, node) if one.spec.get("is_fresh")]
            return [_create(issued, node, is_fresh=True), *_deleted(unused)]

        await decide_and_commit(self._store, self._mirror, decide, f"node:{node}")
        return self._told(issued, node)

    async def revoke(self, node: str, who: Principal) -> int:
        """Make all credentials and tokens of a node void; return how many there were."""
        who.need_operator(Scope.ADMIN)
        count = len(self._of(CREDENTIAL, node))
        await decide_and_commit(
            self._store,
            self._mirror,
            lambda: _deleted([*self._of(CREDENTIAL, node), *self._of(TOKEN, node)]),
            who.actor,
        )
        return count

    def of_node(self, node: str) -> dict[str, object]:
        """Return what is known of a node's credential: until when it holds, or that it has none."""
        ends = [float(one.spec["not_after"]) for one in self._of(CREDENTIAL, node)]
        return {"is_registered": bool(ends), "not_after": max(ends, default=None)}

    async def sweep(self) -> None:
        """Delete what has ended, and what belongs to nodes that do not exist any more."""
        now = self._clock()

        def is_over(record: Record) -> bool:
            end = float(record.spec.get("expires_at") or record.spec.get("not_after") or 0)
            return now > end or self._mirror.get("node", str(record.spec.get("node"))) is None

        def decide() -> list[Write]:
            found = [*self._mirror.of_kind(TOKEN), *self._mirror.of_kind(CREDENTIAL)]
            return _deleted([one for one in found if is_over(one)][:SWEPT])

        await decide_and_commit(self._store, self._mirror, decide, "system:nodes")

    def _of(self, kind: str, node: str) -> list[Record]:
        return [one for one in self._mirror.of_kind(kind) if one.spec.get("node") == node]

    def _issued(self, csr: str, node: str) -> Issued:
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        return self._trust.authority.issue(csr, node, now)

    def _told(self, issued: Issued, node: str) -> Credential:
        return Credential(
            node=node,
            certificate=issued.pem,
            ca=self._trust.authority.pem,
            renew_at=issued.renew_at,
        )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _create(issued: Issued, node: str, *, is_fresh: bool) -> Create:
    spec = {"node": node, "not_after": issued.not_after, "is_fresh": is_fresh}
    return Create(Key(CREDENTIAL, issued.serial), bytes_of({"tenant": "", "spec": spec}))


def _deleted(records: Iterable[Record]) -> list[Write]:
    return [Delete(record.key, record.revision) for record in records]


def _refused(detail: str, code: str = "unauthenticated") -> ApiProblem:
    return ApiProblem(401, code, detail)
