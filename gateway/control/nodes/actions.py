"""
What is to be done once on a node: an object with its result, kept for a day.

An action is told with the next answer to its node, and told again as long as it has no result. One
that its node has not done in time has failed: nobody wants a rekey of yesterday.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence

from gateway.control.auth.principal import Principal, Scope
from gateway.control.mirror import Mirror
from gateway.control.nodes.writing import decide_and_commit
from gateway.control.problems import ApiProblem, invalid, not_found
from gateway.control.resources.kinds import ID_CHARACTERS
from gateway.control.resources.record import Record, Table, bytes_of
from gateway.control.store.interface import Create, Delete, Key, Replace, Store, Write
from gateway.fleet.messages import Action, Result, Verb

KIND = "action"
PENDING, DONE, FAILED = "pending", "done", "failed"
DUE_S = 120.0  # a drain before a reset takes ten seconds, a node that comes back a minute
KEPT_S = 24 * 3600.0
AGAIN_S = 30  # told again if there is no result by then
SWEPT = 40
DETAILS_BYTES = 64 * 1024
PENDING_MAX = 8  # of one tunnel
ENDED_MAX = 32  # of one tunnel, that are kept
FORGOTTEN = 4  # at most, with each new one
TOLD_MAX = 500  # with one answer; the rest with the next


class Actions:
    """Makes actions, tells them, takes their results. Raises ApiProblem."""

    def __init__(self, store: Store, mirror: Mirror) -> None:
        self._store = store
        self._mirror = mirror
        self._told: dict[str, float] = {}  # monotonic seconds, by id

    async def act(
        self,
        verb: str,
        tunnel: Record,
        who: Principal,
        *,
        ike: bool = False,
        beside: Callable[[Table], Sequence[Write]] | None = None,
    ) -> Table:
        """
        Have a node do something with a tunnel; return the action as the API answers it.

        `beside` returns what else is to be in its commit, for its answer.
        """
        who.need(Scope.OPERATE)
        try:
            asked = Verb(verb)
        except ValueError:
            raise invalid("verb", verb, "is none of " + ", ".join(v.value for v in Verb)) from None
        node = tunnel.allocated.get("node")
        if not node or self._mirror.get("node", str(node)) is None:
            text = f"vpn_tunnel {tunnel.name}: is on no node, so nobody can do that"
            raise ApiProblem(409, "conflict", text)
        now = time.time()
        key = Key(KIND, "act-" + "".join(ID_CHARACTERS[byte & 31] for byte in os.urandom(10)))
        value: Table = {
            "tenant": tunnel.tenant,
            "spec": {"verb": asked.value, "tunnel": tunnel.id, "ike": ike, "by": who.actor},
            "allocated": {"node": node, "state": PENDING, "text": "", "due_at": now + DUE_S},
            "created_at": now,
            "updated_at": now,
        }
        answer = rendered(Record(KIND, key.id, value, 0))

        def decide() -> list[Write]:
            room = self._make_room(tunnel)
            more = beside(answer) if beside is not None else ()
            return [Create(key, bytes_of(value)), *room, *more]

        await decide_and_commit(self._store, self._mirror, decide, who.actor)
        return answer

    def _make_room(self, tunnel: Record) -> list[Write]:
        """Return what forgets old actions of a tunnel. Raises ApiProblem 429 if many wait."""
        found = self._mirror.of_kind(KIND, tunnel.tenant)
        own = [each for each in found if each.spec["tunnel"] == tunnel.id]
        ended = [each for each in own if not _is_pending(each)]
        if len(own) - len(ended) >= PENDING_MAX:
            text = f"vpn_tunnel {tunnel.name}: {PENDING_MAX} actions wait for its node already"
            raise ApiProblem(429, "rate_limited", text, retry_after_s=AGAIN_S)
        ended.sort(key=lambda each: float(each.value["created_at"]))
        over = max(0, len(ended) - ENDED_MAX + 1)
        return [Delete(one.key, one.revision) for one in ended[:over][:FORGOTTEN]]

    def get(self, id: str, who: Principal) -> Record:
        """Return an action. One of a tenant that is not seen does not exist."""
        record = self._mirror.get(KIND, id)
        if record is None or not who.sees(record.tenant):
            raise not_found(KIND, id)
        return record

    def for_node(self, node: str) -> tuple[Action, ...]:
        """Return what a node is to be told now, in the order in which it was said."""
        now = time.monotonic()
        found = [
            record
            for record in self._mirror.of_kind(KIND)
            if record.allocated.get("node") == node
            and record.allocated.get("state") == PENDING
            and now - self._told.get(record.id, -AGAIN_S) >= AGAIN_S
        ]
        found.sort(key=lambda record: (float(record.value["created_at"]), record.revision))
        del found[TOLD_MAX:]
        self._told |= {record.id: now for record in found}
        return tuple(
            Action(
                id=record.id,
                verb=Verb(record.spec["verb"]),
                tunnel=record.spec["tunnel"],
                ike=bool(record.spec.get("ike")),
            )
            for record in found
        )

    def forget_told(self, node: str) -> None:
        """A node has begun anew, or an answer did not reach it: tell it all again."""
        for record in self._mirror.of_kind(KIND):
            if record.allocated.get("node") == node:
                self._told.pop(record.id, None)

    async def take(self, node: str, results: Iterable[Result]) -> None:
        """Keep what became of actions of a node; of another node's, nothing."""
        for result in results:

            def decide(result: Result = result) -> list[Write]:
                record = self._mirror.get(KIND, result.id)
                if record is None or record.allocated.get("node") != node:
                    return []
                return [_ended(record, result)] if _is_pending(record) else []

            await decide_and_commit(self._store, self._mirror, decide, f"node:{node}")
            self._told.pop(result.id, None)

    async def sweep(self, now: float | None = None) -> None:
        """End what was not done in time, and delete what is a day old."""
        now = time.time() if now is None else now

        def decide() -> list[Write]:
            writes: list[Write] = []
            for record in self._mirror.of_kind(KIND):
                if now - float(record.value["created_at"]) > KEPT_S:
                    writes.append(Delete(record.key, record.revision))
                elif _is_pending(record) and now > float(record.allocated["due_at"]):
                    text = "the node has not done it in time"
                    writes.append(_ended(record, Result(id=record.id, ok=False, text=text)))
            return writes[:SWEPT]

        await decide_and_commit(self._store, self._mirror, decide, "system:nodes")
        there = {record.id for record in self._mirror.of_kind(KIND)}
        self._told = {id: at for id, at in self._told.items() if id in there}


def rendered(record: Record) -> Table:
    """Return an action as the API answers it."""
    allocated = record.allocated
    return {
        "action": record.id,
        "tenant": record.tenant,
        "verb": record.spec["verb"],
        "vpn_tunnel": record.spec["tunnel"],
        "node": allocated["node"],
        "state": allocated["state"],
        "text": allocated.get("text", ""),
        "details": allocated.get("details"),
        "by": record.spec["by"],
        "created_at": record.value["created_at"],
        "updated_at": record.value["updated_at"],
    }


def _is_pending(record: Record) -> bool:
    return record.allocated.get("state") == PENDING


def _ended(record: Record, result: Result) -> Replace:
    allocated = {
        **record.allocated,
        "state": DONE if result.ok else FAILED,
        "text": result.text,
        "details": result.details,
    }
    value = {**record.value, "allocated": allocated, "updated_at": time.time()}
    body = bytes_of(value)
    if len(body) > DETAILS_BYTES:
        value["allocated"] = {**allocated, "details": None, "text": "the details are too long"}
        body = bytes_of(value)
    return Replace(record.key, body, record.revision)
