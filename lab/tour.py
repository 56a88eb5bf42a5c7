"""
The pictures of the console that README and docs/ show: `./run demo --record`.

A newcomer's connection is made in a real browser, then traffic flows and a path fails. Pictures are
WebP, which the browser itself makes of its screenshots.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import expect
from rich.console import Console

from lab import browser, impair, iperf
from lab.browser import DESK, PHONE, Window
from lab.commands import LabError
from lab.console import CONSOLE_USER, close_console, open_console
from lab.fleet import Fleet
from lab.netns import Lab
from lab.newcomer import Newcomer
from lab.twinspan import ROOT

PICTURES = ROOT / "docs/images/console"
QUALITY = 0.8
CHARTED_S = 150  # traffic before the charts are shown: a point every ten seconds
_TO_WEBP = """async ([png, quality]) => {
  const picture = new Image();
  picture.src = "data:image/png;base64," + png;
  await picture.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas.toDataURL("image/webp", quality).split(",")[1];
}"""


@dataclass(slots=True)
class Tour:
    """A newcomer, and the folder for the pictures of what he sees."""

    newcomer: Newcomer
    folder: Path
    say: Callable[[str], None]

    @property
    def window(self) -> Window:
        """Return the browser's page."""
        return self.newcomer.window

    def show(self, name: str, path: str = "", *, theme: str = "light", whole: bool = False) -> None:
        """Take a picture of a page, or of the one that is open: of its first screen, or whole."""
        page = self.window.page
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type] # one of its words
        if path:
            page.goto(path)
        self.window.settle()
        if name == "drain":
            page.click("details.same summary")
        png = base64.b64encode(page.screenshot(full_page=whole, animations="disabled")).decode()
        # A page without a policy: the console's own forbids pictures from elsewhere to be read.
        with page.context.new_page() as blank:
            webp = base64.b64decode(blank.evaluate(_TO_WEBP, [png, QUALITY]))
        (self.folder / f"{name}.webp").write_bytes(webp)
        self.say(f"{name}.webp, {len(webp) // 1024} KiB")

    # ---- what is shown ----

    def first_steps(self) -> None:
        """Make the connection as somebody does who has never done it."""
        self.show("first-steps", "/console/")
        self.newcomer.make_node()
        self.newcomer.fill_in()
        self.show("connect", whole=True)
        self.newcomer.send()
        self.newcomer.equip()
        for number in (1, 2):
            self.newcomer.wait_up(number)
        self.newcomer.wait_settled()
        self.newcomer.wait_by(1)
        self.show("config", f"{self.newcomer.place}/config?device=strongswan")

    def traffic(self) -> None:
        """Let traffic flow until the charts have something to show."""
        cloud, site = self.newcomer.cloud, self.newcomer.office.site
        end = time.monotonic() + CHARTED_S
        rates = iter([20, 35, 25, 40, 15, 30, 45, 20, 10, 30, 25, 40, 35, 20, 30, 25, 40] * 9)
        while time.monotonic() < end:
            reverse = () if next(rates) % 2 else ("-R",)
            rate = f"{next(rates)}M"
            iperf.measure(cloud.host, site.host, site.host4, "-b", rate, *reverse, seconds=8.0)

    def pages(self) -> None:
        """Show what an operator looks at, while traffic flows."""
        tunnel = f"/console/vpn-tunnels/{self.newcomer.tunnels()[0]['id']}"
        self.show("overview", "/console/")
        self.show("overview-dark", "/console/", theme="dark")
        self.show("connection", self.newcomer.place)
        self.show("tunnel", tunnel)
        self.show("routes", f"{self.newcomer.place}/routes")
        self.show("negotiation-dark", f"{tunnel}/negotiation", theme="dark")
        self.show("drain", f"{tunnel}/do/drain")
        self.show("audit", "/console/audit")

    def failure(self) -> None:
        """Cut a path, and show what the pages make of it."""
        device, second = self.newcomer.office.devices[1], self.newcomer.tunnels()[1]
        impair.cut(device.machine, "wan2")
        page = self.window.page
        page.goto(f"/console/vpn-tunnels/{second['id']}")
        expect(page.locator(f"[data-state-of={second['id']}]")).to_contain_text(
            "down", timeout=60_000
        )
        self.show("tunnel-down")
        page.set_viewport_size(PHONE)  # type: ignore[arg-type] # a table of its own kind
        self.show("phone-overview", "/console/")
        self.show("phone-tunnel", f"/console/vpn-tunnels/{second['id']}", theme="dark")
        page.set_viewport_size(DESK)  # type: ignore[arg-type] # a table of its own kind
        impair.mend(device.machine, "wan2")


def record(folder: Path, prefix: str, console: Console) -> None:
    """Write all pictures into a folder. Raises LabError."""
    if browser.CHROMIUM is None:
        raise LabError("the pictures need Debian's package chromium-headless-shell")
    folder.mkdir(parents=True, exist_ok=True)
    with Lab(prefix) as lab:
        fleet = Fleet.build(lab)
        port, password = open_console(lab)
        try:
            with browser.window(f"http://127.0.0.1:{port}") as window:
                window.login(CONSOLE_USER, password)
                newcomer = Newcomer.build(lab, fleet, window)
                tour = Tour(newcomer, folder, lambda text: console.print(text, highlight=False))
                began = time.monotonic()
                tour.first_steps()
                tour.say(f"both ends are up after {time.monotonic() - began:.0f} s")
                tour.traffic()
                tour.pages()
                tour.failure()
        finally:
            close_console(lab.directory)
