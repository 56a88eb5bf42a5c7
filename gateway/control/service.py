"""
The control process: opens the store, keeps it in memory, and serves the API until it is told to
end.

Each long task is made here, in one task group. A task that fails ends the process: systemd starts
it again, and nothing is lost, for what was answered is in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
import time
import traceback
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from fastapi import APIRouter
from starlette.types import ASGIApp

from gateway.collecting import short_collections
from gateway.control.alarms.service import Alarming
from gateway.control.api import server
from gateway.control.api.access import Accesses
from gateway.control.api.alarms import Alarms, alarm_router
from gateway.control.api.app import make_app
from gateway.control.api.applies import apply_router
from gateway.control.api.collection import Collection, collection_router
from gateway.control.api.customer import customer_router
from gateway.control.api.depends import authenticate_by
from gateway.control.api.events import event_router
from gateway.control.api.explain import explain_router
from gateway.control.api.idempotency import Answers
from gateway.control.api.inquiries import inquiry_router
from gateway.control.api.log import log_router
from gateway.control.api.login import login_router, oidc_router
from gateway.control.api.nodes import node_router, token_of_new_node
from gateway.control.api.people import me_router, people
from gateway.control.api.render import StatusOf
from gateway.control.api.requests import Requests
from gateway.control.api.resources import Api, Resources
from gateway.control.api.settings import SettingDesk, quota_router, settings_router
from gateway.control.api.status import Status
from gateway.control.api.verbs import verb_router
from gateway.control.applies import Applies
from gateway.control.auth.desk import Desk as AuthDesk
from gateway.control.auth.service import Auth, make_auth
from gateway.control.console.assemble import keep_history, make_console
from gateway.control.console.history import History
from gateway.control.console.longer import Longer
from gateway.control.customer import CustomerConfigs
from gateway.control.events.events import Events
from gateway.control.events.nodes import NodeEvents
from gateway.control.events.settings import kept_days
from gateway.control.events.timeline import Timeline
from gateway.control.explain import Explanations
from gateway.control.listen import Listening, Place
from gateway.control.metrics.fleet import FleetCounts
from gateway.control.metrics.service import Counted, Metrics
from gateway.control.mirror import Mirror
from gateway.control.nodes.service import Nodes, open_nodes
from gateway.control.paths import Paths
from gateway.control.registry import Registry
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.settings import SETTINGS
from gateway.control.secrets import KeyRing, load_key_ring
from gateway.control.store.interface import Store, StoreError
from gateway.control.store.place import open_store
from gateway.control.waits import Waits
from gateway.errors import ConfigError, GatewayError
from gateway.node.journal import Journal, Level
from gateway.node.notify import Notifier
from gateway.unix import activated

SWEEP_S = 3600
EXIT_FAILED = 1
EXIT_REFUSED = 2  # options, key file or store are wrong: a restart does not mend it


Listener = tuple[server.Server, list[socket.socket]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the process was started with."""

    store: str
    key_file: Path
    listening: Listening
    verbose: bool = False
    metrics: tuple[str, int] | None = None  # where Prometheus asks, if it does
    prometheus: str | None = None  # the address of one that charts of days are asked of


@dataclass(frozen=True, slots=True)
class Parts:
    """What all that the process does works with."""

    store: Store
    ring: KeyRing
    journal: Journal
    mirror: Mirror
    registry: Registry
    answers: Answers
    accesses: Accesses
    applies: Applies
    events: Events
    auth: Auth
    status_of: StatusOf
    alarming: Alarming
    nodes: Nodes
    history: History
    longer: Longer | None
    nodes_at: Place | None
    requests: Requests
    metrics: Metrics


async def serve(settings: Settings) -> int:
    """Run the control process; return its exit status."""
    journal = Journal(
        sys.stderr,
        time.time,
        Level.DEBUG if settings.verbose else Level.INFO,
        priorities="JOURNAL_STREAM" in os.environ,
    )
    try:
        async with open_parts(settings, journal) as parts:
            tls = server.tls_context(*settings.listening.tls) if settings.listening.tls else None
            with open_servers(settings, parts, tls) as servers:
                async with parts.metrics.answering(settings.metrics), asyncio.TaskGroup() as group:
                    await _run(settings, parts, servers, tls, group)
    except ConfigError as error:
        for problem in error.problems:
            journal.error("refused", problem=problem)
        return EXIT_REFUSED
    except (GatewayError, OSError) as error:
        journal.error("control failed", text=str(error))
        return EXIT_FAILED
    except BaseExceptionGroup as group_error:
        journal.error("control failed", text="".join(traceback.format_exception(group_error)))
        return EXIT_FAILED
    return 0


