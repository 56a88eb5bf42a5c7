"""
The command line: one module per command family, imported when one of its commands is called.

So what a command does not need costs it no start: `twinspan status` takes under 150 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from gateway.cli.examples import dress
from gateway.cli.lazy import lazy_group
from gateway.cli.remote.nouns import NOUNS

# Each command with its module and function, in the order of the help text.
COMMANDS = {
    "gateway": "process:gateway",
    "status": "show:status",
    "explain": "show:explain",
    "trace": "trace:trace",
    "capture": "capture:capture",
    "bgp": "routing:bgp",
    "routes": "routing:routes",
    "path": "flow:path",
    "up": "act:up",
    "down": "act:down",
    "rekey": "act:rekey",
    "log": "act:log",
    "events": "events:events",
    "reload": "act:reload",
    "stop": "act:stop",
    "doctor": "diagnose:doctor",
    "bugreport": "report:bugreport",
    "check": "check:check",
    "genpsk": "check:genpsk",
    "schema": "check:schema",
    "link": "link:link",
    "split": "split:split",
    "customer-config": "customer:customer_config",
    "version": "act:version",
    "apply": "remote.apply:apply",
    "confirm": "remote.apply:confirm",
    "export": "remote.apply:export",
    "audit": "remote.audit:audit",
    "dataplane": "process:dataplane",
    "netns": "process:netns",
}
# Each group of commands with the module whose `app` it is.
GROUPS = {
    "quota": "remote.quota",
    "setting": "remote.setting",
    "context": "remote.context",
    "import": "importing",
    "pki": "pki",
    "store": "store",
    "control": "control",
}
# Their own parsers read the options, so that the processes import nothing of this package's.
_OWN_PARSER: Mapping[str, Any] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}
_OF_PROCESSES = ("dataplane", "netns")


def _command(name: str, place: str) -> TyperCommand:
    module, _, function = place.partition(":")
    one = typer.Typer(rich_markup_mode=None, add_completion=False)
    settings = _OWN_PARSER if name in _OF_PROCESSES else {}
    one.command(name, **settings)(getattr(import_module(f"gateway.cli.{module}"), function))
    made = typer.main.get_command(one)
    assert isinstance(made, TyperCommand)
    dress(name, made)
    return made


def _group(name: str, place: str) -> TyperGroup:
    made = typer.main.get_command(import_module(f"gateway.cli.{place}").app)
    assert isinstance(made, TyperGroup)
    made.name = name
    for inner, command in made.commands.items():
        assert isinstance(command, TyperCommand)
        dress(f"{name} {inner}", command)
    return made


def _noun(name: str) -> TyperGroup:
    from gateway.cli.remote.resources import noun_group

    return noun_group(name)


app = typer.Typer(
    cls=lazy_group(
        {name: partial(_command, name, place) for name, place in COMMANDS.items()}
        | {name: partial(_group, name, place) for name, place in GROUPS.items()}
        | {name: partial(_noun, name) for name in NOUNS}
    ),
    name="twinspan",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def twinspan() -> None:
    """A site-to-site IPsec VPN gateway with twin tunnels."""


def main() -> None:
    """Run the command that the arguments name."""
    app()
