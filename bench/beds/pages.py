"""What the console's pages cost: real browsers at a control process with many tunnels."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from bench.beds import planes, resources
from bench.beds.planes import Found, Say
from lab import cpu
from lab.browser import CHROMIUM, DESK, Window
from lab.commands import LabError, wait_for
from lab.console import CONSOLE_USER, close_console, open_console
from lab.control import Api
from lab.fleet import Fleet
from lab.netns import Lab

PAGES = 10  # each of another reader, who has connections of his own
PAINTS = 5
CHANGE_S = 60.0  # twice a minute a tunnel of each simulated node goes down
# Bytes that a page has fetched, compressed as they came, and when the first of it was to be seen.
WEIGHT = """() => performance.getEntries().reduce(
  (sum, one) => sum + (one.name.endsWith("/stream") ? 0 : one.encodedBodySize || 0), 0)"""
PAINT = """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime"""
# Notes when some tunnel is shown as down for the first time, in seconds since 1970.
WATCH = """() => {
  const place = document.querySelector("[data-count=down]");
  const look = () => { if (place.textContent !== "0") window.seenAt ??= Date.now() / 1000; };
  new MutationObserver(look).observe(place, {childList: true});
}"""


def pages(lab: Lab, connections: int, seconds: float, say: Say) -> Found:
    """Return the figures of the overview with two tunnels for each connection, on two nodes."""
    if CHROMIUM is None:
        raise LabError("this part needs Debian's package chromium-headless-shell")
    fleet = Fleet.build(lab)
    api, pid = fleet.control.api(), fleet.control.pid
    made = [planes.new_node(api, f"node-{at}", f"198.51.100.{at + 1}") for at in range(2)]
    resources.plant(fleet.control)
    say(f"creating {connections} connections")
    resources.grow(fleet.control, connections, say)
    tokens = [("127.0.0.1", str(node["registration_token"])) for node in made]
    nodes = planes.simulate(fleet.control, tokens, 3600.0)
    try:
        wait_for("the nodes to join", lambda: planes.has_line(nodes, 0), planes.JOIN_S)
        port, password = open_console(lab)
        with _browser() as browser, ExitStack() as stack:

            def reader() -> Page:
                url = f"http://127.0.0.1:{port}"
                view: ViewportSize = {"width": DESK["width"], "height": DESK["height"]}
                context = browser.new_context(base_url=url, viewport=view)
                stack.callback(context.close)
                page = context.new_page()
                Window(page).login(CONSOLE_USER, password)
                return page

            say("the overview is painted")
            page = reader()
            painted = _painted(page)
            page.goto("about:blank")
            quiet = _cores(pid, seconds)
            say(f"{PAGES} pages are open for {seconds:g} s")
            page = [reader() for _ in range(PAGES)][-1]
            cores = _cores(pid, seconds)
            seen_s = _seen_s(api, page)
    finally:
        close_console(lab.directory)
        nodes.stop()
    return {
        "console.tunnels": 2 * connections,
        **painted,
        "console.pages": PAGES,
        "console.pages_cores": round(max(0.0, cores - quiet), 3),
        "console.seen_s": round(seen_s, 2),
    }


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def _painted(page: Page) -> Found:
    """Return when the overview is first to be seen, and what it weighs, of several times."""
    paints, weight = [], 0
    for _ in range(PAINTS):
        page.goto("/console/")
        wait_for("the first paint", lambda: page.evaluate(PAINT) is not None, 30.0)
        paints.append(float(page.evaluate(PAINT)))
        weight = int(page.evaluate(WEIGHT))
    return {
        "console.paint_ms": round(statistics.median(paints), 1),
        "console.paint_worst_ms": round(max(paints), 1),
        "console.page_kib": round(weight / 1024, 1),
    }


def _cores(pid: int, seconds: float) -> float:
    """Return how many cores a process uses for that long."""
    began, used = time.monotonic(), cpu.cpu_s([pid])
    time.sleep(seconds)
    return (cpu.cpu_s([pid]) - used) / (time.monotonic() - began)


def _seen_s(api: Api, page: Page) -> float:
    """Return how long after its node has seen it an open page shows that a tunnel is down."""
    page.goto("/console/")
    expect(page.locator("[data-count=down]")).to_have_text("0", timeout=CHANGE_S * 1000)
    page.evaluate(WATCH)
    expect(page.locator("[data-count=down]")).not_to_have_text("0", timeout=CHANGE_S * 1000)
    seen_at = float(page.evaluate("window.seenAt"))
    states = [one["status"] for one in api.all("vpn-tunnels")]
    since = [one["since"] for one in states if one["operational"] == "down"]
    if not since:
        raise LabError("the tunnel that was shown as down is up again too soon to be found")
    return seen_at - min(datetime.fromisoformat(str(one)).timestamp() for one in since)
