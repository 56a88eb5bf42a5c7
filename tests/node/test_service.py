"""
The gateway process: start, reload, restart, end; real processes in a namespace of the test's own.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from gateway.cli.client import Refused, ask
from gateway.dataplane.reach import connect
from gateway.errors import ConfigError
from gateway.node import service
from gateway.node.journal import Journal
from gateway.node.life import Outcome, Settings
from gateway.node.notify import Notifier
from gateway.node.plan import NodePlan, plan
from gateway.node.source import FileSource, Planned
from gateway.node.udp import open_ike_socket
from tests.node.network import ip
from tests.node.process import DOCUMENT, Running, answers, gateway, start, wait_until
from tests.support.documents import document

pytestmark = pytest.mark.system


@pytest.fixture
def place(network: None, tmp_path: Path) -> Path:
    for address in ("192.0.2.1/32", "198.51.100.1/32"):
        ip(f"addr add {address} dev lo")
    return tmp_path


@pytest.fixture
def running(place: Path) -> Iterator[Running]:
    with gateway(place) as one:
        yield one


def listed(running: Running) -> dict[str, dict[str, object]]:
    shown = running.status()["tunnels"]
    assert isinstance(shown, list)
    return {one["name"]: one for one in shown}


def events(running: Running, **more: object) -> list[str]:
    """Return the codes of the gateway's events."""
    found = list(ask(running.place, {"command": "events", "lines": 1000, **more}))
    return [str(event["code"]) for event in found if isinstance(event, dict)]


def test_a_gateway_starts_its_data_plane_and_ends_it_when_told_to_stop(running: Running) -> None:
    assert set(listed(running)) == {"office-1", "office-2"}
    assert "ts-office-1" in ip("link")

    list(ask(running.place, {"command": "stop"}))

    assert running.ended() == 0
    assert "ts-office" not in ip("link")
    assert ip("route show proto 85") == ""
    with pytest.raises(OSError, match=r"refused|No such file"):
        connect(running.place / "dataplane.sock")


def test_a_gateway_may_open_as_many_files_as_anybody_allows(place: Path) -> None:
    """It holds the queues of all tunnels; a shell allows 1,024 files, of those that it may."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        with gateway(place) as running:
            pid = running.process.pid
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] >= hard
            assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_sigterm_leaves_the_tunnels_and_the_next_process_takes_them_over(running: Running) -> None:
    devices = ip("-o link")
    list(ask(running.place, {"command": "down", "tunnel": "office-2"}))
    running.signal(signal.SIGTERM)

    assert running.ended() == 0
    assert ip("-o link") == devices
    assert not (running.place / "gateway.sock").exists()

    running.process = start(running.place).process
    wait_until("answering", lambda: answers(running), running)
    assert ip("-o link") == devices
    assert "taken over tunnels=2 orphans=0" in running.log
    assert listed(running)["office-2"]["admin"] == "down"  # the operator's word holds
    wanted = ["gateway_up", "tunnel_taken_down", "gateway_ends", "taken_over", "gateway_up"]
    assert [each for each in events(running) if each in wanted] == wanted
    assert events(running, tunnel="office-2") == ["tunnel_taken_down"]


def test_after_a_crash_the_operators_word_holds(running: Running) -> None:
    list(ask(running.place, {"command": "down", "tunnel": "office-2"}))
    running.signal(signal.SIGKILL)
    running.ended()
    running.process = start(running.place).process
    wait_until("answering", lambda: answers(running), running)
    assert "taken over tunnels=2 orphans=0" in running.log
    assert listed(running)["office-2"]["admin"] == "down"
    assert listed(running)["office-1"]["admin"] == "up"


def test_after_a_crash_of_both_processes_the_operators_word_holds_until_all_is_stopped(
    running: Running,
) -> None:
    list(ask(running.place, {"command": "down", "tunnel": "office-2"}))
    both = dataplane_pid(running), running.process.pid
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in both:
            os.kill(pid, number)
    for admin in ("down", "up"):
        running.ended()
        running.process = start(running.place).process
        wait_until("answering", lambda: answers(running), running)
        assert listed(running)["office-2"]["admin"] == admin
        assert listed(running)["office-1"]["admin"] == "up"
        if admin == "down":
            list(ask(running.place, {"command": "stop"}))


def test_sigterm_with_stop_dataplane_ends_everything(place: Path) -> None:
    with gateway(place, "--stop-dataplane") as running:
        running.signal(signal.SIGTERM)
        assert running.ended() == 0
        assert "ts-office" not in ip("link")


def test_in_process_there_is_no_other_process(place: Path) -> None:
    with gateway(place, "--in-process") as running:
        assert set(listed(running)) == {"office-1", "office-2"}
        assert not (place / "dataplane.sock").exists()
        running.signal(signal.SIGTERM)
        assert running.ended() == 0
        assert "ts-office" not in ip("link")


def test_a_second_gateway_in_the_same_place_is_refused(running: Running) -> None:
    second = start(running.place)

    assert second.ended() == 1
    assert "another gateway process uses" in running.log
    assert set(listed(running)) == {"office-1", "office-2"}


def test_mistakes_in_the_document_are_all_said_and_end_with_status_2(place: Path) -> None:
    (place / "gateway.toml").write_text(DOCUMENT.replace("169.254.10.4/30", "x") + "colour = 1\n")
    running = start(place)

    assert running.ended() == 2
    assert "inner_cidr" in running.log
    assert "colour" in running.log
    assert not (place / "dataplane.sock").exists()


def test_a_port_in_use_ends_the_start_and_leaves_nothing_behind(place: Path) -> None:
    with open_ike_socket(ip_address("192.0.2.1")):
        running = start(place)
        assert running.ended() == 1
    assert "UDP 192.0.2.1 port 500: in use by another program" in running.log
    assert "ts-office" not in ip("link")
    with pytest.raises(OSError, match=r"refused|No such file"):
        connect(place / "dataplane.sock")


def test_hangup_applies_the_difference(running: Running) -> None:
    running.config.write_text(DOCUMENT.replace('"10.20.0.0/16"', '"10.21.0.0/16"'))
    running.signal(signal.SIGHUP)

    wait_until("reloaded", lambda: "10.21.0.0/16" in ip("route"), running)
    wait_until("logged", lambda: "reloaded added=0 removed=0 changed=2" in running.log, running)


def test_a_reload_with_a_mistake_changes_nothing_and_says_why(running: Running) -> None:
    before = ip("route"), ip("-o link")
    running.config.write_text(DOCUMENT.replace("office-1", "x").replace("10.20.0.0/16", "10.20"))

    with pytest.raises(Refused, match=r"gateway\.toml:20: .*remote_cidrs.*10\.20"):
        list(ask(running.place, {"command": "reload"}))

    assert (ip("route"), ip("-o link")) == before
    assert set(listed(running)) == {"office-1", "office-2"}
    assert "document_refused" in events(running)
    with pytest.raises(Refused, match='"lines" is -1, must be 0 to 10000'):
        events(running, lines=-1)


def test_a_reload_that_the_system_refuses_leaves_the_gateway_running(running: Running) -> None:
    """As when the disk is full: a directory stands where BIRD's configuration would be written."""
    (running.place / "bird.conf.check").mkdir()
    bgp = DOCUMENT.replace('start = "respond"', 'start = "respond"\nrouting = "bgp"')
    running.config.write_text(
        bgp.replace('name = "office"\npublic', 'name = "office"\nasn = 65010\npublic')
    )

    with pytest.raises(Refused, match=r"bird\.conf\.check"):
        list(ask(running.place, {"command": "reload"}))
    running.signal(signal.SIGHUP)

    wait_until("said", lambda: running.log.count("reload failed") == 2, running)
    assert set(listed(running)) == {"office-1", "office-2"}