@contextlib.asynccontextmanager
async def open_parts(settings: Settings, journal: Journal) -> AsyncIterator[Parts]:
    """Open what the process works with, and close it. Raises ConfigError, StoreError."""
    ring = load_key_ring(settings.key_file)
    store = await open_store(settings.store, create=False)
    try:
        mirror = Mirror(store)
        registry = Registry(store, mirror, ring)
        events = Events(store, journal, time.time)
        keep = NodeEvents(events, mirror).keep
        requests = Requests()
        nodes = await open_nodes(store, mirror, ring, keep, partial(report, journal), requests.see)
        status_of = Status(mirror, nodes.statuses.of).of
        tls = settings.listening.tls
        certificate = tls[0] if tls is not None else None
        auth = make_auth(AuthDesk(store, mirror, ring), journal=journal)
        alarming = Alarming(store, mirror, ring, events, journal, status_of, certificate)
        counted = Counted(
            requests,
            auth.authenticator.refused,
            alarming.deliveries.counts,
            nodes.documents.composed,
        )
        fleet = FleetCounts(mirror, nodes.statuses)
        yield Parts(
            store,
            ring,
            journal,
            mirror,
            registry,
            Answers(store, ring, time.time),
            Accesses(store, time.time),
            Applies(store, registry, report=partial(report, journal)),
            events,
            auth,
            status_of,
            alarming,
            nodes,
            History(),
            Longer(settings.prometheus) if settings.prometheus else None,
            settings.listening.nodes,
            requests,
            Metrics(store, mirror, fleet, counted, partial(report, journal)),
        )
    finally:
        await store.close()


@contextlib.contextmanager
def open_servers(
    settings: Settings, parts: Parts, tls: ssl.SSLContext | None
) -> Iterator[list[Listener]]:
    """Give what serves, with its sockets open. Raises ConfigError."""
    app, listening = build_app(parts), settings.listening
    with contextlib.ExitStack() as stack:
        tcp = [stack.enter_context(sock) for sock in _tcp(listening)]
        unix = stack.enter_context(_unix(listening))
        nodes = [stack.enter_context(sock) for sock in _nodes(listening)]
        servers = [
            (server.make_server(app, tls, listening.proxies), tcp),
            (server.make_server(app), [unix]),
            (parts.nodes.server, nodes),
        ]
        yield [(each, sockets) for each, sockets in servers if sockets]


async def _run(
    settings: Settings,
    parts: Parts,
    servers: Sequence[Listener],
    tls: ssl.SSLContext | None,
    group: asyncio.TaskGroup,
) -> None:
    """Serve until SIGTERM or SIGINT; then let the answers on their way go out, and end."""
    notifier = Notifier(os.environ)
    serving = [group.create_task(each.serve(sockets)) for each, sockets in servers]
    running = [group.create_task(task) for task in background(parts)]
    running.append(group.create_task(notifier.keep_watchdog_quiet()))
    with short_collections(), _signals(tls, settings.listening, parts.journal) as stop:
        for each, _ in servers:
            await each.is_up.wait()
        places = [_name(sock) for _, sockets in servers for sock in sockets]
        await parts.mirror.ready.wait()
        parts.journal.info("control ready", listen=" ".join(places))
        notifier.ready("ready")
        await stop.wait()
    notifier.stopping()
    for each, _ in servers:
        each.should_exit = True
    await asyncio.wait(serving)
    for task in running:
        task.cancel()


def background(parts: Parts) -> list[Coroutine[object, object, None]]:
    """Return what runs beside the API for as long as the process does."""
    applies = parts.applies
    return [
        parts.mirror.run(),
        sweep(parts),
        applies.run(),
        applies.sweep_for_ever(),
        parts.events.run(),
        parts.auth.run(),
        *parts.alarming.tasks(),
        *parts.nodes.tasks(),
        keep_history(parts.history, parts.mirror, parts.nodes.counters_of),
    ]


