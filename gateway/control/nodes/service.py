"""The nodes' part of the control process, put together."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Coroutine

from gateway.control.api.guard import Seen
from gateway.control.api.server import Server
from gateway.control.auth.principal import Principal
from gateway.control.mirror import Mirror
from gateway.control.nodes.actions import Actions
from gateway.control.nodes.app import Fault, NodeApp
from gateway.control.nodes.authority import Trust, load_trust
from gateway.control.nodes.credentials import Credentials
from gateway.control.nodes.documents import Documents
from gateway.control.nodes.inquiries import Inquiries
from gateway.control.nodes.questions import Questions
from gateway.control.nodes.reports import Keep, Reports
from gateway.control.nodes.server import (
    keep_certificate_fresh,
    make_context,
    make_server,
)
from gateway.control.nodes.states import States
from gateway.control.nodes.status import Statuses
from gateway.control.problems import ApiProblem
from gateway.control.resources.record import Record
from gateway.control.secrets import KeyRing
from gateway.control.store.interface import Store, StoreError
from gateway.model.codes import hint_of, severity_of
from gateway.model.events import Event, Resource

SWEEP_S = 30.0


class Nodes:
    """
    All of it. Made by `open_nodes`; `tasks` run as long as the process does.

    `statuses.of(record)` is the status of a resource, `actions.act` does something with a tunnel,
    `questions.ask` asks a node what it knows, `credentials.new_token` makes a node known.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        ring: KeyRing,
        trust: Trust,
        keep: Keep,
        fault: Fault,
        seen: Seen,
    ) -> None:
        self._mirror = mirror
        self._keep = keep
        self._fault = fault
        self._authority = trust.authority
        self.credentials = Credentials(store, mirror, trust)
        self.documents = Documents(store, mirror, ring, trust.tag_key)
        self.states = States(store, mirror)
        self.actions = Actions(store, mirror)
        self.questions = Questions(store, mirror)
        self.inquiries = Inquiries(mirror, self.questions.ask)
        self.reports = Reports(
            store,
            mirror,
            self.states,
            self.documents,
            self.actions,
            self.questions,
            keep,
            self._say,
        )
        self.statuses = Statuses(
            mirror, self.states, self.documents, self.reports, self.credentials
        )
        app = NodeApp(
            self.credentials,
            self.documents,
            self.actions,
            self.questions,
            self.reports,
            trust.authority.pem,
            fault,
            mirror.ready.is_set,
            self._say,
            seen,
        )
        self._context = make_context(trust.authority)
        self.server: Server = make_server(app.asgi, self._context)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the CA's certificate, as hexadecimal digits."""
        return self._authority.fingerprint

    def tasks(self) -> list[Coroutine[object, object, None]]:
        """Return what runs for as long as the process does, but for the server."""
        return [
            self.documents.run(),
            self.states.run(),
            self._sweep(),
            keep_certificate_fresh(self._context, self._authority),
        ]

    def counters_of(self, tunnel: Record) -> dict[str, float] | None:
        """
        Return what a tunnel has carried and what was measured of it, as its node said last, without
        what is not known; None where no node has said anything.
        """
        found = self.reports.counters(str(tunnel.allocated.get("node") or ""), tunnel.id)
        if found is None:
            return None
        values = found.model_dump(exclude={"inside", "outside"})
        for side, trip in (("inside", found.inside), ("outside", found.outside)):
            if trip is not None:
                values[f"{side}_ms"], values[f"{side}_loss"] = trip.rtt_ms, trip.loss_percent
        return {key: value for key, value in values.items() if value is not None}

    async def revoke(self, node: str, who: Principal) -> int:
        """Lock a node out, at once; return how many credentials it had."""
        count = await self.credentials.revoke(node, who)
        self.documents.wake(node)  # who waits is told
        return count

    async def _say(self, node: str, code: str, text: str) -> None:
        """Record an event about a node."""
        record = self._mirror.get("node", node)
        about = Resource("node", record.name if record is not None else node, node)
        event = Event(time.time(), code, severity_of(code), about, text, hint=hint_of(code))
        await self._keep(node, [event])

    async def _sweep(self) -> None:
        """Delete what is over, now and then."""
        while True:
            for sweep in (
                self.credentials.sweep,
                self.actions.sweep,
                self.questions.sweep,
                self._sweep_states,
            ):
                try:
                    await sweep()
                except (ApiProblem, StoreError):
                    pass  # the next time
                except Exception as error:
                    self._fault(sweep.__name__, error)
            await asyncio.sleep(SWEEP_S)

    async def _sweep_states(self) -> None:
        """Delete the states of tunnels and nodes that do not exist any more."""
        kinds = ("vpn_tunnel", "node")
        self.states.forget(
            record.id
            for record in list(self._mirror.of_kind("state"))
            if all(self._mirror.get(kind, record.id) is None for kind in kinds)
        )


async def open_nodes(
    store: Store, mirror: Mirror, ring: KeyRing, keep: Keep, fault: Fault, seen: Seen
) -> Nodes:
    """
    Return the nodes' part; its CA is made at the first start. `seen` counts requests.

    Raises ConfigError, CannotOpen.
    """
    trust = await load_trust(store, ring, datetime.datetime.now(datetime.UTC))
    return Nodes(store, mirror, ring, trust, keep, fault, seen)
