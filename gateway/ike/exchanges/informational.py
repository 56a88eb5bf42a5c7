"""
INFORMATIONAL (RFC 7296 sections 1.4, 2.4 and 2.21): Delete of Child and IKE SAs, liveness checks,
errors.

A deleted Child SA stays a while as inbound SA, since packets that were on their way are still good.
Who deletes stops sending first; who is asked to stops sending before the answer. So all that is
under way arrives: ours before the peer's answer closes its side, the peer's before its answer, or
soon after where packets overtake each other.
"""

from __future__ import annotations

from gateway.ike import crash, reasons, slots
from gateway.ike.child import ChildSa, Stage
from gateway.ike.events import Reason
from gateway.ike.exchanges import mobike, reauth, redirect, refusal, rekey_ike
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Message
from gateway.ike.payloads import Delete, Notify, Payload
from gateway.ike.states import BEFORE_AUTH, On, State
from gateway.ike.tasks import Task, Work
from gateway.ike.window import Request
from gateway.sa import Path

# An unauthenticated or authenticated notify of these kinds says that the peer has given the IKE SA
# up.
FATAL = frozenset(
    {NotifyType.AUTHENTICATION_FAILED, NotifyType.INVALID_SYNTAX, NotifyType.INVALID_IKE_SPI}
)
MAKING_CHILD = frozenset({Work.REKEY_CHILD, Work.NEW_CHILD})
EARLY_MAX = 16  # SPIs that are remembered as deleted before we know them; there is one to come


# ---- what we do ----


def close(sa: IkeSa, reason: Reason, now: float) -> None:
    """
    Close an IKE SA: nothing is sent any more, the Delete follows when the window is free.

    The inbound SAs stay until the peer's answer and a moment more; if there is none, `linger` long.
    One that is not established goes without a word, but where the peer may have established it
    already it is closed as soon as its answer comes.
    """
    if sa.state is State.AUTH_SENT:
        sa.close_wanted = reason
        return
    if sa.state not in (State.ESTABLISHED, State.REKEYED):
        if sa.state in BEFORE_AUTH:
            sa.close_wanted = reason
            sa.fail(reason, now)
        return
    sa.drop_tasks()
    sa.move(On.CLOSE)
    if sa.rival is not None:
        rival, sa.rival = sa.rival, None
        close(rival, reason, now)
    _stop_sending(sa, reason, now, sa.config.timers.linger)
    sa.down(reason, now)
    sa.tasks.add(Task(Work.CLOSE))


def _stop_sending(sa: IkeSa, reason: Reason, now: float, linger_s: float) -> None:
    """Leave all Child SAs; their inbound SAs stay for `linger_s` at most."""
    tunnel = sa.tunnel
    assert tunnel is not None
    for child in sa.children.values():
        tunnel.stop_sending(sa.context, child, reason)
        until = min(child.down_at, now + linger_s)
        sa.linger(child, child.down_reason or reason, now, until - now)


def _end_soon(sa: IkeSa, now: float) -> None:
    """Be gone when late packets have come in; the peer sends no more."""
    linger_s = sa.config.timers.close_linger
    for child in sa.children.values():
        child.down_at = min(child.down_at, now + linger_s)
    sa.expire_at = now + linger_s


def send_close(sa: IkeSa, now: float) -> None:
    """Send the Delete of the IKE SA."""
    delete = Delete(ProtocolId.IKE)
    sa.request(Task(Work.CLOSE), ExchangeType.INFORMATIONAL, (delete,), now)


def send_child_delete(sa: IkeSa, task: Task, now: float) -> None:
    """Send the Delete of a Child SA; it names the SPI that we chose (section 1.4.1)."""
    delete = Delete(ProtocolId.ESP, (task.spi.to_bytes(4, "big"),))
    sa.request(task, ExchangeType.INFORMATIONAL, (delete,), now)


def send_liveness(sa: IkeSa, now: float) -> None:
    """Ask whether the peer is there."""
    told = crash.tell(sa) if sa.has_tokens else ()
    sa.request(Task(Work.LIVENESS), ExchangeType.INFORMATIONAL, told, now)


def report(sa: IkeSa, reason: Reason) -> None:
    """Report that an exchange for a Child SA has failed."""
    assert sa.tunnel is not None
    sa.tunnel.report(sa.context, reason)


def child_failed(sa: IkeSa, slot: int, reason: Reason, now: float) -> None:
    """Report that a Child SA could not be made, and plan the next attempt where we are to begin."""
    assert sa.tunnel is not None
    sa.tunnel.fail_slot(sa.context, slot, reason)
    slots.plan_missing(sa, now, (slot,))


# ---- what the peer asks ----


def _fatal(sa: IkeSa, error: Notify, now: float) -> Reason:
    if error.type == NotifyType.AUTHENTICATION_FAILED:
        return refusal.by_peer(sa, now)
    return reasons.from_notify(error.type, "our IKE SA")


