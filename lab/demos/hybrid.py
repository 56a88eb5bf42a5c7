"""
Hybrid cloud: our gateway with two addresses, the customer's two devices of strongSwan and BIRD.

BGP with BFD runs in both tunnels. The speeds are those of tunnel 1, beside two strongSwans and two
of our own gateways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lab import impair, office, sites
from lab.console import CONSOLE_USER, open_console
from lab.demos.speeds import compared, speed, speeds_table
from lab.demos.stage import Stage, links_of
from lab.fleet import Fleet
from lab.office import Hybrid
from lab.peers import Joined

FIRST = sites.tunnel_name(1)
_PICTURE = r"""
               192.0.2.1                  192.0.2.2
              .-{office-1                }- device 1 -.
 vpc --- gateway                                       router --- office
              '-{office-2                }- device 2 -'
               198.51.100.1            198.51.100.2
 10.10.0.2  AS 65000                      AS 65001           10.20.0.2
            twinspan               strongSwan and BIRD each, BIRD behind
"""


@dataclass(frozen=True, slots=True)
class Story:
    """The two sites on the stage."""

    stage: Stage
    made: Hybrid

    def picture(self) -> None:
        """Print the machines with both tunnels as they are now."""
        self.stage.picture(_PICTURE, links_of(self.made.gateway))

    def compare(self) -> None:
        """Measure TCP through tunnel 1 and through other pairs of gateways."""
        seconds = self.stage.speed_s
        self.stage.say(f"Measuring TCP ({seconds:g} s each way and pair of gateways) ...")
        pids = (tuple(self.made.gateway.pids()), (self.made.office.devices[0].swan.pid,))
        main = speed(Joined(self.made.pair, pids), seconds)
        theirs = compared("strongswan", f"{self.stage.prefix}-s", seconds)
        ours = compared("twinspan", f"{self.stage.prefix}-t", seconds)
        rows = (
            ("twinspan to strongSwan", main),
            ("strongSwan to strongSwan", theirs),
            ("twinspan to twinspan", ours),
        )
        self.stage.console.print(speeds_table(rows))
        self.stage.figures.update(
            tcp_gbps=round(main.forward_gbps, 3),
            tcp_reverse_gbps=round(main.reverse_gbps, 3),
            strongswan_gbps=round(theirs.forward_gbps, 3),
            cpu_s_per_gbit=round(main.cpu_s_per_gbit[0], 4),
            latency_ms=round(main.latency_ms, 3),
            twinspan_pair_gbps=round(ours.forward_gbps, 3),
            twinspan_pair_cpu_s_per_gbit=round(ours.cpu_s_per_gbit[0], 4),
        )

    def cut_path(self) -> None:
        """Cut the path of tunnel 1 silently, show where traffic goes, mend it."""
        device, made = self.made.office.devices[0], self.made
        self.stage.say(f"\nCutting the path of {FIRST}: no packet passes, no link goes down ...")
        cut = partial(impair.cut, device.machine, "wan1")
        seen = self.stage.switch("path 1 cut, BFD 300 ms x 3", made.streams, self._then(cut, 2))
        self.picture()
        mend = partial(impair.mend, device.machine, "wan1")
        back = self.stage.switch("path 1 mended", made.streams, self._then(mend, 1))
        self.stage.figures.update(
            silence_ms=round(seen.silence_ms, 1),
            silence_to_office_ms=round(seen.there.silence_ms, 1),
            silence_from_office_ms=round(seen.back.silence_ms, 1),
            return_lost=back.lost,
        )

    def stop_device(self) -> None:
        """Stop the strongSwan of device 1, and start it again."""
        device, made = self.made.office.devices[0], self.made
        stop = self._then(device.swan.stop, 2)
        seen = self.stage.switch("strongSwan of device 1 stopped", made.streams, stop)
        self.picture()
        device.start_charon()
        made.wait_settled()
        self.stage.figures["stopped_silence_ms"] = round(seen.silence_ms, 1)

    def drain(self) -> None:
        """Take tunnel 1 down as an operator does before maintenance."""
        self.stage.command(self.made.gateway, "bgp")
        down = self._then(partial(self.stage.command, self.made.gateway, "down", FIRST), 2)
        seen = self.stage.switch(f"twinspan down {FIRST}", self.made.streams, down)
        self.picture()
        self.stage.command(self.made.gateway, "up", FIRST)
        self.made.wait_settled()
        self.stage.figures["drain_lost"] = seen.lost

    def _then(self, act: Callable[[], object], number: int) -> Callable[[], None]:
        """Return `act` with the wait until both directions go by path `number`."""

        def both() -> None:
            act()
            self.made.wait_by(number)

        return both


def show(stage: Stage) -> None:
    """Play the whole demonstration."""
    stage.say("[bold]Hybrid cloud[/bold]: twin tunnels to a customer's two devices, BGP with BFD")
    stage.say("The resources are made by the API of a control process; our gateway is its node.")
    fleet = Fleet.build(stage.lab)
    story = Story(stage, office.hybrid(stage.lab, fleet=fleet))
    made = story.made
    fleet.wait_tunnels("up")
    stage.command(fleet, "status", "--fleet")
    stage.figures["tunnels_up"] = sum(one.is_up for one in made.gateway.tunnels().values())
    story.picture()
    stage.command(made.gateway, "status")
    story.compare()
    story.cut_path()
    story.stop_device()
    story.drain()
    stage.switches_table("to office", "from office")


def how_to_look(stage: Stage) -> str:
    """Open the console, and return the commands that show it from the inside."""
    lab, prefix = stage.lab, stage.lab.prefix
    runtime, swan = lab.directory / "gateway-twinspan", lab.directory / "device1-strongswan"
    bird = lab.directory / "device1-bird/bird.sock"
    port, password = open_console(lab)
    control = lab.directory / "control-control/control.sock"
    return f"""\
  http://127.0.0.1:{port}/console/   (name: {CONSOLE_USER}, password: {password})
  TWINSPAN_URL=unix:{control} ./run twinspan status --fleet
  TWINSPAN_RUNTIME_DIR={runtime} ./run twinspan status
  TWINSPAN_RUNTIME_DIR={runtime} ./run twinspan routes
  TWINSPAN_RUNTIME_DIR={runtime} ./run twinspan log
  ip netns exec {prefix}-vpc ping 10.20.0.2
  ip netns exec {prefix}-gateway ip route
  ip netns exec {prefix}-gateway tcpdump -ni wan1 udp port 4500
  swanctl --list-sas --uri unix://{swan}/vici.sock
  birdc -s {bird} show route"""
