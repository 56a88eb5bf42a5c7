"""The examples in the help of commands: each is one of this program, with options that it has."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.examples import EXAMPLES

LINES = [(path, line) for path, lines in EXAMPLES.items() for line in lines]


@pytest.mark.parametrize(("path", "line"), LINES, ids=[line for _, line in LINES])
def test_an_example_is_a_command_that_is_understood(path: str, line: str) -> None:
    group: Any = typer.main.get_command(app)
    words = shlex.split(line)
    assert words[: len(path.split())] == path.split()
    context = typer.Context(group, info_name="twinspan")
    for name in path.split():
        group = group.get_command(context, name)
        context = typer.Context(group, parent=context, info_name=name)
    # Without running it: files that it names are not there.
    for each in group.params:
        if hasattr(each.type, "exists"):
            each.type.exists = False
    made = group.make_context(path, words[len(path.split()) :], parent=context.parent)
    assert not made.args


def test_help_shows_examples_as_they_are_typed_and_arguments_in_capitals() -> None:
    said = CliRunner().invoke(app, ["capture", "--help"]).output
    assert "capture [OPTIONS] {TUNNEL} {FILE}" in said
    assert said.endswith(
        "  Examples:\n    twinspan capture office-1 office-1.pcapng --seconds 30\n"
        "    twinspan capture office-1 office-1.pcapng --packets 1000 --with-keys\n"
    )
    assert "{NAME}" in CliRunner().invoke(app, ["pki", "issue", "--help"]).output
