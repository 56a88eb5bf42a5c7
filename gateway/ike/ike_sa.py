"""
One IKE SA: its keys, its window, its Child SAs, its timers.

This file holds what every exchange uses: sending a request, answering one, ending. What the
messages mean is in `exchanges/`; who calls them, and when, is in `dispatch.py`. Both work on these
fields, and only after a message has proved itself: compute, authenticate, then commit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.ike import fragments, message
from gateway.ike.child import ChildSa, Lifespan, Offer, Stage
from gateway.ike.config import TunnelConfig, describe_identity
from gateway.ike.context import Context
from gateway.ike.dh import KeyPair
from gateway.ike.drops import DropReason
from gateway.ike.events import IkeSaDown, IkeSaUp, Note, Reason, Send, Spoken
from gateway.ike.fragments import Reassembly
from gateway.ike.further import Further
from gateway.ike.iana import ExchangeType
from gateway.ike.keymat import IkeKeys
from gateway.ike.message import Message, SkCipher
from gateway.ike.payloads import IdInitiator, IdResponder, Payload
from gateway.ike.proposals import IkeSuite, Proposal
from gateway.ike.states import On, State, step
from gateway.ike.tasks import Task, TaskQueue, Work
from gateway.ike.tunnel import Tunnel
from gateway.ike.window import Request, Window
from gateway.sa import NAT_T_PORT, Address, Path
from gateway.secret import Secret

if TYPE_CHECKING:
    from gateway.ike.exchanges.followup import Pending
    from gateway.ike.exchanges.held import Held
    from gateway.ike.exchanges.proof import PeerProof

MARKER_LEN = 4  # non-ESP marker on port 4500 (RFC 3948 section 2.2)
UDP_LEN = 8
REVIVED_S = (1.0, 3.0)  # until the next rekey of a Child SA whose replacement has gone
IP_LEN = {4: 20, 6: 40}


@dataclass(slots=True)
class Nat:
    """What NAT detection said (RFC 7296 section 2.23)."""

    supported: bool = False  # the peer sent its notifies
    local: bool = False  # a NAT before us
    remote: bool = False  # a NAT before the peer, or the peer says so
    announced: bool = False  # we announced one that is not there, so that both ends encapsulate

    @property
    def is_between(self) -> bool:
        return self.local or self.remote

    @property
    def udp_encap(self) -> bool:
        return self.supported and (self.is_between or self.announced)


@dataclass(slots=True)
class Keys:
    """The secrets of an IKE SA and the ciphers made of them."""

    secrets: IkeKeys
    seal: SkCipher  # ours
    open: SkCipher  # the peer's

    @classmethod
    def of(cls, suite: IkeSuite, secrets: IkeKeys, original_initiator: bool) -> Keys:
        """Return the keys with the ciphers by role (RFC 7296 section 2.14)."""
        initiator = SkCipher(suite, secrets.sk_ei, secrets.sk_ai)
        responder = SkCipher(suite, secrets.sk_er, secrets.sk_ar)
        if original_initiator:
            return cls(secrets, initiator, responder)
        return cls(secrets, responder, initiator)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A key exchange that was answered, and what the peer sent: its secret is not computed yet."""

    key_pair: KeyPair
    peer: bytes


@dataclass(slots=True)
class InitAttempt:
    """
    IKE_SA_INIT as its initiator: what was sent, and with which private values.

    One request for each group that was tried: the response says by its group which of them it
    answers, so a forged INVALID_KE_PAYLOAD cannot spoil the true answer.
    """

    proposals: tuple[Proposal, ...]
    source_hash: bytes | None  # an invented NAT_DETECTION_SOURCE_IP, None = the true one
    cookie: bytes = b""
    restarts: int = 0
    key_pairs: dict[int, KeyPair] = field(default_factory=dict)
    requests: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Birth:
    """How the first IKE SA of a line of rekeys came to be; decides between duplicates."""

    created_at: float
    established_at: float
    initiated: bool
    lowest_nonce: bytes


