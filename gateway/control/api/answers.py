"""The answers of routes: JSON with the headers that go with it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from gateway.control.api.conditions import etag

Json = object


def answer_json(
    body: Mapping[str, Json],
    status: int = 200,
    *,
    revision: int | None = None,
    location: str | None = None,
) -> Response:
    """Return an answer; `revision` is that of the resource, for its ETag."""
    headers = {}
    if revision is not None:
        headers["ETag"] = etag(revision)
    if location is not None:
        headers["Location"] = location
    return JSONResponse(dict(body), status, headers)


def answer_nothing() -> Response:
    """Return the answer of what has been deleted."""
    return Response(status_code=204)
