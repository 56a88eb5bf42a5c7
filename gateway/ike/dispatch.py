"""
Which exchange a message belongs to, and when an IKE SA acts by itself.

A message passes these gates in order, each of which counts what it stops: window, state, integrity,
content. Only what has passed the third may change anything. A request is answered in any case after
that, with an error if need be; the stored answer is repeated for its retransmissions.
"""

from __future__ import annotations

import math

from gateway.errors import ChildSaNotFound, IntegrityError, PeerError, WireError
from gateway.ike import crash, edits, reasons, slots
from gateway.ike.child import ChildSa, Stage
from gateway.ike.drops import DropReason
from gateway.ike.events import Keepalive, PathChanged, Reason
from gateway.ike.exchanges import (
    auth,
    create_child,
    followup,
    held,
    informational,
    init,
    intermediate,
    negotiate,
    reauth,
    rekey_child,
    rekey_ike,
)
from gateway.ike.fragments import CONTENT_MAX, STRANGER_MAX, is_fragment
from gateway.ike.iana import ExchangeType, NotifyType, PayloadType, ProtocolId
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Header, Message, open_sealed, parse_clear
from gateway.ike.payloads import Notify
from gateway.ike.repeat import is_repeated, repeat
from gateway.ike.states import State
from gateway.ike.tasks import MAKES_SA, Task, Work
from gateway.ike.window import Request, digest
from gateway.sa import Path

PROTECTED = frozenset(ExchangeType) - {ExchangeType.IKE_SA_INIT}
SET_UP = frozenset({ExchangeType.IKE_INTERMEDIATE, ExchangeType.IKE_AUTH})
LIVES = frozenset({State.ESTABLISHED, State.REKEYED, State.CLOSING})
ENOUGH_TRIES = 4  # a request that was sent so often says as much as a liveness check
HINT_S = 1.0  # whoever was heard so lately is not asked again for what is said in the clear


# ---- messages ----


def receive(sa: IkeSa, header: Header, datagram: bytes, path: Path, now: float) -> None:
    """Take a message that bears the SPIs of this IKE SA and is not IKE_SA_INIT."""
    if header.exchange not in set(PROTECTED):
        sa.drop(DropReason.EXCHANGE, path)
    elif header.next_payload not in (PayloadType.SK, PayloadType.SKF):
        _take_clear(sa, datagram, path, now)
    elif sa.keys is None and sa.unfinished is None:
        sa.drop(DropReason.STATE, path)
    elif is_fragment(header) and not sa.fragmentation:
        sa.drop(DropReason.FRAGMENT, path)
    elif header.is_response:
        _receive_response(sa, header, datagram, path, now)
    else:
        _receive_request(sa, header, datagram, path, now)


def _take_clear(sa: IkeSa, datagram: bytes, path: Path, now: float) -> None:
    """
    Drop an unprotected message; it may say that the peer has lost the IKE SA, so ask the peer,
    protected, unless it proves it.
    """
    try:
        is_proof = crash.is_proof(sa, parse_clear(datagram))
    except PeerError:
        is_proof = False
    if is_proof:
        sa.context.count("crash_detected")
        rekey_ike.end(sa, reasons.PEER_CRASHED, now)
        return
    sa.drop(DropReason.CLEAR, path)
    if sa.is_usable and sa.heard_at + HINT_S <= now:
        sa.tasks.add(Task(Work.LIVENESS))


def _receive_request(sa: IkeSa, header: Header, datagram: bytes, path: Path, now: float) -> None:
    if not _is_in_window(sa, header, datagram, path, now):
        return
    is_set_up = header.exchange in set(SET_UP)
    is_fitting = sa.state is State.INIT_ANSWERED if is_set_up else sa.state in LIVES
    if not is_fitting:
        sa.drop(DropReason.STATE, path)
        return
    try:
        message = _open(sa, header, datagram, path)
    except PeerError as error:
        _note_first(sa, header, datagram)
        _answer_error(sa, header, None, error, path, now)
        return
    if message is None:
        return
    _note_first(sa, header, datagram)
    sa.context.count(f"in.request.{ExchangeType(header.exchange).name.lower()}")
    sa.trace(message, path, is_sent=False)
    _heard(sa, path, now)
    _answer_or_refuse(sa, message, path, now)


def _answer_or_refuse(sa: IkeSa, message: Message, path: Path, now: float) -> None:
    try:
        _answer(sa, message, path, now)
    except PeerError as error:
        _answer_error(sa, message, message, error, path, now)


def resume(sa: IkeSa, now: float) -> None:
    """Go on with an IKE_AUTH that was held: what had to be known is known, or will not be."""
    one = held.release(sa, now)
    if sa.state is State.CLOSED:
        return
    if one.request is None:
        sa.first_fragment = one.digest
        _answer_or_refuse(sa, one.message, one.path, now)
    else:
        _take_or_fail(sa, one.request, one.message, now)