async def sweep(parts: Parts) -> None:
    """Every hour delete what has been kept long enough."""
    await parts.mirror.ready.wait()
    while True:
        try:
            answers = await parts.answers.sweep()
            notes = await parts.accesses.sweep(
                lambda kind, id: parts.mirror.get(kind, id) is not None
            )
            events = await parts.events.sweep(kept_days(parts.mirror))
        except StoreError as error:
            parts.journal.warning("sweep failed", text=str(error))
        else:
            parts.journal.debug("swept", answers=answers, notes=notes, events=events)
        await asyncio.sleep(SWEEP_S)


def build_app(parts: Parts) -> ASGIApp:
    """Return the API and the console over the parts of the process."""
    return make_app(
        build_routers(parts),
        authenticate=authenticate_by(parts.auth.authenticator),
        loaded=parts.mirror.loaded,
        ready=lambda: ready(parts),
        report=lambda where, error: report(parts.journal, where, error),
        seen=parts.requests.see,
    )


def build_routers(parts: Parts) -> list[APIRouter]:
    """Return all routes of the process but those that every app has."""
    api = Api(parts.registry, parts.status_of)
    with_token = token_of_new_node(parts.nodes)
    collections: list[Collection] = [
        Resources(kind, api, with_token if kind.name == "node" else None) for kind in KINDS.values()
    ]
    collections += people(parts.auth)
    act, authenticator = parts.nodes.actions.act, parts.auth.authenticator
    timeline = Timeline(parts.store, parts.events, parts.mirror)
    explanations = Explanations(parts.mirror, parts.events, parts.nodes.questions, parts.status_of)
    alarms = Alarms(parts.store, parts.mirror, parts.events, parts.alarming.deliveries)
    waits = Waits(parts.mirror)
    configs = CustomerConfigs(parts.registry, parts.accesses)
    history, nodes = parts.history, parts.nodes
    shared = api, parts.store, timeline, authenticator, history, nodes, configs, alarms, waits
    console = make_console(*shared, parts.longer, parts.nodes_at)
    return [
        *(collection_router(each, parts.answers) for each in collections),
        verb_router(api, act, parts.accesses, parts.answers),
        customer_router(api, configs),
        apply_router(parts.applies),
        node_router(api, parts.nodes),
        inquiry_router(api, parts.nodes.inquiries),
        explain_router(api, explanations, Paths(parts.mirror, parts.nodes.questions)),
        event_router(timeline, waits),
        alarm_router(alarms),
        log_router(parts.store),
        settings_router(SettingDesk(parts.auth.desk, SETTINGS), SETTINGS),
        quota_router(parts.auth.desk),
        me_router(parts.auth),
        login_router(parts.auth),
        oidc_router(parts.auth),
        console.router(),
    ]


async def ready(parts: Parts) -> str | None:
    """Return what the process waits for before it can serve requests, None if nothing."""
    if not parts.mirror.ready.is_set():
        return "the store is being read"
    try:
        await parts.store.revision()
    except StoreError as error:
        return f"the store: {error}"
    trouble = parts.store.write_trouble()
    return f"the store takes no writes: {trouble}" if trouble is not None else None


def report(journal: Journal, where: str, error: Exception) -> str:
    """Log a mistake of ours with its traceback; return the number of the entry."""
    number = uuid4().hex[:12]
    text = "".join(traceback.format_exception(error))
    journal.error("bug", number=number, where=where, traceback=text)
    return number


@contextlib.contextmanager
def _signals(
    tls: ssl.SSLContext | None, listening: Listening, journal: Journal
) -> Iterator[asyncio.Event]:
    """Give an event that SIGTERM and SIGINT set. SIGHUP reads the certificate anew."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def reload() -> None:
        if tls is None or listening.tls is None:
            return
        try:
            server.load_certificate(tls, *listening.tls)
        except ConfigError as error:
            journal.error("certificate not read", text=str(error))
        else:
            journal.info("certificate read")

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield stop
    finally:
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(each)


def _tcp(listening: Listening) -> list[socket.socket]:
    return [server.listen_tcp(place.host, place.port) for place in listening.places]


def _nodes(listening: Listening) -> list[socket.socket]:
    """Return the nodes' listener, if they are let in."""
    place = listening.nodes
    return [server.listen_tcp(place.host, place.port, "--listen-nodes")] if place else []


def _unix(listening: Listening) -> socket.socket:
    """Return the Unix socket: systemd's, or our own."""
    return activated(socket.SOCK_STREAM) or server.listen_unix(listening.socket)


def _name(sock: socket.socket) -> str:
    name = sock.getsockname()
    return name if isinstance(name, str) else f"{name[0]}:{name[1]}"
