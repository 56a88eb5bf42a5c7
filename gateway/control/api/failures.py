"""Every failure as a problem document (RFC 9457): which exception becomes which answer, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from gateway.control.problems import MEDIA_TYPE, ApiProblem, FieldError
from gateway.control.store.interface import Conflict, NotFound, StoreError, TooOld, Unavailable
from gateway.model.problem import SECRET_KEYS

RETRY_AFTER_S = 2  # etcd has chosen another leader by then
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

Report = Callable[[str, Exception], str]  # logs a bug, and returns the number of the entry


def answer_problem(problem: ApiProblem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer for a request that is refused."""
    head = dict(headers or {})
    if problem.status == 401:
        head.setdefault("WWW-Authenticate", 'Bearer realm="twinspan"')
    if problem.status == 413:
        head["Connection"] = "close"  # the rest of the body is not read
    if problem.retry_after_s is not None:
        head["Retry-After"] = str(problem.retry_after_s)
    body = json.dumps(problem.as_json(), ensure_ascii=True).encode()
    return Response(body, problem.status, head, media_type=MEDIA_TYPE)


def bug_problem(number: str) -> ApiProblem:
    """Return the problem of a mistake of ours: what it was is in the journal only."""
    text = "the control plane has made a mistake; its journal has more under this number"
    return ApiProblem(500, "internal", text, extra={"number": number})


def store_problem(error: StoreError) -> ApiProblem:
    """Return the problem of a store that has not done what was asked."""
    if isinstance(error, Unavailable):
        text = f"the store: {error}"
        return ApiProblem(503, "unavailable", text, retry_after_s=RETRY_AFTER_S)
    if isinstance(error, NotFound):
        return ApiProblem(404, "not_found", str(error))
    if isinstance(error, Conflict):
        return ApiProblem(409, "conflict", f"it was changed meanwhile: {error}")
    if isinstance(error, TooOld):
        return ApiProblem(410, "too_old", str(error))
    return ApiProblem(409, "conflict", str(error))


def validation_problem(errors: list[Mapping[str, object]]) -> ApiProblem:
    """Return the problem of what FastAPI itself refuses: a parameter of one of its own routes."""
    found = []
    for error in errors:
        loc = error.get("loc")
        place = [str(part) for part in loc] if isinstance(loc, tuple | list) else []
        field = ".".join(place[1:] or place)
        value = None if SECRET_KEYS & set(place) or "password" in field else error.get("input")
        plain = value if isinstance(value, str | int | float | bool) else None
        found.append(FieldError("invalid", field, str(error.get("msg", "")), plain))
    first = found[0]
    return ApiProblem(
        422,
        "invalid",
        f"{first.field}: {first.detail}",
        field=first.field,
        value=first.value,
        errors=found,
    )


def add_handlers(app: FastAPI, report: Report) -> None:
    """Make every exception of the app's routes a problem document."""

    async def on_problem(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiProblem)
        return answer_problem(error)

    async def on_store(_request: Request, error: Exception) -> Response:
        assert isinstance(error, StoreError)
        return answer_problem(store_problem(error))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer_problem(_http_problem(request, error), _http_headers(request, error))

    async def on_validation(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer_problem(validation_problem(list(error.errors())))

    app.add_exception_handler(ApiProblem, on_problem)
    app.add_exception_handler(StoreError, on_store)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)


def _http_problem(request: Request, error: HTTPException) -> ApiProblem:
    code = _CODES.get(error.status_code, "bad_request")
    path = request.url.path[:200]
    if error.status_code == 404:
        return ApiProblem(404, code, f"there is no path {path!r}")
    if error.status_code == 405:
        return ApiProblem(405, code, f"{path!r} does not have the method {request.method[:32]}")
    return ApiProblem(error.status_code, code, str(error.detail))


def _http_headers(request: Request, error: HTTPException) -> dict[str, str]:
    """Return the answer's headers: with 405 all methods that the path has."""
    headers = dict(error.headers or {})
    if error.status_code == 405:
        methods: set[str] = set()
        for each in iter_route_contexts(request.app.routes):
            if each.original_route.matches(request.scope)[0] is not Match.NONE:
                methods |= each.methods or set()
        headers["Allow"] = ", ".join(sorted(methods))
    return headers
