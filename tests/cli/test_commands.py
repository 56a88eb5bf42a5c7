"""The commands against a gateway process, through typer's runner."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import gateway
from gateway.cli import app
from gateway.cli.client import EXIT_REFUSED, EXIT_UNREACHABLE, ask, complete_tunnel
from tests.node import process
from tests.node.network import ip, own_network
from tests.node.process import DOCUMENT, Running

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway whose peers never answer, for this module's tests."""
    with own_network():
        for address in ("192.0.2.1/32", "198.51.100.1/32"):
            ip(f"addr add {address} dev lo")
        with process.gateway(tmp_path_factory.mktemp("gw"), "--in-process") as one:
            yield one


def twinspan(running: Running, *words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"TWINSPAN_RUNTIME_DIR": str(running.place)})


def test_status_shows_every_tunnel_and_why_it_is_down(running: Running) -> None:
    shown = twinspan(running, "status")
    assert shown.exit_code == 0
    assert "gw1: 0 of 2 tunnels up" in shown.output
    assert "office-1: waiting_for_peer: the peer is to begin" in shown.output


def test_status_as_json_has_the_names_that_were_published(running: Running) -> None:
    answer = json.loads(twinspan(running, "status", "--json").output)
    assert {"gateway", "pid", "tunnels", "counters"} <= set(answer)
    assert set(answer["tunnels"][0]) >= {
        *("name", "connection", "interface", "admin", "status", "reason", "local", "remote"),
        *("since_s", "ike", "children", "in_bytes", "out_bytes", "in_packets", "out_packets"),
        *("drops", "mtu", "active"),
    }
    assert set(answer["counters"]) == {"ike", "send_errors", "workers", "drops"}


def test_down_holds_until_up(running: Running) -> None:
    said = "office-1: carried no traffic\noffice-1: admin down\n"
    assert twinspan(running, "down", "office-1").output == said
    assert "taken_down" in twinspan(running, "status").output
    assert twinspan(running, "up", "office-1").output == "office-1: admin up\n"
    assert "taken_down" not in twinspan(running, "status").output


def test_explain_shows_what_is_wanted(running: Running) -> None:
    shown = twinspan(running, "explain", "office-2").output
    assert "office-2 (second-path) of office: admin up" in shown
    assert "routes = 10.20.0.0/16 metric 101" in shown


def test_a_tunnel_that_is_not_there_is_named_with_those_that_are(running: Running) -> None:
    refused = twinspan(running, "explain", "offcie-1")
    assert refused.exit_code == EXIT_REFUSED
    assert (
        "no tunnel is named 'offcie-1'; there are: office-1, office-2 (second-path)"
        in refused.output
    )


def test_nothing_is_rekeyed_on_a_tunnel_that_is_down(running: Running) -> None:
    refused = twinspan(running, "rekey", "office-1")
    assert refused.exit_code == EXIT_REFUSED
    assert "office-1 is not up" in refused.output


def test_reload_names_what_it_touched(running: Running) -> None:
    running.config.write_text(DOCUMENT.replace("169.254.10.4/30", "169.254.10.8/30"))
    assert twinspan(running, "reload").output == "changed: office-2 (inner addresses; probes)\n"
    assert twinspan(running, "reload").output == "nothing has changed\n"
    together = running.config.read_text().replace(
        '"main"\n', '"main"\nspoke_isolation = false\n', 1
    )
    running.config.write_text(together)
    assert twinspan(running, "reload").output == "changed beside tunnels: isolation of spokes\n"
    assert twinspan(running, "reload").output == "nothing has changed\n"
    running.config.write_text("[gateway]\nname = 7\n")
    refused = twinspan(running, "reload")
    assert refused.exit_code == EXIT_REFUSED
    assert "gateway.toml:2: gateway.name" in refused.output
    running.config.write_text(DOCUMENT)
    assert twinspan(running, "reload").exit_code == 0


