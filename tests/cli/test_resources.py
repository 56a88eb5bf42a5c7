"""Nouns and verbs against a real control process."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.cli.output import yaml_table
from gateway.cli.remote.fleet import fleet_lines
from gateway.cli.remote.names import completer
from tests.cli.control_process import Control

MASKS = ((r"\b(bgw|cgw|att|conn|tun|node)-[a-z2-7]{10}\b", r"\1-ID"), (r"ID +", "ID "))


@pytest.fixture(scope="module", autouse=True)
def _office(plane: Control) -> None:
    """A connection with two tunnels, as a person makes it."""
    plane.done("bgw", "create", "main", "--asn", "65010", "--tag", "env=prod", "--tag", "a=b=c")
    plane.done(
        *("attachment", "create", "vpc", "--border-gateway", "main", "--interface", "eth1"),
        *("--cidrs", "10.10.0.0/16,10.11.0.0/16"),
    )
    plane.done(
        *("cgw", "create", "office", "--public-addresses", "203.0.113.50,203.0.113.51"),
        *("--asn", "65001"),
    )
    plane.done(
        *("connection", "create", "office", "--border-gateway", "main"),
        *("--customer-gateway", "office", "--routing", "bgp", "--remote-cidrs", "10.20.0.0/16"),
        *("--set", "liveness_s=5"),
    )


def masked(text: str) -> str:
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text)
    return text


def test_a_list_is_a_table_with_names_for_references(plane: Control) -> None:
    assert masked(plane.done("tunnel", "list")) == (
        "NAME      ID ADMIN  STATE    REASON\n".replace(
            "ID ", "ID CONNECTION  LOCAL         REMOTE        "
        )
        + "office-1  tun-ID office      192.0.2.1     203.0.113.50  up     unknown  node_new\n"
        + "office-2  tun-ID office      198.51.100.1  203.0.113.51  up     unknown  node_new\n"
    )


def test_every_form_of_output_has_the_same(plane: Control) -> None:
    items = json.loads(plane.done("bgw", "list", "-o", "json"))["items"]
    assert yaml_table(plane.done("bgw", "list", "-o", "yaml")) == {"items": items}
    assert plane.done("bgw", "list", "-o", "name") == "main\n"
    assert "ROUTER ID" in plane.done("bgw", "list", "-o", "wide")
    assert items[0]["tags"] == {"env": "prod", "a": "b=c"}
    shown = plane.json("bgw", "show", "main")
    assert shown == items[0]
    assert re.search(r"^asn +65010$", plane.done("bgw", "show", "main"), re.MULTILINE)


def test_lists_are_filtered_by_names_of_references_and_by_tags(plane: Control) -> None:
    names = ("tunnel", "list", "-o", "name")
    assert plane.done(*names, "--vpn-connection", "office") == "office-1\noffice-2\n"
    assert plane.done(*names, "--limit", "1", "--sort", "-name") == "office-2\n"
    assert plane.done("bgw", "list", "-o", "name", "--tag", "env=prod") == "main\n"
    assert plane.done("bgw", "list", "--tag", "env=lab") == ""


def test_update_changes_what_is_named_and_resets_what_is_told(plane: Control) -> None:
    plane.done("bgw", "update", "main", "--no-spoke-isolation", "--description", "x")
    assert not plane.json("bgw", "show", "main")["spoke_isolation"]
    changed = plane.json("bgw", "update", "main", "--reset", "spoke_isolation")
    assert (changed["spoke_isolation"], changed["description"]) == (True, "x")
    asked = plane.done("bgw", "update", "main", "--asn", "65011", "--dry-run")
    assert "could be changed" in asked
    assert plane.json("bgw", "show", "main")["asn"] == 65010


def test_a_resource_is_made_from_a_file_and_options_win(plane: Control, tmp_path: Path) -> None:
    file = tmp_path / "cgw.yaml"
    file.write_text('name: branch\npublic_addresses: ["203.0.113.60"]\nasn: 65002\n')
    made = plane.json("cgw", "create", "branch", "-f", str(file), "--asn", "65003")
    assert (made["name"], made["asn"]) == ("branch", 65003)
    assert plane.done("cgw", "delete", "branch", "--yes") == "branch: deleted\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("bgw update main --asn 0", 1, "border_gateway.asn: must be at least 1 (0)"),
        ("bgw create main", 5, "border_gateway.name: another border_gateway has this name"),
        ("bgw create x --set foo=1", 1, "border_gateway.foo: unknown key"),
        ("bgw show mian", 4, "no Border Gateway has the name or id 'mian'"),
        ("bgw show bgw-aaaaaaaaaa", 4, "border_gateway: 'bgw-aaaaaaaaaa' does not exist"),
        ("bgw update main --if-match 1 --asn 7", 5, "border_gateway main: is at revision"),
        ("bgw update main", 2, "nothing to change: name at least one field"),
        ("bgw update main -f /nowhere", 2, "/nowhere: can not be read: no such file"),
        ("bgw delete main --yes", 5, "border_gateway main: is used by vpc_attachment vpc"),
        ("bgw list --tag x", 2, "--tag: must be like KEY=VALUE ('x')"),
        ("bgw list --sort moon", 1, "sort: must be one of"),
        ("tunnel list --vpn-connection x", 4, "no VPN Connection has the name or id 'x'"),
        ("bgw list --tenant nobody --context x", 2, "context: no context is named 'x'"),
        ("bgw fly", 2, "No such command 'fly'"),
    ],
)
def test_a_refusal_is_one_message_with_its_exit_status(
    plane: Control, words: str, status: int, said: str
) -> None:
    refused = plane.run(*words.split())
    assert refused.exit_code == status
    assert said in refused.stderr
    assert refused.stdout == ""


def test_who_is_not_known_and_who_is_not_there(plane: Control, tmp_path: Path) -> None:
    nobody = {"TWINSPAN_URL": f"unix:{tmp_path}/control.sock"}
    assert plane.run("bgw", "list", environ=nobody).exit_code == 3


def test_what_interrupts_asks_and_changes_nothing_without_a_yes(plane: Control) -> None:
    asked = plane.run("tunnel", "down", "office-1", stdin="n\n")
    assert asked.exit_code == 1
    assert "office-1: take it down, and keep it down? [y/N]" in asked.output
    assert plane.json("tunnel", "show", "office-1")["status"]["admin"] == "up"  # type: ignore[index] # JSON
    done = plane.done("tunnel", "down", "office-1", "office-2", "-y")
    assert done == "office-1: admin down\noffice-2: admin down\n"
    done = plane.done("tunnel", "up", "office-1", "office-2")
    assert done == "office-1: admin up\noffice-2: admin up\n"
    assert "could" not in plane.done("bgw", "delete", "--help")
    assert "--cascade" not in plane.done("bgw", "delete", "--help")
    trial = ("connection", "delete", "office", "--yes", "--dry-run")
    assert "is used by vpn_tunnel" in plane.run(*trial).stderr
    assert plane.done(*trial, "--cascade") == "office: can be deleted\n"


def test_one_secret_is_told_to_who_asks_for_it(plane: Control) -> None:
    assert re.fullmatch(r"0x[0-9a-f]{64}\n", plane.done("tunnel", "psk", "office-1"))
    none = plane.run("connection", "psk", "office")
    assert none.exit_code == 4
    assert "has no psk of its own" in none.stderr


def test_names_and_ids_are_completed(plane: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in plane.environ.items():
        monkeypatch.setenv(key, value)
    assert completer("tunnel")("off") == ["office-1", "office-2"]
    (id,) = completer("bgw")("bgw-")
    assert id.startswith("bgw-")
    monkeypatch.setenv("TWINSPAN_URL", "unix:/nowhere")
    assert completer("tunnel")("off") == []


def test_the_shell_completes_nouns_verbs_options_and_words(plane: Control) -> None:
    def complete(words: str) -> list[str]:
        count = str(len(words.split()) - (not words.endswith(" ")))
        environ = {"_TWINSPAN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
        return plane.run(environ=environ).output.split()

    assert complete("twinspan tun") == ["tunnel"]
    assert "rekey" in complete("twinspan tunnel ")
    assert complete("twinspan tunnel show office") == ["office-1", "office-2"]
    assert complete("twinspan explain office") == ["office-1", "office-2"]
    assert complete("twinspan connection create x --rout") == ["--routing"]
    assert complete("twinspan connection create x --routing b") == ["bgp"]
    assert complete("twinspan connection create x --border-gateway m") == ["main"]


def test_status_shows_the_fleet_where_no_gateway_is(plane: Control) -> None:
    lines = plane.done("status").splitlines()
    assert lines[0] == "tunnels: 0 of 2 up, connections: 1, nodes: 2 new"
    assert any(line.split()[:3] == ["office", "main", "office"] for line in lines)
    assert any(re.match(r"office-1 +office +192\.0\.2\.1", line) for line in lines)
    assert plane.done("status", "-o", "name") == "office-1\noffice-2\n"
    answer = plane.json("status")
    assert fleet_lines(answer, colours=False) == lines
    assert "\x1b[31m" in "".join(fleet_lines(answer, colours=True))


def test_explain_says_what_holds_for_a_tunnel_also_what_its_connection_says(
    plane: Control,
) -> None:
    lines = plane.done("explain", "office-1", "--fleet").splitlines()
    assert lines[0] == "office-1 of office: admin up, unknown since unknown"
    assert lines[1].startswith("  node      gw-a, not asked: node gw-a does not report")
    for said in ("local = 192.0.2.1", "remote = 203.0.113.50", "liveness_s = 5.0"):
        assert f"  wanted    {said}" in lines
    answer = plane.json("explain", "office-1", "--fleet")
    refused = answer["not_answered"]
    assert isinstance(refused, dict)
    assert refused["code"] == "node_lost"
    assert answer["vpn_connection_name"] == "office"


def test_who_carries_a_flow_is_asked_of_nodes_which_may_be_silent(plane: Control) -> None:
    for words in (("10.0.0.1", "10.20.0.1"), ("10.0.0.1", "10.20.0.1", "--border-gateway", "main")):
        refused = plane.run("path", *words, "--fleet")
        assert refused.exit_code == 3
        assert "node gw-a does not report, so it can not be asked" in refused.output
    refused = plane.run("path", "10.0.0.1", "2001:db8::1", "--fleet")
    assert refused.exit_code == 1
    assert "destination: 10.0.0.1 is of another IP version" in refused.output


def test_the_customers_configuration_is_made_by_the_control_plane(
    plane: Control, tmp_path: Path
) -> None:
    shown = plane.done("connection", "config", "office", "--device", "cisco-ios-xe")
    assert "crypto ikev2 keyring office-1" in shown
    assert "tunnel destination 198.51.100.1" in shown
    assert "REPLACE-WITH-THE-KEY-OF-office-2" in shown
    words = ("--device", "strongswan-libipsec", "--tunnel", "office-2", "--secrets")
    done = plane.run("connection", "config", "office", *words, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "REPLACE" not in (tmp_path / "out/swanctl.conf").read_text()
    assert "cisco-ios-xe" in plane.done("connection", "config", "--list")
    assert plane.run("connection", "config", "office").exit_code == 2
    refused = plane.run("connection", "config", "office", "--device", "mikrotik")
    assert refused.exit_code == 1
    assert "only policy" in refused.output


def test_a_node_gets_a_token_and_is_locked_out(plane: Control) -> None:
    lines = plane.done("node", "token", "gw-a").splitlines()
    told = [line.split()[0] for line in lines[1:]]
    assert told == ["registration_token", "expires_at", "ca_fingerprint"]
    assert plane.run("node", "revoke", "gw-a", stdin="n\n").exit_code == 1
    assert "gw-a: locked out" in plane.done("node", "revoke", "gw-a", "--yes")


def test_an_action_that_its_node_has_not_done_yet_is_named(plane: Control) -> None:
    said = plane.done("tunnel", "rekey", "office-1", "--ike", "--no-wait")
    assert re.fullmatch(r"office-1: rekey asked for \(act-\w{10}\)\n", said)


def test_alarms_are_listed_and_named_by_their_ids(plane: Control) -> None:
    assert plane.done("alarm", "list", "--state", "raised") == ""
    none = plane.run("alarm", "ack", "alarm-aaaaaaaaaa")
    assert (none.exit_code, none.stderr.count("does not exist")) == (4, 1)


def test_people_and_their_tokens(plane: Control, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("correct horse battery\n")
    word = ("--password-file", str(tmp_path / "word"))
    plane.done("tenant", "create", "acme", "--description", "a project")
    plane.done("user", "create", "ada", "--scope", "operate", "--tenant", "acme", *word)
    made = plane.done("token", "create", "ci", "--user", "ada", "--lifetime-days", "7")
    token = made.splitlines()[-1].removeprefix("token, shown this once: ")
    as_ada = {"TWINSPAN_URL": plane.url, "TWINSPAN_TOKEN": token}
    assert plane.run("bgw", "list", environ=as_ada).exit_code == 0
    refused = plane.run("bgw", "create", "x", environ=as_ada)
    assert (refused.exit_code, "scope admin is needed" in refused.stderr) == (6, True)
    stranger = {**as_ada, "TWINSPAN_TOKEN": "tsp_" + "x" * 43}
    assert plane.run("bgw", "list", environ=stranger).exit_code == 6
    plane.done("user", "update", "ada", "--disabled")
    assert plane.json("user", "show", "ada")["disabled"]
    for noun, name in (("token", "ci"), ("user", "ada"), ("tenant", "acme")):
        assert plane.done(noun, "delete", name, "--yes") == f"{name}: deleted\n"
