"""What nodes ask of the control plane, as an ASGI app; see `gateway/fleet/messages.py`."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.control.api.guard import Seen
from gateway.control.auth.buckets import Buckets, Rate, source_of
from gateway.control.nodes.actions import Actions
from gateway.control.nodes.credentials import Credentials
from gateway.control.nodes.documents import Current, Documents
from gateway.control.nodes.peer import CERTIFICATE
from gateway.control.nodes.questions import Questions
from gateway.control.nodes.reports import Reports, Say
from gateway.control.problems import MEDIA_TYPE, ApiProblem, invalid
from gateway.control.store.interface import StoreError
from gateway.fleet.messages import (
    BODY_BYTES_MAX,
    PATH,
    WAIT_S,
    M,
    Message,
    MessageError,
    Position,
    Registration,
    Renewal,
    Report,
    read,
)

SMALL_BYTES = 32 * 1024  # of a body that comes without a certificate
COMPRESS_FROM = 2048
TRIES = Rate(burst=10, per_s=1 / 6)  # registrations of one address, of IPv6 of its /64

Answer = Callable[[Request], Awaitable[Response]]
Fault = Callable[[str, Exception], str]  # logs a mistake of ours, returns its number


class NodeApp:
    """The app. `say` records an event: of a node, its code, a text; `seen` counts requests."""

    def __init__(
        self,
        credentials: Credentials,
        documents: Documents,
        actions: Actions,
        questions: Questions,
        reports: Reports,
        ca: str,
        fault: Fault,
        is_ready: Callable[[], bool],
        say: Say,
        seen: Seen,
    ) -> None:
        self._credentials = credentials
        self._documents = documents
        self._actions = actions
        self._questions = questions
        self._reports = reports
        self._ca = ca
        self._fault = fault
        self._is_ready = is_ready
        self._say = say
        self._seen = seen
        self._tries = Buckets(TRIES)
        self.asgi = Starlette(
            routes=[
                Route(f"{PATH}/ca", self._guarded(self._show_ca), methods=["GET"]),
                Route(f"{PATH}/register", self._guarded(self._register), methods=["POST"]),
                Route(f"{PATH}/renew", self._guarded(self._renew), methods=["POST"]),
                Route(f"{PATH}/document", self._guarded(self._document), methods=["GET"]),
                Route(f"{PATH}/report", self._guarded(self._report), methods=["POST"]),
            ]
        )

    def _guarded(self, answer: Answer) -> Answer:
        """Make problem documents of what goes wrong."""

        async def guarded(request: Request) -> Response:
            began = time.perf_counter()
            response = await answered(request)
            took_s = time.perf_counter() - began
            self._seen(request.method, request.url.path, response.status_code, took_s)
            return response

        async def answered(request: Request) -> Response:
            try:
                if not self._is_ready():  # else every node would be one that does not exist
                    text = "the store is being read"
                    raise ApiProblem(503, "unavailable", text, retry_after_s=1)
                return await answer(request)
            except ApiProblem as problem:
                return _problem(problem)
            except StoreError as error:
                return _problem(ApiProblem(503, "unavailable", str(error), retry_after_s=1))
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception as error:
                number = self._fault(request.url.path, error)
                text = f"a mistake of the control plane, number {number} in its log"
                return _problem(ApiProblem(500, "internal", text))

        return guarded

    # ---- without a certificate ----

    async def _show_ca(self, request: Request) -> Response:
        return Response(self._ca, media_type="application/x-pem-file")

    async def _register(self, request: Request) -> Response:
        self._judge_rate(request.client.host if request.client else "")
        asked = await _read(Registration, request, SMALL_BYTES)
        credential = await self._credentials.register(asked.token, asked.csr)
        await self._say(credential.node, "node_registered", f"version {asked.version}")
        return _json(credential.model_dump_json().encode(), request)

    def _judge_rate(self, address: str) -> None:
        """Raise ApiProblem 429 for an address that tries too often."""
        source = source_of(address)
        if wait_s := self._tries.take(source, time.monotonic()):
            text = f"too many registrations from {source}"
            raise ApiProblem(429, "rate_limited", text, retry_after_s=wait_s)

    # ---- with one ----

    async def _node(self, request: Request) -> str:
        """Return the node that asks. Raises ApiProblem 401."""
        certificate = request.scope.get(CERTIFICATE)
        if not certificate:
            raise ApiProblem(401, "unauthenticated", "this needs the certificate of a node")
        return await self._credentials.node_of(certificate)

    async def _renew(self, request: Request) -> Response:
        node = await self._node(request)
        asked = await _read(Renewal, request, SMALL_BYTES)
        credential = await self._credentials.renew(node, asked.csr)
        return _json(credential.model_dump_json().encode(), request)

    async def _report(self, request: Request) -> Response:
        node = await self._node(request)
        heard = await self._reports.take(node, await _read(Report, request, BODY_BYTES_MAX))
        return _json(heard.model_dump_json().encode(), request)

    async def _document(self, request: Request) -> Response:
        """Answer as soon as there is something new; after the wait with 204."""
        node = await self._node(request)
        held, wait_s = _asked(request)
        end = asyncio.get_running_loop().time() + wait_s
        while True:
            await self._node(request)  # it may have been revoked meanwhile
            offered = await self._documents.offer(node, held)
            actions, questions = self._actions.for_node(node), self._questions.for_node(node)
            if offered is not None or actions or questions:
                body = self._turn(node, offered, _told(actions), _told(questions))
                return await asyncio.to_thread(_json, body, request)
            try:
                async with asyncio.timeout_at(end):
                    await self._documents.changed(node)
            except TimeoutError:
                return Response(status_code=204)

    def _turn(self, node: str, offered: Current | None, actions: bytes, questions: bytes) -> bytes:
        """Return a `Turn` as JSON. The document is text already."""
        if offered is None:
            return b'{"wanted":null,"actions":%b,"questions":%b}' % (actions, questions)
        at = Position(epoch=self._documents.epoch, generation=offered.generation, tag=offered.tag)
        return b'{"wanted":{"node":%b,"at":%b,"document":%b},"actions":%b,"questions":%b}' % (
            json.dumps(node).encode(),
            at.model_dump_json().encode(),
            offered.body,
            actions,
            questions,
        )


def _told(messages: Iterable[Message]) -> bytes:
    return json.dumps([message.model_dump(mode="json") for message in messages]).encode()


def _asked(request: Request) -> tuple[Position, float]:
    """Return what a node has, and how long it waits. Raises ApiProblem."""
    query = request.query_params
    try:
        position = Position(
            epoch=int(query.get("epoch", 0)),
            generation=int(query.get("after", 0)),
            tag=query.get("tag", "")[:128],
        )
        wait_s = min(max(float(query.get("wait", 0)), 0.0), WAIT_S)
    except ValueError:
        raise invalid("query", str(query)[:100], "epoch, after and wait are numbers") from None
    return position, wait_s


async def _read(kind: type[M], request: Request, most_bytes: int) -> M:
    """Return the message in a request's body. Raises ApiProblem."""
    body = await _body(request, most_bytes)
    try:
        return read(kind, body)
    except MessageError as error:
        raise ApiProblem(422, "invalid", str(error)) from None


async def _body(request: Request, most_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise _too_large(most_bytes)
        parts.append(part)
    body = b"".join(parts)
    if request.headers.get("content-encoding") != "gzip":
        return body
    decoder = zlib.decompressobj(wbits=31)
    try:
        plain = decoder.decompress(body, most_bytes)
    except zlib.error as error:
        raise ApiProblem(400, "bad_request", f"the body is no gzip: {error}") from None
    if decoder.unconsumed_tail:
        raise _too_large(most_bytes)
    return plain


def _too_large(most_bytes: int) -> ApiProblem:
    return ApiProblem(413, "too_large", f"a body has at most {most_bytes} bytes here")


def _json(body: bytes, request: Request) -> Response:
    headers = {}
    if len(body) >= COMPRESS_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, 1)
        headers["content-encoding"] = "gzip"
    return Response(body, media_type="application/json", headers=headers)


def _problem(problem: ApiProblem) -> Response:
    headers = {"retry-after": str(problem.retry_after_s)} if problem.retry_after_s else {}
    body = json.dumps(problem.as_json()).encode()
    return Response(body, problem.status, headers=headers, media_type=MEDIA_TYPE)
