"""How a route and what the description says of it come into a router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.api.describe import About

Endpoint = Callable[..., Awaitable[Response]]


def add(router: APIRouter, method: str, path: str, endpoint: Endpoint, about: About) -> None:
    """Add a route."""
    router.add_api_route(
        path,
        endpoint,
        methods=[method],
        status_code=about.status,
        operation_id=about.operation,
        summary=about.summary,
        description=about.text or None,
        responses={status: dict(each) for status, each in about.responses.items()},
        openapi_extra=about.extra,
    )
