"""
Several changes that are asked for at once: what they are, and whether all of them can be. Pure.

A later step may refer to what an earlier one makes, by its name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.control.changes import edit, quotas
from gateway.control.changes.allocate import Draw
from gateway.control.changes.judge import Draft, drafts
from gateway.control.changes.make import Maker
from gateway.control.changes.view import After, Pair, View
from gateway.control.problems import invalid, not_found
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Table

ACTIONS = ("create", "update", "delete")
STEPS_MAX = 5000
CONFIRM_S_MAX = 3600
_KEYS = {"action", "kind", "id", "name", "body", "expected"}


@dataclass(frozen=True, slots=True)
class Step:
    """
    One change: `id` names what is changed or deleted, `name` is for people.

    `expected` is the revision that it must have, None: any.
    """

    action: str
    kind: str
    id: str
    name: str
    body: Table = field(default_factory=dict, repr=False)
    expected: int | None = None

    def named(self) -> Table:
        """Return what is done to what: nothing of what it sets, which may be secret."""
        id = self.id or None
        return {"action": self.action, "kind": self.kind, "id": id, "name": self.name}

    def told(self) -> Table:
        """Return it with the fields that it sets."""
        return self.named() | {"fields": sorted(self.body)}

    def with_body(self, body: Table) -> Step:
        """Return the same step with another body."""
        return replace(self, body=body)


def steps_from(value: object) -> list[Step]:
    """Return the steps of a request. Raises ApiProblem 422."""
    if not isinstance(value, list) or not 1 <= len(value) <= STEPS_MAX:
        raise invalid("steps", None, f"must be a list of 1 to {STEPS_MAX} steps")
    return [_step(one, f"steps[{at}]") for at, one in enumerate(value)]


def _step(one: object, place: str) -> Step:
    if not isinstance(one, dict) or set(one) - _KEYS:
        raise invalid(place, None, f"must be an object with {', '.join(sorted(_KEYS))}")
    action, kind, id = one.get("action"), one.get("kind"), one.get("id") or ""
    if action not in ACTIONS:
        raise invalid(f"{place}.action", action, f"must be one of {', '.join(ACTIONS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        raise invalid(f"{place}.kind", kind, f"must be one of {', '.join(KINDS)}")
    if not isinstance(id, str) or (action != "create") != bool(id):
        raise invalid(f"{place}.id", id, "must name what is changed, and nothing that is created")
    body, expected = one.get("body") or {}, one.get("expected")
    if not isinstance(body, dict):
        raise invalid(f"{place}.body", None, "must be an object")
    if expected is not None and (not isinstance(expected, int) or isinstance(expected, bool)):
        raise invalid(f"{place}.expected", expected, "must be a revision")
    return Step(action, kind, id, str(one.get("name") or body.get("name") or id), body, expected)


class Rehearsal:
    """Makes several changes one after the other, but only in its own view. Nothing is changed."""

    def __init__(self, view: View, tenant: str, draw: Draw, now: float) -> None:
        self._after = After(view)
        self._tenant = tenant
        self._draw = draw
        self._now = now

    def take(self, step: Step) -> list[Draft]:
        """Return what is to be judged of the next step. Raises ApiProblem."""
        made = _pairs(self._after, step, self._tenant, self._draw, self._now)
        found = drafts(self._after, made)
        self._after.add(made)
        return found


def _pairs(view: View, step: Step, tenant: str, draw: Draw, now: float) -> list[Pair]:
    if step.action == "create":
        made = Maker(view, tenant, draw, now).make(KINDS[step.kind], step.body)
        quotas.judge(view, made)
        return [(None, record) for record in made]
    old = view.get(step.kind, step.id)
    if old is None or old.tenant not in (tenant, ""):
        raise not_found(step.kind, step.id)
    if step.expected is not None and old.revision != step.expected:
        raise edit.precondition_failed(old, step.expected)
    if step.action == "update":
        new = edit.edited(view, old, step.body, now)
        return [] if new is old else [(old, new)]
    edit.judge_deletion(view, old)
    return [(old, None)]
