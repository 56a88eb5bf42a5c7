"""
Enterprise branch hub: three branches at one gateway, kept from each other until they are not.

Each branch is a device of strongSwan and BIRD. The switch changes what BGP tells; no session ends.
"""

from __future__ import annotations

from functools import partial

from rich.table import Table

from lab import hub, impair, stream
from lab.demos.stage import Stage, links_of
from lab.hub import Branch, Hub

_PICTURE = r"""
 10.10.0.2  AS 65000       .-{branch1                  }- branch 1 --- 10.1.0.2  AS 65001
                          /
 vpc --- hub --- internet ---{branch2                  }- branch 2 --- 10.2.0.2  AS 65002
         192.0.2.1        \
                           '-{branch3                  }- branch 3 --- 10.3.0.2  AS 65003
"""


def show(stage: Stage) -> None:
    """Play the whole demonstration."""
    stage.say("[bold]Branch hub[/bold]: three branches of strongSwan and BIRD at one gateway")
    made = hub.build(stage.lab)
    stage.figures["tunnels_up"] = sum(one.is_up for one in made.gateway.tunnels().values())
    stage.picture(_PICTURE, links_of(made.gateway))
    stage.command(made.gateway, "bgp")
    stage.say("Branches are kept from each other; each is told of the VPC alone:")
    stage.figures["apart_isolated"] = _who_reaches_whom(stage, made)
    _open(stage, made)
    _one_alone(stage, made)
    _lost_branch(stage, made)
    stage.switches_table("VPC to branch", "branch to VPC")


def _streams(made: Hub, branch: Branch) -> stream.BothWays:
    cloud = made.cloud
    return stream.both_ways((cloud.host, cloud.host4), (branch.host, branch.address))


def _prefixes(made: Hub, *without: Branch) -> dict[str, set[str]]:
    """Return what each branch is to know when none is kept from the others, but for `without`."""
    told = [branch for branch in made.branches if branch not in without]
    return {
        branch.name: {made.cloud.lan4} | {other.prefix for other in told if other is not branch}
        for branch in told
    }


def _open(stage: Stage, made: Hub) -> None:
    stage.say('\nThe document says [bold]spoke_isolation = false[/bold] now, "twinspan reload":')

    def act() -> None:
        made.isolate(False)
        made.wait_known(_prefixes(made))

    first = made.branches[0]
    seen = stage.switch("branches let together, branch 1", partial(_streams, made, first), act)
    stage.figures["apart_open"] = _who_reaches_whom(stage, made)
    stage.figures["reload_lost"] = seen.lost
    stage.command(made.gateway, "routes")


def _one_alone(stage: Stage, made: Hub) -> None:
    third = made.branches[2]
    stage.say(f"Only {third.name} is kept from the others, by its own connection's setting:")
    made.isolate(False, third)
    known = _prefixes(made, third)
    made.wait_known({**known, third.name: {made.cloud.lan4}})
    stage.figures["apart_one_kept"] = _who_reaches_whom(stage, made)
    made.isolate(False)
    made.wait_known(_prefixes(made))


def _lost_branch(stage: Stage, made: Hub) -> None:
    first, second = made.branches[:2]
    stage.say(f"\nCutting the line of {second.name}: the others are told, and notice nothing else")

    def act() -> None:
        impair.cut(second.device.machine, "wan1")
        made.wait_known(_prefixes(made, second))

    seen = stage.switch("branch 2 lost, branch 1", partial(_streams, made, first), act)
    stage.picture(_PICTURE, links_of(made.gateway))
    impair.mend(second.device.machine, "wan1")
    made.wait_known(_prefixes(made), 40.0)
    stage.figures["neighbour_lost"] = seen.lost


def _who_reaches_whom(stage: Stage, made: Hub) -> int:
    """Print it as a table and return how many pairs do not reach each other."""
    found = made.reaches()
    names = list(made.hosts)
    table = Table("ping from \\ to", *names)
    for one in names:
        cells = [_cell(found.get((one, other))) for other in names]
        table.add_row(one, *cells)
    stage.console.print(table)
    return sum(not answers for answers in found.values())


def _cell(answers: bool | None) -> str:
    if answers is None:
        return ""
    return "[green]answers[/green]" if answers else "[red]unreachable[/red]"


def how_to_look(stage: Stage) -> str:
    """Return the commands that show it from the inside."""
    lab, prefix = stage.lab, stage.lab.prefix
    return f"""\
  TWINSPAN_RUNTIME_DIR={lab.directory}/hub-twinspan ./run twinspan routes
  cat {lab.directory}/hub-twinspan/gateway.toml
  ip netns exec {prefix}-host1 ping 10.2.0.2
  birdc -s {lab.directory}/branch1-bird/bird.sock show route all"""
