"""A tenant's tree from a file and as one: differences, order, failures, taking back."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.remote.apply import complete_apply
from gateway.model.load import load_document
from tests.cli.control_process import TWINSPAN, Control

EXAMPLES = sorted((Path(__file__).parents[2] / "docs/examples").glob("*.toml"))
NOTE = "note: [gateway] is left out: it is what nodes have (twinspan node)"
EMPTY = "[gateway]\n"


@pytest.fixture
def empty(plane: Control, tmp_path: Path) -> Iterator[Control]:
    """The control process with nothing of a tenant in it, before and after."""
    file = tmp_path / "empty.toml"
    file.write_text(EMPTY)
    plane.done("apply", "-f", str(file), "--prune", "--yes")
    yield plane
    plane.done("apply", "-f", str(file), "--prune", "--yes")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The document of an office with two tunnels and a key in a file of its own."""
    (tmp_path / "office.psk").write_text("correct horse battery staple\n")
    file = tmp_path / "tree.toml"
    file.write_text(DOCUMENT)
    return file


DOCUMENT = """
[gateway]
name = "gw1"

[[border_gateway]]
name = "main"
asn = 65000

[[vpc_attachment]]
name = "vpc"
border_gateway = "main"
interface = "eth1"
cidrs = ["10.10.0.0/16"]

[[customer_gateway]]
name = "office"
public_addresses = ["203.0.113.9", "203.0.113.10"]

[[vpn_connection]]
name = "office"
border_gateway = "main"
customer_gateway = "office"
remote_cidrs = ["10.20.0.0/16"]
psk_file = "office.psk"
encap = "never"

[[vpn_connection.tunnel]]
inner_cidr = "169.254.10.0/30"

[[vpn_connection.tunnel]]
inner_cidr = "169.254.10.4/30"
local_address = "198.51.100.1"

[[route]]
border_gateway = "main"
vpn_connection = "office"
prefix = "10.30.0.0/16"
"""


def apply(plane: Control, file: Path, *words: str) -> list[str]:
    return plane.done("apply", "-f", str(file), *words).splitlines()


def test_a_file_is_made_in_order_and_makes_no_difference_the_second_time(
    empty: Control, file: Path
) -> None:
    shown = apply(empty, file, "--dry-run")
    assert shown[-1] == "nothing is changed"
    assert empty.done("bgw", "list") == ""
    assert '+psk = "(not shown)"' in shown
    assert "+++ vpn_tunnel/office/office-2" in shown
    assert apply(empty, file, "--yes")[-6:] == [
        "border_gateway/main: made",
        "vpc_attachment/vpc: made",
        "customer_gateway/office: made",
        "vpn_connection/office: made",
        "route/main/10.30.0.0/16/office: made",
        "all is done",
    ]
    assert empty.json("tunnel", "show", "office-2")["local_address"] == "198.51.100.1"
    again = empty.run("apply", "-f", str(file), "--yes", "--prune")
    assert (again.stdout, again.stderr) == ("no difference\n", NOTE + "\n")


def test_the_difference_is_shown_for_each_resource(empty: Control, file: Path) -> None:
    apply(empty, file, "--yes")
    file.write_text(
        DOCUMENT.replace('encap = "never"', 'probe = "200x3"').replace("asn = 65000", "asn = 65010")
    )
    assert apply(empty, file, "--yes") == [
        "--- border_gateway/main",
        "+++ border_gateway/main",
        "@@ -1 +1,2 @@",
        ' name = "main"',
        "+asn = 65010",
        "--- vpn_connection/office",
        "+++ vpn_connection/office",
        "@@ -1,5 +1,5 @@",
        ' name = "office"',
        ' border_gateway = "main"',
        ' customer_gateway = "office"',
        '-encap = "never"',
        '+probe = "200x3"',
        ' remote_cidrs = ["10.20.0.0/16"]',
        "border_gateway/main: changed",
        "vpn_connection/office: changed",
        "all is done",
    ]
    assert apply(empty, file, "--yes") == ["no difference"]