def _is_in_window(sa: IkeSa, header: Header, datagram: bytes, path: Path, now: float) -> bool:
    """Return whether this is the request we expect; repeats the answer if it is the one before."""
    if header.message_id == sa.window.expected:
        return True
    if not is_repeated(sa, header, datagram):
        sa.drop(DropReason.MESSAGE_ID, path)
        return False
    repeat(sa, datagram, path, now)
    return False


def _note_first(sa: IkeSa, header: Header, datagram: bytes) -> None:
    """Note what a retransmission of the request begins with, now that it is known to be genuine."""
    is_whole = not is_fragment(header)
    sa.first_fragment = digest(datagram) if is_whole else sa.request_fragments.first_digest


def _open(sa: IkeSa, header: Header, datagram: bytes, path: Path) -> Message | None:
    """
    Return the message, None if it is not whole yet or not genuine.

    Raises WireError or UnsupportedCriticalPayload for what the peer itself has sealed.
    """
    keys = init.finish_keys(sa)
    try:
        if not is_fragment(header):
            return open_sealed(datagram, header, keys.open)
        parts = sa.response_fragments if header.is_response else sa.request_fragments
        most = STRANGER_MAX if sa.tunnel is None else CONTENT_MAX
        return parts.add(datagram, header, keys.open, most)
    except IntegrityError:
        sa.drop(DropReason.FRAGMENT if is_fragment(header) else DropReason.BAD_ICV, path)
        return None


def _answer(sa: IkeSa, message: Message, path: Path, now: float) -> None:
    first = sa.first_fragment
    match message.exchange:
        case ExchangeType.IKE_INTERMEDIATE:
            intermediate.answer_request(sa, message, path, now, first)
        case ExchangeType.IKE_AUTH:
            held.answer_request(sa, message, path, now, first)
        case ExchangeType.IKE_FOLLOWUP_KE:
            followup.answer_request(sa, message, path, now, first)
        case ExchangeType.CREATE_CHILD_SA:
            create_child.answer_request(sa, message, path, now, first)
        case _:
            informational.answer_request(sa, message, path, now, first)


def _answer_error(
    sa: IkeSa,
    header: Header | Message,
    message: Message | None,
    error: PeerError,
    path: Path,
    now: float,
) -> None:
    """
    Answer a request that breaks a rule; bad syntax from an authenticated peer ends the IKE SA
    (section 2.21.3).
    """
    notify = negotiate.notify_of(error)
    if isinstance(error, ChildSaNotFound):
        spi = error.spi.to_bytes(4, "big")
        notify = Notify(notify.type, notify.data, ProtocolId.ESP, spi)
    answered = message or Message(
        header.spi_i,
        header.spi_r,
        header.exchange,
        header.message_id,
        False,
        header.from_original_initiator,
        (),
    )
    sa.context.count(f"out.error.{notify.type}")
    if header.exchange in set(SET_UP):
        auth.refuse(sa, message, error, now)
        sa.respond(answered, (notify,), path, now, sa.first_fragment)
        return
    sa.respond(answered, (notify,), path, now, sa.first_fragment)
    if notify.type == NotifyType.INVALID_SYNTAX:
        rekey_ike.end(sa, reasons.from_error(error, "a request of the peer"), now)
    elif message is not None and header.exchange == ExchangeType.CREATE_CHILD_SA:
        _report_refusal(sa, message, error)


def _report_refusal(sa: IkeSa, message: Message, error: PeerError) -> None:
    # Those are a matter of configuration, which a person has to look at.
    if error.notify in (NotifyType.NO_PROPOSAL_CHOSEN, NotifyType.TS_UNACCEPTABLE):
        informational.report(sa, negotiate.refusal(sa.config, message, error))
    else:
        sa.note(f"refused CREATE_CHILD_SA: {error}")


def _receive_response(sa: IkeSa, header: Header, datagram: bytes, path: Path, now: float) -> None:
    request = sa.window.outstanding
    if (
        request is None
        or header.message_id != request.message_id
        or header.exchange != request.exchange
    ):
        sa.drop(DropReason.UNEXPECTED_RESPONSE, path)
        return
    try:
        message = _open(sa, header, datagram, path)
    except PeerError as error:
        _fail(sa, reasons.from_error(error, "a response of the peer"), now)
        return
    if message is None:
        return
    sa.context.count(f"in.response.{ExchangeType(header.exchange).name.lower()}")
    sa.trace(message, path, is_sent=False)
    _heard(sa, path, now)
    sa.window.close()
    _take_or_fail(sa, request, message, now)


