"""The routes of the console: each one line from a path to what makes the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from gateway.control.auth.authenticate import Authenticator
from gateway.control.console.asked import Asked
from gateway.control.console.config import Configs
from gateway.control.console.connect import Connect
from gateway.control.console.edits import Edits
from gateway.control.console.live import StreamOf, Streams
from gateway.control.console.pages import Pages, kind_or_404
from gateway.control.console.render import STATIC, Visit, page
from gateway.control.console.source import Source
from gateway.control.console.visit import HOME, Door, NeedsLogin, PeerOf, local
from gateway.control.problems import ApiProblem, not_found
from gateway.control.waits import Waits

KEPT_S = 365 * 86400  # the address of a static file has its hash
ASSETS = frozenset(
    {
        "console.css",
        "console.js",
        "mark.svg",
        "vendor/htmx.min.js",
        "vendor/uPlot.iife.min.js",
        "vendor/uPlot.min.css",
    }
)

Page = Callable[..., Awaitable[Response]]


class Console:
    """All pages over one source. `router` belongs into the app of the API."""

    def __init__(
        self, source: Source, authenticator: Authenticator, peer_of: PeerOf, waits: Waits
    ) -> None:
        self._source = source
        self._waits = waits
        self._door = Door(authenticator, peer_of)
        self._pages = Pages(source)
        self._edits = Edits(source)
        self._connect = Connect(source, self._edits)
        self._asked = Asked(source)
        self._configs = Configs(source)
        self.streams = Streams()

    def router(self) -> APIRouter:
        """Return the routes. Literal paths stand before those of a kind or an id."""
        router = APIRouter(include_in_schema=False)

        def get(path: str, make: Page) -> None:
            router.add_api_route(path, make, methods=["GET"])

        def post(path: str, make: Page) -> None:
            router.add_api_route(path, make, methods=["POST"])

        get("/", self._home)
        get("/console", self._home)
        get("/console/static/{name:path}", self._static)
        get("/console/login", self._login_form)
        post("/console/login", self._door.login)
        post("/console/logout", self._said(self._door.logout))
        post("/console/theme", self._said(self._door.theme))
        get("/console/stream", self._stream)
        get("/console/", self._shown(lambda request, visit: self._pages.overview(visit)))
        for which in ("events", "alarms", "audit"):
            get(f"/console/{which}", self._shown(_happened(self._pages, which)))
        get("/console/connect", self._shown(self._connect.form))
        post("/console/connect", self._typed(lambda v, p, typed: self._connect.connect(v, typed)))
        post("/console/check/{path}/{name}", self._typed(self._check))
        get("/console/vpn-tunnels/{id}/series", self._shown(self._series))
        get("/console/vpn-tunnels/{id}/negotiation", self._shown(self._negotiation))
        get("/console/vpn-connections/{id}/config", self._shown(self._config))
        post("/console/vpn-connections/{id}/config", self._typed(self._send_config))
        post("/console/alarms/{id}/ack", self._typed(self._acknowledge))
        post("/console/same/{path}", self._typed(self._same))
        get("/console/{path}/{id}/routes", self._shown(self._routes))
        get("/console/{path}/new", self._shown(self._new))
        post("/console/{path}/new", self._typed(self._create))
        get("/console/{path}/{id}/edit", self._shown(self._edit))
        post("/console/{path}/{id}/edit", self._typed(self._change))
        get("/console/{path}/{id}/do/{verb}", self._shown(self._confirm))
        post("/console/{path}/{id}/do/{verb}", self._typed(self._do))
        get("/console/{path}/{id}", self._shown(self._detail))
        get("/console/{path}", self._shown(self._list))
        return router

    # ---- what all pages have in common ----

    def _shown(self, make: Callable[[Request, Visit], Awaitable[Response]]) -> Page:
        """Return a route that shows a page to who is logged in."""

        async def route(request: Request) -> Response:
            visit: Visit | None = None
            try:
                visit = await self._door.visit(request)
                return await make(request, visit)
            except NeedsLogin as needed:
                return self._door.form(request, needed.next, needed.kept, status=401)
            except ApiProblem as problem:
                return _problem(problem, visit)

        return route

    def _typed(
        self, make: Callable[[Visit, dict[str, str], dict[str, str]], Awaitable[Response]]
    ) -> Page:
        """Return a route that takes a form: `make` has the path's parts, and what was typed."""

        async def route(request: Request) -> Response:
            visit: Visit | None = None
            try:
                visit, typed = await self._door.typed(request)
                return await make(visit, dict(request.path_params), typed)
            except NeedsLogin as needed:
                return self._door.form(request, needed.next, needed.kept, status=401)
            except ApiProblem as problem:
                return _problem(problem, visit)

        return route

    def _said(self, make: Callable[[Request], Awaitable[Response]]) -> Page:
        """Return a route that needs a session and makes its answer itself."""

        async def route(request: Request) -> Response:
            try:
                return await make(request)
            except NeedsLogin:
                return RedirectResponse(f"{HOME}login", 303)
            except ApiProblem as problem:
                return _problem(problem, None)

        return route

    # ---- the routes ----

    async def _home(self, request: Request) -> Response:
        return RedirectResponse(HOME, 307)

    async def _login_form(self, request: Request) -> Response:
        return self._door.form(request, local(request.query_params.get("next", HOME)), {})

    async def _static(self, request: Request) -> Response:
        name = str(request.path_params["name"])
        if name not in ASSETS:
            return _problem(not_found("file", name), None)
        place = STATIC / name
        return FileResponse(
            place,
            headers={
                "Cache-Control": f"public, max-age={KEPT_S}, immutable",
                "X-Content-Type-Options": "nosniff",
            },
        )

    async def _stream(self, request: Request) -> Response:
        try:
            visit = await self._door.visit(request)
        except NeedsLogin:
            return Response(status_code=204)  # EventSource does not ask again
        except ApiProblem as problem:
            return _problem(problem, None)
        # An operator sees alarms of no tenant too, so what he is told is not told to others.
        name = f"{visit.tenant or ''}{'*' * visit.who.is_operator}"

        def look() -> Iterator[dict[str, object]]:
            return self._source.tunnels(visit.who, visit.tenant)

        def alarms() -> int:
            return self._source.raised(visit.who, visit.tenant)

        stream = self.streams.open(name, look, self._source.version, alarms)
        return StreamOf(stream, self._waits.hold(visit.who))

    async def _list(self, request: Request, visit: Visit) -> Response:
        return await self._pages.listing(request, visit, kind_or_404(request.path_params["path"]))

    async def _detail(self, request: Request, visit: Visit) -> Response:
        part = request.path_params
        return await self._pages.detail(visit, kind_or_404(part["path"]), part["id"])

    async def _series(self, request: Request, visit: Visit) -> Response:
        span = request.query_params.get("span", "")
        return await self._pages.series(visit, request.path_params["id"], span)

    async def _negotiation(self, request: Request, visit: Visit) -> Response:
        return await self._asked.negotiation(visit, request.path_params["id"])

    async def _routes(self, request: Request, visit: Visit) -> Response:
        part = request.path_params
        return await self._asked.routes(request, visit, kind_or_404(part["path"]), part["id"])

    async def _config(self, request: Request, visit: Visit) -> Response:
        return await self._configs.form(request, visit, request.path_params["id"])

    async def _send_config(
        self, visit: Visit, part: dict[str, str], typed: dict[str, str]
    ) -> Response:
        return await self._configs.send(visit, part["id"], typed)

    async def _acknowledge(
        self, visit: Visit, part: dict[str, str], typed: dict[str, str]
    ) -> Response:
        return await self._edits.acknowledge(visit, part["id"])

    async def _same(self, visit: Visit, part: dict[str, str], typed: dict[str, str]) -> Response:
        if part["path"] == "connect":
            return await self._connect.same(visit, typed)
        return await self._edits.same(visit, kind_or_404(part["path"]), typed)

    async def _new(self, request: Request, visit: Visit) -> Response:
        return await self._edits.new(request, visit, kind_or_404(request.path_params["path"]))

    async def _edit(self, request: Request, visit: Visit) -> Response:
        part = request.path_params
        return await self._edits.edit(request, visit, kind_or_404(part["path"]), part["id"])

    async def _confirm(self, request: Request, visit: Visit) -> Response:
        part = request.path_params
        return await self._edits.confirm(visit, kind_or_404(part["path"]), part["id"], part["verb"])

    async def _create(self, visit: Visit, part: dict[str, str], typed: dict[str, str]) -> Response:
        return await self._edits.create(visit, kind_or_404(part["path"]), typed)

    async def _change(self, visit: Visit, part: dict[str, str], typed: dict[str, str]) -> Response:
        return await self._edits.change(visit, kind_or_404(part["path"]), part["id"], typed)

    async def _do(self, visit: Visit, part: dict[str, str], typed: dict[str, str]) -> Response:
        return await self._edits.do(visit, kind_or_404(part["path"]), part["id"], part["verb"])

    async def _check(self, visit: Visit, part: dict[str, str], typed: dict[str, str]) -> Response:
        if part["path"] == "connect":
            return await self._connect.check(visit, part["name"], typed)
        return await self._edits.check(visit, kind_or_404(part["path"]), part["name"], typed)


def _happened(pages: Pages, which: str) -> Callable[[Request, Visit], Awaitable[Response]]:
    async def make(request: Request, visit: Visit) -> Response:
        return await pages.happened(visit, which)

    return make


def _problem(problem: ApiProblem, visit: Visit | None) -> Response:
    title = {403: "Not allowed", 404: "Not found", 429: "Too many requests"}.get(
        problem.status, "It can not be done"
    )
    return page("problem.html", visit, "", problem.status, title=title, detail=problem.detail)
