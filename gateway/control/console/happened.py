"""What the pages tell of the past: events and the alarms that are raised."""

from __future__ import annotations

from gateway.control.alarms.kept import KIND, is_raised
from gateway.control.api.alarms import shown as alarm_shown
from gateway.control.api.events import shown, tenant_of
from gateway.control.api.render import moment
from gateway.control.auth.principal import Principal
from gateway.control.console.source import Table
from gateway.control.events.events import Wanted
from gateway.control.events.timeline import Timeline
from gateway.control.mirror import Mirror
from gateway.control.resources.record import Record


class Happened:
    """Events of the timeline, and alarms of the mirror, as the API answers them."""

    def __init__(self, timeline: Timeline, mirror: Mirror) -> None:
        self._timeline = timeline
        self._mirror = mirror

    async def events(
        self, who: Principal, tenant: str | None, resource: str | None, limit: int
    ) -> list[Table]:
        # Of one resource that he sees, the operator sees all; else of the tenant that is shown.
        owner = tenant_of(who, None if resource else tenant)
        wanted = Wanted(tenant=owner, resource=resource or "")
        page = await self._timeline.page(wanted, None, limit)
        return [{**shown(kept), "at_s": kept.event.at} for kept in page.items]

    async def alarms(self, who: Principal, tenant: str | None) -> list[Table]:
        found = self._raised(who, tenant)
        found.sort(key=lambda alarm: -float(alarm.value.get("raised_at") or 0))
        return [{**alarm_shown(alarm), "at": moment(alarm.value["raised_at"])} for alarm in found]

    def raised(self, who: Principal, tenant: str | None) -> int:
        return len(self._raised(who, tenant))

    def _raised(self, who: Principal, tenant: str | None) -> list[Record]:
        return [
            alarm
            for alarm in self._mirror.of_kind(KIND)
            if is_raised(alarm)
            and who.sees(alarm.tenant)
            and alarm.tenant in ("", tenant or alarm.tenant)
        ]