def _take_or_fail(sa: IkeSa, request: Request, message: Message, now: float) -> None:
    try:
        _take_response(sa, request, message, now)
    except WireError as error:
        negotiate.release(sa, request.offer)
        _fail(sa, reasons.from_error(error, "a response of the peer"), now)
    if request.is_outdated and sa.tunnel is not None:
        edits.rekey_unfit(sa.tunnel)  # what was agreed on is of an earlier configuration


def _fail(sa: IkeSa, reason: Reason, now: float) -> None:
    if sa.tunnel is None:
        sa.fail(reason, now)
    else:
        rekey_ike.end(sa, reason, now)


def _take_response(sa: IkeSa, request: Request, message: Message, now: float) -> None:
    match request.task.work:
        case Work.INTERMEDIATE:
            intermediate.receive_response(sa, request, message, now)
        case Work.AUTH:
            held.receive_response(sa, request, message, now)
        case Work.REKEY_IKE:
            rekey_ike.receive_response(sa, request, message, now)
        case Work.REKEY_CHILD | Work.NEW_CHILD if sa.state is State.CLOSING:
            negotiate.release(sa, request.offer)  # whatever the peer has made goes with the IKE SA
        case Work.REKEY_CHILD:
            rekey_child.receive_response(sa, request, message, now)
        case Work.NEW_CHILD:
            create_child.receive_new(sa, request, message, now)
        case _:
            crash.take(sa, message)
            informational.receive_response(sa, request, now)


def _heard(sa: IkeSa, path: Path, now: float) -> None:
    """
    Note an authenticated message, and follow a peer behind a NAT to its new address or port.

    Only such a peer: without a NAT on its side a changed address is somebody else's doing (RFC 7296
    section 2.23).
    """
    sa.heard_at, sa.suspected_at = now, math.inf
    if path == sa.path or sa.tunnel is None or not sa.nat.remote or path.local != sa.path.local:
        return
    follow(sa, path)


def follow(sa: IkeSa, path: Path) -> None:
    """Speak to the peer on another path from now on."""
    assert sa.tunnel is not None
    sa.path = path
    if sa.is_usable:
        sa.context.emit(PathChanged(sa.tunnel.config.name, path))


# ---- time ----


def deadline(sa: IkeSa) -> float:
    """Return when `on_time` is next needed."""
    if sa.state is State.CLOSED:
        return math.inf
    request = sa.window.outstanding
    times = [request.deadline if request else math.inf, sa.expire_at]
    times += [child.deadline for child in sa.children.values()]
    if sa.is_usable:
        timers = sa.config.timers
        times += [sa.rekey_at, sa.hard_at, sa.reauth_at, *sa.child_at.values()]
        times += [one.until for one in sa.pending.values()]
        if timers.liveness and _may_give_up(sa):
            times.append(_silence_ends(sa))
        if sa.nat.local:
            times.append(sa.sent_at + timers.keepalive)
    return min(times)


def _silence_ends(sa: IkeSa) -> float:
    """Return when a silent peer is asked; while another request is out, when it is given up."""
    timers = sa.config.timers
    at = min(sa.heard_at + timers.liveness, sa.suspected_at)
    if sa.window.outstanding is None:
        return at
    return at + sum(timers.liveness_retransmit_after)


def _may_give_up(sa: IkeSa) -> bool:
    """
    Return whether the outstanding request, if any, was sent often enough to be a liveness check.

    Silence alone proves nothing: it may be this process that stood still, and then the answer waits
    in the socket.
    """
    request = sa.window.outstanding
    return request is None or request.tries >= ENOUGH_TRIES


def heard_esp(sa: IkeSa, now: float) -> None:
    """Take note of an authenticated ESP packet."""
    sa.heard_at, sa.suspected_at = max(sa.heard_at, now), math.inf


def suspect(sa: IkeSa, now: float) -> None:
    """
    Ask the peer now, since nothing comes back for what we send.

    If the last that was heard is its answer to a check, the traffic has one direction only; it is
    asked no more often than for silence, until ESP shows that there are two.
    """
    liveness = sa.config.timers.liveness
    is_answered = sa.heard_at == sa.answered_at and now < sa.answered_at + liveness
    if not liveness or is_answered or sa.suspected_at != math.inf:
        return
    sa.suspected_at = now
    sa.context.count("one_way")
    if sa.window.outstanding is None:
        sa.tasks.add(Task(Work.LIVENESS))


def on_time(sa: IkeSa, now: float) -> None:
    """Do what is due."""
    request = sa.window.outstanding
    if request is not None and request.deadline <= now:
        _resend(sa, request, now)
    if sa.state is not State.CLOSED and sa.expire_at <= now:
        _expire(sa, now)
    for child in tuple(sa.children.values()):
        _child_on_time(sa, child, now)
    if sa.is_usable:
        _established_on_time(sa, now)
    pump(sa, now)


