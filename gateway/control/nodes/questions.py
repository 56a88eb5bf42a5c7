"""
What a node is asked, and answers at once: its routes, why a tunnel is as it is.

A question is an object of the store for as long as somebody waits for its answer, since the node
may ask another control process for news than the one that somebody has asked. The answer is
written there only if it comes to another process too. Nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Sequence

from gateway.control.mirror import Mirror
from gateway.control.nodes.states import KIND as STATE
from gateway.control.nodes.writing import decide_and_commit
from gateway.control.problems import ApiProblem
from gateway.control.resources.kinds import ID_CHARACTERS
from gateway.control.resources.record import Record, Table, bytes_of
from gateway.control.store.interface import LEASE, Create, Delete, Key, Replace, Store, Write
from gateway.fleet.messages import Answer, Question

KIND = "question"
WAIT_S = 5.0  # for an answer
AGAIN_S = 1.0  # told again if there is no answer by then
LOOK_S = 0.05  # between looks for an answer that another process has heard
KEPT_S = 60.0  # of a question whose process went away
WAITING_MAX = 32  # of one node
EACH_MAX = 8  # of these, of one who asks: nobody keeps the others out
SWEPT = 40


class Questions:
    """Asks nodes. Raises ApiProblem."""

    def __init__(self, store: Store, mirror: Mirror) -> None:
        self._store = store
        self._mirror = mirror
        self._told: dict[str, float] = {}  # monotonic seconds, by id
        self._waiting: dict[str, asyncio.Future[Answer]] = {}  # for whom we wait, by id

    async def ask(self, node: str, command: str, arguments: Table, *, by: str) -> Table:
        """
        Return what a node answers to a command that only reads.

        ApiProblem 503 where it does not answer in time, 409 where it is lost or can not; `by` is
        the actor of the audit log.
        """
        name = self._name(node)
        self._judge_room(node, name, by)
        self._judge_version(node, name, command)
        key = Key(KIND, "ask-" + "".join(ID_CHARACTERS[byte & 31] for byte in os.urandom(16)))
        value: Table = {
            "tenant": "",
            "spec": {"command": command, "arguments": arguments},
            "allocated": {"node": node, "answer": None, "by": by},
            "created_at": time.time(),
        }
        self._waiting[key.id] = asyncio.get_running_loop().create_future()
        try:
            await self._commit([Create(key, bytes_of(value))], by)
            async with asyncio.timeout(WAIT_S):
                answer = await self._answer(key.id)
        except TimeoutError:
            text = f"node {name} has not answered within {WAIT_S:g} s"
            raise ApiProblem(503, "node_silent", text, retry_after_s=5) from None
        finally:
            del self._waiting[key.id]
            self._told.pop(key.id, None)
            await self._forget(key, by)
        if not answer.ok:
            raise ApiProblem(409, "conflict", f"node {name}: {answer.text}")
        return answer.details or {}

    def _name(self, node: str) -> str:
        """Return the name of a node that can be asked."""
        record = self._mirror.get("node", node)
        if record is None:
            raise ApiProblem(409, "conflict", "it is on no node, so nobody can be asked")
        if self._mirror.get(LEASE, f"node:{node}") is None:
            text = f"node {record.name} does not report, so it can not be asked"
            raise ApiProblem(409, "node_lost", text)
        return record.name

    def _judge_room(self, node: str, name: str, by: str) -> None:
        """Raise ApiProblem 503 if too many questions to a node wait, or too many of one asker."""
        waiting = [
            each for each in self._mirror.of_kind(KIND) if each.allocated.get("node") == node
        ]
        if len(waiting) >= WAITING_MAX:
            text = f"node {name} is asked by {WAITING_MAX} others at this moment"
            raise ApiProblem(503, "unavailable", text, retry_after_s=1)
        if sum(each.allocated.get("by") == by for each in waiting) >= EACH_MAX:
            text = f"{EACH_MAX} of your questions to node {name} wait for their answers"
            raise ApiProblem(429, "rate_limited", text, retry_after_s=1)

    def _judge_version(self, node: str, name: str, command: str) -> None:
        """Raise ApiProblem 409 for a node whose gateway does not know what is asked."""
        state = self._mirror.get(STATE, node)
        if state is None or command in state.value.get("reads", ()):  # None: it has just begun
            return
        version = state.value.get("version") or "unknown"
        text = f"node {name} runs version {version}, which can not be asked for {command}"
        raise ApiProblem(409, "node_too_old", f"{text}: upgrade its gateway")

    async def _answer(self, id: str) -> Answer:
        """Wait for an answer, which comes to this process or another."""
        here = self._waiting[id]
        while True:
            done, _ = await asyncio.wait({here}, timeout=LOOK_S)
            if done:
                return here.result()
            record = self._mirror.get(KIND, id)
            if record is not None and record.allocated.get("answer") is not None:
                return Answer.model_validate(record.allocated["answer"])

    async def _forget(self, key: Key, by: str) -> None:
        def decide() -> list[Write]:
            record = self._mirror.get(KIND, key.id)
            return [Delete(key, record.revision)] if record is not None else []

        with contextlib.suppress(ApiProblem):  # the sweep deletes it
            await decide_and_commit(self._store, self._mirror, decide, by)

    async def _commit(self, writes: Sequence[Write], by: str) -> None:
        await decide_and_commit(self._store, self._mirror, lambda: writes, by)

    # ---- the node's side ----

    def for_node(self, node: str) -> tuple[Question, ...]:
        """Return what a node is to be asked now."""
        now = time.monotonic()
        found = [
            record
            for record in self._mirror.of_kind(KIND)
            if record.allocated.get("node") == node
            and record.allocated.get("answer") is None
            and now - self._told.get(record.id, -AGAIN_S) >= AGAIN_S
        ]
        self._told |= {record.id: now for record in found}
        return tuple(
            Question(
                id=record.id, command=record.spec["command"], arguments=record.spec["arguments"]
            )
            for record in found
        )

    async def take(self, node: str, answers: Iterable[Answer]) -> None:
        """Take a node's answers; to what another node was asked, none."""
        for answer in answers:
            record = self._mirror.get(KIND, answer.id)
            if record is None or record.allocated.get("node") != node:
                continue
            waiting = self._waiting.get(answer.id)
            if waiting is None:
                await self._pass_on(record, answer)
            elif not waiting.done():
                waiting.set_result(answer)

    async def _pass_on(self, record: Record, answer: Answer) -> None:
        """Let the process have an answer that waits for it."""
        told = {**record.allocated, "answer": answer.model_dump(mode="json")}
        value = bytes_of({**record.value, "allocated": told})

        def decide() -> list[Write]:
            now = self._mirror.get(KIND, record.id)
            is_open = now is not None and now.allocated.get("answer") is None
            return [Replace(record.key, value, now.revision)] if now and is_open else []

        await decide_and_commit(
            self._store, self._mirror, decide, f"node:{record.allocated['node']}"
        )

    async def sweep(self, now: float | None = None) -> None:
        """Delete questions that nobody waits for any more: their process went away."""
        now = time.time() if now is None else now

        def decide() -> list[Write]:
            old = [
                record
                for record in self._mirror.of_kind(KIND)
                if now - float(record.value["created_at"]) > KEPT_S
            ]
            return [Delete(record.key, record.revision) for record in old[:SWEPT]]

        await decide_and_commit(self._store, self._mirror, decide, "system:nodes")
        there = {record.id for record in self._mirror.of_kind(KIND)}
        self._told = {id: at for id, at in self._told.items() if id in there}
