"""Judges what the control plane wants, as a file is judged; what is wrong changes nothing. Pure."""

from __future__ import annotations

from gateway.errors import GatewayError
from gateway.fleet.messages import Position, Wanted, Why, is_newer
from gateway.model.document import TOO_DEEP, Loaded, build_document
from gateway.model.problem import Problem, key_text
from gateway.node.plan import plan

PROBLEMS_TOLD = 10


class NotTaken(GatewayError):
    """A wanted document is not taken, and why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.why = Why(code=code, text=text[:2000])


def judge_position(wanted: Wanted, node: str, held: Position) -> None:
    """Raise NotTaken for a document that is another node's, or older than what we have."""
    if wanted.node != node:
        raise NotTaken("other_node", f"the document is for {wanted.node!r}, this node is {node}")
    if not is_newer(wanted.at, held):
        text = f"generation {_text(wanted.at)} is not after {_text(held)}, which this node has"
        raise NotTaken("older_generation", text)


def judge(wanted: Wanted) -> Loaded:
    """Return the document. Raises NotTaken with what is wrong in it."""
    try:
        document, found = build_document(wanted.document)
    except RecursionError:
        raise NotTaken("document_refused", TOO_DEEP) from None
    errors = [_said(one, wanted) for one in found if not one.is_warning]
    if errors:
        more = f"; and {len(errors) - PROBLEMS_TOLD} more" if len(errors) > PROBLEMS_TOLD else ""
        raise NotTaken("document_refused", "; ".join(errors[:PROBLEMS_TOLD]) + more)
    plan(document)  # what has passed the checks has a plan; a fault of ours must show here
    # Warnings are for who edits: that a node has but one of two addresses is how it should be.
    return Loaded(document, ())


def _said(problem: Problem, wanted: Wanted) -> str:
    return f"{key_text(problem.path, wanted.document)}: {problem}"


def _text(at: Position) -> str:
    return f"{at.generation} of epoch {at.epoch}"
