"""Cross-region: two VPCs with a gateway of ours each, joined by one command, `twinspan link`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lab import impair, iperf, region, stream
from lab.demos.stage import Stage, links_of
from lab.region import CONNECTION, Region

FIRST = f"{CONNECTION}-1"
_PICTURE = r"""
            192.0.2.1                     192.0.2.2
           .-{west-east-1                }-.
 vpc --- west                               east --- vpc
           '-{west-east-2                }-'
            198.51.100.1               198.51.100.2
 10.10.0.2  AS 65000                      AS 65010   10.20.0.2
"""


def show(stage: Stage) -> None:
    """Play the whole demonstration."""
    stage.say("[bold]Cross-region[/bold]: VPC to VPC, both gateways ours")
    made = region.build(stage.lab)
    stage.say("Two gateways run, each with the document of its own region and no connection.")
    said = made.link().rstrip().replace(f"{stage.lab.directory}/", "")
    stage.plain(f"\n$ twinspan link west.toml east.toml\n{said}\n")
    made.wait_sessions()
    made.wait_by(1)
    stage.figures["tunnels_up"] = sum(one.is_up for one in made.west.tunnels().values())
    stage.picture(_PICTURE, links_of(made.west))
    stage.command(made.west, "status")
    _speed(stage, made)
    _cut(stage, made)
    _drain(stage, made)
    stage.switches_table("west to east", "east to west")


def _speed(stage: Stage, made: Region) -> None:
    a, b = made.pair.a.host, made.pair.b
    there = iperf.measure(a, b.host, b.host4, seconds=stage.speed_s)
    back = iperf.measure(a, b.host, b.host4, "-R", seconds=stage.speed_s)
    stage.say(f"TCP, one stream: {there.gbps:.2f} Gbit/s there, {back.gbps:.2f} Gbit/s back")
    stage.figures.update(tcp_gbps=round(there.gbps, 3), tcp_reverse_gbps=round(back.gbps, 3))


def _streams(made: Region) -> stream.BothWays:
    a, b = made.pair.a, made.pair.b
    return stream.both_ways((a.host, a.host4), (b.host, b.host4))


def _then(made: Region, act: Callable[[], object], number: int) -> Callable[[], None]:
    def both() -> None:
        act()
        made.wait_by(number)

    return both


def _cut(stage: Stage, made: Region) -> None:
    east = made.pair.b.gateway
    stage.say(f"\nCutting the path of {FIRST}: no packet passes, no link goes down ...")
    cut = _then(made, partial(impair.cut, east, "wan1"), 2)
    seen = stage.switch("path 1 cut, BFD 300 ms x 3", partial(_streams, made), cut)
    stage.picture(_PICTURE, links_of(made.west))
    mend = _then(made, partial(impair.mend, east, "wan1"), 1)
    stage.switch("path 1 mended", partial(_streams, made), mend)
    made.wait_sessions()
    stage.figures.update(
        silence_ms=round(seen.silence_ms, 1),
        silence_there_ms=round(seen.there.silence_ms, 1),
        silence_back_ms=round(seen.back.silence_ms, 1),
    )


def _drain(stage: Stage, made: Region) -> None:
    down = _then(made, partial(stage.command, made.west, "down", FIRST), 2)
    seen = stage.switch(f"twinspan down {FIRST}", partial(_streams, made), down)
    stage.picture(_PICTURE, links_of(made.west))
    stage.command(made.west, "up", FIRST)
    made.wait_by(1)
    stage.figures["drain_lost"] = seen.lost


def how_to_look(stage: Stage) -> str:
    """Return the commands that show it from the inside."""
    lab, prefix = stage.lab, stage.lab.prefix
    return "\n".join(
        [
            f"  TWINSPAN_RUNTIME_DIR={lab.directory}/{name}-twinspan ./run twinspan status"
            for name in ("west", "east")
        ]
        + [
            f"  cat {lab.directory}/west-twinspan/gateway.toml",
            f"  ip netns exec {prefix}-vpc-west ping 10.20.0.2",
            f"  ip netns exec {prefix}-west ip route",
        ]
    )
