"""What every demonstration does: it speaks, shows commands and pictures, and collects figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.table import Table

from lab import stream
from lab.commands import LabError
from lab.demos.picture import Link, draw
from lab.netns import Lab
from lab.stream import BothWays
from lab.twinspan import Twinspan

SETTLE_S = 0.4  # traffic after a switch, so that the end of the silence is seen


@dataclass(frozen=True, slots=True)
class Switch:
    """One event and what the streams of 1,000 datagrams a second saw of it, each direction."""

    event: str
    there: stream.Result
    back: stream.Result

    @property
    def silence_ms(self) -> float:
        """Return the longer silence of the two directions."""
        return max(self.there.silence_ms, self.back.silence_ms)

    @property
    def lost(self) -> int:
        """Return how many datagrams were lost in both directions."""
        return self.there.lost + self.back.lost


class Answers(Protocol):
    """A gateway, or a control plane."""

    def cli(self, *words: str) -> str:
        """Return what a `twinspan` command prints."""
        ...


@dataclass(slots=True)
class Stage:
    """Where a demonstration plays."""

    console: Console
    lab: Lab
    prefix: str
    speed_s: float = 3.0  # how long each speed is measured
    figures: dict[str, float] = field(default_factory=dict)
    switches: list[Switch] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Print a line of the story; it may have rich's markup."""
        self.console.print(text, highlight=False)

    def command(self, where: Answers, *words: str) -> None:
        """Print a command as an operator types it, and its answer."""
        answer = where.cli(*words).rstrip()
        self.plain(f"\n$ twinspan {' '.join(words)}\n{answer}\n")

    def plain(self, text: str) -> None:
        """Print text as it is, lines of any length."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def picture(self, template: str, links: Iterable[Link]) -> None:
        """Print a picture with the links as they are now."""
        self.console.print(draw(template, links), soft_wrap=True)

    def switch(
        self, event: str, start: Callable[[], BothWays], act: Callable[[], object]
    ) -> Switch:
        """
        Run `act`, which returns when traffic goes by its new way, between two streams.

        Raises LabError if traffic does not go on in both directions.
        """
        streams = start()
        try:
            act()
            time.sleep(SETTLE_S)
        finally:
            there, back = streams.stop()
        if not (there.goes_on and back.goes_on):
            raise LabError(f"{event}: traffic did not go on: {there}, {back}")
        seen = Switch(event, there, back)
        self.switches.append(seen)
        self.say(
            f"[bold]{event}[/bold]: silent for [bold]{there.silence_ms:.0f} ms[/bold] there and"
            f" [bold]{back.silence_ms:.0f} ms[/bold] back, {seen.lost} of"
            f" {there.sent + back.sent} datagrams lost"
        )
        return seen

    def switches_table(self, there: str, back: str) -> None:
        """Print what every event has cost; `there` and `back` name the two directions."""
        table = Table(title="Longest silence, as 1,000 datagrams a second each way see it")
        table.add_column("event")
        for head in (there, back, "datagrams lost"):
            table.add_column(head, justify="right")
        for one in self.switches:
            ways = [f"{seen.silence_ms:.0f} ms" for seen in (one.there, one.back)]
            table.add_row(one.event, *ways, str(one.lost))
        self.console.print(table)


def links_of(gateway: Twinspan) -> list[Link]:
    """Return the gateway's tunnels and direct lines as they are now; BGP is asked anew."""
    listed = gateway.bgp()
    peers = {str(peer.get("title") or peer["name"]): peer for peer in listed}
    tunnels = gateway.tunnels()
    works = {name: peer["state"] == "established" for name, peer in peers.items()}
    works |= {name: one.is_up and works.get(name, True) for name, one in tunnels.items()}
    carries = {name: peer["active"] for name, peer in peers.items()}
    carries |= {name: one.raw["active"] for name, one in tunnels.items()}
    return [Link(name, _does(works[name], bool(carries[name]))) for name in works]


def _does(works: bool, carries: bool) -> str:
    if not works:
        return "down"
    return "carries" if carries else "stands by"
