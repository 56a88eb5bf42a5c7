"""
Where the pages have what they show: the answers of the API itself, for whoever looks at them.

So a page never shows what the API would not tell that user, nor in other words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from gateway.control.auth.principal import Principal

Table = dict[str, Any]


class Source(Protocol):
    """The answers of the API, made in this process. Every call may raise ApiProblem."""

    def all(self, kind: str, who: Principal, tenant: str | None) -> list[Table]:
        """Return all resources of a kind, as `GET` of the collection answers each."""
        ...

    def tunnels(self, who: Principal, tenant: str | None) -> Iterator[Table]:
        """Yield all VPN Tunnels; one that looks as it did is the same object as the last time."""
        ...

    def one(self, kind: str, id: str, who: Principal) -> Table:
        """Return one resource as `GET` answers it."""
        ...

    def names(self, kinds: Sequence[str], who: Principal, tenant: str | None) -> dict[str, str]:
        """Return what people call the resources of some kinds, by id."""
        ...

    def version(self) -> int:
        """Return a number that is another one whenever a resource or a state has changed."""
        ...

    def users(self, id: str, who: Principal) -> list[Table]:
        """Return the resources that refer to one, each with its `kind`."""
        ...

    async def events(
        self, who: Principal, tenant: str | None, resource: str | None, limit: int
    ) -> list[Table]:
        """Return the newest events, of one resource if it is named, the newest first."""
        ...

    async def alarms(self, who: Principal, tenant: str | None) -> list[Table]:
        """Return the alarms that are up, the newest first."""
        ...

    def raised(self, who: Principal, tenant: str | None) -> int:
        """Return how many alarms are up."""
        ...

    async def audit(
        self, who: Principal, tenant: str | None, resource: str | None, limit: int
    ) -> list[Table]:
        """Return the newest changes and who made them, of one resource if it is named."""
        ...

    async def create(
        self, kind: str, fields: Table, who: Principal, tenant: str | None, *, dry_run: bool
    ) -> Table:
        """Make a resource; with `dry_run` only say what it would be."""
        ...

    async def update(
        self, kind: str, id: str, patch: Table, who: Principal, expected: int | None
    ) -> Table:
        """Change a resource, if it still is at revision `expected`."""
        ...

    async def delete(self, kind: str, id: str, who: Principal) -> None:
        """End a resource, a connection with its tunnels."""
        ...

    async def act(self, verb: str, id: str, who: Principal) -> Table:
        """Do something to a tunnel: up, down, drain, rekey or reset."""
        ...

    def history(self, id: str) -> Mapping[str, Sequence[float | None]]:
        """Return what is remembered of a tunnel: equally long lists by name, `at` in seconds."""
        ...

    def spans(self) -> Sequence[str]:
        """Return what charts may show beside the last hour, as in "24h"."""
        ...

    async def longer(self, id: str, span: str) -> Mapping[str, Sequence[float | None]]:
        """Return the same of one of these spans. Raises LongerError."""
        ...

    async def routes(self, kind: str, id: str, table: str | None, who: Principal) -> Table:
        """Return the routes of a Border Gateway or a connection, which nodes are asked for."""
        ...

    async def negotiation(self, id: str, who: Principal) -> Table:
        """Return what a tunnel's node has said lately with its peer."""
        ...

    async def child_sas(self, id: str, who: Principal) -> Sequence[Table]:
        """Return the Child SAs of a tunnel, which its node is asked for."""
        ...

    async def customer_config(self, id: str, asked: Mapping[str, str], who: Principal) -> Table:
        """Return the files of a connection's other end; `asked` is as the API's query."""
        ...

    async def acknowledge(self, id: str, who: Principal) -> None:
        """Note that somebody looks at an alarm."""
        ...

    async def try_target(self, id: str, who: Principal) -> Table:
        """Send a test to an alarm target, and say how it went."""
        ...

    async def node_token(self, id: str, who: Principal) -> str:
        """Return a new registration token of a node."""
        ...

    def control_of_nodes(self, host: str) -> str:
        """Return the URL that gateways register at, nothing if none can; a browser is at `host`."""
        ...

    def devices(self) -> Sequence[tuple[str, str]]:
        """Return name and title of each customer device that a configuration is made for."""
        ...
