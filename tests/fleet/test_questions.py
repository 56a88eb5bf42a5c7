"""What the control plane asks a node: by a real link, and what a gateway answers to it."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.control.nodes.questions import EACH_MAX, KIND, Questions
from gateway.control.problems import ApiProblem
from gateway.fleet.messages import ANSWER_BYTES_MAX, Answer, Position, Question
from gateway.node.control_socket import ControlError, Request
from gateway.node.fleet.link import Link
from gateway.node.fleet.questions import Questions as OfNode
from gateway.node.journal import Journal
from tests.fleet.control import Control, control
from tests.fleet.test_control import enrol, report

ARGUMENTS = {"border_gateway": "bgw-1"}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Control]:
    async with control(tmp_path) as one:
        yield one


@pytest.fixture
async def link(plane: Control, tmp_path: Path) -> AsyncIterator[Link]:
    one = await enrol(plane, tmp_path / "node")
    await one.report(report())
    yield one
    one.close()


async def asked(plane: Control, link: Link) -> tuple[asyncio.Task[Any], Question]:
    """Ask the node; return the question on its way, and what the node is told of it."""
    ask = plane.nodes.questions.ask(plane.node().id, "routes", ARGUMENTS, by="user:olga")
    task = asyncio.create_task(ask)
    turn = await link.turn(Position(), 0)
    assert turn.wanted is not None
    while not turn.questions:
        turn = await link.turn(turn.wanted.at if turn.wanted else Position(), 2)
    (question,) = turn.questions
    return task, question


async def test_a_question_is_told_at_once_answered_and_not_kept(plane: Control, link: Link) -> None:
    task, question = await asked(plane, link)
    assert (question.command, question.arguments) == ("routes", ARGUMENTS)
    answer = Answer(id=question.id, ok=True, details={"routes": []})
    await link.report(report(2, answers=(answer,)))
    assert await asyncio.wait_for(task, 2) == {"routes": []}
    assert list(plane.registry.mirror.of_kind(KIND)) == []
    await link.report(report(3, answers=(answer,)))  # said twice: nobody waits for it


async def test_a_refusal_is_told_to_who_asked(plane: Control, link: Link) -> None:
    task, question = await asked(plane, link)
    answer = Answer(id=question.id, ok=False, text="no tunnel is named x")
    await link.report(report(2, answers=(answer,)))
    with pytest.raises(ApiProblem, match="node gw-a: no tunnel is named x") as refused:
        await asyncio.wait_for(task, 2)
    assert refused.value.status == 409


async def test_an_answer_that_comes_to_another_process_is_passed_on(
    plane: Control, link: Link
) -> None:
    task, question = await asked(plane, link)
    other = Questions(plane.store, plane.registry.mirror)
    answer = Answer(id=question.id, ok=True, details={"n": 1})
    await other.take(plane.node("gw-b").id, [answer])
    assert not task.done()  # another node's word is not heard
    await other.take(plane.node().id, [answer])
    assert await asyncio.wait_for(task, 2) == {"n": 1}


async def test_a_node_that_is_silent_or_away_is_named(
    plane: Control, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.control.nodes.questions.WAIT_S", 0.05)
    questions = plane.nodes.questions
    with pytest.raises(ApiProblem, match="node gw-a has not answered within"):
        await questions.ask(plane.node().id, "routes", {}, by="user:olga")
    with pytest.raises(ApiProblem, match="node gw-b does not report"):
        await questions.ask(plane.node("gw-b").id, "routes", {}, by="user:olga")
    with pytest.raises(ApiProblem, match="it is on no node"):
        await questions.ask("", "routes", {}, by="user:olga")
    assert list(plane.registry.mirror.of_kind(KIND)) == []


async def test_nobody_keeps_the_others_from_asking(
    plane: Control, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.control.nodes.questions.WAIT_S", 60.0)
    questions, node = plane.nodes.questions, plane.node().id
    waiting = [
        asyncio.create_task(questions.ask(node, "routes", {}, by="user:olga"))
        for _ in range(EACH_MAX)
    ]
    turn, told = await link.turn(Position(), 0), 0
    while told < EACH_MAX:
        turn = await link.turn(turn.wanted.at if turn.wanted else Position(), 2)
        told += len(turn.questions)
    with pytest.raises(ApiProblem, match=f"{EACH_MAX} of your questions to node gw-a") as refused:
        await questions.ask(node, "routes", {}, by="user:olga")
    assert refused.value.status == 429
    monkeypatch.setattr("gateway.control.nodes.questions.WAIT_S", 0.05)
    with pytest.raises(ApiProblem, match="has not answered within"):  # it was asked
        await questions.ask(node, "routes", {}, by="user:anna")
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_question_of_a_process_that_went_away_is_deleted(
    plane: Control, link: Link
) -> None:
    task, _ = await asked(plane, link)
    await plane.nodes.questions.sweep(time.time() + 30)
    assert len(list(plane.registry.mirror.of_kind(KIND))) == 1
    await plane.nodes.questions.sweep(time.time() + 90)
    assert list(plane.registry.mirror.of_kind(KIND)) == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Commands:
    """The commands of a gateway that knows routes, and refuses, fails and talks too much."""

    async def answer(self, request: Request) -> AsyncIterator[object]:
        match request.get("tunnel"):
            case "none":
                raise ControlError("no tunnel is named 'none'")
            case "bug":
                raise ZeroDivisionError
            case "long":
                yield {"text": "x" * ANSWER_BYTES_MAX}
            case "slow":
                await asyncio.sleep(10)
            case _:
                yield {"asked": dict(request)}


async def answer_of(name: str, **arguments: object) -> Answer:
    answers: asyncio.Queue[Answer] = asyncio.Queue()
    node = SimpleNamespace(commands=Commands(), journal=Journal(io.StringIO(), time.time))
    questions = OfNode(cast(Any, node), answers.put_nowait)
    running = asyncio.create_task(questions.run())
    questions.take([Question(id="ask-1", command=name, arguments=arguments)])
    answer = await asyncio.wait_for(answers.get(), 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return answer


async def test_a_gateway_answers_what_only_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.node.fleet.questions.ANSWER_S", 0.1)
    answer = await answer_of("routes", command="stop")
    assert answer.details == {"asked": {"command": "routes"}}
    for command, tunnel, text in (
        ("stop", "x", "'stop' is nothing that can be asked"),
        ("explain", "none", "no tunnel is named 'none'"),
        ("explain", "bug", "the gateway failed, see its log"),
        ("path", "long", "more than 262144 bytes"),
        ("routes", "slow", "there was no answer within 0.1 s"),
    ):
        answer = await answer_of(command, tunnel=tunnel)
        assert not answer.ok
        assert text in answer.text


async def test_more_questions_than_can_wait_are_not_answered() -> None:
    questions = OfNode(cast(Any, None), lambda answer: None)
    questions.take(Question(id=str(number), command="routes") for number in range(1000))
    assert questions._queue.qsize() == 64
