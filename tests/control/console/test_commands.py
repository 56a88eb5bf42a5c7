"""Every action is told as a call and a command line too, and never with a secret."""

from __future__ import annotations

import shlex

from typer.testing import CliRunner

from gateway.cli import app
from gateway.control.console import commands
from gateway.control.console.commands import SameThing
from gateway.control.resources.kinds import KINDS


def test_a_secret_is_in_neither() -> None:
    fields = {
        "name": "office",
        "psk": "hunter2",
        "tags": {"a": "b c"},
        "remote_cidrs": ["10.0.0.0/8"],
    }
    for thing in (
        commands.of_creation(KINDS["vpn_connection"], fields),
        commands.of_change(KINDS["vpn_connection"], "conn-1", fields),
    ):
        assert "hunter2" not in thing.call + thing.command
    words = shlex.split(commands.of_creation(KINDS["vpn_connection"], fields).command)
    assert words == [
        *("twinspan", "connection", "create", "--name", "office", "--psk", "..."),
        *("--tag", "a=b c", "--remote-cidrs", "10.0.0.0/8"),
    ]


# What can be done to a resource in the console: by kind, as the pages offer it.
VERBS = {
    "vpn_tunnel": ("up", "down", "drain", "rekey", "reset", "delete"),
    "node": ("token", "delete"),
    "alarm_target": ("test", "delete"),
}


def told() -> list[SameThing]:
    """Return what every page tells of itself, for resources that could be there."""
    found = [commands.OVERVIEW, *commands.HAPPENED.values()]
    found += [commands.of_negotiation("tun-1"), commands.of_acknowledgement()]
    found.append(commands.of_config("conn-1", {"device": "strongswan", "secrets": "true"}))
    found.append(commands.of_config("conn-1", {"device": "vyos", "wan_interface": "a,b"}))
    connection = {"border_gateway": "bgw-1"}
    for name in ("border_gateway", "vpn_connection"):
        found.append(commands.of_routes(KINDS[name], "x-1", connection, "static"))
    for kind in KINDS.values():
        found += [commands.of_list(kind), commands.of_resource(kind, "x-1")]
        found += [commands.of_creation(kind, {}), commands.of_change(kind, "x-1", {})]
        verbs = VERBS.get(kind.name, ("delete",))
        found += [commands.of_verb(kind, "x-1", verb) for verb in verbs]
    return found


def test_every_command_line_that_is_told_can_be_typed() -> None:
    for thing in told():
        _, *words = shlex.split(thing.command)
        result = CliRunner().invoke(app, [*words, "--help"])  # an unknown option comes before help
        assert result.exit_code == 0, f"{thing.command}: {result.output}"
