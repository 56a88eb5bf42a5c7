"""
The gateway process: one at a time in a runtime directory, its journal, its document, its exit
status.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.collecting import short_collections
from gateway.errors import ConfigError, GatewayError
from gateway.node.chronicle import Chronicle
from gateway.node.control_socket import ControlError
from gateway.node.event_log import EventLog
from gateway.node.journal import Journal, Level
from gateway.node.life import Gateway, Outcome, Settings, plan_of, report_bug
from gateway.node.notify import Notifier
from gateway.unix import raise_limits

LOCK = "gateway.lock"
PAUSE_S = 1.0  # before what has failed is tried again, by us or by a service manager


@contextlib.contextmanager
def only_one(runtime_dir: Path) -> Iterator[None]:
    """Hold the runtime directory's lock. Raises ControlError if another gateway process has it."""
    runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (runtime_dir / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ControlError(f"another gateway process uses {runtime_dir}") from None
        yield


async def serve(settings: Settings) -> int:
    """Run the gateway process; return its exit status."""
    raise_limits()
    notifier = Notifier(os.environ)
    journal = Journal(
        sys.stderr,
        time.time,
        Level.DEBUG if settings.verbose else Level.INFO,
        priorities="JOURNAL_STREAM" in os.environ,
    )
    asyncio.get_running_loop().set_exception_handler(lambda _, context: _surprise(journal, context))
    try:
        with only_one(settings.runtime_dir), short_collections():
            await _serve_until_done(settings, journal, notifier)
    except ConfigError as error:
        for problem in error.problems:
            journal.error("refused", problem=problem)
        return 2
    except (GatewayError, OSError) as error:
        journal.error("gateway failed", text=str(error))
        if notifier.is_heard:
            await asyncio.sleep(PAUSE_S)
        return 1
    return 0


async def _serve_until_done(settings: Settings, journal: Journal, notifier: Notifier) -> None:
    events = EventLog(settings.runtime_dir, time.time)
    chronicle = Chronicle(events.add)
    journal.listeners.append(chronicle.take)
    wanted = plan_of(await settings.source.begin(journal, notifier), journal)
    while True:
        chronicle.node = wanted.name
        gateway = Gateway(settings, wanted, journal, notifier, events)
        if await gateway.run() is not Outcome.PLANE_LOST:
            return
        await asyncio.sleep(PAUSE_S)
        wanted = gateway.wanted
        with contextlib.suppress(ConfigError):  # then the document of before goes on
            wanted = plan_of(settings.source.load(), journal)


def _surprise(journal: Journal, context: dict[str, object]) -> None:
    """Log an exception in a callback of the event loop; the daemon goes on."""
    error = context.get("exception")
    report_bug(
        journal, str(context.get("message", "")), error if isinstance(error, Exception) else None
    )
