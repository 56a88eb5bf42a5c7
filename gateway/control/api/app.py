"""The API as one app: its routes, its failures, its outermost layer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

import gateway
from gateway.control.api.depends import Authenticate
from gateway.control.api.failures import Report, add_handlers
from gateway.control.api.guard import Guard, Loaded, Loading, Seen
from gateway.control.api.openapi import openapi_router
from gateway.control.problems import ApiProblem

OPEN: dict[str, object] = {"security": []}  # nobody needs a credential

Ready = Callable[[], Awaitable[str | None]]  # what it waits for; None: it is ready


def make_app(
    routers: Sequence[APIRouter],
    *,
    authenticate: Authenticate,
    loaded: Loaded,
    ready: Ready,
    report: Report,
    seen: Seen,
) -> ASGIApp:
    """
    Return the app. `authenticate` says whose request it is, or raises ApiProblem 401.

    Requests wait for `loaded`, but for those that ask how the process is, such as for `ready`.
    `report` logs a mistake of ours and returns the entry's number, which the answer tells. `seen`
    counts every request.
    """
    app = FastAPI(
        title="Twinspan",
        version=gateway.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.authenticate = authenticate
    app.include_router(health_router(ready))
    app.include_router(openapi_router())
    for router in routers:
        app.include_router(router)
    add_handlers(app, report)
    app.add_middleware(Loading, loaded=loaded)
    app.add_middleware(Guard, report=report, seen=seen)
    return app


def health_router(ready: Ready) -> APIRouter:
    """Return what a load balancer and a monitor ask. Nobody needs a credential for it."""
    router = APIRouter(tags=["process"])

    @router.get(
        "/healthz",
        operation_id="getHealth",
        summary="Say that the process runs",
        openapi_extra=OPEN,
    )
    async def health() -> JSONResponse:
        return JSONResponse({"ok": True})

    @router.get(
        "/readyz",
        operation_id="getReadiness",
        summary="Say that requests are served",
        openapi_extra=OPEN,
    )
    async def readiness() -> JSONResponse:
        if (waits_for := await ready()) is not None:
            raise ApiProblem(503, "unavailable", waits_for, retry_after_s=1)
        return JSONResponse({"ok": True})

    @router.get(
        "/v1/version", operation_id="getVersion", summary="Return the version", openapi_extra=OPEN
    )
    async def version() -> JSONResponse:
        return JSONResponse({"version": gateway.__version__, "api": "v1"})

    return router