@dataclass(slots=True, eq=False)
class IkeSa:
    """The control channel between two peers. Times are monotonic seconds."""

    context: Context
    path: Path
    original_initiator: bool
    spi_i: bytes
    spi_r: bytes
    created_at: float
    candidates: tuple[Tunnel, ...]  # before the peer is authenticated: the tunnels it may be for
    tunnel: Tunnel | None = None
    state: State = State.IDLE
    suite: IkeSuite | None = None
    keys: Keys | None = None
    unfinished: Unfinished | None = None  # as responder: its keys, until a message needs them
    nonce_i: bytes = b""
    nonce_r: bytes = b""
    birth: Birth | None = None  # set when it is established; a rekey hands it on
    peer_id: IdInitiator | IdResponder | None = None
    nat: Nat = field(default_factory=Nat)
    fragmentation: bool = False  # both ends can (RFC 7383)
    window: Window = field(default_factory=Window)
    tasks: TaskQueue = field(default_factory=TaskQueue)
    children: dict[int, ChildSa] = field(default_factory=dict)  # by inbound SPI
    deleted_early: set[int] = field(default_factory=set)  # peer's SPIs deleted before we knew them
    pending: dict[bytes, Pending] = field(default_factory=dict)  # by link: see `followup`
    rival: IkeSa | None = None  # made by the peer's rekey while ours is outstanding
    is_parked: bool = False  # a rival: authenticated, but not (yet) the one in use
    attempt: InitAttempt | None = None  # while we are in IKE_SA_INIT as its initiator
    further: Further = field(default_factory=Further)  # key exchanges of its set-up
    is_post_quantum: bool = False  # a quantum computer alone does not find what SK_d is made of
    is_mobile: bool = False  # the peer may move to another address (RFC 4555)
    has_tokens: bool = False  # the peer knows quick crash detection (RFC 6290)
    peer_token: Secret = field(default_factory=lambda: Secret(b""))  # of this IKE SA
    redirected_from: Address | None = None  # who has sent us to this peer (RFC 5685)
    peer_is_childless: bool = False  # it can do without a Child SA in IKE_AUTH (RFC 6023)
    peer_uses_ppk: bool = False  # it has said USE_PPK, and so have we (RFC 8784)
    has_ppk: bool = False  # a post-quantum pre-shared key is in SK_d, SK_pi and SK_pr
    peer_hashes: frozenset[int] = frozenset()  # that its signatures may use (RFC 7427); none: old
    peer_proof: PeerProof | None = None  # by which certificate or key it has authenticated
    held: Held | None = None  # its IKE_AUTH, until it is known whether a certificate is revoked
    key_pair: KeyPair | None = None  # as their initiator, of the one under way
    init_request: bytes = b""  # signed by AUTH, with the other nonce (RFC 7296 section 2.15)
    init_response: bytes = b""
    init_source: Path | None = None  # as responder: where IKE_SA_INIT came from
    init_answer: Proposal | None = None  # as responder: what we chose, of what was offered
    pending_error: Reason | None = None  # unprotected, so believed only when the timer fires
    close_wanted: Reason | None = None  # to be closed as soon as that is possible
    close_reason: Reason | None = None  # why it no longer serves its tunnel
    established_at: float = math.inf
    heard_at: float = 0.0  # last authenticated message, or ESP
    sent_at: float = 0.0
    rekey_at: float = math.inf
    hard_at: float = math.inf
    reauth_at: float = math.inf  # the peer wants us to authenticate again by then (RFC 4478)
    expire_at: float = math.inf  # half-open, refused or replaced: gone by then
    child_at: dict[int, float] = field(default_factory=dict)  # by slot that is empty: next attempt
    child_attempts: dict[int, int] = field(default_factory=dict)
    resources_most: int = 0  # Child SAs for a worker each that the peer takes: see `resources`
    ke_group: int | None = None  # the group the peer wanted last in CREATE_CHILD_SA
    refusals: int = 0  # of its rekey, in a row
    is_outdated: bool = False  # proposals or selectors have changed since it was made
    is_beside: bool = False  # begun by us to take over from one that the peer will not rekey
    suspected_at: float = math.inf  # what we send is not answered: the peer is to be asked now
    answered_at: float = -math.inf  # the last answer to a liveness check
    request_fragments: Reassembly = field(default_factory=Reassembly)
    response_fragments: Reassembly = field(default_factory=Reassembly)
    first_fragment: bytes = b""  # digest of fragment 1 of the request that is coming in
    asked_with: SkCipher | None = None  # what opens the request that the stored response answers
    answered_on: Path | None = None  # where the stored response went to at first
    repeats_free_at: float = 0.0  # see `repeat`
    kept: object = None  # the stamp of the record that was made of it last
    lasting: str = ""  # what stays the same in its records, no keys (see `snapshot.py`)
    iv_count: int = 0  # AEAD IVs that were used, in this process and those before
    _iv_prefix: bytes = b""

    # ---- questions ----

    @property
    def own_spi(self) -> bytes:
        return self.spi_i if self.original_initiator else self.spi_r

    @property
    def config(self) -> TunnelConfig:
        """Return the tunnel's configuration; before authentication that of the first candidate."""
        return (self.tunnel or self.candidates[0]).config

    @property
    def name(self) -> str | None:
        """Return the tunnel's name for events, None while it can be one of several."""
        if self.tunnel is not None:
            return self.tunnel.config.name
        return self.candidates[0].config.name if len(self.candidates) == 1 else None

    @property
    def is_usable(self) -> bool:
        """Return whether this is an IKE SA on which exchanges can be begun."""
        return self.state is State.ESTABLISHED and not self.is_parked

    @property
    def work(self) -> Work | None:
        """Return what the outstanding request is about."""
        request = self.window.outstanding
        return request.task.work if request else None

    def asks_for(self, slot: int) -> bool:
        """Return whether the outstanding request is for a new Child SA in this slot."""
        request = self.window.outstanding
        return request is not None and request.task == Task(Work.NEW_CHILD, slot=slot)

    @property
    def lowest_nonce(self) -> bytes:
        return min(self.nonce_i, self.nonce_r)

    # ---- sending ----

    def message(
        self, exchange: int, message_id: int, payloads: tuple[Payload, ...], is_response: bool
    ) -> Message:
        """Return a message of this IKE SA."""
        return Message(
            spi_i=self.spi_i,
            spi_r=self.spi_r,
            exchange=exchange,
            message_id=message_id,
            is_response=is_response,
            from_original_initiator=self.original_initiator,
            payloads=payloads,
        )

    def request(
        self,
        task: Task,
        exchange: ExchangeType,
        payloads: tuple[Payload, ...],
        now: float,
        offer: Offer | None = None,
    ) -> None:
        """Send a protected request; it becomes the outstanding one."""
        message_id = self.window.next_request
        whole = self.message(exchange, message_id, payloads, False)
        datagrams = self._seal(whole)
        timers = self.config.timers
        schedule = timers.retransmit_after
        if task.work is Work.LIVENESS:
            schedule = timers.liveness_retransmit_after
        self.window.open(Request(message_id, exchange, datagrams, task, schedule, now, offer))
        self.trace(whole, self.path, is_sent=True)
        self.send(datagrams, self.path, now)
        self.context.count(f"out.request.{exchange.name.lower()}")

    def respond(
        self, request: Message, payloads: tuple[Payload, ...], path: Path, now: float, digest: bytes
    ) -> None:
        """Answer a request, where it came from, and keep the answer for its retransmissions."""
        assert self.keys is not None
        answer = self.message(request.exchange, request.message_id, payloads, True)
        datagrams = self._seal(answer)
        self.asked_with = self.keys.open  # of that moment: IKE_INTERMEDIATE changes the keys
        self.window.answer(digest, datagrams)
        self.answered_on = path
        self.trace(answer, path, is_sent=True)
        self.send(datagrams, path, now)
        self.context.count(f"out.response.{ExchangeType(request.exchange).name.lower()}")

    def send(self, datagrams: tuple[bytes, ...], path: Path, now: float) -> None:
        """Send datagrams as they are."""
        for datagram in datagrams:
            self.context.emit(Send(datagram, path))
        if path == self.path:  # what goes elsewhere keeps no NAT mapping open
            self.sent_at = now

    def _seal(self, whole: Message) -> tuple[bytes, ...]:
        assert self.keys is not None
        cipher = self.keys.seal
        if not self.fragmentation:
            return (message.seal(whole, cipher, self._next_iv(cipher.iv_len)),)
        return fragments.split(whole, cipher, self._next_iv, self._fragment_limit())

    def _fragment_limit(self) -> int:
        marker = MARKER_LEN if NAT_T_PORT in (self.path.local_port, self.path.remote_port) else 0
        overhead = IP_LEN[self.path.remote.version] + UDP_LEN + marker
        return self.config.fragment_size - overhead

    def _next_iv(self, length: int) -> bytes:
        """
        Return an IV: unpredictable for CBC, never repeated under one key for an AEAD.

        The AEAD's is a random prefix of this process and a count. A restored IKE SA goes on with
        the count, so that no IV comes twice; even of a record that is out of date, which only
        somebody who has the data plane process could hand us, the prefix makes another.
        """
        if length != 8:
            return self.context.random.bytes(length)
        if not self._iv_prefix:
            self._iv_prefix = self.context.random.bytes(4)
        self.iv_count += 1
        return self._iv_prefix + self.iv_count.to_bytes(4, "big")

    # ---- life ----

    def move(self, on: On) -> None:
        """Take a step of the state table."""
        self.state = step(self.state, on)

    def establish(self, on: On, tunnel: Tunnel, now: float, replaces: bytes | None = None) -> None:
        """
        Make this IKE SA established. The only way there: AUTH was verified, or an established one
        made it.

        `on` says which; the table refuses everything else.
        """
        self.move(on)
        self.tunnel = tunnel
        if tunnel.attempt is self:
            tunnel.attempt = None
        self.established_at = now
        if self.birth is None:
            self.birth = Birth(self.created_at, now, self.original_initiator, self.lowest_nonce)
        self.heard_at = now
        self.expire_at = math.inf
        span = Lifespan.draw(
            tunnel.config.ike_lifetime, self.context.random, self.original_initiator
        )
        self.rekey_at = now + span.soft_s
        self.hard_at = now + span.hard_s
        tunnel.sas.append(self)
        if self.close_wanted is None:
            tunnel.hold_on()
        if not self.is_parked:
            self.announce(replaces)

    def announce(self, replaces: bytes | None) -> None:
        """Say that this IKE SA is the one in use."""
        tunnel = self.tunnel
        assert tunnel is not None
        self.context.count("ike_sa_up")
        self.context.emit(
            IkeSaUp(
                tunnel.config.name,
                self.spi_i,
                self.spi_r,
                str(self.suite),
                self.path,
                identity_text(self.peer_id),
                self.original_initiator,
                replaces,
            )
        )

    def end(self, reason: Reason, now: float) -> None:
        """Be gone: no Child SA, no timer, no SPI. Ending twice does nothing."""
        if self.state is State.CLOSED:
            return
        self.move(On.ENDED)
        self._release_spis()
        for child in tuple(self.children.values()):
            self.take_down(child, reason, now)
        self.context.sas.pop(self.own_spi, None)
        self.context.touched.add(self)
        self.context.ended.append(self)
        tunnel = self.tunnel
        if tunnel is not None and self in tunnel.sas:
            tunnel.sas.remove(self)
        if self.established_at != math.inf:
            self.down(reason, now)

    def fail(self, reason: Reason, now: float) -> None:
        """End an IKE SA that never got established; our own attempt is reported and tried again."""
        tunnel = self.candidates[0]
        is_ours = tunnel.attempt is self
        if is_ours:
            tunnel.attempt = None
        self.end(reason, now)
        if is_ours and self.close_wanted is None:
            tunnel.failed(self.context, reason, now)

    def down(self, reason: Reason, now: float) -> None:
        """
        Say once that this IKE SA no longer serves its tunnel; one that never did says nothing.
        """
        if self.close_reason is not None or self.is_parked:
            return
        assert self.tunnel is not None
        self.close_reason = reason
        self.context.count("ike_sa_down")
        self.context.emit(IkeSaDown(self.config.name, self.spi_i, reason))
        self.tunnel.lost(reason, now - self.established_at, now)

    def _release_spis(self) -> None:
        """Give back the inbound SPIs that belong to no Child SA: offered, or to be deleted."""
        request = self.window.outstanding
        if request is not None and request.offer is not None and len(request.offer.spi) == 4:
            self.context.spis.release(request.offer.spi_in)
        if request is not None:
            self.tasks.add(request.task)
        for pending in self.pending.values():
            self.context.spis.release(pending.spi_in)
        self.pending.clear()
        self.drop_tasks()

    def drop_tasks(self) -> None:
        """Give up everything that waits to be done."""
        for task in self.tasks.clear():
            if task.work is Work.DELETE_CHILD and task.spi not in self.children:
                self.context.spis.release(task.spi)

    def take_down(self, child: ChildSa, reason: Reason, now: float) -> None:
        """Remove a Child SA: first what takes its place for sending, then it."""
        assert self.tunnel is not None
        self.children.pop(child.spi_in, None)
        for other in self.children.values():
            if other.replaced_by == child.spi_in and other.stage is Stage.REPLACED:
                # What was to replace it is gone, so nobody will delete it: it is in force again.
                other.stage, other.replaced_by = Stage.INSTALLED, None
                other.rekey_at = now + self.context.jitter(*REVIVED_S)
        self.context.spis.release(child.spi_in)
        self.tunnel.child_down(self.context, child, reason)

    def linger(self, child: ChildSa, reason: Reason, now: float, seconds: float) -> None:
        """Take a Child SA as deleted, but open late packets for a while."""
        child.stage = Stage.LINGERING
        child.down_at = now + seconds
        child.down_reason = reason

    def child_by_spi_out(self, spi_out: int) -> ChildSa | None:
        """Return the Child SA that the peer knows by this SPI: its inbound one."""
        for child in self.children.values():
            if child.spi_out == spi_out and child.stage is not Stage.LINGERING:
                return child
        return None

    # ---- words ----

    def note(self, text: str) -> None:
        """Report something worth a log line."""
        self.context.emit(Note(self.name, text))

    def trace(self, whole: Message, path: Path, *, is_sent: bool) -> None:
        """Show a message to whoever traces this tunnel, or one that it may still be for."""
        names = self._names()
        self.context.trace(names, whole, path, is_sent=is_sent)
        self.context.record(names, whole, path, is_sent=is_sent)

    def trace_again(self, request: Request) -> None:
        """Show that a request is sent once more."""
        exchange = f"{ExchangeType(request.exchange).name} {request.message_id} request"
        line = f"again, try {request.tries} of {len(request.schedule)}"
        names = self._names()
        is_recorded = self.context.is_recorded and len(names) == 1
        for name in names if is_recorded else self.context.traced.intersection(names):
            self.context.emit(Spoken(name, self.path, True, exchange, line, ()))

    def _names(self) -> tuple[str, ...]:
        """Return the names of the tunnels that this is for, or may be for."""
        tunnels = (self.tunnel,) if self.tunnel is not None else self.candidates
        return tuple(one.config.name for one in tunnels)

    def drop(self, reason: DropReason, path: Path) -> None:
        """Count a datagram of this IKE SA that goes no further."""
        self.context.drop(reason, path, self.name)


def identity_text(identity: IdInitiator | IdResponder | None) -> str:
    """Return a peer's identity for logs, escaped: it may hold any bytes."""
    if identity is None:
        return ""
    return describe_identity(identity.id_type, identity.value)