def test_of_a_secret_only_that_it_differs_is_shown(empty: Control, file: Path) -> None:
    apply(empty, file, "--yes")
    (file.parent / "office.psk").write_text("another key that is long enough\n")
    shown = apply(empty, file, "--yes")
    assert "another key" not in "\n".join(shown)
    assert [line for line in shown if line[:2] in ("-p", "+p")] == [
        '-psk = "(not shown)"',
        '+psk = "(not shown, another)"',
    ]
    assert empty.done("connection", "psk", "office") == "another key that is long enough\n"


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
def test_what_is_exported_makes_no_difference(
    empty: Control, file: Path, form: str, tmp_path: Path
) -> None:
    apply(empty, file, "--yes")
    empty.done("bgw", "update", "main", "--tag", "env=off", "--description", "ours")
    out = tmp_path / f"out.{form}"
    out.write_text(empty.done("export", "-o", form))
    assert "correct horse" not in out.read_text()
    assert apply(empty, out, "--yes", "--prune") == ["no difference"]
    out.write_text(empty.done("export", "-o", form, "--secrets"))
    assert "correct horse battery staple" in out.read_text()
    assert apply(empty, out, "--yes", "--prune") == ["no difference"]
    apply(empty, _written(tmp_path, EMPTY), "--prune", "--yes")
    apply(empty, out, "--yes")
    assert empty.done("export", "-o", form, "--secrets") == out.read_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_of_a_gateways_file_is_applied_and_comes_back_as_one(
    empty: Control, tmp_path: Path, example: Path
) -> None:
    (tmp_path / "office.psk").write_text("correct horse battery staple\n")
    file, exported = tmp_path / example.name, tmp_path / "exported.toml"
    file.write_text(example.read_text())
    assert apply(empty, file, "--yes")[-1] == "all is done"
    assert apply(empty, file, "--yes", "--prune") == ["no difference"]
    exported.write_text(f"{NODES}{empty.done('export', '--secrets')}")
    assert apply(empty, exported, "--yes", "--prune") == ["no difference"]
    ours, theirs = load_document(file), load_document(exported)
    assert {one.name for one in theirs.vpn_connection} == {one.name for one in ours.vpn_connection}


NODES = (
    "[gateway]\npublic_addresses = "
    '["192.0.2.1", "198.51.100.1", "2001:db8:1::1", "2001:db8:2::1"]\n\n'
)


def _written(place: Path, text: str) -> Path:
    file = place / "other.toml"
    file.write_text(text)
    return file


def test_what_is_not_in_the_file_stays_unless_it_is_to_go(empty: Control, file: Path) -> None:
    apply(empty, file, "--yes")
    file.write_text(DOCUMENT[: DOCUMENT.index("[[customer_gateway]]")])
    kept = empty.run("apply", "-f", str(file), "--yes")
    assert "note: vpn_connection/office is not in the file and stays" in kept.stderr
    assert kept.stdout == "no difference\n"
    done = apply(empty, file, "--yes", "--prune")
    assert [line for line in done if line.endswith(": deleted")] == [
        "route/main/10.30.0.0/16/office: deleted",
        "vpn_tunnel/office/office-2: deleted",
        "vpn_tunnel/office/office-1: deleted",
        "vpn_connection/office: deleted",
        "customer_gateway/office: deleted",
    ]


def test_what_can_not_change_is_made_anew_with_what_refers_to_it(
    empty: Control, file: Path
) -> None:
    apply(empty, file, "--yes")
    before = empty.json("connection", "show", "office")["id"]
    text = DOCUMENT.replace(
        "[[customer_gateway]]", '[[border_gateway]]\nname = "b"\n\n[[customer_gateway]]'
    )
    head, tail = text.split("[[vpn_connection]]", 1)
    file.write_text(head + "[[vpn_connection]]" + tail.replace('"main"', '"b"'))
    done = apply(empty, file, "--yes", "--prune")
    (note,) = [line for line in done if line.startswith("note: is deleted and made anew")]
    assert "vpn_connection/office, vpn_tunnel/office/office-1" in note
    assert empty.json("connection", "show", "office")["id"] != before
    assert apply(empty, file, "--yes", "--prune") == ["no difference"]


def test_a_connection_that_names_no_tunnels_keeps_them_until_it_is_made_anew(
    empty: Control, file: Path
) -> None:
    text = DOCUMENT.replace("psk_file", "#").replace("[[route]]", "[[route]]\nname = 'r'")
    tunnels, route = text.index("[[vpn_connection.tunnel]]"), text.index("[[route]]")
    file.write_text(text[:tunnels] + text[route:])
    apply(empty, file, "--yes")
    assert empty.done("tunnel", "list", "-o", "name") == "office-1\noffice-2\n"
    assert apply(empty, file, "--yes", "--prune") == ["no difference"]
    text = file.read_text() + '\n[[border_gateway]]\nname = "b"\n'
    file.write_text(
        text.replace('border_gateway = "main"\ncustomer', 'border_gateway = "b"\ncustomer').replace(
            'border_gateway = "main"\nvpn', 'border_gateway = "b"\nvpn'
        )
    )
    apply(empty, file, "--yes")
    assert empty.done("tunnel", "list", "-o", "name") == "office-1\noffice-2\n"
    assert apply(empty, file, "--yes", "--prune") == ["no difference"]


