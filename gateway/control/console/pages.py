"""The pages to look at: overview, lists, one resource, events, alarms, audit log."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.control.api.render import moment
from gateway.control.console import commands, picture
from gateway.control.console.forms import kind_of_path, text_of
from gateway.control.console.longer import LongerError
from gateway.control.console.picture import Scene
from gateway.control.console.render import Visit, page
from gateway.control.console.source import Source, Table
from gateway.control.console.states import counted, node_state, state_of, together
from gateway.control.problems import not_found
from gateway.control.resources.kinds import Kind

ROWS = 100  # of a page of a list
TROUBLED_MAX = 50
EVENTS = 20
DAY_S = 86400.0
VERBS = ("up", "down", "drain", "rekey", "reset")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "border_gateway": ("asn", "spoke_isolation", "description"),
    "vpc_attachment": ("border_gateway", "interface", "cidrs"),
    "customer_gateway": ("public_addresses", "asn", "description"),
    "vpn_connection": ("border_gateway", "customer_gateway", "routing", "public_addresses"),
    "direct_line": ("border_gateway", "customer_gateway", "interface", "routing"),
    "route": ("border_gateway", "prefix", "vpn_connection"),
    "address_pool": ("addresses", "exclusive", "tenants"),
    "node": ("public_addresses", "cordoned"),
    "alarm_target": ("type", "enabled", "url", "recipients"),
}
_REFERRED = ("border_gateway", "customer_gateway", "vpn_connection", "node", "address_pool")
_AT_THE_HEAD = frozenset({"admin", "operational", "reason", "counters", "tunnels", "notes"})
_NOT_FIELDS = frozenset({"id", "name", "status", "state", "description", "warnings"})


class Pages:
    """Makes the pages from what the API answers the same user."""

    def __init__(self, source: Source) -> None:
        self._source = source

    # ---- overview ----

    async def overview(self, visit: Visit) -> Response:
        """Return the first page: what is up, what is not and why, the picture."""
        who, tenant, source = visit.who, visit.tenant, self._source
        tunnels = list(source.tunnels(who, tenant))
        connections = source.all("vpn_connection", who, tenant)
        nodes = source.all("node", who, None)
        troubled = [one for one in tunnels if state_of(one) not in ("up", "admin_down")]
        return page(
            "overview.html",
            visit,
            "",
            counts=counted(tunnels),
            connections=connections,
            nodes=nodes,
            lost=sum(node_state(one) == "lost" for one in nodes),
            alarms=await source.alarms(who, tenant),
            picture=picture.topology(self._scene(visit, connections, tunnels, nodes)),
            troubled=troubled[:TROUBLED_MAX],
            names=self.names(visit),
            events=await source.events(who, tenant, None, EVENTS),
            thing=commands.OVERVIEW,
        )

    def _scene(
        self,
        visit: Visit,
        connections: Sequence[Table],
        tunnels: Sequence[Table],
        nodes: Sequence[Table],
    ) -> Scene:
        groups: dict[str, list[Table]] = {}
        for tunnel in sorted(tunnels, key=lambda one: str(one["name"])):
            groups.setdefault(str(tunnel["vpn_connection"]), []).append(tunnel)
        customers = self._source.all("customer_gateway", visit.who, visit.tenant)
        return Scene(
            gateways=self._source.all("border_gateway", visit.who, visit.tenant),
            attachments=self._source.all("vpc_attachment", visit.who, visit.tenant),
            customers={str(one["id"]): one for one in customers},
            connections=connections,
            tunnels=groups,
            nodes={str(one["id"]): one for one in nodes},
        )

    def names(self, visit: Visit) -> dict[str, str]:
        """Return what people call each resource that others refer to, by id."""
        return self._source.names(_REFERRED, visit.who, visit.tenant)

    # ---- lists ----

    async def listing(self, request: Request, visit: Visit, kind: Kind) -> Response:
        """Return the list of a kind, filtered by what is searched, a page of it."""
        query = request.query_params.get("q", "").strip()
        tenant = None if kind.is_operators else visit.tenant
        found = self._source.all(kind.name, visit.who, tenant)
        wanted = [one for one in found if not query or _has(one, query.lower())]
        wanted.sort(key=lambda one: str(one["name"]))
        pages = max(1, math.ceil(len(wanted) / ROWS))
        number = _number(request.query_params.get("page"), pages)
        rows = wanted[(number - 1) * ROWS : number * ROWS]
        by_connection = self._states(visit) if kind.name == "vpn_connection" else {}
        return page(
            "list.html",
            visit,
            kind.path,
            kind=kind,
            rows=[one | {"state": self._state(kind, one, by_connection)} for one in rows],
            columns=COLUMNS.get(kind.name, ()),
            names=self.names(visit),
            total=len(wanted),
            q=query,
            page=number,
            pages=pages,
            can_create=may_write(visit, kind),
            thing=commands.of_list(kind),
        )

    def _states(self, visit: Visit) -> dict[str, list[str]]:
        states: dict[str, list[str]] = {}
        for tunnel in self._source.all("vpn_tunnel", visit.who, visit.tenant):
            states.setdefault(str(tunnel["vpn_connection"]), []).append(state_of(tunnel))
        return states

    def _state(self, kind: Kind, one: Table, states: Mapping[str, list[str]]) -> str:
        if kind.name == "node":
            return node_state(one)
        return together(states.get(str(one["id"]), ())) if kind.name == "vpn_connection" else ""

    # ---- one resource ----

    async def detail(self, visit: Visit, kind: Kind, id: str) -> Response:
        """Return the page of one resource: state, fields, who uses it, what happened to it."""
        source, who = self._source, visit.who
        resource = source.one(kind.name, id, who)
        used_by = source.users(id, who)
        tunnels = [one for one in used_by if one["kind"] == "vpn_tunnel"]
        tunnels.sort(key=lambda one: str(one["name"]))
        is_tunnel = kind.name == "vpn_tunnel"
        if kind.name == "border_gateway":
            tunnels = self._tunnels_of(visit, id)
        events = await source.events(who, visit.tenant, id, 200 if is_tunnel else EVENTS)
        return page(
            "detail.html",
            visit,
            kind.path,
            kind=kind,
            resource=resource
            | {"state": self._state(kind, resource, {id: [state_of(t) for t in tunnels]})},
            can_write=may_write(visit, kind),
            verbs=self._verbs(visit, kind, resource),
            tunnels=tunnels if tunnels or kind.name == "vpn_connection" else None,
            names=self.names(visit),
            fields=_fields(resource),
            now=_now(resource),
            used_by=[one for one in used_by if one["kind"] != "vpn_tunnel"],
            events=events,
            timeline=picture.timeline(_spans(events, resource), _since(resource), time.time()),
            since=moment(_since(resource)),
            audit=await source.audit(who, visit.tenant, id, EVENTS),
            spans=source.spans() if is_tunnel else (),
            devices=source.devices() if kind.name == "vpn_connection" else (),
            thing=commands.of_resource(kind, id),
        )

    def _tunnels_of(self, visit: Visit, gateway: str) -> list[Table]:
        mine = {
            one["id"]
            for one in self._source.all("vpn_connection", visit.who, visit.tenant)
            if one["border_gateway"] == gateway
        }
        tunnels = self._source.all("vpn_tunnel", visit.who, visit.tenant)
        return [one for one in tunnels if one["vpn_connection"] in mine]

    def _verbs(self, visit: Visit, kind: Kind, resource: Table) -> list[str]:
        verbs: list[str] = []
        if kind.name == "vpn_tunnel" and visit.may_operate:
            is_down = state_of(resource) == "admin_down"
            others = [verb for verb in VERBS if verb != "up"]
            verbs = ["up"] if is_down else ["up", *others] if _is_held(resource) else others
        if kind.name == "alarm_target" and visit.may_operate:
            verbs = ["test"]
        if kind.name == "node" and may_write(visit, kind):
            verbs = ["token"]
        return [*verbs, "delete"] if may_write(visit, kind) else verbs

    async def series(self, visit: Visit, id: str, span: str) -> Response:
        """Return what the charts of a tunnel show, as JSON; without a span, the last hour."""
        self._source.one("vpn_tunnel", id, visit.who)
        if not span:
            return JSONResponse({k: list(v) for k, v in self._source.history(id).items()})
        if span not in self._source.spans():
            raise not_found("span", span)
        try:
            found = await self._source.longer(id, span)
        except LongerError as error:
            return JSONResponse({"detail": str(error)}, 502)
        return JSONResponse({k: list(v) for k, v in found.items()})

    # ---- what happened ----

    async def happened(self, visit: Visit, which: str) -> Response:
        """Return the page of events, of alarms, or the audit log."""
        who, tenant = visit.who, visit.tenant
        title = {"events": "Events", "alarms": "Alarms", "audit": "Audit log"}[which]
        match which:
            case "events":
                entries = await self._source.events(who, tenant, None, 200)
            case "alarms":
                entries = await self._source.alarms(who, tenant)
            case _:
                entries = await self._source.audit(who, tenant, None, 200)
        things = [commands.HAPPENED[which]]
        if which == "alarms" and visit.may_operate:
            things.append(commands.of_acknowledgement())
        return page("events.html", visit, which, title=title, entries=entries, things=things)


def kind_or_404(path: str) -> Kind:
    """Return the kind of a path of the console. Raises ApiProblem 404."""
    kind = kind_of_path(path)
    if kind is None:
        raise not_found("page", path)
    return kind


def may_write(visit: Visit, kind: Kind) -> bool:
    """Say whether who looks may change resources of a kind."""
    return visit.may_write and (visit.who.is_operator or not kind.is_operators)


def _has(resource: Table, word: str) -> bool:
    """Say whether a word is in what people search by."""
    searched = [
        resource.get(key) for key in ("id", "name", "description", "tags", "public_addresses")
    ]
    searched += [
        resource.get(key) for key in ("addresses", "local_address", "remote_address", "prefix")
    ]
    return any(word in text_of(value).lower() for value in searched if value)


def _number(text: str | None, pages: int) -> int:
    return min(max(1, int(text)), pages) if text and text.isdecimal() and len(text) < 9 else 1


def _fields(resource: Table) -> list[tuple[str, str]]:
    """Return the fields that say something, as texts."""
    found = []
    for name, value in resource.items():
        text = text_of(value)
        if name not in _NOT_FIELDS and text:
            found.append((name, text))
    return [("id", str(resource["id"])), *found]


def _is_held(tunnel: Table) -> bool:
    """Say whether a tunnel carries less traffic than its routes say, as one that was drained."""
    return (tunnel.get("status") or {}).get("standing") not in (None, "", "normal")


def _now(resource: Table) -> list[tuple[str, str]]:
    """Return what is computed of a resource and is neither at its head nor in a table below."""
    status = resource.get("status") or {}
    return [
        (name, text)
        for name, value in status.items()
        if name not in _AT_THE_HEAD and not isinstance(value, dict) and (text := text_of(value))
    ]


def _since(resource: Table) -> float:
    """Return where the time line begins, in seconds since 1970: a day ago, or with the resource."""
    made = datetime.fromisoformat(str(resource["created_at"])).timestamp()
    return max(made, time.time() - DAY_S)


def _spans(events: Sequence[Mapping[str, Any]], tunnel: Table) -> list[tuple[float, float, str]]:
    """
    Return the states of a tunnel by its events, the newest first: from, to, state.

    The one that it is in now is known without: its event may be long forgotten.
    """
    end = time.time()
    since = str((tunnel.get("status") or {}).get("since") or "")
    begin = datetime.fromisoformat(since).timestamp() if since else end
    spans = [(begin, end, state_of(tunnel))]
    end = begin
    for event in events:
        state = {"tunnel_up": "up", "tunnel_down": "down", "tunnel_connecting": "connecting"}.get(
            str(event.get("code"))
        )
        begin = float(event.get("at_s") or 0.0)
        if state is not None and begin < end:
            spans.append((begin, end, state))
            end = begin
    return spans