def _resend(sa: IkeSa, request: Request, now: float) -> None:
    if sa.pending_error is not None:
        sa.fail(sa.pending_error, now)
    elif request.next_try(now):
        sa.context.count("retransmission.request")
        sa.trace_again(request)
        sa.send(request.datagrams, sa.path, now)
        if request.tries == len(request.schedule):
            sa.note(f"last try of {_exchange_name(request)}")
    else:
        _unreachable(sa, request, now)


def _unreachable(sa: IkeSa, request: Request, now: float) -> None:
    sa.context.count("peer_unreachable")
    if sa.state is State.CLOSING or sa.state is State.REKEYED:
        sa.end(sa.close_reason or reasons.REKEYED, now)
        return
    _fail(sa, reasons.peer_unreachable(_exchange_name(request), request.tries), now)


def _exchange_name(request: Request) -> str:
    return f"{ExchangeType(request.exchange).name} ({request.task.work.name.lower()})"


def _expire(sa: IkeSa, now: float) -> None:
    if sa.held is not None:
        resume(sa, now)
    elif sa.state is State.REFUSED:
        sa.end(reasons.HALF_OPEN_TIMEOUT, now)
    elif sa.state is State.INIT_ANSWERED:
        sa.context.count("half_open_timeout")
        sa.end(reasons.HALF_OPEN_TIMEOUT, now)
    elif sa.state is State.CLOSING:
        sa.end(sa.close_reason or reasons.REKEYED, now)
    elif sa.is_parked:
        informational.close(sa, reasons.REDUNDANT, now)
        sa.expire_at = math.inf
    else:
        sa.end(reasons.STALE, now)


def _child_on_time(sa: IkeSa, child: ChildSa, now: float) -> None:
    if child.down_at <= now:
        sa.take_down(child, child.down_reason or reasons.REKEYED, now)
    elif child.stage is Stage.INSTALLED and child.rekey_at <= now:
        child.rekey_at = math.inf
        sa.tasks.add(Task(Work.REKEY_CHILD, child.spi_in))
    elif child.hard_at <= now and child.stage not in (Stage.DELETING, Stage.LINGERING):
        child.hard_at = math.inf
        _child_expired(sa, child, now)


def _child_expired(sa: IkeSa, child: ChildSa, now: float) -> None:
    if child.stage is Stage.REPLACED:
        # The peer has rekeyed it and never deleted it.
        child.stage = Stage.DELETING
        sa.tasks.add(Task(Work.DELETE_CHILD, child.spi_in))
    elif slots.live(sa) - {child.slot}:
        slots.give_up(sa, child, reasons.LIFETIME_OVER)
    else:
        # A new IKE SA brings a Child SA without a key exchange of its own, the usual obstacle.
        informational.report(sa, reasons.LIFETIME_OVER)
        informational.close(sa, reasons.LIFETIME_OVER, now)


def _established_on_time(sa: IkeSa, now: float) -> None:
    timers = sa.config.timers
    if sa.hard_at <= now:
        informational.report(sa, reasons.LIFETIME_OVER)
        informational.close(sa, reasons.LIFETIME_OVER, now)
        return
    if sa.rekey_at <= now:
        sa.rekey_at = math.inf
        sa.tasks.add(Task(Work.REKEY_IKE))
    slots.on_time(sa, now)
    followup.on_time(sa, now)
    reauth.on_time(sa, now)
    if timers.liveness and _may_give_up(sa) and _silence_ends(sa) <= now:
        if sa.window.outstanding is None:
            sa.tasks.add(Task(Work.LIVENESS))
        else:
            _unreachable(sa, sa.window.outstanding, now)
            return
    if sa.nat.local and sa.sent_at + timers.keepalive <= now:
        sa.sent_at = now
        sa.context.emit(Keepalive(sa.config.name, sa.path))


def pump(sa: IkeSa, now: float) -> None:
    """Begin the most urgent task if no request is outstanding."""
    while sa.state in LIVES and sa.window.outstanding is None:
        # While the peer is in the middle of its own, we begin nothing that makes an SA.
        task = sa.tasks.take(MAKES_SA if sa.pending else ())
        if task is None or _begin(sa, task, now):
            return


def _begin(sa: IkeSa, task: Task, now: float) -> bool:
    """Send the request of a task; return False if there is nothing to be done any more."""
    if task.work is Work.CLOSE:
        informational.send_close(sa, now)
        return True
    if not sa.is_usable:
        return False
    match task.work:
        case Work.DELETE_CHILD:
            informational.send_child_delete(sa, task, now)
            return True
        case Work.REKEY_IKE:
            return rekey_ike.begin(sa, now)
        case Work.REKEY_CHILD:
            return rekey_child.begin(sa, task.spi, now)
        case Work.NEW_CHILD:
            return create_child.begin_new(sa, task.slot, now)
        case _:
            informational.send_liveness(sa, now)
            return True
