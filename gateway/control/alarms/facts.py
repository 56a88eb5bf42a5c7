"""
The conditions that hold now, read from the mirror and from the status of resources. Pure.

`status_of` is what the API shows: so an alarm and the status of its resource never disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from gateway.control.alarms.judge import Condition, Facts
from gateway.control.alarms.settings import AlarmSettings
from gateway.control.auth.principal import MAIN_TENANT
from gateway.control.changes import quotas
from gateway.control.changes.view import View
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record
from gateway.model.events import Resource

DAY_S = 86_400.0

Status = Mapping[str, object]
StatusOf = Callable[[Record], Status]


@dataclass(frozen=True, slots=True)
class Certificate:
    """The TLS certificate of this control process's listener."""

    name: str
    ends_at: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Reading:
    """What facts are read from."""

    view: View
    status_of: StatusOf
    settings: AlarmSettings
    now: float
    certificate: Certificate | None = None
    nodes_known: bool = True  # False: nodes that are well may not have reported to us yet

    def facts(self, parts: Iterable[Facts], more: Iterable[Condition] = ()) -> Facts:
        """
        Return all conditions that hold.

        `parts` are those of each connection, as `of_connection` returns them, `more` what events
        say.
        """
        parts = tuple(parts)
        found = [
            *(each for node in self.view.of_kind("node") for each in self._node(node)),
            *(each for part in parts for each in part.conditions),
            *self._tokens(),
            *self._certificates(),
            *self._quotas(),
            *(each for each in more if self._exists(each.resource)),
        ]
        return Facts(tuple(found), self._silent().union(*(part.unknown for part in parts)))

    def _silent(self) -> frozenset[str]:
        """Return the nodes of which it can not be said yet whether they are lost."""
        if self.nodes_known:
            return frozenset()
        nodes = self.view.of_kind("node")
        return frozenset(one.id for one in nodes if _is_lost(self.status_of(one)))

    def _exists(self, resource: Resource) -> bool:
        return self.view.get(resource.kind, resource.id) is not None

    # ---- nodes ----

    def _node(self, node: Record) -> Iterator[Condition]:
        status = self.status_of(node)
        if _is_lost(status):
            text = f"node {node.name} does not report"
            yield self._of("node_lost", node, text, reason="node_lost")
        ends_at = seconds(status.get("certificate_until"))
        if ends_at is not None and self._is_soon(ends_at):
            text = f"the certificate of node {node.name} ends {when(ends_at)}"
            yield self._of("credential_ending", node, text)
        wanted, applied = (status.get(f"generation_{each}") for each in ("wanted", "applied"))
        is_late = wanted is not None and wanted != applied
        if is_late and status.get("operational") == "up":
            text = f"node {node.name} has generation {applied}, wanted is {wanted}"
            reason = _code(status.get("reason"))
            hold_s = self.settings.generation_late_s
            yield self._of("generation_late", node, text, reason=reason, hold_s=hold_s)

    # ---- tunnels and connections ----

    def of_connection(self, connection: Record) -> Facts:
        """
        Return what holds of a connection and its tunnels.

        If of one of them nothing is known, nothing is concluded of the connection either.
        """
        tunnels = [
            (one, self.status_of(one)) for one in self.view.children("vpn_tunnel", connection.id)
        ]
        wanted = [(one, status) for one, status in tunnels if status.get("admin") != "down"]
        found = [each for one, status in wanted for each in self._tunnel(one, status)]
        unknown = {
            one.id for one, status in tunnels if status.get("operational") in ("unknown", None)
        }
        if unknown:
            unknown.add(connection.id)
        elif wanted:
            found += self._connection(connection, [one for one, _ in wanted])
        return Facts(tuple(found), frozenset(unknown))

    def _tunnel(self, tunnel: Record, status: Status) -> Iterator[Condition]:
        if status.get("operational") not in ("down", "connecting"):
            return
        reason = status.get("reason")
        said = reason.get("text") if isinstance(reason, Mapping) else ""
        text = f"tunnel {tunnel.name} is down" + (f": {said}" if said else "")
        yield self._of(
            "tunnel_down",
            tunnel,
            text,
            since=seconds(status.get("since")),
            reason=_code(reason),
            hold_s=self.settings.tunnel_down_s,
        )

    def _connection(self, connection: Record, wanted: Sequence[Record]) -> Iterator[Condition]:
        status = self.status_of(connection)
        if status.get("working") == 0:
            text = f"no tunnel of connection {connection.name} works"
            hold_s = self.settings.connection_down_s
            yield self._of("connection_down", connection, text, hold_s=hold_s)
        if status.get("ha_status") == "no_redundancy" and _can_be_redundant(wanted):
            text = f"connection {connection.name} would not outlive the loss of one address"
            hold_s = self.settings.redundancy_lost_s
            yield self._of("redundancy_lost", connection, text, hold_s=hold_s)

    # ---- what ends, what is used up ----

    def _tokens(self) -> Iterator[Condition]:
        for token in self.view.of_kind("token"):
            ends_at = token.value.get("expires_at", token.spec.get("expires_at"))
            if isinstance(ends_at, int | float) and self.now < ends_at and self._is_soon(ends_at):
                text = f"the API token {token.name} ends {when(ends_at)}"
                yield self._of("token_ending", token, text)

    def _certificates(self) -> Iterator[Condition]:
        found = self.certificate
        if found is not None and self._is_soon(found.ends_at):
            text = f"the TLS certificate {found.name} ends {when(found.ends_at)}"
            yield Condition("certificate_ending", Resource("control", found.name, "tls"), "", text)

    def _quotas(self) -> Iterator[Condition]:
        tenants = {MAIN_TENANT, *(each.id for each in self.view.of_kind("tenant"))}
        for tenant in sorted(tenants):
            limits = quotas.limits(self.view, tenant)
            for kind, count in quotas.used(self.view, tenant).items():
                most = limits[kind]
                if count == 0 or count * 100 < most * self.settings.quota_percent:
                    continue
                code = "quota_reached" if count >= most else "quota_near"
                title = KINDS[kind].title if kind in KINDS else kind  # users and tokens are none
                text = f"{count} of {most} {title}s are there"
                yield Condition(code, Resource("quota", kind, f"{tenant}:{kind}"), tenant, text)

    # ---- for all ----

    def _is_soon(self, at: float) -> bool:
        return at - self.now <= self.settings.ending_days * DAY_S

    def _of(
        self,
        code: str,
        record: Record,
        text: str,
        *,
        since: float | None = None,
        reason: str = "",
        hold_s: float = 0.0,
    ) -> Condition:
        resource = Resource(record.kind, record.name, record.id)
        node = record.id if record.kind == "node" else str(record.allocated.get("node") or "")
        return Condition(code, resource, record.tenant, text, since, reason, node, hold_s)


def _can_be_redundant(tunnels: Iterable[Record]) -> bool:
    """Return whether two tunnels have no address in common: else redundancy was never wanted."""
    ways = [(one.of("local_address"), one.of("remote_address")) for one in tunnels]
    return any(
        one[0] != other[0] and None not in (one[1], other[1]) and one[1] != other[1]
        for one, other in combinations(ways, 2)
    )


def _is_lost(node: Status) -> bool:
    return node.get("operational") == "lost"


def _code(reason: object) -> str:
    return str(reason.get("code", "")) if isinstance(reason, Mapping) else ""


def seconds(moment: object) -> float | None:
    """Return a time as the API tells it, in seconds since 1970."""
    if not isinstance(moment, str):
        return None
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return None


def when(at: float) -> str:
    """Return the day of a time, for a person."""
    return f"on {datetime.fromtimestamp(at).astimezone():%Y-%m-%d}"
