"""The document that the gateway works by: a file, or what a node of a control plane has on disk."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from gateway.cli.doctor.facts import DocumentSeen, GatewaySeen
from gateway.cli.doctor.verdict import Unseen
from gateway.errors import ConfigError
from gateway.model.load import load
from gateway.node.fleet import identity
from gateway.node.fleet.cache import FILE, Cache, CacheError
from gateway.node.fleet.identity import IdentityError
from gateway.node.fleet.judge import NotTaken, judge
from gateway.node.plan import plan

Table = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where the document may be. `config` None: the default file, or else what the control plane has
    given, which is in `state_dir`.
    """

    config: Path | None
    default: Path
    state_dir: Path

    def of(self, gateway: GatewaySeen | Unseen) -> Place:
        """Return the same, with the folder that a gateway which runs says it uses."""
        if isinstance(gateway, Unseen) or not gateway.state_dir:
            return self
        return replace(self, state_dir=Path(gateway.state_dir))

    def file(self, source: str = "") -> Path | None:
        """
        Return the file of the document; None where it is the control plane's. `source` is what a
        gateway that runs says of itself.
        """
        if self.config is not None:
            return self.config
        if source:
            return Path(source) if Path(source).is_absolute() else None
        is_nodes = (self.state_dir / FILE).exists() and not self.default.exists()
        return None if is_nodes else self.default


def seen(place: Place, source: str) -> DocumentSeen:
    """Return what the document comes to."""
    file = place.file(source)
    return _of_file(file) if file is not None else _of_control_plane(place.state_dir)


def table(place: Place, source: str = "") -> Table | None:
    """Return the document as it is written, secrets and all; None if it can not be read."""
    file = place.file(source)
    try:
        if file is not None:
            return tomllib.loads(file.read_text())
        wanted = Cache(place.state_dir).load()
    except (OSError, ValueError, RecursionError, CacheError):
        return None
    return wanted.document if wanted is not None else None


def _of_file(file: Path) -> DocumentSeen:
    path = str(file)
    try:
        changed_at = file.stat().st_mtime
        file.open("rb").close()
    except OSError as error:
        return DocumentSeen(path, Unseen(f"can not be read: {error.strerror}"))
    try:
        loaded = load(file)
    except ConfigError as error:
        unseen = Unseen(f"{path} has mistakes")
        return DocumentSeen(path, unseen, tuple(error.problems), (), changed_at)
    return DocumentSeen(path, plan(loaded.document), (), loaded.warnings, changed_at)


def _of_control_plane(state_dir: Path) -> DocumentSeen:
    path = str(state_dir / FILE)
    until = _credential_until(state_dir)
    try:
        wanted = Cache(state_dir).load()
        if wanted is None:
            raise CacheError("the control plane has given none yet")
        made = plan(judge(wanted).document)
    except (CacheError, NotTaken) as error:
        return DocumentSeen(path, Unseen(str(error)), credential_until=until)
    return DocumentSeen(path, made, credential_until=until)


def _credential_until(state_dir: Path) -> float | None:
    """Return when the node's certificate ends, seconds since 1970; None without one to be seen."""
    try:
        found = identity.load(state_dir)
    except (IdentityError, OSError):
        return None
    until: datetime | None = found.not_after if found else None
    return until.timestamp() if until else None
