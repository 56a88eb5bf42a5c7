"""`twinspan trace` against a gateway process whose peers never answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.client import Json, ask
from gateway.cli.trace import chart_lines
from tests.node import process
from tests.node.network import ip, own_network
from tests.node.process import Running

pytestmark = pytest.mark.system

SAID: Json = {
    "at": 1000.25,
    "kind": "message",
    "sent": True,
    "local": "192.0.2.1:500",
    "remote": "203.0.113.9:500",
    "exchange": "IKE_SA_INIT 0 request",
    "line": "HDR, SAi1, KEi, Ni",
    "details": ["Ni: 32 bytes"],
    "lost": 0,
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with own_network():
        for address in ("192.0.2.1/32", "198.51.100.1/32"):
            ip(f"addr add {address} dev lo")
        with process.gateway(tmp_path_factory.mktemp("gw"), "--in-process") as one:
            yield one


def trace(running: Running, *words: str) -> Result:
    """Trace office-1, and have it begin as soon as that is under way."""
    begun = running.log.count("trace begins")

    def begin() -> None:
        give_up_at = time.monotonic() + 10.0
        while running.log.count("trace begins") == begun and time.monotonic() < give_up_at:
            time.sleep(0.02)
        for command in ("down", "up"):
            (_,) = ask(running.place, {"command": command, "tunnel": "office-1", "now": True})

    thread = threading.Thread(target=begin)
    thread.start()
    environment = {"TWINSPAN_RUNTIME_DIR": str(running.place)}
    try:
        return CliRunner().invoke(app, ["trace", "office-1", *words], env=environment)
    finally:
        thread.join()


def test_a_message_is_a_line_of_the_chart_with_what_it_says(running: Running) -> None:
    shown = trace(running, "--count", "1")
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0].endswith("|     | office-1 is traced")
    begun = next(at for at, line in enumerate(lines) if "|---->|" in line)
    assert "|---->| IKE_SA_INIT 0 request: HDR, SAi1, KEi, Ni, N(NAT_" in lines[begun]
    assert lines[begun + 1].endswith("|     |     192.0.2.1:500 - 203.0.113.9:500")
    assert any("SAi1: aes256gcm16" in line for line in lines)


def test_for_programs_each_line_is_an_object(running: Running) -> None:
    shown = trace(running, "-n", "1", "-o", "json")
    found = [json.loads(line) for line in shown.output.splitlines()]
    assert found[0]["text"] == "office-1 is traced"
    assert found[-1].keys() == SAID.keys()
    assert found[-1]["exchange"] == "IKE_SA_INIT 0 request"


def test_what_was_said_lately_is_remembered(running: Running) -> None:
    environment = {"TWINSPAN_RUNTIME_DIR": str(running.place)}
    trace(running, "-n", "1")
    shown = CliRunner().invoke(app, ["trace", "office-1", "--last", "--brief"], env=environment)
    assert shown.exit_code == 0
    assert "|---->| IKE_SA_INIT 0 request: HDR, SAi1, KEi, Ni, N(NAT_" in shown.output
    assert "is traced" not in shown.output


def test_a_tunnel_that_is_not_there_is_refused(running: Running) -> None:
    environment = {"TWINSPAN_RUNTIME_DIR": str(running.place)}
    refused = CliRunner().invoke(app, ["trace", "offcie-1"], env=environment)
    assert refused.exit_code == 1
    assert "no tunnel is named 'offcie-1'" in refused.output


def test_who_reads_too_slowly_is_told_what_is_missing() -> None:
    first, second, *_ = chart_lines({**SAID, "lost": 7}, brief=True)
    assert first.endswith("|     | 7 lines lost")
    assert second.endswith("|---->| IKE_SA_INIT 0 request: HDR, SAi1, KEi, Ni")


def test_what_repeats_has_its_number() -> None:
    line = {"at": 1.0, "kind": "dropped", "text": "a datagram: replayed", "times": 7}
    assert chart_lines(line, brief=True)[0].endswith("|     | a datagram: replayed (7 times)")


def test_brief_leaves_out_what_the_payloads_say() -> None:
    assert len(chart_lines(SAID, brief=True)) == 1
    received = chart_lines({**SAID, "sent": False}, brief=False)
    assert "|<----|" in received[0]
    assert received[-1].endswith("|     |     Ni: 32 bytes")


def test_on_a_terminal_long_lines_are_folded_within_the_chart() -> None:
    suites = "SAi1: aes256gcm16-aes128gcm16-chacha20poly1305-prfsha384-x25519; aes256-sha256-ecp384"
    said = {**SAID, "details": [suites, "x" * 90]}
    whole, folded = (chart_lines(said, brief=False, columns=columns) for columns in (None, 80))
    assert folded[:2] == whole[:2]
    assert [line[12:] for line in folded[2:4]] == [
        " |     |     SAi1: aes256gcm16-aes128gcm16-chacha20poly1305-",
        " |     |         prfsha384-x25519; aes256-sha256-ecp384",
    ]
    assert folded[4:] == whole[3:]  # a word is not cut


@pytest.mark.parametrize("columns", [1, 40, 80, 120, 1000])
def test_what_is_folded_is_whole(columns: int) -> None:
    line = "HDR, SK {IDi, N(INITIAL_CONTACT), IDr, AUTH, N(QUICK_CRASH_DETECTION), SAi2, TSi, TSr}"
    said = {**SAID, "line": line, "details": ["TSi: 10.0.0.0/8, ::/0", "IDi: CN=a-b - c,  O=d"]}
    whole, folded = (chart_lines(said, brief=False, columns=wide) for wide in (None, columns))
    assert _letters(folded) == _letters(whole)
    assert columns < 80 or max(map(len, folded)) <= columns


def _letters(lines: list[str]) -> str:
    """Return what the chart's lines say, without the chart and without spaces."""
    return "".join("".join(line[21:].split()) for line in lines)
