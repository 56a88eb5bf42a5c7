"""The templates, and what of a page is the same for all: navigation, theme, who is logged in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from gateway.control.auth.principal import Principal, Scope
from gateway.control.console import states
from gateway.control.resources.kinds import KINDS

HERE = Path(__file__).parent
STATIC = HERE / "static"
# No script, style or picture but ours, none written into a page, no frame around us.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
THEMES = ("light", "dark")
NAVIGATION = (
    ("", "Overview"),
    ("connect", "Connect a site"),
    *((kind.path, kind.title + "s") for kind in KINDS.values() if not kind.is_operators),
    ("alarms", "Alarms"),
    ("events", "Events"),
    ("audit", "Audit log"),
    *((kind.path, kind.title + "s") for kind in KINDS.values() if kind.is_operators),
)


@dataclass(frozen=True, slots=True)
class Visit:
    """Who looks at a page: the principal, the token for forms, tenant, theme if chosen."""

    who: Principal
    csrf: str
    tenant: str | None
    theme: str = ""
    host: str = ""  # of this process, as the browser calls it

    @property
    def may_operate(self) -> bool:
        return self.who.may(Scope.OPERATE)

    @property
    def may_write(self) -> bool:
        return self.who.may(Scope.ADMIN)


@cache
def asset(name: str) -> str:
    """Return the path of a static file with its hash, so that a browser keeps it for a year."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/console/static/{name}?v={digest}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "asset": asset,
        "look_of": states.look_of,
        "state_of": states.state_of,
        "navigation": NAVIGATION,
        "kinds": KINDS,
    }
    made.filters |= {
        "bits": states.bits,
        "size": states.size,
        "span": states.span,
        "label": states.label,
    }
    return made


def page(
    template: str, visit: Visit | None, here: str, status: int = 200, **values: object
) -> Response:
    """Return a page of HTML."""
    text = _environment().get_template(template).render(visit=visit, here=here, **values)
    return HTMLResponse(text, status, HEADERS)


def part(template: str, macro: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """Return a part of a page, which a script puts into it."""
    module: Any = _environment().get_template(template).make_module({"visit": None, "here": ""})
    return HTMLResponse(str(getattr(module, macro)(**values)), status, HEADERS)
