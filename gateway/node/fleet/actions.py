"""Does what the control plane asks to be done once, by the commands of the control socket."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable

from gateway.errors import GatewayError
from gateway.fleet.messages import Action, Result, Verb, Why
from gateway.node.control_socket import ControlError
from gateway.node.life import report_bug
from gateway.node.source import Node

REMEMBERED = 1000  # actions, so that one that is told twice is done once
AT_ONCE = 8  # a drain takes seconds
CLOSING_S = 60.0  # how long a tunnel may take that the document takes down
LOOK_S = 0.2


class Actions:
    """Each action is done once; `tell` gets its result, again where it is asked again."""

    def __init__(
        self, node: Node, tell: Callable[[Result], None], problem: Callable[[], Why | None]
    ) -> None:
        """`problem` is why the document that is wanted is not the one in force, if so."""
        self._node = node
        self._tell = tell
        self._problem = problem
        self._known: OrderedDict[str, Result | None] = OrderedDict()  # None: under way
        self._queue: asyncio.Queue[Action] = asyncio.Queue()

    def take(self, actions: Iterable[Action]) -> None:
        """Have actions done soon. The document that came with them has been applied."""
        for action in actions:
            if action.id not in self._known:
                self._known[action.id] = None
                self._queue.put_nowait(action)
            elif (result := self._known[action.id]) is not None:
                self._tell(result)  # it was lost on the way
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def run(self) -> None:
        """Do them, several at once, for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            action = await self._queue.get()
            result = await self._done(action)
            if action.id in self._known:
                self._known[action.id] = result
            self._tell(result)

    async def _done(self, action: Action) -> Result:
        try:
            answer = await self._carried_out(action)
        except GatewayError as error:
            return Result(id=action.id, ok=False, text=str(error)[:2000])
        except Exception as error:  # a bug of ours must not end the others
            report_bug(self._node.journal, f"action {action.verb.value}", error)
            return Result(id=action.id, ok=False, text="the gateway failed, see its log")
        if action.verb is Verb.EXPLAIN:
            return Result(id=action.id, ok=True, details=answer)
        text = str(answer.get("drained", ""))
        return Result(id=action.id, ok=True, text=text)

    async def _carried_out(self, action: Action) -> dict[str, object]:
        why = self._problem()
        if why is not None and action.verb in (Verb.UP, Verb.DOWN):
            raise ControlError(f"the document that says so is not taken: {why.code}: {why.text}")
        if action.verb is Verb.DOWN:
            return await self._wait_closed(action.tunnel)
        request: dict[str, object] = {
            "command": action.verb.value,
            "tunnel": action.tunnel,
            "ike": action.ike,
        }
        async for answer in self._node.commands.answer(request):
            if isinstance(answer, dict):
                return answer
        return {}

    async def _wait_closed(self, name: str) -> dict[str, object]:
        """
        Wait until the edit that takes a tunnel down has come to it. Raises ControlError.

        Nothing else is done: an action that is told again, since its result was lost, may be older
        than the word that took the tunnel up again.
        """
        status = self._node.status
        end = asyncio.get_running_loop().time() + CLOSING_S
        while asyncio.get_running_loop().time() < end:
            plans, wanted = [p for p in status.plans if p.name == name], status.leads_to(name)
            if wanted is not None and wanted.admin_up:
                raise ControlError(f'{name} is to be up: its document says admin = "up"')
            if all(shown["status"] == "down" for shown in status.tunnels(plans)):
                return {}
            await asyncio.sleep(LOOK_S)
        raise ControlError(f"{name} has not closed within {CLOSING_S:g} s")
