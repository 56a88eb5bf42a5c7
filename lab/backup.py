"""
The office of `lab.office` with a direct line beside its two tunnels.

    vpc --- gateway ----------- line, 172.16.0.0/30 ---------- router --- office
                    === wan1 === device 1 --- dev1 ----------'
                    === wan2 === device 2 --- dev2 ---------'

Over the line our gateway speaks BGP with BFD with the office's router itself, in clear. What both
are told stands in docs/scenarios/backup.md.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from lab import office, pages, topology
from lab.commands import LabError, wait_for
from lab.netns import Lab
from lab.office import Hybrid
from lab.twinspan import Twinspan

_PAGE = "backup"
LINE = "line"  # its name, and the device at both ends
THEIRS = "172.16.0.2"


@dataclass(frozen=True, slots=True)
class Backup(Hybrid):
    """Both sites, with a direct line before the tunnels."""

    def goes_by_line(self) -> bool:
        """Say whether both directions go by the direct line."""
        return self.leaves_by(LINE, LINE)

    def wait_line(self, timeout_s: float = 30.0) -> None:
        """Wait until both directions go by the line. Raises LabError with the gateway's log."""
        try:
            wait_for("the direct line", self.goes_by_line, timeout_s, every_s=0.02)
        except LabError as error:
            words = self.gateway.cli("bgp") + self.gateway.log_text()[-3000:]
            raise LabError(f"{error}\n{words}") from error

    def wait_settled(self, timeout_s: float = 30.0) -> None:
        """Wait until the tunnels and all sessions are up and the line carries the traffic."""
        self.gateway.wait_up(timeout_s=timeout_s)
        self.office.wait_established(timeout_s)
        self.wait_line(timeout_s)


def build(lab: Lab) -> Backup:
    """Make both sites, start every daemon, wait until the line carries the traffic."""
    cloud = topology.site(lab, "a", topology.public4("a"), 2, ("gateway", "vpc"))
    made = office.build(lab, cloud)
    lab.wire((cloud.gateway, LINE, ()), (made.router.machine, LINE, (f"{THEIRS}/30",)))
    (router,) = pages.blocks(_PAGE, "bird")
    made.router.write(router)
    (text,) = pages.blocks(_PAGE, "toml")
    gateway = Twinspan(cloud.gateway, text)
    file = gateway.directory / "office.psk"
    file.write_text(secrets.token_hex(32) + "\n")
    file.chmod(0o600)
    whole = Backup(cloud, gateway, made)
    made.equip(gateway)
    made.start()
    gateway.start()
    whole.wait_settled()
    return whole
