"""
Debian's swanctl drives our gateway through its VICI socket, with strongSwan at the far end.

    host a --- gw a (twinspan, vici.sock) ==== wan1 ==== gw b (strongSwan) --- host b
"""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from typing import Any

import pytest
import vici

from lab import pings
from lab.commands import LabError, Process, wait_for
from tests.system.support import FIRST, Ends, wait_status

pytestmark = pytest.mark.system


def swanctl(ends: Ends, *words: str, check: bool = True) -> str:
    return ends.ours.swanctl(*words, check=check)


def refused(ends: Ends, *words: str) -> str:
    """Return swanctl's words for a command that fails with an exit status."""
    with pytest.raises(LabError) as failed:
        swanctl(ends, *words)
    return str(failed.value)


@pytest.fixture(scope="module")
def up(ends: Ends) -> Ends:
    """Return the ends with a tunnel that waits for whoever begins, and is up."""
    ends.agree([ends.connection()], {"start": "initiate"})
    wait_status(ends.ours, FIRST, "up")
    return ends


@pytest.fixture
def connected(up: Ends) -> Ends:
    """Return the ends with the tunnel up, whatever the test before has done to it."""
    swanctl(up, "--initiate", "--child", FIRST, "--timeout", "15")
    wait_status(up.ours, FIRST, "up")
    return up


def test_version_and_stats(up: Ends) -> None:
    assert "twinspan" in swanctl(up, "--version", "--daemon")
    text = swanctl(up, "--stats")
    assert re.search(r"uptime: \d+ \w+, since \w+ \d\d", text)
    assert "IKE_SAs: 1 total, 0 half-open" in text


def test_list_sas_says_what_strongswan_says(connected: Ends) -> None:
    ends = connected
    text = swanctl(ends, "--list-sas")
    (theirs,) = ends.swan.sas()
    (child,) = ends.swan.children()
    assert re.search(rf"^{FIRST}: #\d+, ESTABLISHED, IKEv2, {theirs.initiator_spi}_i", text)
    assert "AES_GCM_16-256/PRF_HMAC_SHA2_384/CURVE_25519" in text
    assert f"@ {theirs.remote}[4500]" in text
    assert f"@ {theirs.local}[4500]" in text
    assert re.search(
        rf"{FIRST}: #\d+, reqid \d+, INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-256", text
    )
    assert f"in  {child.spi_out}" in text  # theirs out is ours in
    assert f"out {child.spi_in}" in text
    assert "local  10.10.0.0/24" in text


def test_traffic_is_counted_as_strongswan_counts_it(connected: Ends) -> None:
    ends = connected
    assert pings.are_answered(ends.pair.a.host, ends.pair.b.host_address(4), count=5)
    (child,) = ends.swan.children()
    (ours,) = our_children(ends)
    assert int(ours["packets-in"]) == child.packets_out >= 5
    assert int(ours["packets-out"]) == child.packets_in >= 5
    # Ours are with the padding that ESP adds, at most 3 bytes a packet.
    assert child.bytes_out <= int(ours["bytes-in"]) <= child.bytes_out + 3 * child.packets_out
    assert 0 <= int(ours["use-in"]) <= 5


