"""
What the API answers when it does not do what was asked: problem documents (RFC 9457). Pure.

A code is stable: programs branch on it. A title is the same for all problems of a code; the detail
says what this one is about, with field and value. Several mistakes of one request are told at once,
in `errors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from gateway.errors import GatewayError

MEDIA_TYPE = "application/problem+json"
TYPE = "https://twinspan.dev/problems/"  # a name, not a link: nothing has to answer there
LONGEST_VALUE = 200  # characters of a value that are told back
LONGEST_DETAIL = 1000  # characters; a value that stands in the words may be a MiB
MOST_ERRORS = 100

# What a code of several parts' use is called. Others are called by their own words.
TITLES = {
    "bad_request": "The request can not be understood",
    "conflict": "The state of the resource does not allow this",
    "expired": "It has expired",
    "forbidden": "The credential does not allow this",
    "idempotency_key_reused": "The Idempotency-Key was used with another request",
    "in_use": "It is still used by others",
    "internal": "The control plane has made a mistake",
    "invalid": "A value is not allowed",
    "method_not_allowed": "The path does not have this method",
    "node_lost": "The node does not report",
    "node_silent": "The node does not answer",
    "node_too_old": "The node's gateway does not know this",
    "not_found": "It does not exist",
    "not_unique": "There is one already",
    "precondition_failed": "It has been changed since it was read",
    "quota_exceeded": "A quota is used up",
    "rate_limited": "Too many requests",
    "too_large": "The request is too large",
    "too_slow": "The request comes too slowly",
    "unauthenticated": "The request needs a valid credential",
    "unavailable": "The store can not be reached",
    "unknown_field": "There is no such field",
}

Json = object


@dataclass(frozen=True, slots=True)
class FieldError:
    """One of the mistakes of a request: `field` is as in `vpn_tunnel.inner_cidr`."""

    code: str
    field: str
    detail: str
    value: Json = None

    def as_json(self) -> dict[str, Json]:
        """Return it as an element of a problem document's `errors`."""
        return {
            "code": self.code,
            "field": self.field,
            "value": shown(self.value),
            "detail": _short(self.detail, LONGEST_DETAIL),
        }


class ApiProblem(GatewayError):
    """
    A request is refused: HTTP's status, a stable code, and what is wrong in words.

    `field` and `value` name what is wrong where it is one thing; a secret is never a `value`.
    `retry_after_s` becomes the header Retry-After. `extra` are further members of the document.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        value: Json = None,
        errors: Sequence[FieldError] = (),
        retry_after_s: int | None = None,
        extra: Mapping[str, Json] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.value = value
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.extra = dict(extra or {})

    def as_json(self) -> dict[str, Json]:
        """Return the problem document (RFC 9457 section 3)."""
        document: dict[str, Json] = {
            "type": TYPE + self.code,
            "title": title(self.code, self.status),
            "status": self.status,
            "code": self.code,
            "detail": _short(self.detail, LONGEST_DETAIL),
        }
        if self.field is not None:
            document |= {"field": self.field, "value": shown(self.value)}
        if self.errors:
            document["errors"] = [error.as_json() for error in self.errors[:MOST_ERRORS]]
        return document | self.extra


def title(code: str, status: int) -> str:
    """Return the title of a code: the table's, or that of the status."""
    return TITLES.get(code) or HTTPStatus(status).phrase


def shown(value: Json) -> Json:
    """Return a value as a problem document tells it back: short, and something JSON has."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _short(value if isinstance(value, str) else repr(value), LONGEST_VALUE)


def _short(text: str, most: int) -> str:
    text = text.encode(errors="replace").decode()  # half a surrogate pair is in no encoding
    return text if len(text) <= most else text[:most] + "..."


def not_found(kind: str, id: str) -> ApiProblem:
    """Return the problem of what does not exist, or belongs to another tenant."""
    return ApiProblem(404, "not_found", f"{kind}: {shown(id)!r} does not exist")


def forbidden(detail: str) -> ApiProblem:
    """Return the problem of a credential that is valid but does not reach."""
    return ApiProblem(403, "forbidden", detail)


def invalid(field: str, value: Json, detail: str, *, code: str = "invalid") -> ApiProblem:
    """Return the problem of one field's value, named in the detail."""
    return ApiProblem(422, code, f"{field}: {detail}", field=field, value=value)
