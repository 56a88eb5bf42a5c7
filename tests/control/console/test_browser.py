"""
The console in a real browser: what is alive, both themes, a phone, keyboard, accessibility.

Screenshots stay in build/screenshots for somebody to look at.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Request, async_playwright, expect

from gateway.control.api import server
from gateway.control.console import live
from tests.control.console.conftest import NAME, PASSWORD, Site
from tests.control.console.test_asked import SAID, routes_of
from tests.control.registry import connect

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium-headless-shell")
AXE = ROOT / "build/console/node_modules/axe-core/axe.min.js"
SCREENSHOTS = ROOT / "build/screenshots"
PHONE = {"width": 390, "height": 844}

expect.set_options(timeout=15_000)  # ms; what is promised says less

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium-headless-shell"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@dataclass(slots=True)
class Window:
    """One page of the browser, logged in, and what it complains of."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    async def shot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    async def violations(self) -> list[str]:
        """Return what axe finds wrong for those who can not see the page, or not use a mouse."""
        # The page's own policy forbids to run anything else, so it comes by the debugger.
        await self.page.evaluate(AXE.read_text())
        found = await self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})"
        )
        return [
            f"{one['id']}: {node['target']}" for one in found["violations"] for node in one["nodes"]
        ]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield made
        await made.close()


@pytest.fixture
async def window(
    site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Window]:
    # The states of the tests come from no commit, which the stream would notice.
    monkeypatch.setattr(live, "COUNTERS_S", 0.2)
    sock = server.listen_tcp("127.0.0.1", 0)
    serving = server.make_server(site.app)
    running = asyncio.create_task(serving.serve([sock]))
    await serving.is_up.wait()
    context = await browser.new_context(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}")
    window = Window(await context.new_page(), site)
    window.page.on(
        "console", lambda m: window.complaints.append(m.text) if m.type == "error" else None
    )
    window.page.on("pageerror", lambda error: window.complaints.append(str(error)))
    window.page.on(
        "request",
        lambda request: (
            window.foreign.append(request.url) if "127.0.0.1" not in request.url else None
        ),
    )
    await window.page.goto("/console/")
    window.complaints.clear()  # of the 401 that asks to log in
    await window.page.fill("#name", NAME)
    await window.page.fill("#password", PASSWORD)
    await window.page.press("#password", "Enter")
    await expect(window.page.locator("h1")).to_have_text("Overview")
    yield window
    await context.close()
    serving.should_exit = True
    await running
    assert window.complaints == []
    assert window.foreign == []


@pytest.mark.alone
async def test_a_state_that_changes_is_in_the_open_page_with_its_reason(window: Window) -> None:
    done = await connect(window.site.registry)
    up, down = done.others
    for one in done.others:
        counters = {"in_bps": 5e8, "out_bps": 1e6}
        window.site.live[one.id] = {"operational": "up", "reason": None, "counters": counters}
    page = window.page
    await page.goto("/console/")
    await expect(page.locator(f"path[data-tunnel={up.id}]")).to_have_class("tunnel up flows")
    await window.shot("overview")
    reason = {"code": "peer_unreachable", "text": "no answer from 203.0.113.50"}
    window.site.live[down.id] = {"operational": "down", "reason": reason}
    await expect(page.locator(f"path[data-tunnel={down.id}]")).to_have_class(
        "tunnel down", timeout=2000
    )
    await expect(page.locator("[data-count=down]")).to_have_text("1", timeout=2000)
    told = page.locator("#attention code")
    await expect(told).to_have_text("peer_unreachable", timeout=30_000)
    await expect(page.locator(f"path[data-tunnel={up.id}]")).to_have_class("tunnel up flows")
    await page.goto(f"/console/vpn-tunnels/{down.id}")
    await expect(page.locator(".reason code").first).to_have_text("peer_unreachable")
    window.site.live[down.id] = {"operational": "up", "reason": None}
    await expect(page.locator(f"[data-state-of={down.id}]")).to_contain_text("up", timeout=2000)
    await expect(page.locator(".reason")).to_have_count(0)
    await window.shot("tunnel")


