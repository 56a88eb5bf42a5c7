"""
Cross-region: two of our Border Gateways with the documents of the guide, joined by `twinspan link`.

    vpc host --- west ==== wan1, wan2 ==== east --- vpc host
                 AS 65000                  AS 65010
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from lab import pages, topology
from lab.commands import LabError, wait_for
from lab.netns import Lab
from lab.topology import Pair
from lab.twins import has_all_sessions
from lab.twinspan import Twinspan

CONNECTION = "west-east"


@dataclass(frozen=True, slots=True)
class Region:
    """The two regions with their gateways; `bare` are the documents before they are joined."""

    pair: Pair
    west: Twinspan
    east: Twinspan
    bare: tuple[str, str]

    @property
    def gateways(self) -> Sequence[Twinspan]:
        """Return both, the one that begins first."""
        return self.west, self.east

    def link(self, *options: str) -> str:
        """Join them, have both gateways read it, and return what the command said."""
        said = self.west.cli(
            "link", str(self.west.config), str(self.east.config), "--yes", *options
        )
        self._reload()
        return said

    def part(self) -> None:
        """Take away what `link` made, keys too."""
        for gateway, text in zip(self.gateways, self.bare, strict=True):
            gateway.write(text)
            gateway.config.with_name(f"{CONNECTION}.psk").unlink()
        self._reload()

    def _reload(self) -> None:
        for gateway in self.gateways:
            gateway.cli("reload")

    def wait_by(self, number: int, timeout_s: float = 40.0) -> None:
        """Wait until both send by that tunnel. Raises LabError with both states."""
        try:
            wait_for(f"tunnel {number}", lambda: self._goes_by(number), timeout_s, every_s=0.02)
        except LabError as error:
            words = (f"{one.cli('status')}\n{one.log_text()[-2000:]}" for one in self.gateways)
            raise LabError("\n".join([str(error), *words])) from error

    def _goes_by(self, number: int) -> bool:
        ends = ((self.pair.a, self.pair.b), (self.pair.b, self.pair.a))
        return all(
            f" dev ts-{CONNECTION}-{number} "
            in here.gateway.run("ip", "route", "get", there.host4, check=False)
            for here, there in ends
        )

    def wait_sessions(self, timeout_s: float = 40.0) -> None:
        """Wait until all sessions of BGP and BFD are up at both ends."""
        for gateway in self.gateways:
            wait_for("sessions", partial(has_all_sessions, gateway), timeout_s)


def build(lab: Lab) -> Region:
    """Make the machines and start both gateways, not joined yet."""
    pair = topology.four_machines(lab, names=(("west", "vpc-west"), ("east", "vpc-east")))
    west_text, east_text = pages.blocks("cross-region", "toml")
    west, east = Twinspan(pair.a.gateway, west_text), Twinspan(pair.b.gateway, east_text)
    east.start()
    west.start()
    return Region(pair, west, east, (west_text, east_text))
