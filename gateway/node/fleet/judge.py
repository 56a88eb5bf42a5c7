"""
Judges what the control plane wants, as a file is judged; what is wrong changes nothing. Pure.

A change of one connection among a thousand must not cost a thousand: what of the document is as it
was keeps its models, and with them its part of the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from pydantic import BaseModel, ValidationError

from gateway.errors import GatewayError
from gateway.fleet.messages import Position, Table, Wanted, Why, is_newer
from gateway.model.check import check
from gateway.model.document import TOO_DEEP, build_document
from gateway.model.lines import chosen_by_bird
from gateway.model.problem import FILE_KEYS, Problem, key_text
from gateway.model.resources import Document
from gateway.model.tunnels import ResolvedTunnel, resolve_tunnels
from gateway.node.plan import NodePlan, TunnelPlan, plan_again

PROBLEMS_TOLD = 10
_MANY = ("vpn_connection", "customer_gateway")  # kinds of which there are thousands
_SHARED = ("gateway", "border_gateway", "vpc_attachment", "direct_line", "route")


class NotTaken(GatewayError):
    """A wanted document is not taken, and why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.why = Why(code=code, text=text[:2000])


@dataclass(frozen=True, slots=True)
class Good:
    """A wanted document that was judged good, with its plan."""

    wanted: Wanted
    document: Document
    plan: NodePlan
    tunnels: tuple[ResolvedTunnel, ...] = field(repr=False)


def judge_position(wanted: Wanted, node: str, held: Position) -> None:
    """Raise NotTaken for a document that is another node's, or older than what we have."""
    if wanted.node != node:
        raise NotTaken("other_node", f"the document is for {wanted.node!r}, this node is {node}")
    if not is_newer(wanted.at, held):
        text = f"generation {_text(wanted.at)} is not after {_text(held)}, which this node has"
        raise NotTaken("older_generation", text)


def judge(wanted: Wanted, before: Good | None = None) -> Good:
    """Return the document with its plan. Raises NotTaken with what is wrong in it."""
    document = _again(wanted.document, before) if before is not None else None
    if document is None:
        document = _whole(wanted)
    is_alike = before is not None and document.gateway == before.document.gateway
    tunnels = resolve_tunnels(document, before.tunnels if before and is_alike else ())
    found = check(document, (), tunnels)
    if any(not one.is_warning for one in found):
        raise _not_taken(found, wanted)
    # Warnings are for who edits: that a node has but one of two addresses is how it should be.
    return Good(wanted, document, plan_again(document, tunnels, _plans(document, before)), tunnels)


def _again(raw: Table, before: Good) -> Document | None:
    """Return a document made of models that there are; None if anything is wrong with it."""
    thin: Table = {**raw, **{kind: _reused(raw, before, kind) for kind in _MANY if kind in raw}}
    if any(_names_file(item) for item in cast(list[object], thin.get("vpn_connection", []))):
        return None
    try:
        return Document.model_validate(thin)
    except ValidationError:
        return None  # the long way says what is wrong


def _reused(raw: Table, before: Good, kind: str) -> object:
    """Return a list of the document with models in place of the tables that are as they were."""
    items, old = raw[kind], before.wanted.document.get(kind)
    if not isinstance(items, list) or not isinstance(old, list):
        return items
    models = cast(tuple[BaseModel, ...], getattr(before.document, kind))
    known = {
        str(table.get("name")): (table, model) for table, model in zip(old, models, strict=True)
    }
    found: list[object] = []
    for item in items:
        name = str(item.get("name")) if isinstance(item, dict) else ""
        table, model = known.get(name, (None, None))
        found.append(model if table == item and model is not None else item)
    return found


def _names_file(connection: object) -> bool:
    """Say whether a table asks for a file of this machine: the long way refuses that."""
    if not isinstance(connection, dict):
        return False
    tunnels = connection.get("tunnel")
    tables = [connection, *(tunnels if isinstance(tunnels, list) else ())]
    return any(isinstance(table, dict) and FILE_KEYS.keys() & table.keys() for table in tables)


def _whole(wanted: Wanted) -> Document:
    try:
        document, found = build_document(wanted.document)
    except RecursionError:
        raise NotTaken("document_refused", TOO_DEEP) from None
    if any(not one.is_warning for one in found):
        raise _not_taken(found, wanted)
    return document


def _plans(document: Document, before: Good | None) -> dict[int, TunnelPlan]:
    """Return the plans of tunnels by the id() of what they were made of, where they still hold."""
    if before is None:
        return {}
    old = before.document
    if any(getattr(document, kind) != getattr(old, kind) for kind in _SHARED):
        return {}
    if chosen_by_bird(document) != chosen_by_bird(old):
        return {}
    pairs = zip(before.tunnels, before.plan.tunnels, strict=True)
    return {id(tunnel): plan for tunnel, plan in pairs}


def _not_taken(found: tuple[Problem, ...], wanted: Wanted) -> NotTaken:
    errors = [
        f"{key_text(one.path, wanted.document)}: {one}" for one in found if not one.is_warning
    ]
    more = f"; and {len(errors) - PROBLEMS_TOLD} more" if len(errors) > PROBLEMS_TOLD else ""
    return NotTaken("document_refused", "; ".join(errors[:PROBLEMS_TOLD]) + more)


def _text(at: Position) -> str:
    return f"{at.generation} of epoch {at.epoch}"
