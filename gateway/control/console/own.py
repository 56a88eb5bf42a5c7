"""The source of the pages in the control process: the API's own functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from gateway.control.api.alarms import Alarms
from gateway.control.api.audit import audit_page, wanted_by
from gateway.control.api.customer import config_answer
from gateway.control.api.inquiries import table_of
from gateway.control.api.resources import Api
from gateway.control.api.verbs import ADMIN_VERBS, set_admin
from gateway.control.auth.principal import Principal, Scope
from gateway.control.console.longer import SPANS, Longer
from gateway.control.console.source import Table
from gateway.control.customer import CustomerConfigs
from gateway.control.listen import Place
from gateway.control.nodes.inquiries import Inquiries
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record
from gateway.control.store.interface import Store


class Happenings(Protocol):
    """What the control process knows beside the resources."""

    async def events(
        self, who: Principal, tenant: str | None, resource: str | None, limit: int
    ) -> list[Table]: ...

    async def alarms(self, who: Principal, tenant: str | None) -> list[Table]: ...

    def raised(self, who: Principal, tenant: str | None) -> int: ...


Act = Callable[..., Awaitable[dict[str, object]]]
NewToken = Callable[[str, Principal], Awaitable[tuple[str, float]]]
Mark = Callable[[Record], object]  # what a tunnel's status follows from, beside the tunnel
History = Callable[[str], Mapping[str, Sequence[float | None]]]


class OwnSource:
    """Answers of the API for who looks at a page; see `source.Source`."""

    def __init__(
        self,
        api: Api,
        store: Store,
        happenings: Happenings,
        act: Act,
        history: History,
        devices: Sequence[tuple[str, str]],
        inquiries: Inquiries,
        configs: CustomerConfigs,
        alarms: Alarms,
        new_token: NewToken,
        mark: Mark,
        longer: Longer | None = None,
        nodes_at: Place | None = None,
    ) -> None:
        self._nodes_at = nodes_at
        self.longer_by = longer
        self._api = api
        self._store = store
        self._happenings = happenings
        self._act = act
        self._history = history
        self._devices = devices
        self._inquiries = inquiries
        self._configs = configs
        self._alarms = alarms
        self._new_token = new_token
        self._mark = mark

    def all(self, kind: str, who: Principal, tenant: str | None) -> list[Table]:
        return [self._api.rendered(one) for one in self._api.registry.all(kind, who, tenant)]

    def tunnels(self, who: Principal, tenant: str | None) -> Iterator[Table]:
        for record in self._api.registry.all("vpn_tunnel", who, tenant):
            mark, kept = self._mark(record), record.memo.get("shown")
            if kept is None or kept[0] != mark:
                kept = record.memo["shown"] = (mark, self._api.rendered(record))
            yield kept[1]

    def one(self, kind: str, id: str, who: Principal) -> Table:
        return self._api.rendered(self._api.registry.get(kind, id, who))

    def names(self, kinds: Sequence[str], who: Principal, tenant: str | None) -> dict[str, str]:
        return {
            one.id: one.name
            for kind in kinds
            for one in self._api.registry.all(
                kind, who, None if KINDS[kind].is_operators else tenant
            )
        }

    def version(self) -> int:
        return self._api.registry.mirror.revision

    def users(self, id: str, who: Principal) -> list[Table]:
        found = self._api.registry.mirror.users(id)
        return [
            {"kind": one.kind, **self._api.rendered(one)}
            for one in found
            if one.kind in KINDS and who.sees(one.tenant)
        ]

    async def events(
        self, who: Principal, tenant: str | None, resource: str | None, limit: int
    ) -> list[Table]:
        return await self._happenings.events(who, tenant, resource, limit)

    async def alarms(self, who: Principal, tenant: str | None) -> list[Table]:
        return await self._happenings.alarms(who, tenant)

    def raised(self, who: Principal, tenant: str | None) -> int:
        return self._happenings.raised(who, tenant)

    async def audit(
        self, who: Principal, tenant: str | None, resource: str | None, limit: int
    ) -> list[Table]:
        wanted = wanted_by(who, KINDS.keys(), tenant=tenant, id=resource)
        found = await audit_page(self._store, wanted, before=None, limit=limit)
        return [
            {"at": entry["at"], "actor": entry["actor"], "what": _told(entry["changes"])}
            for entry in found.items
        ]

    async def create(
        self, kind: str, fields: Table, who: Principal, tenant: str | None, *, dry_run: bool
    ) -> Table:
        done = await self._api.registry.create(kind, fields, who, tenant=tenant, dry_run=dry_run)
        return self._api.rendered(done.record) | {"warnings": list(done.warnings)}

    async def update(
        self, kind: str, id: str, patch: Table, who: Principal, expected: int | None
    ) -> Table:
        done = await self._api.registry.update(kind, id, patch, who, expected=expected)
        return self._api.rendered(done.record)

    async def delete(self, kind: str, id: str, who: Principal) -> None:
        await self._api.registry.delete(kind, id, who, cascade=kind == "vpn_connection")

    async def act(self, verb: str, id: str, who: Principal) -> Table:
        who.need(Scope.OPERATE)
        tunnel = self._api.registry.get("vpn_tunnel", id, who)
        if verb in ADMIN_VERBS:
            return await set_admin(self._api, self._act, verb, tunnel.id, who)
        return await self._act(verb, tunnel, who, ike=False)

    def history(self, id: str) -> Mapping[str, Sequence[float | None]]:
        return self._history(id)

    def spans(self) -> Sequence[str]:
        return tuple(SPANS) if self.longer_by is not None else ()

    async def longer(self, id: str, span: str) -> Mapping[str, Sequence[float | None]]:
        assert self.longer_by is not None  # else no span is offered
        return await self.longer_by.of(id, span)

    async def routes(self, kind: str, id: str, table: str | None, who: Principal) -> Table:
        about = self._api.registry.get(kind, id, who)
        return await self._inquiries.routes(about, table_of(table), by=who.actor)

    async def negotiation(self, id: str, who: Principal) -> Table:
        tunnel = self._api.registry.get("vpn_tunnel", id, who)
        return await self._inquiries.negotiation(tunnel, by=who.actor)

    async def child_sas(self, id: str, who: Principal) -> Sequence[Table]:
        tunnel = self._api.registry.get("vpn_tunnel", id, who)
        return await self._inquiries.child_sas(tunnel, by=who.actor)

    async def customer_config(self, id: str, asked: Mapping[str, str], who: Principal) -> Table:
        connection = self._api.registry.get("vpn_connection", id, who)
        return await config_answer(self._configs, connection, asked, who)

    async def acknowledge(self, id: str, who: Principal) -> None:
        await self._alarms.acknowledge(id, who)

    async def try_target(self, id: str, who: Principal) -> Table:
        return await self._alarms.test(id, who)

    async def node_token(self, id: str, who: Principal) -> str:
        return (await self._new_token(id, who))[0]

    def control_of_nodes(self, host: str) -> str:
        if self._nodes_at is None:
            return ""
        place = ip_address(self._nodes_at.host)
        if not place.is_unspecified:
            return f"https://{self._nodes_at}"
        return f"https://{_reachable(host)}:{self._nodes_at.port}"

    def devices(self) -> Sequence[tuple[str, str]]:
        return self._devices


def _reachable(host: str) -> str:
    """Return the host that a browser has used, or a word for it if that is its own machine."""
    try:
        is_own = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        is_own = host in ("", "localhost")
    return "CONTROL" if is_own else host


def _told(changes: object) -> str:
    """Return what a commit did, in words: `update vpn_tunnel office-1: admin up → down`."""
    assert isinstance(changes, list)
    return "; ".join(_one(change) for change in changes)


def _one(change: Mapping[str, Any]) -> str:
    head = f"{change['action']} {change['kind']} {change['name'] or change['id']}"
    if change["action"] != "update":
        return head
    before, after = (dict((change[side] or {}).get("spec") or {}) for side in ("before", "after"))
    names = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    moved = [f"{key} {_short(before.get(key))} → {_short(after.get(key))}" for key in names]
    return f"{head}: {', '.join(moved)}" if moved else head


def _short(value: object) -> str:
    text = "default" if value is None else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
