"""
An IKE_AUTH that is held until it is known whether the peer's certificate has been revoked.

The peer is to be trusted but for that. Its message waits, unchanged, and is taken anew when the
answers are there, or when they have not come in time: then what is known decides. A retransmission
meanwhile is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.ike.context import Context
from gateway.ike.drops import DropReason
from gateway.ike.events import Fetch
from gateway.ike.exchanges import auth
from gateway.ike.exchanges.proof import Undecided
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Message
from gateway.ike.window import Request
from gateway.pki.question import Question
from gateway.sa import Path

MOST_S = 12.0  # longer than a fetch may take, shorter than a peer repeats its IKE_AUTH


@dataclass(slots=True)
class Held:
    """What waits: a request of the peer with its path and digest, or its response to ours."""

    message: Message
    path: Path
    digest: bytes = b""
    request: Request | None = None
    questions: set[Question] = field(default_factory=set)
    expire_at: float = 0.0  # of the IKE SA, before


def answer_request(sa: IkeSa, request: Message, path: Path, now: float, digest: bytes) -> None:
    """Answer IKE_AUTH, at once or when what has to be known is known. Raises PeerError."""
    if sa.held is not None:
        sa.drop(DropReason.REPLAYED, path)
        return
    try:
        auth.answer_request(sa, request, path, now, digest)
    except Undecided as undecided:
        _hold(sa, Held(request, path, digest), undecided, now)


def receive_response(sa: IkeSa, request: Request, response: Message, now: float) -> None:
    """Take the answer to our IKE_AUTH, at once or when what has to be known is known."""
    try:
        auth.receive_response(sa, request, response, now)
    except Undecided as undecided:
        _hold(sa, Held(response, sa.path, request=request), undecided, now)


def _hold(sa: IkeSa, held: Held, undecided: Undecided, now: float) -> None:
    asked = sa.context.asked
    held.questions, held.expire_at = set(undecided.questions), sa.expire_at
    sa.held, sa.expire_at = held, min(sa.expire_at, now + MOST_S)
    sa.context.count("revocation.held")
    for question in undecided.questions:
        if question not in asked:
            asked[question] = []
            sa.context.emit(Fetch(question, undecided.tunnel))
        asked[question].append(sa)


def take_answer(
    context: Context, question: Question, body: bytes | None, now: float
) -> list[IkeSa]:
    """Take what was fetched, None for nothing; return the IKE SAs that can go on."""
    context.count("revocation.fetched" if body is not None else "revocation.not_fetched")
    context.revocation.put(question, body, now, now + context.wall_offset)
    ready = []
    for sa in context.asked.pop(question, ()):
        held = sa.held
        if held is None or question not in held.questions:
            continue
        held.questions.discard(question)
        if not held.questions:
            ready.append(sa)
    return ready


def release(sa: IkeSa, now: float) -> Held:
    """Return what waits, which is to be taken anew; what was not answered counts as no answer."""
    held, context = sa.held, sa.context
    assert held is not None
    sa.held, sa.expire_at = None, held.expire_at
    for question in held.questions:
        context.revocation.put(question, None, now, now + context.wall_offset)
        others = [one for one in context.asked.pop(question, ()) if one is not sa]
        if others:
            context.asked[question] = others
    return held
