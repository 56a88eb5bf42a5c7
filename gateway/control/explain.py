"""
All that is known about one tunnel: what is wanted, what its node says now, what failed last.

The node is asked; where it does not answer, that is said, and the rest is what the control plane
knows by itself. What a node says may be anything: it is looked at, never relied on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.control.api.render import StatusOf, moment
from gateway.control.changes.compose import parts_around, tables
from gateway.control.changes.judge import stand_in
from gateway.control.events.events import Events, Wanted
from gateway.control.events.kept import Kept
from gateway.control.mirror import Mirror
from gateway.control.nodes.questions import Questions
from gateway.control.problems import ApiProblem
from gateway.control.resources.record import Record, Table
from gateway.model.codes import Severity
from gateway.model.document import build_document
from gateway.node.plan import plan
from gateway.node.wanted import wanted_of

LOOK_BACK_S = 1.0  # that may be spent on finding the last failure: it is among the newest events


@dataclass(frozen=True, slots=True)
class Explanations:
    """Makes them. Raises ApiProblem, StoreError."""

    mirror: Mirror
    events: Events
    questions: Questions
    status_of: StatusOf

    async def of(self, tunnel: Record, by: str) -> Table:
        """Return all that is known about a tunnel; `by` is the actor who asks."""
        status = self.status_of(tunnel)
        (details, problem), failure = await asyncio.gather(
            self._asked(tunnel, by), self._last_failure(tunnel)
        )
        connection = self.mirror.get("vpn_connection", str(tunnel.of("vpn_connection")))
        node = self.mirror.get("node", str(tunnel.allocated.get("node")))
        return {
            "id": tunnel.id,
            "name": tunnel.name,
            "tenant": tunnel.tenant,
            "vpn_connection": connection.id if connection else None,
            "vpn_connection_name": connection.name if connection else None,
            "node": node.id if node else None,
            "node_name": node.name if node else None,
            "status": status,
            "hint": _hint(status, failure),
            "last_failure": failure,
            "wanted": self._wanted(tunnel, connection) if connection else None,
            "agreed": _agreed(details) if details is not None else None,
            "not_answered": problem,
            "details": details,
        }

    async def _asked(self, tunnel: Record, by: str) -> tuple[Table | None, Table | None]:
        """Return what the node says of a tunnel, or why it says nothing."""
        node = str(tunnel.allocated.get("node") or "")
        try:
            return await self.questions.ask(node, "explain", {"tunnel": tunnel.id}, by=by), None
        except ApiProblem as problem:
            return None, {"code": problem.code, "detail": problem.detail}

    async def _last_failure(self, tunnel: Record) -> Table | None:
        """Return the newest event of a tunnel that something was wrong, None if there is none."""
        wanted = Wanted(tunnel.tenant, kind="vpn_tunnel", resource=tunnel.id)
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(LOOK_BACK_S),
                contextlib.aclosing(self.events.stored(wanted)) as stored,
            ):
                async for kept in stored:
                    if kept.event.severity is not Severity.INFO:
                        return _failure(kept)
        return None

    def _wanted(self, tunnel: Record, connection: Record) -> Table | None:
        """Return our values of a tunnel; None where its connection is not whole."""
        gateway = self.mirror.get("border_gateway", str(connection.spec["border_gateway"]))
        assert gateway is not None  # it can not be deleted while a connection is there
        parts = parts_around(self.mirror, gateway, [connection])
        table = tables(self.mirror, parts, stand_in)
        addresses = sorted({str(one.of("local_address")) for one in parts.tunnels})
        table["gateway"] = {"public_addresses": addresses}
        document, problems = build_document(table)
        if any(not problem.is_warning for problem in problems):
            return None
        found = (one for one in plan(document).tunnels if one.name == tunnel.id)
        return next((wanted_of(one) for one in found), None)


def _failure(kept: Kept) -> Table:
    event = kept.event
    return {
        "at": moment(event.at),
        "event": event.code,
        "code": event.reason or event.code,
        "text": event.text,
        "ours": event.ours,
        "theirs": event.theirs,
        "hint": event.hint,
    }


def _hint(status: Mapping[str, object], failure: Table | None) -> str:
    """Return what to look at: of a tunnel that is well, nothing."""
    reason = status.get("reason")
    if isinstance(reason, Mapping):
        return str(reason.get("hint") or "")
    is_up = status.get("operational") == "up"
    return "" if is_up or failure is None else str(failure["hint"])


AGREED = ("suite", "local_ts", "remote_ts")  # of a Child SA


def _agreed(details: Mapping[str, object]) -> Table:
    """Return what both ends have agreed on, as the node says: its IKE SA and its Child SAs."""
    ike, children = details.get("ike"), details.get("children")
    known = ike if isinstance(ike, Mapping) else {}
    return {
        "peer_id": known.get("peer_id") or None,
        "ike": known.get("suite") or None,
        "children": [
            {key: one.get(key) for key in (*AGREED, *(("resource",) if "resource" in one else ()))}
            for one in (children if isinstance(children, list) else ())
            if isinstance(one, Mapping)
        ],
    }
