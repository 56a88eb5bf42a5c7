"""`twinspan link` as a person or a script calls it: two files, both changed or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.check import PSK_CHARACTERS
from gateway.model.load import load, load_document
from gateway.model.tunnels import resolve_tunnels

TEXT = """\
# The gateway of {name}, with a comment that stays.
[gateway]
name = "{name}"
public_addresses = [ '192.0.2.{n}', "198.51.100.{n}" ]   # odd, but ours

[[border_gateway]]
name = "main"
asn = 6500{n}

[[vpc_attachment]]
name = "vpc"
border_gateway = "main"
interface = "lan"
cidrs = ["10.{n}.0.0/16"]
"""


def text_of(name: str) -> str:
    return TEXT.format(name=name, n={"west": 1, "east": 2}[name])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two bare documents, each in its own directory."""
    made = []
    for name, mode in (("west", 0o640), ("east", 0o600)):
        file = tmp_path / name / "gateway.toml"
        file.parent.mkdir()
        file.write_text(text_of(name))
        file.chmod(mode)
        made.append(file)
    return made[0], made[1]


def run(*words: str | Path, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["link", *map(str, words)], input=answer)


def held(*files: Path) -> dict[Path, bytes]:
    """Return every file beside these and what it holds."""
    return {found: found.read_bytes() for file in files for found in file.parent.iterdir()}


def test_both_documents_get_their_end_and_keep_their_text(files: tuple[Path, Path]) -> None:
    west, east = files
    done = run(west, east, "--yes")
    assert done.exit_code == 0, done.output
    for file, name, mode in ((west, "west", 0o640), (east, "east", 0o600)):
        assert file.read_text().startswith(text_of(name) + "\n[[customer_gateway]]\n")
        assert file.stat().st_mode & 0o777 == mode
        assert [tunnel.name for tunnel in resolve_tunnels(load_document(file))] == [
            "west-east-1",
            "west-east-2",
        ]
        assert not [warning for warning in load(file).warnings if "psk" in warning]
        assert str(file) in done.stdout
    assert sorted(path.name for path in west.parent.iterdir()) == ["gateway.toml", "west-east.psk"]


def test_the_key_is_one_and_nobody_elses(files: tuple[Path, Path]) -> None:
    done = run(*files, "--yes")
    keys = [file.parent / "west-east.psk" for file in files]
    assert keys[0].read_text() == keys[1].read_text()
    assert len(keys[0].read_text().strip()) == PSK_CHARACTERS
    assert [key.stat().st_mode & 0o777 for key in keys] == [0o600, 0o600]
    assert keys[0].read_text().strip() not in done.output
    assert all(load_document(file).vpn_connection[0].psk is not None for file in files)


def test_documents_side_by_side_share_the_key_file(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.toml" for name in ("west", "east")]
    for file in files:
        file.write_text(text_of(file.stem))
    assert run(*files, "--yes", "--psk-file", "wan.key").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["east.toml", "wan.key", "west.toml"]
    assert {load_document(file).vpn_connection[0].psk_file for file in files} == {"wan.key"}


@pytest.mark.parametrize(
    ("words", "answer", "code"), [(("--dry-run",), "", 0), ((), "n\n", 0), ((), "", 1)]
)
def test_the_difference_is_shown_and_nothing_written(
    files: tuple[Path, Path], words: tuple[str, ...], answer: str, code: int
) -> None:
    before = held(*files)
    done = run(*files, *words, answer=answer)
    assert done.exit_code == code
    assert f"+++ {files[1]}" in done.stdout
    assert '+name = "west-east-2"' in done.stdout
    assert held(*files) == before


def test_an_answer_writes(files: tuple[Path, Path]) -> None:
    assert run(*files, answer="y\n").exit_code == 0
    assert "west-east" in files[0].read_text()


def test_a_second_time_is_refused_and_changes_nothing(files: tuple[Path, Path]) -> None:
    run(*files, "--yes")
    before = held(*files)
    done = run(*files, "--yes", "--name", "again")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"{files[0]}: border_gateway[main] is linked to main of {files[1]} already,"
        " by vpn_connection west-east",
        "nothing is written",
    ]
    assert held(*files) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", "a b"), "vpn_connection[#1].name: must be 1 to 32 letters"),
        (("--ike-proposal", "3des-sha1-modp1024"), "3des is a legacy algorithm"),
        (("--inner", "8.8.0.0/16"), "must lie in 169.254.0.0/16"),
        (("--inner", "10.9"), "--inner: needs a prefix length"),
        (("--tunnels", "9"), "can not make 9 tunnels"),
        (("--asn-a", "65535"), "is a reserved AS number (65535)"),
        (("--border-gateway-b", "x"), "no border_gateway has this name; there is: main (x)"),
    ],
)
def test_what_would_be_a_mistake_is_refused(
    files: tuple[Path, Path], words: tuple[str, ...], said: str
) -> None:
    before = held(*files)
    done = run(*files, "--yes", *words)
    assert done.exit_code == 1
    assert said in done.stderr
    assert done.stderr.endswith("nothing is written\n")
    assert held(*files) == before


def test_a_document_with_a_mistake_is_refused(files: tuple[Path, Path]) -> None:
    files[1].write_text(text_of("east") + "x = 1\n")
    done = run(*files, "--yes")
    assert done.exit_code == 1
    assert f"{files[1]}:15: vpc_attachment[vpc].x: unknown key" in done.stderr


def test_one_document_twice_and_none_are_refused(files: tuple[Path, Path]) -> None:
    assert "is the other document too" in run(files[0], files[0]).stderr
    assert "can not be read" in run(files[0], files[1].with_name("none.toml")).stderr


def test_a_key_file_is_never_overwritten(files: tuple[Path, Path]) -> None:
    key = files[1].parent / "west-east.psk"
    key.write_text("the key of another")
    before = held(*files)
    done = run(*files, "--yes")
    assert (done.exit_code, done.stderr) == (1, f"{key}: exists already\nnothing is written\n")
    assert held(*files) == before


def test_a_directory_that_can_not_be_written_leaves_all_as_it_was(
    files: tuple[Path, Path],
) -> None:
    before = held(*files)
    done = run(*files, "--yes", "--psk-file", "none/west.psk")
    assert done.exit_code == 1
    assert "none/west.psk: can not be written: no such file or directory" in done.stderr
    assert held(*files) == before


def test_a_link_to_a_document_stays_a_link(files: tuple[Path, Path]) -> None:
    link = files[0].with_name("link.toml")
    link.symlink_to(files[0].name)
    assert run(link, files[1], "--yes").exit_code == 0
    assert link.is_symlink()
    assert "west-east" in files[0].read_text()


def test_json_is_one_object_either_way(files: tuple[Path, Path]) -> None:
    before = held(*files)
    told = json.loads(run(*files, "--json").stdout)
    assert (told["ok"], told["written"], told["name"]) == (True, False, "west-east")
    assert held(*files) == before
    told = json.loads(run(*files, "--json", "--yes").stdout)
    assert told["written"] is True
    assert [Path(file["path"]).name for file in told["files"]] == [
        *("west-east.psk", "west-east.psk", "gateway.toml", "gateway.toml")
    ]
    again = run(*files, "--json", "--yes")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["ok"] is False
