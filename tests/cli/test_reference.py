"""docs/cli.md: its examples run and print what it says, its reference is the program's."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.control_process import Control, control
from tests.cli.reference import MARK, PAGE, reference

_ID = re.compile(r"\b(bgw|cgw|att|conn|tun|node|apply)-[a-z0-9]{10}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A control process that has nothing yet."""
    with control(tmp_path_factory.mktemp("control")) as one:
        yield one


def examples() -> Iterator[tuple[str, str]]:
    """Yield each command of the page with what it prints."""
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def masked(text: str) -> str:
    return re.sub(r"tsn-\S+", "tsn-...", _TIME.sub("TIME", _ID.sub(r"\1-ID", text)))


def test_the_reference_is_made_from_the_program_as_it_is() -> None:
    assert PAGE.read_text().partition(MARK)[2] == reference(), "python -m tests.cli.reference"


def test_the_examples_print_what_the_page_says(
    nothing: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command, expected in examples():
        if not command.startswith("twinspan "):
            subprocess.run(shlex.split(command), check=True)
            continue
        words, _, file = command.partition(" > ")
        printed = nothing.done(*shlex.split(words)[1:])
        if file:
            Path(file).write_text(printed)
            printed = ""
        assert masked(printed) == masked(expected), command
