"""A real browser at the console of a laboratory: Debian's chromium-headless-shell by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from lab.twinspan import ROOT

CHROMIUM = shutil.which("chromium-headless-shell")
AXE = ROOT / "build/console/node_modules/axe-core/axe.min.js"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}

expect.set_options(timeout=15_000)  # ms; what is promised sooner is said where it is expected


@dataclass(slots=True)
class Window:
    """One page of the browser, and what it complains of."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)  # requests to other hosts

    def __post_init__(self) -> None:
        # Playwright marks what it calls, which a method of this class can not be.
        self.page.on("console", lambda message: self._complain(message))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._see(request))

    def _complain(self, message: object) -> None:
        if getattr(message, "type", "") == "error":
            self.complaints.append(str(getattr(message, "text", "")))

    def _see(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.foreign.append(url)

    def login(self, name: str, password: str) -> None:
        """Log in, from wherever the console sends somebody whom it does not know."""
        self.page.goto("/console/")
        self.complaints.clear()  # of the 401 that asks to log in
        self.page.fill("#name", name)
        self.page.fill("#password", password)
        self.page.press("#password", "Enter")
        expect(self.page.locator("h1")).to_have_text("Overview")

    def settle(self) -> None:
        """Wait until what nodes are asked for is in the page."""
        expect(self.page.locator("text=asked …")).to_have_count(0, timeout=10_000)

    def violations(self) -> list[str]:
        """Return what axe finds wrong for those who can not see the page, or not use a mouse."""
        # The page's own policy forbids to run anything else, so it comes by the debugger.
        self.page.evaluate(AXE.read_text())
        rules = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']}"
        found = self.page.evaluate(f"axe.run(document, {rules})")
        return [
            f"{one['id']}: {node['target']}" for one in found["violations"] for node in one["nodes"]
        ]

    def shot(self, file: Path, *, whole: bool = True) -> None:
        """Write a picture of the page as PNG: of all of it, or of what fits."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file, full_page=whole)


@contextlib.contextmanager
def window(url: str) -> Iterator[Window]:
    """Give a page of a browser, at a console that nobody is logged in to yet."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(base_url=url, viewport=DESK)  # type: ignore[arg-type] # a table of its own kind
        yield Window(context.new_page())
        context.close()
        browser.close()