def answer_request(sa: IkeSa, request: Message, path: Path, now: float, digest: bytes) -> None:
    """Answer an INFORMATIONAL request. Raises WireError."""
    deletes = request.all(Delete)
    errors = [one for one in request.all(Notify) if one.type in FATAL]
    if errors:
        sa.respond(request, (), path, now, digest)
        rekey_ike.end(sa, _fatal(sa, errors[0], now), now)
        return
    if any(one.protocol == ProtocolId.IKE for one in deletes):
        _deleted_by_peer(sa, now)
        sa.respond(request, (), path, now, digest)
        return
    reauth.take(sa, request, now)
    closed = [spi for delete in deletes if delete.protocol == ProtocolId.ESP for spi in delete.spis]
    answers, ends = _find_deleted(sa, closed)
    payloads: tuple[Payload, ...] = (Delete(ProtocolId.ESP, answers),) if answers else ()
    for child in ends:
        child_deleted(sa, child, reasons.DELETED_BY_PEER, now)
    payloads += mobike.answer(sa, request, path)
    if crash.take(sa, request):
        payloads += crash.tell(sa)
    sa.respond(request, payloads, path, now, digest)
    sent_on = request.notify(NotifyType.REDIRECT)
    reason = redirect.later(sa, sent_on, now) if sent_on is not None else None
    if reason is not None and sa.tunnel is not None:
        close(sa, reason, now)
        redirect.begin_again(sa, sa.tunnel, now)


def _deleted_by_peer(sa: IkeSa, now: float) -> None:
    """Send no more, and end when what is under way has come in; until then the answer is kept."""
    rekey_ike.yield_to_rival(sa, now)
    if sa.state is State.ESTABLISHED:
        sa.drop_tasks()
        sa.move(On.CLOSE)
        _stop_sending(sa, reasons.DELETED_BY_PEER, now, sa.config.timers.close_linger)
        sa.down(reasons.DELETED_BY_PEER, now)
    elif sa.state is State.REKEYED:
        sa.move(On.CLOSE)
        sa.down(reasons.REKEYED, now)
    _end_soon(sa, now)


def _find_deleted(sa: IkeSa, spis: list[bytes]) -> tuple[tuple[bytes, ...], list[ChildSa]]:
    """Return our SPIs to answer a Delete with, and the Child SAs that it ends."""
    answers: list[bytes] = []
    ends: list[ChildSa] = []
    for spi in dict.fromkeys(spis):
        spi_out = int.from_bytes(spi, "big")
        child = sa.child_by_spi_out(spi_out)
        if child is None:
            # The response that tells us of this SPI may still be on its way.
            if sa.work in MAKING_CHILD and len(sa.deleted_early) < EARLY_MAX:
                sa.deleted_early.add(spi_out)
            continue
        if child.stage is not Stage.DELETING:
            answers.append(child.spi_in.to_bytes(4, "big"))
        ends.append(child)
    return tuple(answers), ends


def child_deleted(sa: IkeSa, child: ChildSa, reason: Reason, now: float) -> None:
    """
    Carry out that a Child SA is deleted on the wire; `reason` holds unless another has replaced it.
    """
    tunnel = sa.tunnel
    assert tunnel is not None
    sa.tasks.drop(Task(Work.DELETE_CHILD, child.spi_in))
    sa.tasks.drop(Task(Work.REKEY_CHILD, child.spi_in))
    is_replaced = child.replaced_by in sa.children
    timers = sa.config.timers
    if is_replaced or child.stage is Stage.REKEYING:
        tunnel.leave(sa.context, child)
        sa.linger(child, reasons.REKEYED, now, timers.linger)
        return
    tunnel.stop_sending(sa.context, child, reason)
    sa.linger(child, reason, now, timers.close_linger)
    slots.plan_after_delete(sa, child, reason, now)


# ---- what the peer answers ----


def receive_response(sa: IkeSa, request: Request, now: float) -> None:
    """
    Take the answer to a Delete or a liveness check; what it says matters less than that it came.
    """
    match request.task.work:
        case Work.CLOSE:
            _closed(sa, now)
        case Work.DELETE_CHILD:
            _child_delete_answered(sa, request.task.spi, now)
        case Work.LIVENESS:
            sa.answered_at = now
            # Which of several sendings is answered can not be told (Karn's rule).
            if request.tries == 1 and sa.tunnel is not None:
                sa.tunnel.round_trip = now, now - request.sent_at
        case _:
            pass


def _closed(sa: IkeSa, now: float) -> None:
    if sa.children:
        _end_soon(sa, now)
    else:
        sa.end(sa.close_reason or reasons.REKEYED, now)


def _child_delete_answered(sa: IkeSa, spi_in: int, now: float) -> None:
    child = sa.children.get(spi_in)
    if child is None:
        sa.context.spis.release(spi_in)
    elif child.stage is Stage.DELETING:
        child_deleted(sa, child, child.down_reason or reasons.REDUNDANT, now)