def test_another_data_plane_takes_over_what_a_killed_one_had(running: Running) -> None:
    before = links()
    for _ in range(2):
        said = replaced(running)
        os.kill(dataplane_pid(running), signal.SIGKILL)
        wait_until("replaced", lambda: replaced(running) > said, running)  # noqa: B023
    assert links() == before  # not even for a moment was a device gone
    assert running.log.count("gateway up ") == 1
    assert set(listed(running)) == {"office-1", "office-2"}
    assert running.status()["data_plane_replaced"] is not None
    assert "data_plane_replaced" in events(running)


def test_another_data_plane_is_what_the_document_wants_by_now(running: Running) -> None:
    """It got as many workers as the document had said when the gateway process began."""
    running.config.write_text(DOCUMENT.replace("workers = 1", "workers = 2"))
    list(ask(running.place, {"command": "reload"}))
    said = replaced(running)
    os.kill(dataplane_pid(running), signal.SIGKILL)
    wait_until("replaced", lambda: replaced(running) > said, running)
    workers = running.status()["workers"]
    assert isinstance(workers, list)
    assert len(workers) == 2


async def test_where_all_begins_anew_the_document_of_before_is_the_last_that_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has a mistake by then: it went back to what it was when the process began."""
    first, second = (replace(plan(document()), name=name) for name in ("first", "second"))
    begun: list[str] = []

    class Life:
        """A gateway that takes another document, and then loses its data plane."""

        def __init__(self, settings: object, wanted: NodePlan, *rest: object) -> None:
            begun.append(wanted.name)
            self.wanted = second

        async def run(self) -> Outcome:
            return Outcome.PLANE_LOST if len(begun) == 1 else Outcome.LEAVE

    class Mistaken(FileSource):
        """A file that could be read once."""

        def load(self) -> Planned:
            if begun:
                raise ConfigError(["a mistake"])
            return Planned(first)

    monkeypatch.setattr(service, "Gateway", Life)
    monkeypatch.setattr(service, "PAUSE_S", 0.0)
    settings = Settings(Mistaken(tmp_path / "gateway.toml"), tmp_path)
    journal = Journal(io.StringIO(), time.time)
    await service._serve_until_done(settings, journal, Notifier({}))
    assert begun == ["first", "second"]


def replaced(running: Running) -> int:
    return running.log.count("data_plane replaced")


def links() -> dict[str, str]:
    """Return the index of each device: one made anew has another."""
    lines = ip("-o link").splitlines()
    return {line.split(": ")[1]: line.split(": ")[0] for line in lines}


def dataplane_pid(running: Running) -> int:
    """Return the pid of the data plane: the gateway's only child."""
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    (pid,) = children.read_text().split()
    return int(pid)


def test_systemd_is_told_when_it_is_ready_and_that_it_lives(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place / "notify"))
        manager.settimeout(20)
        environ = {"NOTIFY_SOCKET": str(place / "notify"), "WATCHDOG_USEC": "200000"}
        with gateway(place, "--in-process", environ=environ):
            assert manager.recv(200) == b"READY=1\nSTATUS=2 tunnels"
            assert manager.recv(200) == b"WATCHDOG=1"
            assert manager.recv(200) == b"WATCHDOG=1"


def test_a_document_without_tunnels_is_a_gateway_that_waits(place: Path) -> None:
    (place / "gateway.toml").write_text(
        '[gateway]\nname = "empty"\npublic_addresses = ["192.0.2.1"]\n'
    )
    with gateway(place, "--in-process") as running:
        assert running.status()["tunnels"] == []
