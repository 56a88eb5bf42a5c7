"""
The control plane as the source of a gateway's document.

The document in force is the one that was last applied, and is kept on disk: with it the gateway
starts and goes on for as long as the control plane is away. A new one is judged like a file,
applied by the way of every reload, kept, and only then reported as applied. Whatever is wrong with
an answer changes nothing, is said in status and report, and the next question comes later.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import gateway
from gateway.collecting import without_collecting
from gateway.errors import ConfigError, GatewayError
from gateway.fleet.messages import (
    WAIT_S,
    Heard,
    MessageError,
    Position,
    Report,
    Turn,
    Wanted,
    Why,
    parse_token,
)
from gateway.node.fleet import identity as identities
from gateway.node.fleet.actions import Actions
from gateway.node.fleet.cache import Cache, CacheError
from gateway.node.fleet.http import LinkError
from gateway.node.fleet.identity import Identity, IdentityError
from gateway.node.fleet.judge import Good, NotTaken, judge, judge_position
from gateway.node.fleet.link import Link, Refused, parse_url, register
from gateway.node.fleet.questions import Questions
from gateway.node.fleet.report import Reporter
from gateway.node.journal import Journal
from gateway.node.life import report_bug
from gateway.node.notify import Notifier
from gateway.node.source import Node, Planned

PAUSE_S, PAUSE_MOST_S, PAUSE_GROWS = 0.5, 15.0, 1.8
RENEW_AGAIN_S = 3600.0
APPLY_AGAIN_S = 10.0
CLOCK_OFF_S = 30.0  # certificates and logs are of little use if clocks differ more


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the command line says of the control plane."""

    url: str
    folder: Path
    token_file: Path | None = None
    fingerprint: str = ""  # of its CA, `sha256:` and hexadecimal digits; else the token's


class Pause:
    """Pauses that grow, each with jitter so that many nodes do not come at once."""

    def __init__(self) -> None:
        self._next_s = PAUSE_S

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._next_s = PAUSE_S

    async def rest(self) -> None:
        """Wait; longer each time."""
        share = 0.5 + secrets.randbits(16) / (1 << 16)
        await asyncio.sleep(self._next_s * share)
        self._next_s = min(self._next_s * PAUSE_GROWS, PAUSE_MOST_S)


