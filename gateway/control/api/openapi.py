"""The whole description of the API (OpenAPI 3.1), and a page that shows it without scripts."""

from __future__ import annotations

import html
from collections.abc import Iterator
from functools import cache

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, JSONResponse

from gateway.control.api.describe_login import login_schemas
from gateway.control.api.people import people_schemas
from gateway.control.api.schemas import schemas
from gateway.control.auth.sessions import COOKIE

Table = dict[str, object]

SECURITY: Table = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "an API token, from `twinspan token create`",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "the console's session; a write needs the header X-CSRF-Token as well",
    },
}
TEXT = (
    "Resources of site-to-site IPsec VPNs. Refusals are problem documents (RFC 9457) with a stable"
    " `code`. On the Unix socket of the machine itself no credential is needed."
)
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def describe(app: FastAPI) -> Table:
    """Return the description of an app's routes."""
    found = get_openapi(
        title="Twinspan",
        version=app.version,
        openapi_version="3.1.0",
        description=TEXT,
        routes=app.routes,
        servers=[{"url": "/"}],
    )
    components = found.setdefault("components", {})
    components["securitySchemes"] = SECURITY
    ours = schemas() | people_schemas() | login_schemas()
    components["schemas"] = dict(sorted((components.get("schemas", {}) | ours).items()))
    found["security"] = [{name: []} for name in SECURITY]
    return found


def openapi_router() -> APIRouter:
    """Return the routes of the description and its page. They show nothing of anybody."""
    router = APIRouter(tags=["process"])

    @cache
    def of(app: FastAPI) -> Table:
        return describe(app)

    @router.get(
        "/v1/openapi.json",
        operation_id="getDescription",
        summary="Return this description",
        openapi_extra={"security": []},
    )
    async def description(request: Request) -> JSONResponse:
        return JSONResponse(of(request.app))

    @router.get("/v1/docs", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(page_of(of(request.app)), headers=PAGE_HEADERS)

    return router


def page_of(description: Table) -> str:
    """Return a page that lists the operations."""
    rows = "\n".join(
        f"<tr><td><code>{_text(method.upper())}</code></td><td><code>{_text(path)}</code></td>"
        f"<td>{_text(operation.get('summary'))}</td></tr>"
        for path, method, operation in operations(description)
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Twinspan API</title>"
        "<style>body{font:16px system-ui;margin:2em auto;max-width:60em}"
        "td{padding:.2em 1em .2em 0;vertical-align:top}</style>"
        f"<h1>Twinspan API</h1><p>{_text(TEXT)}</p>"
        '<p>The whole description: <a href="openapi.json">openapi.json</a></p>'
        f"<table>{rows}</table></html>"
    )


def operations(description: Table) -> Iterator[tuple[str, str, Table]]:
    """Yield path, method and operation of each operation."""
    paths = description["paths"]
    assert isinstance(paths, dict)
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield path, method, operation


def _text(value: object) -> str:
    return html.escape(str(value or ""))
