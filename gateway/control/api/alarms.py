"""The routes of alarms: list, read, acknowledge; and the test of a target."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.alarms.delivery import Deliveries
from gateway.control.alarms.kept import CLEARED, KIND, RAISED, is_raised
from gateway.control.alarms.message import trial_message
from gateway.control.alarms.reach import NotDelivered
from gateway.control.api.add import add
from gateway.control.api.answers import answer_json
from gateway.control.api.conditions import judge_query, listing
from gateway.control.api.depends import NamedTenant, Query, Who
from gateway.control.api.describe import About
from gateway.control.api.events import answered, parameter, tenant_of
from gateway.control.api.render import Table, moment
from gateway.control.auth.principal import Principal, Scope
from gateway.control.events.events import Events
from gateway.control.mirror import Mirror
from gateway.control.problems import ApiProblem, invalid, not_found
from gateway.control.resources.record import Record, bytes_of
from gateway.control.store.interface import Conflict, NotFound, Replace, Store
from gateway.model.codes import CODES, Severity
from gateway.model.events import Resource

FILTERS = frozenset({"state", "code", "severity", "resource", "acknowledged"})
ATTEMPTS = 10
_TIMES = ("since", "raised_at", "cleared_at", "acknowledged_at")
_TEXTS = ("code", "severity", "text", "reason", "hint", "node", "state", "acknowledged_by")


class Alarms:
    """What the routes do with alarms."""

    def __init__(
        self, store: Store, mirror: Mirror, events: Events, deliveries: Deliveries
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._events = events
        self._deliveries = deliveries

    def of(self, who: Principal, tenant: str | None) -> list[Record]:
        """Return the alarms that somebody sees, the newest first."""
        found = [each for each in self._mirror.of_kind(KIND, tenant) if who.sees(each.tenant)]
        return sorted(found, key=lambda one: (-float(one.value.get("raised_at") or 0), one.id))

    def get(self, id: str, who: Principal) -> Record:
        """Return an alarm. ApiProblem 404 for one that is not seen."""
        alarm = self._mirror.get(KIND, id)
        if alarm is None or not who.sees(alarm.tenant):
            raise not_found(KIND, id)
        return alarm

    async def acknowledge(self, id: str, who: Principal) -> Record:
        """Note that somebody looks at an alarm. ApiProblem 409 for one that is over."""
        who.need(Scope.OPERATE)
        for _ in range(ATTEMPTS):
            alarm = self.get(id, who)
            if not is_raised(alarm):
                raise ApiProblem(409, "conflict", f"alarm {id} is over: it was cleared")
            if alarm.value.get("acknowledged_at"):
                return alarm
            value = {
                **alarm.value,
                "acknowledged_at": time.time(),
                "acknowledged_by": who.actor,
            }
            write = Replace(alarm.key, bytes_of(value), alarm.revision)
            try:
                revision = await self._store.commit([write], who.actor)
            except (Conflict, NotFound):
                await self._mirror.caught_up(await self._store.revision())
                continue
            await self._mirror.caught_up(revision)
            self._say(alarm, who)
            return self.get(id, who)
        text = "others change the same alarm at this moment"
        raise ApiProblem(503, "unavailable", text, retry_after_s=1)

    def _say(self, alarm: Record, who: Principal) -> None:
        resource = Resource(**alarm.value["resource"])
        text = f"{alarm.value['text']}: acknowledged by {who.actor}"
        code = str(alarm.value["code"])
        self._events.say("alarm_acknowledged", resource, text, tenant=alarm.tenant, reason=code)

    async def test(self, id: str, who: Principal) -> Table:
        """Send a test to a target; return how it went."""
        who.need(Scope.OPERATE)
        target = self._mirror.get("alarm_target", id)
        if target is None or not who.sees(target.tenant):
            raise not_found("alarm_target", id)
        try:
            await self._deliveries.send(target, trial_message(target, time.time()))
        except NotDelivered as error:
            return {"delivered": False, "detail": str(error)}
        return {"delivered": True, "detail": "taken"}


def alarm_router(alarms: Alarms) -> APIRouter:
    """Return the routes of alarms."""
    router = APIRouter(tags=["Alarms"])

    async def list_(who: Who, named: NamedTenant, query: Query) -> Response:
        asked = listing(query.items(), FILTERS)
        if asked.sort:
            raise invalid("sort", asked.sort, "alarms are always the newest first")
        found = [
            each for each in alarms.of(who, tenant_of(who, named)) if _fits(each, asked.filters)
        ]
        ids = [each.id for each in found]
        if asked.after is not None and asked.after not in ids:
            raise invalid("after", asked.after, "is not what `next` of a page was")
        start = ids.index(asked.after) + 1 if asked.after is not None else 0
        page = found[start : start + asked.limit]
        more = page[-1].id if start + asked.limit < len(found) else None
        return answer_json({"items": [shown(each) for each in page], "next": more})

    async def read(id: str, who: Who, query: Query) -> Response:
        judge_query(query, ("tenant",))
        return answer_json(shown(alarms.get(id, who)))

    async def acknowledge(id: str, who: Who, query: Query) -> Response:
        judge_query(query, ("tenant",))
        return answer_json(shown(await alarms.acknowledge(id, who)))

    async def test(id: str, who: Who, query: Query) -> Response:
        judge_query(query, ("tenant",))
        return answer_json(await alarms.test(id, who))

    add(router, "GET", "/v1/alarms", list_, _LIST)
    add(router, "GET", "/v1/alarms/{id}", read, _READ)
    add(router, "POST", "/v1/alarms/{id}/ack", acknowledge, _ACKNOWLEDGE)
    add(router, "POST", "/v1/alarm-targets/{id}/test", test, _TEST)
    return router


def shown(alarm: Record) -> Table:
    """Return an alarm as the API answers it."""
    value = alarm.value
    return {
        "id": alarm.id,
        "tenant": alarm.tenant,
        **{name: value.get(name, "") for name in _TEXTS},
        "title": CODES[value["code"]].title if value.get("code") in CODES else "",
        "resource": dict(value.get("resource") or {}),
        **{name: moment(value.get(name)) for name in _TIMES},
        "count": value.get("count", 1),
        "told": value.get("told") == value.get("state"),
    }


def _fits(alarm: Record, given: dict[str, str]) -> bool:
    """Say whether an alarm is asked for. Raises ApiProblem 422."""
    value, resource = alarm.value, alarm.value.get("resource") or {}
    _judge(given)
    is_acknowledged = "true" if value.get("acknowledged_at") else "false"
    return (
        given.get("state", value.get("state")) == value.get("state")
        and given.get("code", value.get("code")) == value.get("code")
        and given.get("severity", value.get("severity")) == value.get("severity")
        and given.get("acknowledged", is_acknowledged) == is_acknowledged
        and given.get("resource", resource.get("id")) in (resource.get("id"), resource.get("name"))
    )


def _judge(given: dict[str, str]) -> None:
    words = {
        "state": (RAISED, CLEARED),
        "severity": [each.value for each in Severity],
        "acknowledged": ("true", "false"),
    }
    for name, value in given.items():
        if name not in FILTERS:
            raise invalid(name, value, "alarms have no tags")
        if name in words and value not in words[name]:
            raise invalid(name, value, f"must be one of {', '.join(words[name])}")


# ---- the description ----

_ALARM: Table = {
    "type": "object",
    "properties": {
        **{each: {"type": "string"} for each in ("id", "tenant", "title", *_TEXTS)},
        **{each: {"type": ["string", "null"], "format": "date-time"} for each in _TIMES},
        "resource": {"type": "object"},
        "count": {"type": "integer", "description": "how often it was raised"},
        "told": {"type": "boolean", "description": "every target was told, or given up"},
    },
    "required": ["id", "tenant", "title", *_TEXTS, *_TIMES, "resource", "count", "told"],
}
_TENANT = parameter("tenant", "the operator names a tenant; all, and the fleet's own, if not")
_LIST = About(
    "listAlarms",
    "List alarms",
    "Those that are raised, and for 30 days those that are over, the newest first.",
    200,
    answered(
        {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": _ALARM},
                "next": {"type": ["string", "null"]},
            },
            "required": ["items", "next"],
        }
    ),
    {
        "parameters": [
            parameter("limit", "how many at most", {"type": "integer", "maximum": 1000}),
            parameter("after", "`next` of the page before"),
            parameter("state", "only these", {"enum": [RAISED, CLEARED]}),
            parameter("severity", "only these", {"enum": [each.value for each in Severity]}),
            parameter("code", "only alarms with this code"),
            parameter("resource", "only of the resource with this id or name"),
            parameter("acknowledged", "only these", {"type": "boolean"}),
            _TENANT,
        ]
    },
)
_READ = About(
    "getAlarm", "Return an alarm", "", 200, answered(_ALARM, 404), {"parameters": [_TENANT]}
)
_ACKNOWLEDGE = About(
    "acknowledgeAlarm",
    "Say that somebody looks at an alarm",
    "Needs the scope operate. An alarm that is over can not be acknowledged.",
    200,
    answered(_ALARM, 404, 409),
    {"parameters": [_TENANT]},
)
_TEST = About(
    "testAlarmTarget",
    "Send a test to an alarm target",
    "Needs the scope operate. The answer says whether the target took it, and why not.",
    200,
    answered(
        {
            "type": "object",
            "properties": {"delivered": {"type": "boolean"}, "detail": {"type": "string"}},
            "required": ["delivered", "detail"],
        },
        404,
    ),
    {"parameters": [_TENANT]},
)
