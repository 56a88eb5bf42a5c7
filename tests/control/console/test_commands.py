"""Every action is told as a call and a command line too, and never with a secret."""

from __future__ import annotations

import shlex

from gateway.control.console import commands
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


def test_every_kind_has_a_noun() -> None:
    for kind in KINDS.values():
        assert commands.of_list(kind).command.startswith("twinspan ")
