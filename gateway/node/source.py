"""Where a gateway's wanted document comes from: a file, or the control plane (`node/fleet`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.model import load as files
from gateway.node.commands import Commands, Life
from gateway.node.event_log import EventLog
from gateway.node.journal import Journal
from gateway.node.notify import Notifier
from gateway.node.plan import NodePlan, plan
from gateway.node.status import StatusView


@dataclass(frozen=True, slots=True)
class Node:
    """What a source may do with a gateway that runs, and see of it."""

    life: Life
    commands: Commands
    status: StatusView
    journal: Journal
    events: EventLog


@dataclass(frozen=True, slots=True)
class Planned:
    """What a document comes to, and what in it is probably not meant."""

    plan: NodePlan
    warnings: tuple[str, ...] = ()


class Source(Protocol):
    """Where the wanted document comes from. `str()` names it in the log."""

    async def begin(self, journal: Journal, notifier: Notifier) -> Planned:
        """Return the document to start with; wait for it if need be. Raises ConfigError."""
        ...

    def load(self) -> Planned:
        """Return the document as it is now; called in a thread. Raises ConfigError."""
        ...

    async def follow(self, node: Node) -> None:
        """Do what is to be done while a gateway runs; cancelled when it ends."""
        ...

    def about(self) -> dict[str, object]:
        """Return what status shows of it; under `notes` what an operator should know."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A TOML file, read again when somebody says reload."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    async def begin(self, journal: Journal, notifier: Notifier) -> Planned:
        return self.load()

    def load(self) -> Planned:
        loaded = files.load(self.path)
        return Planned(plan(loaded.document), loaded.warnings)

    async def follow(self, node: Node) -> None:
        """Return at once: a file does not follow."""

    def about(self) -> dict[str, object]:
        return {"source": str(self.path), "notes": []}