def sas(ends: Ends) -> list[tuple[str, dict[str, object]]]:
    """Return what the Python package sees, which is what exporters use."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(ends.ours.directory / "vici.sock"))
        listed = json.loads(json.dumps(list(vici.Session(sock).list_sas()), default=bytes.decode))
    return [(name, sa) for one in listed for name, sa in one.items()]


def our_children(ends: Ends) -> list[dict[str, str]]:
    ((_, sa),) = sas(ends)
    children = sa["child-sas"]
    assert isinstance(children, dict)
    return [child for child in children.values() if child["state"] == "INSTALLED"]


def _spis(ends: Ends) -> list[str]:
    return [child["spi-in"] for child in our_children(ends)]


def test_list_sas_takes_filters(connected: Ends) -> None:
    number = re.search(r"#(\d+),", swanctl(connected, "--list-sas"))
    assert number is not None
    for words in (("--ike", FIRST), ("--child", FIRST), ("--ike-id", number[1])):
        assert FIRST in swanctl(connected, "--list-sas", *words)
    for words in (("--ike", "no-such"), ("--child", "no-such"), ("--ike-id", "999999")):
        assert FIRST not in swanctl(connected, "--list-sas", *words)


def test_list_conns_and_what_we_do_not_have(up: Ends) -> None:
    text = swanctl(up, "--list-conns")
    assert re.search(rf"^{FIRST}: IKEv2, no reauthentication, rekeying every \d+s", text)
    assert "local pre-shared key authentication" in text
    assert re.search(rf"  {FIRST}: TUNNEL, rekeying every \d+s", text)
    assert swanctl(up, "--list-certs") == ""
    assert swanctl(up, "--list-pols") == ""


def test_counters(connected: Ends) -> None:
    text = swanctl(connected, "--counters")
    found = dict(re.findall(r"^\s*([\w-]+)\s+: (\d+)$", text, re.MULTILINE))
    assert int(found["ike-init-out-req"]) >= 1
    assert int(found["ike-auth-in-resp"]) >= 1
    assert "whole gateway" in refused(connected, "--counters", "--name", FIRST)
    assert "never reset" in refused(connected, "--counters", "--reset")


def test_rekey_of_child_and_ike_sa(connected: Ends) -> None:
    ends = connected
    (before,) = our_children(ends)
    assert "rekey completed successfully" in swanctl(ends, "--rekey", "--child", FIRST)
    # While it is being rekeyed, none is installed by strongSwan's words.
    old = [before["spi-in"]]
    wait_for("a new SPI", lambda: _spis(ends) not in ([], old), 10.0)
    (theirs,) = [one for one in ends.swan.children() if one.state == "INSTALLED"]
    assert our_children(ends)[0]["spi-in"] == theirs.spi_out
    ((_, sa),) = sas(ends)
    assert "rekey completed successfully" in swanctl(ends, "--rekey", "--ike", FIRST)
    wait_for("a new IKE SA", lambda: sas(ends)[0][1]["uniqueid"] != sa["uniqueid"], 10.0)
    assert sas(ends)[0][1]["initiator-spi"] in [one.initiator_spi for one in ends.swan.sas()]


def test_terminate_ends_it_for_both_until_either_begins(connected: Ends) -> None:
    ends = connected
    text = swanctl(ends, "--terminate", "--ike", FIRST)
    assert "terminate completed successfully" in text
    assert ends.swan.sas() == []
    time.sleep(3.0)  # longer than the first pause of a tunnel that begins again by itself
    assert ends.swan.sas() == []
    ends.swan.initiate(FIRST)
    wait_status(ends.ours, FIRST, "up")
    swanctl(ends, "--terminate", "--ike", FIRST)
    text = swanctl(ends, "--initiate", "--child", FIRST)
    assert "initiate completed successfully" in text
    assert "[IKE] ike_sa up" in text
    assert "[CHD] child_sa up" in text
    assert ends.ours.tunnels()[FIRST].is_up


def test_terminate_of_a_child_leaves_the_ike_sa(connected: Ends) -> None:
    ends = connected
    ((_, before),) = sas(ends)
    assert "completed successfully" in swanctl(ends, "--terminate", "--child", FIRST)
    assert ends.swan.children() == []
    time.sleep(3.0)
    ((_, sa),) = sas(ends)
    assert sa["uniqueid"] == before["uniqueid"]
    assert our_children(ends) == []
    assert len(ends.swan.sas()) == 1
    assert "initiate completed" in swanctl(ends, "--initiate", "--child", FIRST)
    assert len(our_children(ends)) == len(ends.swan.children()) == 1
    assert sas(ends)[0][1]["uniqueid"] == before["uniqueid"]


def test_wrong_names_and_changes_are_refused_with_an_exit_status(connected: Ends) -> None:
    ends = connected
    assert "CHILD_SA config 'nobody' not found" in refused(ends, "--initiate", "--child", "nobody")
    for verb in ("--terminate", "--rekey"):
        assert f"no matching SAs to {verb[2:]} found" in refused(ends, verb, "--ike", "nobody")
    conf = ends.ours.directory / "swanctl.conf"
    conf.write_text("connections { other { remote_addrs = 192.0.2.7 } }\n")
    words = refused(ends, "--load-conns", "--file", str(conf))
    assert "the document is the configuration" in words
    assert ends.ours.tunnels()[FIRST].is_up


def test_initiate_says_why_not_and_when_it_is_late(connected: Ends) -> None:
    ends = connected
    swanctl(ends, "--terminate", "--ike", FIRST)
    ends.swan.load([])
    try:
        words = refused(ends, "--initiate", "--child", FIRST)
        assert f"establishing CHILD_SA '{FIRST}' failed" in words
    finally:
        swanctl(ends, "--terminate", "--ike", FIRST, check=False)
        ends.swan.load([ends.connection()])
    ends.ours.cli("down", FIRST, "--now")
    assert f"twinspan up {FIRST}" in refused(ends, "--initiate", "--child", FIRST)
    ends.ours.cli("up", FIRST)
    wait_status(ends.ours, FIRST, "up")


def follow(ends: Ends, what: str) -> Process:
    process = ends.pair.a.gateway.start(
        f"swanctl{what}", "stdbuf", "-oL", "swanctl", what, "--uri", ends.ours.vici
    )
    time.sleep(0.5)
    return process


def test_log_and_monitor_follow_what_happens(connected: Ends) -> None:
    ends = connected
    log, monitor = follow(ends, "--log"), follow(ends, "--monitor-sa")
    with Listener(ends) as listener:
        swanctl(ends, "--rekey", "--child", FIRST)
        ((_, found),) = listener.wait("child-rekey").items()
        (pair,) = found["child-sas"].values()
        assert pair["old"]["spi-in"] != pair["new"]["spi-in"] == our_children(ends)[0]["spi-in"]
        swanctl(ends, "--rekey", "--ike", FIRST)
        ((_, found),) = listener.wait("ike-rekey").items()
        assert found["old"]["initiator-spi"] != found["new"]["initiator-spi"]
        assert found["new"]["initiator-spi"] == sas(ends)[0][1]["initiator-spi"]
        swanctl(ends, "--terminate", "--ike", FIRST)
        found = listener.wait("ike-updown")
        assert "up" not in found
        assert found[FIRST]["state"] == "DELETING"
        swanctl(ends, "--initiate", "--child", FIRST)
        assert listener.wait("ike-updown", "up")["up"] == "yes"
        found = listener.wait("child-updown", "up")
        (child,) = found[FIRST]["child-sas"].values()
        assert child["spi-in"] == our_children(ends)[0]["spi-in"]
    for state in ("DELETING", "ESTABLISHED"):
        wait_written(monitor, rf"^{FIRST}: #\d+, {state}, IKEv2")
    wait_written(log, rf"\[IKE\] ike_sa rekeyed tunnel={FIRST} ")
    wait_written(log, rf"\[CHD\] child_sa rekeyed tunnel={FIRST} ")
    log.stop(2.0)
    monitor.stop(2.0)


def wait_written(process: Process, pattern: str) -> None:
    """Wait until a program has written a line."""
    found = re.compile(pattern, re.MULTILINE)
    wait_for(pattern, lambda: found.search(process.log.read_text()), 5.0)


class Listener:
    """Events about SAs by the Python package, as an exporter gets them."""

    def __init__(self, ends: Ends) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(15.0)
        self._socket.connect(str(ends.ours.directory / "vici.sock"))
        names = ["ike-updown", "ike-rekey", "child-updown", "child-rekey"]
        self._events = vici.Session(self._socket).listen(names, timeout=0.2)

    def __enter__(self) -> Listener:
        assert next(self._events) == (None, None)  # after the registrations: nothing yet
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()
        self._socket.close()

    def wait(self, event: str, key: str = "") -> dict[str, Any]:
        """Return the next such event, one that has `key` if that is named."""
        for _ in range(100):
            name, message = next(self._events)
            if name is not None and name.decode() == event:
                found = json.loads(json.dumps(message, default=bytes.decode))
                if not key or key in found:
                    return dict(found)
        raise AssertionError(f"no {event}")


GARBAGE = [
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    struct.pack("!IB", 1, 99),
    struct.pack("!IB", 5, 0) + b"\x09vers",
    struct.pack("!IB", 2, 1) + b"x",
    b"GET / HTTP/1.0\r\n\r\n",
]


@pytest.mark.parametrize("data", GARBAGE)
def test_a_client_that_sends_garbage_does_no_harm(connected: Ends, data: bytes) -> None:
    ends = connected
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(15.0)
        sock.connect(str(ends.ours.directory / "vici.sock"))
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(10) == b""
    assert "vici client let go" in ends.ours.log_text()
    assert f"{FIRST}: #" in swanctl(ends, "--list-sas")
    assert ends.ours.tunnels()[FIRST].is_up


def test_a_restarted_gateway_answers_again_with_the_same_sas(connected: Ends) -> None:
    ends = connected
    (before,) = our_children(ends)
    ends.ours.stop()
    ends.ours.start()
    (after,) = our_children(ends)
    assert (after["spi-in"], after["spi-out"]) == (before["spi-in"], before["spi-out"])
