"""
Where datagrams come in: which IKE SA they belong to, and what strangers are told.

Everything here happens before authentication. In the order of cost (header, SPI, cookie, proposals,
key exchange), and nothing is kept for an address that has not shown that it receives our answers,
once there are many half-open IKE SAs (RFC 7296 section 2.6). Unprotected answers are rate limited
and no longer than the question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.errors import InvalidKePayload, NoProposalChosen, PeerError, WireError
from gateway.ike import dispatch, reasons
from gateway.ike.context import Context, RateLimit
from gateway.ike.cookie import CookieJar
from gateway.ike.drops import DropReason
from gateway.ike.events import Failed, Send
from gateway.ike.exchanges import init, negotiate
from gateway.ike.first_look import FirstLook, first_look
from gateway.ike.halfopen import Admission, HalfOpen
from gateway.ike.iana import ExchangeType, NotifyType
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import (
    Header,
    InvalidMajorVersion,
    Message,
    parse_clear,
    parse_header,
    serialise_clear,
)
from gateway.ike.payloads import Notify, SecurityAssociation
from gateway.ike.repeat import repeat
from gateway.ike.sources import Lately, SourceRates, source_of
from gateway.ike.states import State
from gateway.ike.tunnel import Tunnel
from gateway.ike.window import digest
from gateway.sa import Address, Path

COOKIE_SECRET_LEN = 64
COOKIE_HOLD_S = 10.0  # for so long an initiator that was asked for a cookie has to bring it
NO_SPI = bytes(8)
PROOF_LEN = 76  # of the answer that proves a crash: header, INVALID_IKE_SPI, token of 32 bytes
WAITING = frozenset({State.INIT_ANSWERED, State.REFUSED})


class Entrance:
    """Takes each datagram to its IKE SA, or answers, or drops it."""

    def __init__(self, context: Context, now: float) -> None:
        self._context = context
        self._half_open = HalfOpen(context.limits)
        self._by_init: dict[tuple[bytes, Address, int], IkeSa] = {}  # SPIi and source, as responder
        secret = context.random.bytes(COOKIE_SECRET_LEN)
        self._jar = CookieJar(secret)
        # Two, so that strangers can not use up what configured peers need to be told.
        self._answers = RateLimit(context.limits.clear_answers_per_s, now)
        self._known_answers = RateLimit(context.limits.clear_answers_per_s, now)
        self._by_source = SourceRates(
            secret, 1.0, context.limits.clear_answers_per_source, source_of
        )
        # Who brings a cookie is where it says: no spoofer uses up what it needs to be told.
        self._proven_answers = SourceRates(
            secret, 1.0, context.limits.clear_answers_per_source, source_of
        )
        self._replaced = SourceRates(secret, context.limits.replaced_per_source_per_s, 1, source_of)
        self._replaced_strangers = RateLimit(context.limits.replaced_strangers_per_s, now)
        self._asked: Lately[tuple[bytes, Address]] = Lately(secret, COOKIE_HOLD_S)
        self._by_addresses: dict[tuple[Address, Address | None], list[Tunnel]] = {}

    def configure(self, tunnels: Iterable[Tunnel]) -> None:
        """Take the tunnels that a peer may ask for."""
        self._by_addresses.clear()
        for tunnel in tunnels:
            key = (tunnel.config.local, tunnel.config.remote)
            self._by_addresses.setdefault(key, []).append(tunnel)
        named = ((remote, each) for (_, remote), each in self._by_addresses.items() if remote)
        self._half_open.expect(remote for remote, each in named for _ in each)

    def settle(self, sa: IkeSa) -> None:
        """Take note of what has become of an IKE SA."""
        if sa.original_initiator:
            return
        if sa.state not in WAITING:
            self._half_open.remove(sa.own_spi)
        if sa.state is State.CLOSED and sa.init_source is not None:
            key = (sa.spi_i, sa.init_source.remote, sa.init_source.remote_port)
            if self._by_init.get(key) is sa:
                del self._by_init[key]

    def receive(self, datagram: bytes, path: Path, now: float) -> IkeSa | None:
        """Take a datagram; return the IKE SA that it was for, if there is one. Never raises."""
        try:
            header = parse_header(datagram)
        except InvalidMajorVersion as error:
            # What it says of its length was not looked at, and decides how long an answer may be.
            self._answer_version(replace(error.header, length=len(datagram)), path, now)
            return None
        except WireError:
            self._context.drop(DropReason.MALFORMED, path)
            return None
        if header.exchange == ExchangeType.IKE_SA_INIT:
            return self._receive_init(header, datagram, path, now)
        sa = self._find(header)
        if sa is None:
            self._answer_unknown(header, len(datagram), path, now)
            return None
        dispatch.receive(sa, header, datagram, path, now)
        return sa

    def _find(self, header: Header) -> IkeSa | None:
        """Return the IKE SA by the SPI that we chose; the other SPI must fit as well."""
        own = header.spi_r if header.from_original_initiator else header.spi_i
        sa = self._context.sas.get(own)
        if sa is None or sa.original_initiator is header.from_original_initiator:
            return None
        return sa if (sa.spi_i, sa.spi_r) == (header.spi_i, header.spi_r) else None

    # ---- IKE_SA_INIT ----

    def _receive_init(
        self, header: Header, datagram: bytes, path: Path, now: float
    ) -> IkeSa | None:
        if header.is_response is header.from_original_initiator or header.message_id != 0:
            self._context.drop(DropReason.FLAGS, path)
            return None
        if header.is_response:
            return self._receive_init_response(header, datagram, path, now)
        if header.spi_r != NO_SPI:
            self._context.drop(DropReason.FLAGS, path)
            return None
        known = self._by_init.get((header.spi_i, path.remote, path.remote_port))
        if known is not None:
            self._repeat(known, datagram, path, now)
            return known
        if header.spi_i in self._context.sas:
            self._context.drop(DropReason.REFLECTED, path)
            return None
        return self._admit(header, datagram, path, now)

    def _receive_init_response(
        self, header: Header, datagram: bytes, path: Path, now: float
    ) -> IkeSa | None:
        sa = self._context.sas.get(header.spi_i)
        if sa is None or not sa.original_initiator or sa.state is not State.INIT_SENT:
            self._context.drop(DropReason.UNEXPECTED_RESPONSE, path)
            return None
        if path.remote != sa.path.remote:
            sa.drop(DropReason.UNEXPECTED_RESPONSE, path)
            return None
        try:
            message = parse_clear(datagram)
            sa.trace(message, path, is_sent=False)
            init.receive_response(sa, message, datagram, path, now)
            self._context.count("in.response.ike_sa_init")
        except PeerError:
            # It may be forged: the true answer may still come.
            sa.drop(DropReason.MALFORMED, path)
        return sa

    def _repeat(self, sa: IkeSa, datagram: bytes, path: Path, now: float) -> None:
        if sa.state is State.INIT_ANSWERED and sa.window.is_repeated(0, digest(datagram)):
            repeat(sa, datagram, path, now)
        else:
            sa.drop(DropReason.STATE, path)

    def _admit(self, header: Header, datagram: bytes, path: Path, now: float) -> IkeSa | None:
        tunnels = self._candidates(path)
        if not tunnels:
            self._context.drop(DropReason.UNKNOWN_PEER, path)
            self._answer_clear(header, [Notify(NotifyType.NO_PROPOSAL_CHOSEN)], path, now)
            return None
        is_configured = tunnels[0].config.remote is not None
        names = tuple(tunnel.config.name for tunnel in tunnels)
        look: FirstLook | None = None
        has_cookie = False
        try:
            if self._context.traced.intersection(names):
                self._context.trace(names, parse_clear(datagram), path, is_sent=False)
            look = first_look(header, datagram)
            has_cookie = self._has_cookie(header, look, path, now)
            if not self._may_enter(header, look, path, now, is_configured, has_cookie):
                return None
            message = parse_clear(datagram)
            self._context.record(names, message, path, is_sent=False)
            self._context.count("in.request.ike_sa_init")
            knock = init.Knock(message, datagram, path, has_cookie)
            sa = init.answer_request(self._context, tunnels, knock, now)
        except init.AnswerTooLong:
            assert look is not None, "what is answered has been looked at"
            self._ask_cookie(header, look, path, now)
            return None
        except PeerError as error:
            if self._may_answer(path, now, has_cookie=has_cookie):
                self._refuse(header, error, datagram, tunnels, path)
            elif look is not None and not has_cookie:
                # Somebody who sends with its address may have used up what it needs to be told.
                self._ask_cookie(header, look, path, now)
            else:
                self._count_refusal(error, path)
            return None
        self._half_open.add(
            sa.spi_r, path.remote, is_configured=is_configured, has_cookie=has_cookie
        )
        self._by_init[(sa.spi_i, path.remote, path.remote_port)] = sa
        return sa

    def _candidates(self, path: Path) -> tuple[Tunnel, ...]:
        """
        Return the tunnels for these addresses: first those that name the peer's, then those for
        any.
        """
        named = self._by_addresses.get((path.local, path.remote), [])
        others = self._by_addresses.get((path.local, None), [])
        return tuple(one for one in (*named, *others) if not one.is_stopped)

    def _has_cookie(self, header: Header, look: FirstLook, path: Path, now: float) -> bool:
        """Say whether a request brings back a cookie of ours."""
        return look.cookie is not None and self._jar.accepts(
            look.cookie, header.spi_i, look.nonce, path, now
        )

    def _may_enter(
        self,
        header: Header,
        look: FirstLook,
        path: Path,
        now: float,
        is_configured: bool,
        has_cookie: bool,
    ) -> bool:
        """Say whether a request is read; ask for a cookie instead, or drop it."""
        found = self._half_open.admit(
            path.remote, is_configured=is_configured, has_cookie=has_cookie
        )
        if not has_cookie and self._asked.is_so((header.spi_i, path.remote), now):
            # It has two requests under way, and could not tell which of them is answered.
            found = Admission.ASK_COOKIE
        if found is Admission.DROP and self._make_room(path.remote, is_configured, now):
            found = self._half_open.admit(
                path.remote, is_configured=is_configured, has_cookie=has_cookie
            )
        match found:
            case Admission.ADMIT:
                return True
            case Admission.DROP:
                self._context.drop(DropReason.HALF_OPEN_LIMIT, path)
            case Admission.ASK_COOKIE:
                self._ask_cookie(header, look, path, now)
        return False

    def _make_room(self, address: Address, is_configured: bool, now: float) -> bool:
        """
        End the oldest of the half-open IKE SAs with a cookie that have the same source, if its rate
        allows; return whether there is one less.

        First one that we have refused: it is kept to repeat our answer, no more. Then, for a
        configured peer, one that does not go on. At the rate of a source, it had seconds to do so.
        """
        if not self._replaced.has_one(address, now):
            return False  # before a look at them: where many tunnels are behind it they are many
        spis = self._half_open.oldest(address, is_configured=is_configured)
        waiting = [self._context.sas[spi] for spi in spis]
        refused = [sa for sa in waiting if sa.state is State.REFUSED]
        begun = [sa for sa in waiting if is_configured and sa.held is None]
        if not (refused or begun) or not self._replaced.take(address, now):
            return False
        if not is_configured and not self._replaced_strangers.take(now):
            return False
        gone = (refused or begun)[0]
        self._context.count("half_open_replaced")
        gone.end(reasons.HALF_OPEN_TIMEOUT, now)
        self.settle(gone)
        return True

    def _ask_cookie(self, header: Header, look: FirstLook, path: Path, now: float) -> None:
        self._context.drop(DropReason.COOKIE_DEMANDED, path)
        if not self._asked.is_so((header.spi_i, path.remote), now):
            self._asked.note((header.spi_i, path.remote), now)
        made = self._jar.make(header.spi_i, look.nonce, path, now)
        self._send_notify(header, [Notify(NotifyType.COOKIE, made)], path)

    def _refuse(
        self,
        header: Header,
        error: PeerError,
        datagram: bytes,
        tunnels: tuple[Tunnel, ...],
        path: Path,
    ) -> None:
        self._count_refusal(error, path)
        self._send_notify(header, [negotiate.notify_of(error)], path)
        if isinstance(error, NoProposalChosen) and len(tunnels) == 1:
            config = tunnels[0].config
            theirs = parse_clear(datagram).one(SecurityAssociation).proposals
            reason = reasons.no_proposal(config.ike_proposals, theirs, "IKE")
            if tunnels[0].is_idle:
                tunnels[0].last_failure = reason
            self._context.emit(Failed(config.name, reason))

    def _count_refusal(self, error: PeerError, path: Path) -> None:
        self._context.drop(DropReason.REFUSED, path)
        if not isinstance(error, InvalidKePayload):  # after that it comes with another group
            self._context.count("refused." + reasons.from_error(error, "IKE_SA_INIT").code)

    # ---- unprotected answers ----

    def _answer_unknown(self, header: Header, length: int, path: Path, now: float) -> None:
        """Say that there is no such IKE SA; prove it where the answer is no longer for it."""
        self._context.drop(DropReason.UNKNOWN_SPI, path)
        if header.is_response:
            return
        notifies = [Notify(NotifyType.INVALID_IKE_SPI)]
        # Never of an IKE SA that is there, and that is asked for with a flag turned over.
        is_lost = not {header.spi_i, header.spi_r} & self._context.sas.keys()
        if self._context.tokens is not None and length >= PROOF_LEN and is_lost:
            notifies.append(self._context.tokens.notify(header.spi_i, header.spi_r))
        self._answer_clear(header, notifies, path, now)

    def _answer_version(self, header: Header, path: Path, now: float) -> None:
        self._context.drop(DropReason.VERSION, path)
        if not header.is_response and header.version >> 4 > 2:
            self._answer_clear(header, [Notify(NotifyType.INVALID_MAJOR_VERSION)], path, now)
        tunnels = self._candidates(path)
        if len(tunnels) == 1 and tunnels[0].is_idle and self._known_answers.take(now):
            reason = reasons.wrong_version(header.version >> 4)
            tunnels[0].last_failure = reason
            self._context.emit(Failed(tunnels[0].config.name, reason))

    def _answer_clear(
        self, header: Header, notifies: Sequence[Notify], path: Path, now: float
    ) -> None:
        """Answer a request with an error, if the rates allow."""
        if self._may_answer(path, now, has_cookie=False):
            self._send_notify(header, notifies, path)

    def _may_answer(self, path: Path, now: float, *, has_cookie: bool) -> bool:
        """Say whether the rates allow an error, and take it off; a cookie proves the address."""
        if has_cookie:
            return self._proven_answers.take(path.remote, now)
        is_known = (path.local, path.remote) in self._by_addresses
        if not self._by_source.take(path.remote, now):
            return False
        return (self._known_answers if is_known else self._answers).take(now)

    def _send_notify(self, request: Header, notifies: Sequence[Notify], path: Path) -> None:
        """Send an answer, unless it is longer than the question (amplification)."""
        answer = Message(
            spi_i=request.spi_i,
            spi_r=request.spi_r,
            exchange=request.exchange,
            message_id=request.message_id,
            is_response=True,
            from_original_initiator=not request.from_original_initiator,
            payloads=tuple(notifies),
        )
        if self._context.traced:
            names = tuple(tunnel.config.name for tunnel in self._candidates(path))
            self._context.trace(names, answer, path, is_sent=True)
        datagram = serialise_clear(answer)
        if len(datagram) <= request.length:
            self._context.emit(Send(datagram, path))
