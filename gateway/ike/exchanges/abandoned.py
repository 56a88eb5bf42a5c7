"""The answer to a request whose private values a restart of the gateway process has lost."""

from __future__ import annotations

from gateway.ike import reasons, slots
from gateway.ike.child import Stage
from gateway.ike.exchanges import informational, negotiate, rekey_child, rekey_ike
from gateway.ike.iana import NotifyType
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Message
from gateway.ike.states import State
from gateway.ike.tasks import Task, Work
from gateway.ike.window import Request


def receive_response(sa: IkeSa, request: Request, message: Message, now: float) -> None:
    """Undo an exchange whose private values were lost: what the peer has made cannot be used."""
    offer, rival = request.offer, sa.rival
    old = sa.children.get(request.task.spi)
    if old is not None and old.stage is Stage.REKEYING:
        old.stage = Stage.REPLACED if old.replaced_by in sa.children else Stage.INSTALLED
        old.rekey_at = now
    # With more key exchanges to come, the peer has made nothing yet, and never will.
    is_partial = message.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE) is not None
    is_refused = is_partial or negotiate.first_error(message) is not None
    if rival is not None and rival.state is State.ESTABLISHED:
        rekey_ike.replace(sa, rival, now)
    elif offer is not None and is_refused and len(offer.spi) == rekey_ike.SPI_LEN:
        sa.rekey_at = now + sa.context.jitter(*rekey_child.BUSY_S)
    elif offer is None or is_refused:
        negotiate.release(sa, request.offer)
        slots.plan_missing(sa, now)
    elif len(offer.spi) == 4:
        sa.tasks.add(Task(Work.DELETE_CHILD, offer.spi_in))
        slots.plan_missing(sa, now)
    else:
        informational.close(sa, reasons.LOST_EXCHANGE, now)
