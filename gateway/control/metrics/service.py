"""
What Prometheus is told of the control process, put together.

Each part counts what it does itself; here it is read, when somebody asks. Until the store has been
read there is only what the process itself is, so a store that is away is seen as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import gateway
from gateway.control.api.failures import Report
from gateway.control.api.requests import Requests
from gateway.control.metrics.fleet import FleetCounts
from gateway.control.metrics.lag import LoopLag
from gateway.control.mirror import Mirror
from gateway.control.store.interface import Store, StoreError
from gateway.prometheus.scrape import Scrape
from gateway.prometheus.text import Histogram, Sample, counts, family, histograms, text_of

PAGE_BYTES = resource.getpagesize()
ASK_S = 5.0  # between two looks how far the store is
REFUSED = ("password", "provider", "credential", "rate")
RESULTS = ("delivered", "failed", "given_up")


@dataclass(frozen=True, slots=True)
class Counted:
    """What the parts of the process have counted."""

    requests: Requests
    refused: Mapping[tuple[str, ...], int]  # logins and credentials
    deliveries: Mapping[tuple[str, ...], int]
    composed: Histogram


class Metrics:
    """Answers Prometheus while `answering` lasts. `report` logs a mistake of ours."""

    def __init__(
        self, store: Store, mirror: Mirror, fleet: FleetCounts, counted: Counted, report: Report
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._fleet = fleet
        self._counted = counted
        self._report = report
        self._lag = LoopLag()
        self._began_at = time.time()
        self._revision, self._asked_at = 0, time.monotonic()  # of the store, when it was that
        self._is_reachable = False

    @contextlib.asynccontextmanager
    async def answering(self, place: tuple[str, int] | None) -> AsyncIterator[None]:
        """Answer at a place, if there is one. Raises ScrapeError."""
        if place is None:
            yield
            return
        scrape = Scrape(place, self.text)
        await scrape.open()
        jobs = (self._late, self._fleet.run, self._ask)
        tasks = [asyncio.create_task(self._go_on(job)) for job in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await scrape.close()

    async def _go_on(self, job: Callable[[], Awaitable[None]]) -> None:
        """Do a job for ever: a mistake in it must not take the API along."""
        while True:
            try:
                await job()
            except Exception as error:
                self._report("metrics", error)
            await asyncio.sleep(ASK_S)

    async def _late(self) -> None:
        """Measure how late the loop is once requests are answered at all."""
        await self._mirror.ready.wait()
        await self._lag.run()

    async def _ask(self) -> None:
        """Ask the store for its revision; the last one counts until the mirror has reached it."""
        while True:
            at = time.monotonic()
            try:
                revision = await self._store.revision()
                self._is_reachable = True
            except StoreError:
                self._is_reachable = False
            else:
                if self._mirror.revision >= self._revision:
                    self._revision, self._asked_at = revision, at
            await asyncio.sleep(ASK_S)

    def text(self) -> str:
        """Return all series."""
        return text_of(
            [
                *self._process(),
                *self._counted.requests.families(),
                *self._stored(),
                *self._fleet.families(),
                *self._work(),
                *self._lag.families(),
            ]
        )

    def _process(self) -> Iterator[list[str]]:
        text = "this control process and its version"
        info = [((gateway.__version__,), 1)]
        yield counts("twinspan_control_info", "gauge", text, ("version",), info)
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
        name = "process_cpu_seconds_total"
        yield family(name, "counter", "processor time that it has used", _one(time.process_time()))
        name = "process_resident_memory_bytes"
        yield family(name, "gauge", "memory that it has", _one(resident))
        name = "process_start_time_seconds"
        yield family(name, "gauge", "when it began, since 1970", _one(self._began_at))

    def _stored(self) -> Iterator[list[str]]:
        text = "seconds that commits took, by result: done, refused (another was faster), failed"
        yield self._store.commits.lines("twinspan_control_store_commit_seconds", text)
        name, text = "twinspan_control_store_reachable", "1 if the store answers"
        yield family(name, "gauge", text, _one(self._is_reachable))
        name, text = "twinspan_control_mirror_revision", "revision of the store that is known"
        yield family(name, "gauge", text, _one(self._mirror.revision))
        is_behind = self._mirror.revision < self._revision
        lag_s = time.monotonic() - self._asked_at if is_behind else 0.0
        text = "for how long the process has not known what the store has"
        yield family("twinspan_control_mirror_lag_seconds", "gauge", text, _one(lag_s))

    def _work(self) -> Iterator[list[str]]:
        text = "wrong passwords and credentials, failed logins by a provider, and too many of these"
        name, found = "twinspan_control_logins_refused_total", self._counted.refused
        yield counts(name, "counter", text, ("what",), _with(found, REFUSED))
        text = "messages of alarms: delivered, failed (a try), given up"
        name, found = "twinspan_control_deliveries_total", self._counted.deliveries
        yield counts(name, "counter", text, ("result",), _with(found, RESULTS))
        text = "seconds that it took to compose a node's document"
        composed = self._counted.composed
        yield histograms("twinspan_control_compose_seconds", text, [({}, composed)])


def _one(value: float) -> list[Sample]:
    """Return the one sample of a metric without labels."""
    return [("", value)]


def _with(
    found: Mapping[tuple[str, ...], int], words: Iterable[str]
) -> Iterable[tuple[tuple[str, ...], int]]:
    """Return counts that have each of some words: a series that is missing tells nothing."""
    return ({(word,): 0 for word in words} | dict(found)).items()
