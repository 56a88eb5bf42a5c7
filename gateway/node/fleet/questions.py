"""
Answers what the control plane asks: commands of the control socket that only read.

A question costs a moment of the loop and some BIRD's time, so few are answered at once, and what is
asked when the queue is full is not answered: who asks is told that the node says nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable

from gateway.errors import GatewayError
from gateway.fleet.messages import ANSWER_BYTES_MAX, Answer, Question
from gateway.node.life import report_bug
from gateway.node.source import Node

READING = frozenset({"bgp", "explain", "negotiation", "path", "routes"})
AT_ONCE = 2
WAITING_MAX = 64
ANSWER_S = 4.0  # nobody waits for longer


class Questions:
    """`reply` gets the answers."""

    def __init__(self, node: Node, reply: Callable[[Answer], None]) -> None:
        self._node = node
        self._reply = reply
        self._queue: asyncio.Queue[Question] = asyncio.Queue(WAITING_MAX)

    def take(self, questions: Iterable[Question]) -> None:
        """Have questions answered soon."""
        for question in questions:
            if not self._queue.full():
                self._queue.put_nowait(question)

    async def run(self) -> None:
        """Answer them for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            self._reply(await self._answered(await self._queue.get()))

    async def _answered(self, question: Question) -> Answer:
        if question.command not in READING:
            return _refusal(question, f"{question.command!r} is nothing that can be asked")
        try:
            async with asyncio.timeout(ANSWER_S):
                details = await self._asked(question)
        except TimeoutError:
            return _refusal(question, f"there was no answer within {ANSWER_S:g} s")
        except GatewayError as error:
            return _refusal(question, str(error))
        except Exception as error:  # a bug of ours must not end the others
            report_bug(self._node.journal, f"question {question.command}", error)
            return _refusal(question, "the gateway failed, see its log")
        if len(json.dumps(details)) > ANSWER_BYTES_MAX:
            return _refusal(question, f"the answer has more than {ANSWER_BYTES_MAX} bytes")
        return Answer(id=question.id, ok=True, details=details)

    async def _asked(self, question: Question) -> dict[str, object]:
        request = {**question.arguments, "command": question.command}
        async for answer in self._node.commands.answer(request):
            if isinstance(answer, dict):
                return answer
        return {}


def _refusal(question: Question, text: str) -> Answer:
    return Answer(id=question.id, ok=False, text=text[:2000])