def test_a_failure_says_what_is_done_and_what_is_not(empty: Control, file: Path) -> None:
    apply(empty, file, "--yes")
    tree = json.loads(empty.done("export", "-o", "json"))
    tree["border_gateway"][0]["asn"] = 65020
    tree["customer_gateway"][0]["public_addresses"] = ["203.0.113.9"]  # has tunnels
    file = file.with_suffix(".json")
    file.write_text(json.dumps(tree))
    refused = empty.run("apply", "-f", str(file), "--yes")
    assert refused.exit_code == 5
    assert "customer_gateway.public_addresses: can not change while tunnels go to it" in (
        refused.stderr
    )
    assert empty.json("bgw", "show", "main")["asn"] == 65000


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("[[moon]]", 2, "moon: unknown table; there are: address_pool, border_gateway"),
        ("border_gateway = 7", 2, "border_gateway: must be a list of tables: write [[border"),
        ("[[border_gateway]]\nasn = 1", 2, "border_gateway[#1].name: is required"),
        ('[[border_gateway]]\nname = "a"\n' * 2, 2, "border_gateway/a: stands twice"),
        ('[[border_gateway]]\nname = "a"\nasn = 0', 1, "border_gateway.asn: must be at least 1"),
        ("nonsense", 2, "tree.toml: "),
    ],
)
def test_a_mistake_in_the_file_changes_nothing(
    empty: Control, file: Path, text: str, status: int, said: str
) -> None:
    file.write_text(text)
    refused = empty.run("apply", "-f", str(file), "--yes")
    assert refused.exit_code == status
    assert said in refused.stderr
    assert empty.done("bgw", "list") == ""


def test_what_is_not_confirmed_is_taken_back(
    empty: Control, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = apply(empty, file, "--yes", "--confirm", "60")
    assert shown[-1] == "all is done, and waits to be confirmed"
    id = shown[-2].split()[-1]
    for key, value in empty.environ.items():
        monkeypatch.setenv(key, value)
    assert complete_apply("apply-") == [id]
    assert (
        empty.done("confirm", "--take-back") == f"{id}: it has been taken back: all is as it was\n"
    )
    assert empty.done("bgw", "list") == ""
    none = empty.run("confirm")
    assert (none.exit_code, none.stderr) == (4, "twinspan: no apply waits to be confirmed\n")


def test_what_is_confirmed_stays(empty: Control, file: Path) -> None:
    apply(empty, file, "--yes", "--confirm", "60")
    assert empty.done("confirm").endswith(": is confirmed, and stays\n")
    assert empty.done("bgw", "list", "-o", "name") == "main\n"
    assert empty.run("confirm").exit_code == 4


def test_it_is_taken_back_also_when_the_terminal_dies(empty: Control, file: Path) -> None:
    terminal, its = pty.openpty()
    words = [*TWINSPAN, "apply", "-f", str(file), "--yes", "--confirm", "1"]
    process = subprocess.Popen(words, stdin=its, stdout=its, env={**os.environ, **empty.environ})
    said = b""
    while b"press Enter to keep it" not in said:
        said += os.read(terminal, 65536)
    process.kill()
    process.wait()
    os.close(its)
    os.close(terminal)
    deadline = time.monotonic() + 10
    while empty.done("bgw", "list", "-o", "name") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert empty.done("bgw", "list") == ""


def test_enter_keeps_it(empty: Control, file: Path) -> None:
    terminal, its = pty.openpty()
    words = [*TWINSPAN, "apply", "-f", str(file), "--yes", "--confirm", "60"]
    process = subprocess.Popen(words, stdin=its, stdout=its, env={**os.environ, **empty.environ})
    said = b""
    while b"press Enter to keep it" not in said:
        said += os.read(terminal, 65536)
    os.write(terminal, b"\n")
    assert process.wait(timeout=20) == 0
    os.close(its)
    os.close(terminal)
    assert empty.done("bgw", "list", "-o", "name") == "main\n"


def test_the_answer_for_machines_needs_a_yes_and_holds_what_was_done(
    empty: Control, file: Path
) -> None:
    asked = empty.run("apply", "-f", str(file), "-o", "json")
    assert (asked.exit_code, asked.stdout) == (2, "")
    told = empty.json("apply", "-f", str(file), "--dry-run")
    assert told["state"] == "dry_run"
    done = empty.json("apply", "-f", str(file), "--yes")
    assert (done["state"], done["done"]) == ("done", 5)
    assert empty.json("apply", "-f", str(file), "--yes")["state"] == "same"
    assert re.match("apply-", str(done["id"]))
