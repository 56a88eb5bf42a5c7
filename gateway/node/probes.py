"""
Probes: is there somebody at the other end of each tunnel who answers through it.

Each probed tunnel gets an echo request every interval. `routing.health` judges what was sent and
answered; a tunnel that is unhealthy is withdrawn (`Cause.PROBE`), so its static routes leave and
traffic goes to its twin. The tunnel itself stays as it is: probes judge the path, not its keys.

A turn reads every answer that waits, then sends what is due in the next ten milliseconds. Answers
carry the kernel's time, so waiting for the turn lengthens no round trip. Who comes late to a turn,
because this process stood still, sends nothing for it and judges nothing: silence meanwhile is no
proof of a dead path.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.ike.events import Reason
from gateway.netns.wire import NamespaceError
from gateway.node.echo import NONCE_BYTES, Answer, EchoPool, EchoRequest, EchoSockets
from gateway.node.journal import Journal, Level
from gateway.node.namespaces import Namespaces
from gateway.node.plan import ProbePlan, TunnelPlan
from gateway.node.steering import Cause, Steering
from gateway.node.tunnel import Tunnel, Tunnels
from gateway.node.turns import Turns
from gateway.routing.health import Health, PathHealth
from gateway.routing.plan import Standing

Json = dict[str, object]

SLOT_S = 0.01  # what is due within it is sent together
ANSWERS_A_TURN = 2000  # of each IP version: bounds how long the loop is held
UNANSWERED_INTERVAL_S = 5.0  # at least, toward who has never answered


@dataclass(slots=True, eq=False)
class Probed:
    """One tunnel under watch."""

    tunnel: Tunnel
    plan: ProbePlan
    aim: object
    request: EchoRequest
    path: PathHealth
    waiting: dict[bytes, tuple[int, float]] = field(default_factory=dict)  # number, when sent
    sockets: EchoSockets | None = None  # None: they or the device are not there
    arrival: bytes = b""  # how its answers come in
    is_over: bool = False

    @property
    def name(self) -> str:
        return self.tunnel.name

    @property
    def interval_s(self) -> float:
        """Return the time to the next probe; longer where nobody has ever answered."""
        interval = self.plan.interval_ms / 1000
        is_vain = self.path.health is Health.UNANSWERED and self.path.tries > self.plan.missing
        return max(interval, UNANSWERED_INTERVAL_S) if is_vain else interval


class Prober:
    """Sends the probes of all tunnels, and says of each whether its path is alive."""

    def __init__(
        self,
        tunnels: Tunnels,
        namespaces: Namespaces,
        steering: Steering,
        journal: Journal,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._tunnels = tunnels
        self._steering = steering
        self._journal = journal
        self._clock = clock
        self._wall = wall
        self._pool = EchoPool(namespaces.open_socket)
        self._probed: dict[str, Probed] = {}
        self._by_arrival: dict[tuple[EchoSockets, bytes], Probed] = {}
        self._turns: Turns[Probed] = Turns(clock, SLOT_S, self._turn)
        self._before: dict[str, Health] = {}  # what an earlier gateway process has found

    def close(self) -> None:
        """Send no more."""
        self._turns.close()
        self._pool.close()

    # ---- from one gateway process to the next ----

    def found(self, health: Health) -> frozenset[str]:
        """Return the tunnels of whose path that is known."""
        return frozenset(name for name, one in self._probed.items() if one.path.health is health)

    def resume(self, healthy: frozenset[str], unhealthy: frozenset[str]) -> None:
        """Begin where an earlier process ended: a dead path must not get its routes back."""
        self._before = dict.fromkeys(healthy, Health.HEALTHY)
        self._before |= dict.fromkeys(unhealthy, Health.UNHEALTHY)
        for name in unhealthy:
            self._steering.say(name, Cause.PROBE, Standing.WITHDRAWN)

    # ---- who is probed ----

    def follow(self) -> None:
        """
        Probe the tunnels that are there now and are to be probed.

        Called once a second, which also reads the answers where probes are far between.
        """
        wanted = {tunnel.name: tunnel for tunnel in self._tunnels if _aim(tunnel.plan) is not None}
        for probed in list(self._probed.values()):
            tunnel = wanted.get(probed.name)
            if tunnel is None or _aim(tunnel.plan) != probed.aim:
                self._end(probed)
        for name, tunnel in wanted.items():
            found = self._probed.get(name) or self._begin(tunnel)
            if found.tunnel is not tunnel or found.sockets is None:
                found.tunnel = tunnel
                self._locate(found)
        for name in self._before:  # not probed any more
            self._steering.say(name, Cause.PROBE, Standing.NORMAL)
        self._before.clear()
        self._pool.keep({probed.sockets for probed in self._probed.values() if probed.sockets})
        self._turn()

    def _begin(self, tunnel: Tunnel) -> Probed:
        plan, inner = tunnel.plan.probe, tunnel.plan.inner_local
        assert plan is not None  # as `_aim` says
        assert inner is not None
        request = EchoRequest(inner.ip, plan.address)
        health = self._before.pop(tunnel.name, Health.UNANSWERED)
        path = PathHealth(plan.missing, health, since=self._clock())
        probed = Probed(tunnel, plan, _aim(tunnel.plan), request, path)
        self._probed[tunnel.name] = probed
        self._turns.add(probed)
        return probed

    def _locate(self, probed: Probed) -> None:
        """Find out by what the tunnel's answers are known: its device may be a new one."""
        self._lose(probed)
        plan = probed.tunnel.plan
        assert plan.inner_local is not None  # as `_aim` says
        try:
            sockets = self._pool.of(plan.namespace)
            sockets.listen(probed.request.version)
            probed.arrival = sockets.arrival(plan.interface, plan.inner_local.ip)
        except (NamespaceError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            text = f"can not be probed: {why}"
            self._journal.from_peer(Level.ERROR, "probe", tunnel=probed.name, text=text)
            return
        probed.sockets = sockets
        self._by_arrival[sockets, probed.arrival] = probed

    def _lose(self, probed: Probed) -> None:
        if probed.sockets is not None:
            self._by_arrival.pop((probed.sockets, probed.arrival), None)
            probed.sockets = None

    def _end(self, probed: Probed) -> None:
        probed.is_over = True
        del self._probed[probed.name]
        self._lose(probed)
        self._steering.say(probed.name, Cause.PROBE, Standing.NORMAL)

    # ---- a turn ----

    def _turn(self) -> None:
        try:
            with self._steering.together():
                is_read = self._read_answers()
                now = self._clock()
                for probed in self._turns.take(now):
                    if is_read:
                        self._probe(probed, now)
        finally:
            self._turns.arm()

    def _probe(self, probed: Probed, now: float) -> None:
        """Send one request through a tunnel, and judge those before it."""
        sockets = probed.sockets
        if not probed.tunnel.is_up or sockets is None:
            if probed.path.tries:
                probed.path.pause()
                probed.waiting.clear()
            return
        silent_s = probed.path.silent_s(now)
        nonce, path = secrets.token_bytes(NONCE_BYTES), probed.path
        sent_at = self._wall()
        try:
            sockets.send(probed.tunnel.plan.interface, probed.request, path.tries, nonce)
        except OSError:
            return  # the device is full or gone: that says nothing of the path
        before = path.health
        probed.waiting[nonce] = (path.sent(now), sent_at)
        # An answer later than that excuses nothing.
        if len(probed.waiting) > 2 * probed.plan.missing:
            del probed.waiting[next(iter(probed.waiting))]
        if path.health is not before:
            self._lost(probed, silent_s)
        elif path.health is Health.UNANSWERED and path.tries == probed.plan.missing + 1:
            self._say_unanswered(probed)

    def _read_answers(self) -> bool:
        """Take the answers that wait; return whether that were all."""
        is_all = True
        for sockets in self._pool:
            answers, are_all = sockets.read(ANSWERS_A_TURN)
            is_all = is_all and are_all
            for answer in answers:
                self._take(sockets, answer)
        return is_all

    def _take(self, sockets: EchoSockets, answer: Answer) -> None:
        """Take an answer, if it came by the tunnel that the request went through, for once."""
        probed = self._by_arrival.get((sockets, answer.arrival))
        if probed is None or answer.source != probed.request.target:
            return
        asked = probed.waiting.pop(answer.nonce, None)
        if asked is None:
            return
        number, sent_at = asked
        before, now = probed.path.health, self._clock()
        probed.path.answered(number, max(0.0, answer.at - sent_at), now)
        if probed.path.health is not before:
            self._back(probed, before)

    # ---- what follows ----

    def _lost(self, probed: Probed, silent_s: float) -> None:
        self._journal.from_peer(
            Level.WARNING,
            "probe lost",
            tunnel=probed.name,
            address=str(probed.plan.address),
            silent_s=round(silent_s, 2),
        )
        self._steering.say(probed.name, Cause.PROBE, Standing.WITHDRAWN)

    def _back(self, probed: Probed, before: Health) -> None:
        self._journal.from_peer(
            Level.INFO,
            "probe answered" if before is Health.UNANSWERED else "probe back",
            tunnel=probed.name,
            address=str(probed.plan.address),
            rtt_ms=_milliseconds(probed.path.rtt_s) or 0.0,
        )
        self._steering.say(probed.name, Cause.PROBE, Standing.NORMAL)

    def _say_unanswered(self, probed: Probed) -> None:
        self._journal.from_peer(
            Level.WARNING,
            "probe unanswered",
            tunnel=probed.name,
            address=str(probed.plan.address),
            text="the tunnel counts as not probed until the first answer comes",
        )

    # ---- what is reported ----

    def of_tunnel(self, name: str) -> Json | None:
        """Return what is known of a tunnel's path; None if it is not probed."""
        probed = self._probed.get(name)
        if probed is None:
            return None
        path, now = probed.path, self._clock()
        return {
            "state": path.health.value if probed.tunnel.is_up else "waiting",
            "since_s": round(now - path.since, 1),
            "address": str(probed.plan.address),
            "interval_ms": probed.plan.interval_ms,
            "missing": probed.plan.missing,
            "rtt_ms": _milliseconds(path.rtt_s),
            "rtt_mean_ms": _milliseconds(path.rtt_mean_s),
            "loss_percent": None if path.loss is None else round(path.loss * 100, 1),
        }

    def reason(self, name: str) -> Reason | None:
        """Return why a tunnel that is up carries nothing, if it is for its probes."""
        probed = self._probed.get(name)
        if probed is None or probed.path.health is not Health.UNHEALTHY:
            return None
        silent = probed.path.silent_s(self._clock())
        text = f"{probed.plan.address} has not answered through the tunnel for {silent:.1f} s"
        return Reason("probe_failed", text, hint="the path, or a filter for ICMP echo at the peer")


def _aim(plan: TunnelPlan) -> object:
    """Return all that decides what is asked of whom; None if nothing is."""
    if plan.probe is None or plan.inner_local is None:
        return None
    return (plan.probe, plan.inner_local.ip, plan.interface, plan.namespace)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
