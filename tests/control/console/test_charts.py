"""A tunnel's charts in a real browser: the last hour, longer where there is a Prometheus."""

from __future__ import annotations

import math
import time

from playwright.async_api import expect

from gateway.control.console.history import NAMES
from gateway.control.console.longer import POINTS, SPANS, Longer, LongerError, Series
from tests.control.console.test_browser import (
    Window,
    browser,
    pytestmark,
    window,
)
from tests.control.registry import connect

__all__ = ["browser", "pytestmark", "window"]


def waves(seconds: float) -> Series:
    """Return points of so much time until now, with a gap where nobody has answered."""
    now = time.time()
    found: Series = {"at": [now - seconds * (1 - n / POINTS) for n in range(POINTS)]}
    for place, name in enumerate(NAMES, 1):
        top = {"ms": 20.0, "loss": 3.0}.get(name.partition("_")[2], 4e8)
        found[name] = [top / place * (1.2 + math.sin(n / 9 + place)) for n in range(POINTS)]
    found["outside_ms"][100:200] = [None] * 100
    return found


class Remembers(Longer):
    """A Prometheus that has a week of waves, but no day of them."""

    async def of(self, id: str, span: str) -> Series:
        if span == "24h":
            raise LongerError("Prometheus has no answer: it has lost a day")
        return waves(SPANS[span])


async def test_a_tunnel_shows_its_last_hour_and_on_demand_a_week(window: Window) -> None:
    tunnel = (await connect(window.site.registry)).others[0].id
    window.site.remembered.update(waves(3600.0))
    page = window.page
    await page.goto(f"/console/vpn-tunnels/{tunnel}")
    await expect(page.locator(".charts canvas")).to_have_count(5)
    await expect(page.locator("[data-span]")).to_have_count(0)
    window.site.source.longer_by = Remembers("http://127.0.0.1:9")
    await page.reload()
    await expect(page.locator(".charts canvas")).to_have_count(5)
    week, day = page.locator("[data-span='7d']"), page.locator("[data-span='24h']")
    async with page.expect_response(lambda answer: "span=7d" in answer.url) as asked:
        await week.click()
    assert (await asked.value).status == 200
    await expect(week).to_have_attribute("aria-pressed", "true")
    await window.shot("tunnel-week")
    assert await window.violations() == []
    await day.click()
    await expect(page.locator("[data-spans] [role=status]")).to_contain_text("it has lost a day")
    await expect(week).to_have_attribute("aria-pressed", "false")
    window.complaints.clear()  # of the 502
    await page.locator("[data-span='']").click()
    await expect(page.locator("[data-spans] [role=status]")).to_have_text("")