class ControlSource:
    """Raises ConfigError for an enrolment that can not be."""

    def __init__(self, enrolment: Enrolment) -> None:
        self._enrolment = enrolment
        self._place = parse_url(enrolment.url)
        self._fingerprint = identities.parse_fingerprint(enrolment.fingerprint)
        self._cache = Cache(enrolment.folder)
        self._journal: Journal | None = None
        self._identity: Identity | None = None
        self._link: Link | None = None
        self._held: Good | None = None
        self._seen = Position()  # the last position that was offered and judged
        self._pending: Good | None = None  # good, but could not be applied yet
        self._problem: Why | None = None
        self._unkept = ""  # why the document in force is not on disk
        self._trouble = "not asked yet"  # why the control plane is not reached, "" if it is
        self._trouble_at = time.time()
        self._renew_after = 0.0
        self._reporter: Reporter | None = None
        self._clock_said = False

    def __str__(self) -> str:
        return str(self._place)

    # ---- the source ----

    async def begin(self, journal: Journal, notifier: Notifier) -> Planned:
        """Return the document on disk; without one wait for the control plane's first."""
        self._journal = journal
        self._open_folder()
        self._read_cache()
        if self._held is None:
            notifier.ready("waiting for the first document of the control plane")
            quiet = asyncio.create_task(notifier.keep_watchdog_quiet())
            try:
                await self._wait_for_first()
            except BaseException:
                self.close()
                raise
            finally:
                quiet.cancel()
        return self.load()

    def load(self) -> Planned:
        assert self._held is not None
        return Planned(self._held.plan)

    async def follow(self, node: Node) -> None:
        """Watch for documents and actions, and report, as long as the gateway runs."""
        self._reporter = Reporter(node, self._send, self._where)
        actions = Actions(node, self._reporter.tell, lambda: self._problem)
        questions = Questions(node, self._reporter.reply)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reporter.listen())
                group.create_task(self._guarded(self._reporter.run))
                group.create_task(self._guarded(lambda: self._watch(node, actions, questions)))
                group.create_task(actions.run())
                group.create_task(questions.run())
        finally:
            self.close()

    def about(self) -> dict[str, object]:
        at = self._held.wanted.at if self._held else Position()
        notes = []
        if self._trouble:
            since = datetime.fromtimestamp(self._trouble_at).astimezone().isoformat(" ", "seconds")
            notes.append(
                f"the control plane at {self._place} is not reached since {since}:"
                f" {self._trouble}; the gateway goes on with generation {at.generation}"
            )
        if self._unkept:
            notes.append(f"a reboot would not find generation {at.generation}: {self._unkept}")
        if self._problem is not None:
            notes.append(f"a document is not taken: {self._problem.code}: {self._problem.text}")
        return {
            "source": str(self._place),
            "state_dir": str(self._enrolment.folder.absolute()),
            "node": self._identity.node if self._identity else "",
            "epoch": at.epoch,
            "generation": at.generation,
            "reached": not self._trouble,
            "notes": notes,
        }

    # ---- what is on disk ----

    def _open_folder(self) -> None:
        folder = self._enrolment.folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError([f"--state-dir: {folder}: {error.strerror}"]) from None
        try:
            self._identity = identities.load(folder)
        except IdentityError as error:
            self._log.error("identity", text=str(error))
        if self._identity is None and self._enrolment.token_file is None:
            text = f"{folder} has no identity of this node: --register-token-file is needed"
            raise ConfigError([text])

    def _read_cache(self) -> None:
        try:
            wanted = self._cache.load()
            if wanted is None:
                return
            if self._identity is not None and wanted.node != self._identity.node:
                raise CacheError(f"it is for {wanted.node}, this node is {self._identity.node}")
            self._held = judge(wanted)
            self._seen = wanted.at
        except (CacheError, NotTaken) as error:
            self._log.error("document on disk", text=str(error))

    async def _keep(self, wanted: Wanted) -> None:
        """Keep a document on disk. If that can not be, status says so, and it is tried again."""
        why = ""
        try:
            await asyncio.to_thread(self._cache.save, wanted)
        except CacheError as error:
            why = str(error)
            if why != self._unkept:
                self._log.error("document on disk", text=why)
        self._unkept = why

    # ---- reaching the control plane ----

    @property
    def _log(self) -> Journal:
        assert self._journal is not None
        return self._journal

    async def _linked(self) -> Link:
        """Return the link, as the node that we are. Raises LinkError, IdentityError."""
        if self._link is None:
            if self._identity is None:
                await self._register()
            assert self._identity is not None
            self._link = Link(self._place, self._identity, self._enrolment.folder)
        return self._link

    async def _register(self) -> None:
        secret, fingerprint = self._token()
        made = await register(self._place, secret, fingerprint, gateway.__version__)
        self._take_identity(made)
        self._log.info("registered", node=made.node, control=str(self._place))

    def _token(self) -> tuple[str, str]:
        file = self._enrolment.token_file
        if file is None:
            raise IdentityError("there is no identity, and no --register-token-file")
        try:
            secret, fingerprint = parse_token(file.read_text())
        except (OSError, ValueError, MessageError) as error:
            raise IdentityError(f"{file}: {error}") from None
        return secret, self._fingerprint or fingerprint

    def _take_identity(self, identity: Identity) -> None:
        try:
            identities.save(self._enrolment.folder, identity)
        except OSError as error:
            raise IdentityError(f"{self._enrolment.folder}: {error.strerror}") from None
        self._identity = identity
        self.close()

    def close(self) -> None:
        """Let the connections go; the next question makes others."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    async def _renew_if_due(self, link: Link) -> None:
        now = time.time()
        if now < max(link.identity.renew_at, self._renew_after):
            return
        self._renew_after = now + RENEW_AGAIN_S
        try:
            renewed = await link.renew()
            self._take_identity(renewed)
        except (LinkError, IdentityError) as error:
            self._log.error("certificate not renewed", text=str(error))
        else:
            self._log.info("certificate renewed", until=renewed.not_after.isoformat())

    def _reached(self) -> None:
        if self._trouble:
            self._log.info("control reached", control=str(self._place))
            if self._reporter is not None:
                self._reporter.reached()
        self._trouble = ""

    def _not_reached(self, why: str) -> None:
        if not self._trouble or self._trouble == "not asked yet":
            self._trouble_at = time.time()
        if why != self._trouble:
            self._log.warning("control lost", control=str(self._place), text=why)
        self._trouble = why

    # ---- the document ----

    async def _wait_for_first(self) -> None:
        pause = Pause()
        while self._held is None:
            turn = await self._asked(wait_s=0.0, pause=pause)
            if turn is not None and turn.wanted is not None:
                self._held = await self._judged(turn.wanted)
            if self._held is not None:
                await self._keep(self._held.wanted)
            elif turn is not None:
                await pause.rest()

    async def _watch(self, node: Node, actions: Actions, questions: Questions) -> None:
        pause, objection = Pause(), Pause()
        while True:
            turn = await self._asked(self._patience_s(), pause)
            held = self._pending
            if turn is not None and turn.wanted is not None:
                held = await self._judged(turn.wanted)
                if held is None:
                    await objection.rest()
            if held is not None:
                await self._apply(held, node)
                objection.reset()
            elif self._unkept and self._held is not None:
                await self._keep(self._held.wanted)
            if turn is not None:
                pause.reset()
                actions.take(turn.actions)
                questions.take(turn.questions)

    def _patience_s(self) -> float:
        """Return how long to wait for news: not at all where it is not known who is there."""
        if self._trouble:
            return 0.0
        return APPLY_AGAIN_S if self._pending or self._unkept else WAIT_S

    async def _asked(self, wait_s: float, pause: Pause) -> Turn | None:
        """Return what is new; None, after a pause, if nobody answers as he should."""
        try:
            link = await self._linked()
            await self._renew_if_due(link)
            turn = await (await self._linked()).turn(self._seen, wait_s)
        except (LinkError, IdentityError) as error:
            over = self._certificate_over()
            self._not_reached(f"{error}{over}")
            if over or (isinstance(error, Refused) and error.status in (401, 403)):
                await self._register_again()
            await pause.rest()
            return None
        self._reached()
        return turn

    def _certificate_over(self) -> str:
        """Return what there is to say of a certificate that has ended: TLS may only hang up."""
        if self._identity is None or time.time() < self._identity.not_after.timestamp():
            return ""
        until = self._identity.not_after.isoformat(" ", "seconds")
        return (
            f"; this node's certificate has ended at {until} (is this machine's clock right?):"
            " twinspan node token makes it known again"
        )

    async def _register_again(self) -> None:
        """With a credential that is not accepted any more, a new token makes us known again."""
        if self._enrolment.token_file is not None:
            with contextlib.suppress(LinkError, IdentityError):
                await self._register()

    async def _judged(self, wanted: Wanted) -> Good | None:
        """Return a document that may be applied; None if not, which is reported."""
        assert self._identity is not None
        try:
            judge_position(wanted, self._identity.node, self._seen)
            self._seen = wanted.at
            with without_collecting():  # what is made here lives long, or as long as this takes
                return await asyncio.to_thread(judge, wanted, self._held)
        except NotTaken as error:
            if error.why != self._problem:
                self._log.error("reload refused", reason=error.why.code, text=error.why.text)
            self._problem = error.why
            self._wake()
            return None

    async def _apply(self, held: Good, node: Node) -> None:
        """Make a document the one in force. The one before stays if that can not be."""
        before, self._held = self._held, held
        try:
            done = await node.life.reload()
        except GatewayError as error:
            self._held, self._pending = before, held
            self._problem = Why(code="not_applied", text=str(error)[:2000])
            self._wake()
            return
        self._pending = self._problem = None
        added = done["added"]
        assert isinstance(added, list)
        self._wake(added)
        await self._keep(held.wanted)

    async def _guarded(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run for ever: a bug of ours must not take the tunnels along."""
        while True:
            try:
                await run()
            except Exception as error:
                report_bug(self._log, "control plane", error)
                await asyncio.sleep(PAUSE_MOST_S)

    # ---- reports ----

    def _where(self) -> tuple[Position, Why | None]:
        return (self._held.wanted.at if self._held else Position()), self._problem

    def _wake(self, tunnels: Iterable[str] = ()) -> None:
        if self._reporter is not None:
            self._reporter.wake(tunnels)

    async def _send(self, report: Report) -> Heard:
        if self._link is None:
            raise LinkError("there is no link yet")
        heard = await self._link.report(report)
        off_s = self._link.clock_off_s
        if abs(off_s) > CLOCK_OFF_S and not self._clock_said:
            text = f"the control plane's clock is {abs(off_s):.0f} s {_direction(off_s)} ours"
            self._log.warning("control clock", text=text)
        self._clock_said = abs(off_s) > CLOCK_OFF_S
        return heard


def _direction(off_s: float) -> str:
    return "ahead of" if off_s > 0 else "behind"
