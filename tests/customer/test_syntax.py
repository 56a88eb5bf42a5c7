"""What a device's own parser says, where Debian has it: BIRD, FRR, the shell."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.customer.documents import PAIRS, Edit, rendered
from tests.support.documents import CONNECTION, FIRST, SECOND

V6: tuple[Edit, ...] = (
    ((*FIRST, "inner_cidr"), "fd00:1::/126"),
    ((*SECOND, "inner_cidr"), "fd00:1::4/126"),
    ((*CONNECTION, "remote_cidrs"), ["fd00:20::/48"]),
    (("vpc_attachment", 0, "cidrs"), ["fd00:10::/48"]),
)
EDITS: dict[str, tuple[Edit, ...]] = {
    "plain": (),
    "without BFD": (((*CONNECTION, "bfd"), "off"),),
    "IPv6": V6,
    "nothing of ours": ((("vpc_attachment", 0, "cidrs"), []),),
}


def accepts(program: str, words: Sequence[str], file: Path) -> str:
    """Return what a parser has against a file: "" for nothing. Skips without the program."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    done = subprocess.run([program, *words, str(file)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize(
    ("device", "name", "program", "words"),
    [
        ("strongswan", "bird.conf", "bird", ("-p", "-c")),
        ("strongswan-libipsec", "office-1/bird.conf", "bird", ("-p", "-c")),
        ("strongswan-frr", "frr.conf", "vtysh", ("-C", "-f")),
    ],
)
def test_the_routing_daemon_takes_its_configuration(
    device: str,
    name: str,
    program: str,
    words: tuple[str, ...],
    edits: tuple[Edit, ...],
    tmp_path: Path,
) -> None:
    text = {file.name: file.text for file in rendered(device, "bgp", *edits).files}[name]
    file = tmp_path / Path(name).name
    file.write_text(text)
    assert accepts(program, words, file) == ""


@pytest.mark.parametrize(("device", "mode"), PAIRS)
def test_scripts_and_json_are_whole(device: str, mode: str, tmp_path: Path) -> None:
    for made in rendered(device, mode).files:
        file = tmp_path / Path(made.name).name
        file.write_text(made.text)
        if made.name.endswith(".sh"):
            assert accepts("sh", ("-n",), file) == ""
        elif made.name.endswith(".json"):
            assert json.loads(made.text)


def test_a_parser_that_is_there_refuses_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "bird.conf"
    file.write_text("protocol bgp { nonsense; }")
    assert "syntax error" in accepts("bird", ("-p", "-c"), file)
