"""
The outermost layer of the API, around the app: what holds for every request and answer.

A body has at most 1 MiB. HEAD is GET without the body. A bug ends in a problem document and the
journal, never in a closed connection. No answer is kept by a cache, or read as another type.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.control.api.body import MAX_BODY
from gateway.control.api.failures import Report, answer_problem, bug_problem, store_problem
from gateway.control.problems import ApiProblem
from gateway.control.store.interface import StoreError

DEFAULT_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


AT_ONCE = frozenset({"/healthz", "/readyz"})  # they say how the process itself is

# Counts a request: its method, the path of its route, the answer's status, the seconds it took.
Seen = Callable[[str, str, int, float], None]
Loaded = Callable[[], Awaitable[None]]  # waits until the store has been read, or raises StoreError


class Loading:
    """
    The app of a process that has just started: requests wait until the store has been read.

    Before, nothing would seem to exist, neither resources nor credentials.
    """

    def __init__(self, app: ASGIApp, loaded: Loaded) -> None:
        self._app = app
        self._loaded = loaded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in AT_ONCE:
            try:
                await self._loaded()
            except StoreError as error:
                raise store_problem(error) from None
        await self._app(scope, receive, send)


class Guard:
    """
    The app with its outermost layer. `report` logs a bug and returns the entry's number, `seen`
    counts every request.
    """

    def __init__(self, app: ASGIApp, report: Report, seen: Seen) -> None:
        self._app = app
        self._report = report
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer, method, began = _Answer(send), scope["method"], time.perf_counter()
        if method == "HEAD":
            answer.is_head, scope = True, {**scope, "method": "GET"}
        try:
            await self._answer(scope, receive, answer)
        finally:
            took_s = time.perf_counter() - began
            self._seen(method, getattr(scope.get("route"), "path", ""), answer.status, took_s)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            judge_length(Headers(scope=scope).get("content-length"))
            await self._app(scope, _limited(receive), answer.send)
        except ApiProblem as problem:
            await answer_problem(problem)(scope, receive, answer.send)
        except ClientDisconnect:  # in the middle of its request: there is nobody to answer
            return
        except Exception as error:
            number = self._report(f"{scope['method']} {scope['path'][:200]!r}", error)
            if answer.begun:
                raise
            await answer_problem(bug_problem(number))(scope, receive, answer.send)


class _Answer:
    """What is sent: with the headers that every answer has, and for HEAD without a body."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_head = False
        self.status = 0  # until it has begun

    @property
    def begun(self) -> bool:
        return self.status > 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in DEFAULT_HEADERS.items():
                headers.setdefault(name, value)
        elif message["type"] == "http.response.body" and self.is_head:
            message = {**message, "body": b""}
        await self._send(message)


def judge_length(header: str | None) -> None:
    """Raise ApiProblem 413 for a Content-Length above the limit."""
    if header is not None and header.isascii() and header.isdigit() and int(header) > MAX_BODY:
        raise too_large()


def too_large() -> ApiProblem:
    """Return the problem of a body that is too long."""
    return ApiProblem(413, "too_large", f"the body has more than {MAX_BODY} bytes")


def _limited(receive: Receive) -> Receive:
    """Return `receive` that ends a body above the limit, however it comes. ApiProblem 413."""
    count = 0

    async def limited() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > MAX_BODY:
            raise too_large()
        return message

    return limited
