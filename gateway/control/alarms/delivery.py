"""
Messages on their way to targets: a bounded queue for each, tried again with growing pauses.

A target that does not answer holds up no other. What is not taken in the end is an event. Messages
are sent at least once: who is restarted tells again what was not told to the end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.control.alarms import mail, webhook
from gateway.control.alarms.message import Message, is_for, mail_of, signed, webhook_body
from gateway.control.alarms.reach import NotDelivered, Reach
from gateway.control.alarms.settings import alarm_settings
from gateway.control.auth.principal import MAIN_TENANT, OPERATOR
from gateway.control.events.events import Events
from gateway.control.mirror import Mirror
from gateway.control.resources.record import Record
from gateway.control.secrets import CannotOpen, KeyRing
from gateway.model.events import Resource
from gateway.node.journal import Journal

QUEUE_MAX = 1000  # messages for one target
PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # after each try but the last
THREADS = 2  # of one tenant: who answers by drips holds up no other tenant, and no login
IDLE_S = 30.0  # a target's task ends when there is nothing to say for so long

Told = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message for one target. `told` is called when it was delivered, or given up."""

    message: Message
    told: Told


class Deliveries:
    """Sends messages. `run` carries its tasks; `pauses_s` are the pauses between tries."""

    def __init__(
        self,
        mirror: Mirror,
        ring: KeyRing,
        events: Events,
        journal: Journal,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._mirror = mirror
        self._ring = ring
        self._events = events
        self._journal = journal
        self._pauses_s = pauses_s
        self._queues: dict[str, asyncio.Queue[Waiting]] = {}
        self._new: asyncio.Queue[str] = asyncio.Queue()
        self._threads: dict[str, ThreadPoolExecutor] = {}  # by tenant
        self.counts: Counter[tuple[str, ...]] = Counter()  # of messages, by result

    def tell(self, message: Message, told: Told) -> None:
        """Have every target told that wants to be; `told` is called when all have been."""
        tenant = message.tenant if message.tenant != OPERATOR else MAIN_TENANT
        targets = [
            each
            for each in self._mirror.of_kind("alarm_target", tenant)
            if is_for(each.spec, message)
        ]
        left = len(targets)

        def one_told() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                told()

        for target in targets:
            self._queue(target, Waiting(message, one_told))
        if not targets:
            told()

    def _queue(self, target: Record, waiting: Waiting) -> None:
        queue = self._queues.get(target.id)
        if queue is None:
            queue = self._queues[target.id] = asyncio.Queue(QUEUE_MAX)
            self._new.put_nowait(target.id)
        if queue.full():
            self._give_up(target, queue.get_nowait(), "too many messages wait")
        queue.put_nowait(waiting)

    async def run(self) -> None:
        """Send what is to be told, for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._serve(await self._new.get()))

    async def _serve(self, id: str) -> None:
        """Send the messages of one target, one after the other, until there are none."""
        queue = self._queues[id]
        while True:
            try:
                waiting = await asyncio.wait_for(queue.get(), IDLE_S)
            except TimeoutError:
                if queue.empty():
                    del self._queues[id]
                    return
                continue
            await self._deliver(id, waiting)

    async def _deliver(self, id: str, waiting: Waiting) -> None:
        why = ""
        for pause_s in (*self._pauses_s, None):
            target = self._mirror.get("alarm_target", id)
            if target is None or not target.spec.get("enabled", True):
                waiting.told()
                return
            try:
                await self.send(target, waiting.message)
            except NotDelivered as error:
                why = str(error)
                self.counts[("failed",)] += 1
                self._journal.warning("alarm target", target=target.name, text=why)
                if error.is_final or pause_s is None:
                    self._give_up(target, waiting, why)
                    return
                await asyncio.sleep(pause_s)
            else:
                self.counts[("delivered",)] += 1
                waiting.told()
                return

    def _give_up(self, target: Record, waiting: Waiting, why: str) -> None:
        resource = Resource("alarm_target", target.name, target.id)
        text = f"not told: {waiting.message.values['text']}: {why}"
        self.counts[("given_up",)] += 1
        self._events.say("alarm_not_delivered", resource, text, tenant=target.tenant)
        waiting.told()

    async def send(self, target: Record, message: Message) -> None:
        """Send a message to a target once. Raises NotDelivered."""
        reach = Reach(alarm_settings(self._mirror), target.tenant)
        try:
            secret = self._secret(target, _SECRETS[target.spec["type"]])
        except CannotOpen as error:
            raise NotDelivered(str(error)) from None
        send = _mail if target.spec["type"] == "mail" else _webhook
        try:
            work = partial(send, target.spec, secret, message, reach)
            await asyncio.get_running_loop().run_in_executor(self._threads_of(target), work)
        except NotDelivered:
            raise
        except Exception as error:  # what no library says it raises must hold up no other message
            self._journal.error("bug", where="alarm target", text=repr(error))
            raise NotDelivered(f"it can not be sent: {error!r}", is_final=True) from error

    def _threads_of(self, target: Record) -> ThreadPoolExecutor:
        if target.tenant not in self._threads:
            self._threads[target.tenant] = ThreadPoolExecutor(THREADS, "alarm-target")
        return self._threads[target.tenant]

    def _secret(self, target: Record, field: str) -> str | None:
        sealed = target.spec.get(field)
        if sealed is None:
            return None
        return self._ring.open(sealed, target.key, f"spec/{field}").reveal().decode()


_SECRETS = {"mail": "smtp_password", "webhook": "webhook_secret"}


def _webhook(spec: Mapping[str, Any], secret: str | None, message: Message, reach: Reach) -> None:
    body = webhook_body(spec, message)
    headers = signed(body, secret.encode(), time.time()) if secret is not None else {}
    webhook.post(str(spec["url"]), body, headers, reach)


def _mail(spec: Mapping[str, Any], secret: str | None, message: Message, reach: Reach) -> None:
    mail.send(spec, secret, mail_of(spec, message, time.time()), reach)