def test_the_log_shows_the_last_events_of_one_tunnel_or_all(running: Running) -> None:
    twinspan(running, "down", "office-2")
    twinspan(running, "up", "office-2")
    every = twinspan(running, "log").output.splitlines()
    assert any("gateway up name=gw1" in line for line in every)
    (last,) = twinspan(running, "log", "office-2", "-n", "1").output.splitlines()
    assert re.search(r" info +tunnel allowed tunnel=office-2$", last)
    entry = json.loads(twinspan(running, "log", "office-2", "-n", "1", "--json").output)
    assert entry["event"] == "tunnel allowed"


def test_the_log_is_followed(running: Running) -> None:
    follow = {"command": "log", "lines": 1, "follow": True}
    entries = ask(running.place, follow, timeout_s=10.0)
    next(entries)  # what was there; from now on every new one comes
    twinspan(running, "down", "office-1")
    heard = next(entries)
    assert isinstance(heard, dict)
    assert (heard["event"], heard["fields"]) == ("tunnel taken down", {"tunnel": "office-1"})
    twinspan(running, "up", "office-1")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (
            {"command": "fly"},
            "unknown command 'fly'; there are bgp, capture, down, drain, events, explain, log",
        ),
        ({"command": "up"}, 'under "tunnel"'),
        ({"command": "log", "lines": -1}, "must be 0 to 2000"),
        ({"command": "log", "lines": "many"}, "must be 0 to 2000"),
        ({"command": "log", "tunnel": "x"}, "no tunnel is named 'x'"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_words(
    running: Running, sent: dict[str, object], words: str
) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(running.place / "gateway.sock"))
        sock.sendall(json.dumps(sent).encode() + b"\n")
        answer = json.loads(sock.makefile("rb").readline())
    assert not answer["ok"]
    assert words in answer["error"]


def test_a_tunnel_can_be_named_by_its_title(running: Running) -> None:
    options = ["second-path", "--runtime-dir", str(running.place)]
    answer = CliRunner().invoke(app, ["explain", *options])
    assert answer.output.startswith("office-2 (second-path) of office: admin up, ")
    answer = CliRunner().invoke(app, ["status", *options[1:]])
    assert "office-2 (second-path)  " in answer.output
    for word in ("down", "up"):
        CliRunner().invoke(app, [word, *options])
    options = ["events", "--tunnel", *options]
    answer = CliRunner().invoke(app, options)
    assert "second-path tunnel_taken_down" in answer.output
    assert "office-1" not in answer.output


def test_names_of_tunnels_are_completed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSPAN_RUNTIME_DIR", str(running.place))
    assert complete_tunnel("off") == ["office-1", "office-2"]
    assert complete_tunnel("sec") == ["second-path"]
    assert complete_tunnel("x") == []
    monkeypatch.setenv("TWINSPAN_RUNTIME_DIR", "/nowhere")
    assert complete_tunnel("off") == []


def test_a_gateway_that_does_not_run_is_said_with_status_3(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["status", "--runtime-dir", str(tmp_path)])
    assert answer.exit_code == EXIT_UNREACHABLE
    assert "no gateway process at" in answer.output
    assert "systemctl start twinspan-gateway" in answer.output


def test_a_gateway_that_left_its_socket_behind_is_said_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "gateway.sock"))
    answer = CliRunner().invoke(app, ["up", "office-1", "--runtime-dir", str(tmp_path)])
    assert answer.exit_code == EXIT_UNREACHABLE


def test_the_version_is_the_packages() -> None:
    answer = CliRunner().invoke(app, ["version"])
    assert answer.output == f"twinspan {gateway.__version__}\n"


def test_the_data_plane_command_passes_its_options_on(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["dataplane", "--socket", str(tmp_path), "--workers", "1"])
    assert answer.exit_code == 2  # refused by its own parser or checks: a directory is no socket


def test_commands_do_not_import_what_is_slow() -> None:
    code = (
        "import sys; import gateway.cli;"
        "slow = {'pydantic', 'rich', 'uvloop', 'cryptography', 'structlog', 'asyncio', 'cffi'};"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
