"""
Somebody who sees the console for the first time, and makes a hybrid connection in it, both ends.

What a person does with mouse and keyboard is done in a real browser; what he does on machines, by
the commands that the pages show. The customer's devices have the downloaded files, unchanged.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import expect

from lab import office, topology
from lab.browser import Window
from lab.commands import wait_for
from lab.control import Api, Table
from lab.fleet import Fleet
from lab.netns import Lab
from lab.office import Office
from lab.topology import Site

NAME = "office"


@dataclass(slots=True)
class Newcomer:
    """Two sites without any tunnel between them, a control process, and a browser at it."""

    cloud: Site
    office: Office
    fleet: Fleet
    window: Window

    @classmethod
    def build(cls, lab: Lab, fleet: Fleet, window: Window) -> Newcomer:
        """Make the machines and wires; our gateway is no node yet."""
        cloud = topology.site(lab, "a", topology.public4("a"), 2, ("gateway", "vpc"))
        return cls(cloud, office.build(lab, cloud), fleet, window)

    @property
    def api(self) -> Api:
        """Return a client of the control process, to see what has become of it."""
        return self.fleet.control.api()

    def make_node(self) -> None:
        """Follow the first two of the first steps: a node, and its gateway with the token."""
        page = self.window.page
        page.goto("/console/")
        page.click("text=New Node")
        page.fill("#f-name", "gateway")
        page.fill("#f-public_addresses", "\n".join(self.cloud.public4))
        page.click("button[value=save]")
        page.click("text=Make a token")
        words = page.locator("pre").first.inner_text()
        token = next(word for word in words.split() if word.startswith("tsn-"))
        (node,) = self.api.all("nodes")
        self.fleet.enrol(self.cloud.gateway, token, str(node["id"]))

    def connect(self) -> None:
        """Make the whole connection by one form."""
        self.fill_in()
        self.send()

    def fill_in(self) -> None:
        """Fill in the form, from where the first steps lead to it."""
        page = self.window.page
        page.goto("/console/")
        page.click("main a.button >> text=Connect a site")
        page.fill("#f-vpc_interface", "lan")
        page.fill("#f-vpc_cidrs", self.cloud.lan4)
        page.fill("#f-customer_name", NAME)
        page.fill("#f-customer_addresses", "\n".join(self.office.site.public4))
        page.fill("#f-customer_asn", str(office.ASN))
        page.fill("#f-name", NAME)
        page.fill("#f-remote_cidrs", self.office.site.lan4)

    def send(self) -> None:
        """Send the form."""
        page = self.window.page
        page.click("button[value=save]")
        expect(page.locator("h1")).to_have_text(NAME)

    def equip(self) -> None:
        """Download each device's files on the connection's page, and start it with them."""
        devices = []
        for machine, tunnel in zip(self.office.machines, self.tunnels(), strict=True):
            folder = machine.lab.directory / f"{machine.name}-files"
            self._download(str(tunnel["name"]), folder)
            devices.append(office.installed(machine, folder))
        self.office.devices = tuple(devices)
        self.office.join_router()
        self.office.start()

    def _download(self, tunnel: str, folder: Path) -> None:
        page = self.window.page
        page.goto(self.place)
        page.select_option("#device", office.DEVICE)
        page.click("text=Make its configuration")
        page.select_option("#tunnel", tunnel)
        page.check("[name=secrets]")
        with page.expect_download() as downloading:
            page.click("text=Download all")
        with zipfile.ZipFile(downloading.value.path()) as archive:
            for info in archive.infolist():
                folder.mkdir(exist_ok=True)
                (folder / Path(info.filename).name).write_bytes(archive.read(info))

    # ---- what has become of it ----

    @property
    def place(self) -> str:
        """The path of the connection's page."""
        (connection,) = self.api.all("vpn-connections")
        return f"/console/vpn-connections/{connection['id']}"

    def tunnels(self) -> list[Table]:
        """Return the tunnels as the API answers them, by name."""
        return sorted(self.api.all("vpn-tunnels"), key=lambda one: str(one["name"]))

    def wait_up(self, number: int) -> None:
        """Wait until the connection's page says that a tunnel is up."""
        page = self.window.page
        page.goto(self.place)
        row = f"[data-row-of={self.tunnels()[number - 1]['id']}] [data-state-of]"
        expect(page.locator(row)).to_contain_text("up", timeout=30_000)

    def wait_settled(self, timeout_s: float = 60.0) -> None:
        """Wait until both tunnels' sessions of BGP and BFD are up."""
        (gateway,) = self.fleet.members

        def are_up() -> bool:
            peers = gateway.bgp()
            states = [(peer["state"], peer["bfd"]) for peer in peers]
            return states == [("established", "up")] * len(self.office.machines)

        wait_for("BGP and BFD in both tunnels", are_up, timeout_s, every_s=0.2)

    def goes_by(self, number: int) -> bool:
        """Say whether both sides send by that path."""
        ours = str(self.tunnels()[number - 1]["interface"])
        hops = (
            (self.cloud.gateway, self.office.site.host4, ours),
            (self.office.site.gateway, self.cloud.host4, f"dev{number}"),
        )
        return all(
            f" dev {device} " in machine.run("ip", "route", "get", address, check=False)
            for machine, address, device in hops
        )

    def wait_by(self, number: int, timeout_s: float = 30.0) -> None:
        """Wait until both directions go by that path."""
        wait_for(f"path {number}", lambda: self.goes_by(number), timeout_s, every_s=0.1)
