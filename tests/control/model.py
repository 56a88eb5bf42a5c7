"""The store as a plain model in memory: what both drivers are compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.control.store.interface import (
    ABSENT,
    Change,
    Check,
    Create,
    Delete,
    Key,
    Object,
    Write,
)

State = dict[Key, Object]


@dataclass
class Model:
    """Every state there has been since `start`, by the revision at which it began."""

    start: int
    states: dict[int, State] = field(init=False)
    log: list[tuple[int, str, tuple[Change, ...]]] = field(default_factory=list)
    compacted: int = field(init=False)

    def __post_init__(self) -> None:
        self.states = {self.start: {}}
        self.compacted = self.start

    @property
    def last(self) -> int:
        return max(self.states)

    @property
    def now(self) -> State:
        return self.states[self.last]

    def at(self, revision: int) -> State:
        return self.states[max(each for each in self.states if each <= revision)]

    def revision_of(self, key: Key) -> int:
        return self.now[key].revision if key in self.now else ABSENT

    def refusal(self, writes: Sequence[Write]) -> tuple[Key, bool] | None:
        """Return the first key that is not as expected, and whether it exists; None: all are."""
        for write in writes:
            expected = ABSENT if isinstance(write, Create) else write.expected
            if self.revision_of(write.key) != expected:
                return write.key, write.key in self.now
        return None

    def apply(self, writes: Sequence[Write], actor: str, revision: int) -> None:
        """Become what the writes make of it, at the revision that the store gave."""
        before, after = self.now, dict(self.now)
        changes = []
        for write in writes:
            if isinstance(write, Check):
                continue
            old = before[write.key].value if write.key in before else None
            if isinstance(write, Delete):
                del after[write.key]
                changes.append(Change(write.key, None, old))
            else:
                after[write.key] = Object(write.key, write.value, revision)
                changes.append(Change(write.key, write.value, old))
        if changes:
            assert revision > self.last
            self.states[revision] = after
            self.log.append((revision, actor, tuple(sorted(changes, key=lambda c: c.key))))

    def after(self, revision: int) -> list[tuple[int, str, tuple[Change, ...]]]:
        return [each for each in self.log if each[0] > revision]

    def listed(self, kind: str, tenant: str | None, at: int) -> list[Object]:
        found = [each for key, each in sorted(self.at(at).items()) if key.kind == kind]
        if tenant is None:
            return found
        return [each for each in found if json.loads(each.value).get("tenant", "") == tenant]
