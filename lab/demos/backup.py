"""Backup between a direct line and VPN: the line first, the tunnels when it fails, and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lab import backup, impair, sites
from lab.backup import LINE, Backup
from lab.demos.stage import Stage, links_of

FIRST = sites.tunnel_name(1)
_PICTURE = r"""
               .-{line                                     }-.
 vpc --- gateway                                             router --- office
               |-{office-1                  }-- device 1 ----|
               '-{office-2                  }-- device 2 ----'
 10.10.0.2  AS 65000                            AS 65001           10.20.0.2
"""


def show(stage: Stage) -> None:
    """Play the whole demonstration."""
    stage.say("[bold]Backup[/bold]: a direct line, and a VPN to the same office behind it")
    made = backup.build(stage.lab)
    stage.figures["tunnels_up"] = sum(one.is_up for one in made.gateway.tunnels().values())
    _picture(stage, made)
    stage.command(made.gateway, "routes")
    gateway = made.cloud.gateway
    stage.say("\nCutting the line: no packet passes, its link stays up ...")
    lost = _switch(stage, made, "line cut, BFD 300 ms x 3", partial(impair.cut, gateway, LINE), 1)
    _picture(stage, made)
    stage.say("And the path of the tunnel that has taken over ...")
    device = made.office.devices[0].machine
    both = _switch(stage, made, "path 1 cut too", partial(impair.cut, device, "wan1"), 2)
    _picture(stage, made)
    impair.mend(device, "wan1")
    back = _switch(stage, made, "line mended", partial(impair.mend, gateway, LINE), 0)
    made.wait_settled()
    _picture(stage, made)
    port = partial(gateway.ip, "link", "set", LINE, "down")
    shut = _switch(stage, made, "port of the line shut", port, 1)
    gateway.ip("link", "set", LINE, "up")
    made.wait_settled()
    stage.switches_table("to office", "from office")
    stage.figures.update(
        line_cut_silence_ms=round(lost, 1),
        second_silence_ms=round(both, 1),
        return_silence_ms=round(back, 1),
        port_silence_ms=round(shut, 1),
    )


def _picture(stage: Stage, made: Backup) -> None:
    stage.picture(_PICTURE, links_of(made.gateway))


def _switch(stage: Stage, made: Backup, event: str, act: Callable[[], object], path: int) -> float:
    """Show the event, after which traffic goes by that path, 0 for the line; return the silence."""

    def both() -> None:
        act()
        if path:
            made.wait_by(path)
        else:
            made.wait_line()

    return stage.switch(event, made.streams, both).silence_ms


def how_to_look(stage: Stage) -> str:
    """Return the commands that show it from the inside."""
    lab, prefix = stage.lab, stage.lab.prefix
    return f"""\
  TWINSPAN_RUNTIME_DIR={lab.directory}/gateway-twinspan ./run twinspan routes
  TWINSPAN_RUNTIME_DIR={lab.directory}/gateway-twinspan ./run twinspan bgp
  ip netns exec {prefix}-gateway ip link set line down
  ip netns exec {prefix}-vpc ping 10.20.0.2"""