@pytest.mark.alone
async def test_a_stream_that_is_cut_goes_on_with_what_has_changed_meanwhile(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await connect(window.site.registry)
    first = done.others[0].id
    window.site.live[first] = {"operational": "up", "reason": None}
    page, opened = window.page, 0

    def count(request: Request) -> None:
        nonlocal opened
        opened += request.url.endswith("/console/stream")

    page.on("request", count)
    monkeypatch.setattr(live, "RETRY_MS", 200)
    monkeypatch.setattr(live, "QUIET_S", 0.1)
    monkeypatch.setattr(live, "LIFE_S", 0.3)
    await page.goto("/console/")
    for state in ("down", "connecting", "up"):
        window.site.live[first] = {"operational": state, "reason": None}
        await expect(page.locator(f"path[data-tunnel={first}]")).to_have_class(
            f"tunnel {state}", timeout=5000
        )
        seen = opened
        async with asyncio.timeout(10):
            while opened < seen + 2:  # noqa: ASYNC110 # what is waited for has no event
                await asyncio.sleep(0.05)


async def test_a_page_that_is_told_nothing_says_so(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, told = window.page, window.page.locator("#said")
    monkeypatch.setattr(live, "RETRY_MS", 200)
    monkeypatch.setattr(live, "QUIET_S", 0.1)
    monkeypatch.setattr(live, "LIFE_S", 0.3)
    await page.goto("/console/")
    await page.route("**/console/stream", lambda route: route.abort())
    await expect(told).to_contain_text("Not connected", timeout=30_000)
    await page.unroute("**/console/stream")
    await expect(told).to_have_text("", timeout=30_000)
    await page.route("**/console/stream", lambda route: route.fulfill(status=429))
    await expect(told).to_contain_text("Not connected", timeout=30_000)
    assert all("Failed to load" in one for one in window.complaints), window.complaints
    window.complaints.clear()


async def test_a_node_that_comes_in_is_in_the_page_that_waits_for_it(window: Window) -> None:
    page, registry = window.page, window.site.registry
    node = next(iter(registry.mirror.of_kind("node")))
    await page.goto(f"/console/nodes/{node.id}")
    await expect(page.locator("#state")).not_to_contain_text("reporting")
    window.site.live[node.id] = {"operational": "up", "version": "9.9"}
    await expect(page.locator("#state")).to_contain_text("reporting", timeout=30_000)
    await expect(page.locator("#now")).to_contain_text("9.9")


async def test_a_page_that_nobody_looks_at_has_no_stream(window: Window) -> None:
    tunnel = (await connect(window.site.registry)).others[0].id
    page, streams = window.page, window.site.console.streams
    await page.goto("/console/")
    state = page.locator(f"path[data-tunnel={tunnel}]")
    await expect(state).to_have_class("tunnel unknown")
    await _wait_for(lambda: len(streams._scopes) == 1)
    await page.evaluate(_LOOK, True)
    await _wait_for(lambda: not streams._scopes)
    window.site.live[tunnel] = {"operational": "up", "reason": None}
    await page.evaluate(_LOOK, False)
    await expect(state).to_have_class("tunnel up")
    await expect(page.locator("#said")).to_have_text("")


_LOOK = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


async def _wait_for(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 # what is waited for has no event
            await asyncio.sleep(0.05)


async def test_a_site_is_connected_by_keyboard_alone(window: Window) -> None:
    page = window.page
    await page.goto("/console/connect")
    await page.focus("#f-customer_name")
    await page.keyboard.type("branch")
    await page.keyboard.press("Tab")
    await page.keyboard.type("not an address")
    await page.keyboard.press("Tab")
    await expect(page.locator("#e-customer_addresses")).to_contain_text("is not an IP address")
    await page.fill("#f-customer_addresses", "203.0.113.60")
    await page.fill("#f-customer_asn", "65010")
    await page.fill("#f-name", "branch")
    await page.fill("#f-remote_cidrs", "10.9.0.0/16")
    await expect(page.locator("#e-customer_addresses")).to_have_text("")
    await window.shot("connect")
    await page.focus("button[value=save]")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("branch")
    await expect(page.locator("[data-row-of]")).to_have_count(2)


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_pages_are_for_everybody(window: Window, theme: str) -> None:
    done = await connect(window.site.registry)
    reason = {"code": "no_proposal_chosen", "text": "nothing in common", "hint": "PFS"}
    window.site.live[done.others[0].id] = {"operational": "down", "reason": reason}
    page = window.page
    await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type] # one of its words
    window.site.answers |= {"routes": {"routes": routes_of(done)}, "negotiation": {"lines": SAID}}
    connection, tunnel = f"vpn-connections/{done.record.id}", f"vpn-tunnels/{done.others[0].id}"
    shown = {"overview": "", "connect": "connect", "tunnels": "vpn-tunnels", "tunnel": tunnel}
    shown |= {"audit": "audit", "connection": connection, "new": "customer-gateways/new"}
    shown |= {"routes": f"{connection}/routes", "negotiation": f"{tunnel}/negotiation"}
    shown |= {"config": f"{connection}/config?device=strongswan", "alarms": "alarms"}
    for name, path in shown.items():
        await page.goto(f"/console/{path}")
        await expect(page.locator("text=asked …")).to_have_count(0)
        assert await window.violations() == [], f"{theme} {path}"
        await window.shot(f"{theme}-{name}")


async def test_the_ends_of_a_negotiation_are_two_words_on_a_phone(window: Window) -> None:
    tunnel = (await connect(window.site.registry)).others[0].id
    await window.page.set_viewport_size(PHONE)  # type: ignore[arg-type] # a table of its own kind
    window.site.answers |= {"negotiation": {"lines": SAID}}
    await window.page.goto(f"/console/vpn-tunnels/{tunnel}/negotiation")
    ours, peer = [
        await window.page.locator(f".ends >> text={one}").bounding_box() for one in ("us", "peer")
    ]
    assert ours is not None
    assert peer is not None
    assert ours["x"] + ours["width"] + 4 < peer["x"]  # px


async def test_a_phone_shows_every_page_without_scrolling_sideways(window: Window) -> None:
    done = await connect(window.site.registry)
    await window.page.set_viewport_size(PHONE)  # type: ignore[arg-type] # a table of its own kind
    window.site.answers |= {"routes": {"routes": routes_of(done)}, "negotiation": {"lines": SAID}}
    connection, tunnel = f"vpn-connections/{done.record.id}", f"vpn-tunnels/{done.others[0].id}"
    paths = ("", "connect", tunnel, f"{tunnel}/negotiation", f"{connection}/routes", "nodes")
    wider = ("audit", "direct-lines")  # their tables scroll, by keyboard too
    for path in (*paths, *wider, f"{connection}/config"):
        await window.page.goto(f"/console/{path}")
        wide = await window.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE["width"], path
        assert await window.violations() == [], path
        name = path.rpartition("/")[2] if path.count("/") > 1 else path.partition("/")[0]
        await window.shot(f"phone-{name or 'overview'}")
    await window.page.click("text=Menu")
    await window.page.click("nav >> text=Audit log")
    await expect(window.page.locator("h1")).to_have_text("Audit log")


async def test_dark_can_be_chosen_and_is_remembered(window: Window) -> None:
    await window.page.click("button[value=dark]")
    await expect(window.page.locator("html")).to_have_attribute("data-theme", "dark")
    await window.page.goto("/console/nodes")
    await expect(window.page.locator("html")).to_have_attribute("data-theme", "dark")
    await window.page.click("button[value=light]")
    await expect(window.page.locator("html")).to_have_attribute("data-theme", "light")
