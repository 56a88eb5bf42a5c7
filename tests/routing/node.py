"""
A process that runs one `Router` for the live tests, as the gateway process does.

    node.py DIRECTORY PLAN

PLAN is a Python file that defines `plan`, and `standings` of its tunnels; SIGHUP reads and applies
it again, SIGTERM leaves BIRD running, SIGINT ends it too. Events go to standard output, one a line.
"""

from __future__ import annotations

import asyncio
import runpy
import signal
import sys
from pathlib import Path

import uvloop

from gateway.routing.plan import RoutingPlan, Standings
from gateway.routing.router import Router


class Printer:
    """A log that prints."""

    def error(self, event: str, **fields: object) -> None:
        print("error", event, fields, flush=True)

    def warning(self, event: str, **fields: object) -> None:
        print("warning", event, fields, flush=True)

    def info(self, event: str, **fields: object) -> None:
        print("info", event, fields, flush=True)


def read_plan(file: Path) -> tuple[RoutingPlan, Standings]:
    found = runpy.run_path(str(file))
    assert isinstance(found["plan"], RoutingPlan)
    return found["plan"], found.get("standings", {})


async def main(directory: Path, file: Path) -> None:
    router = Router(directory, Printer(), patience_s=1.0)
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for sign in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, asked.put_nowait, sign)
    plan, standings = read_plan(file)
    await router.set_standings(standings)
    await router.prepare(plan)
    await router.apply(plan)
    life = asyncio.create_task(router.run())
    print("ready", flush=True)
    while (sign := await asked.get()) is signal.SIGHUP:
        plan, standings = read_plan(file)
        await router.prepare(plan)
        await router.apply(plan)
        await router.set_standings(standings)
        print("applied", flush=True)
    life.cancel()
    await asyncio.wait([life])
    if sign is signal.SIGTERM:
        router.leave()
    else:
        await router.end()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
