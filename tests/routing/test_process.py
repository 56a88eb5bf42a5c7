"""Finding BIRD, judging its version, and knowing one's own process again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.routing.kernel import flush_routes
from gateway.routing.process import (
    OLDEST_AO,
    BirdFiles,
    check_version,
    find_bird,
    find_running,
    spawn,
)
from gateway.rtnl import rtnetlink_socket
from tests.node.network import ip, own_network


def program(place: Path, text: str) -> str:
    """Return a program that prints `text`, whatever it is asked."""
    file = place / "bird"
    file.write_text(f"#!/bin/sh\necho '{text}' >&2\n")
    file.chmod(0o755)
    return str(file)


def test_a_missing_bird_is_told_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="apt-get install bird2"):
        find_bird(str(tmp_path))


async def test_the_bird_that_is_here_is_taken() -> None:
    await check_version(find_bird())


@pytest.mark.parametrize("text", ["BIRD version 2.0.12", "BIRD version 2.13", "BIRD version 3.1.0"])
async def test_later_versions_are_taken(tmp_path: Path, text: str) -> None:
    await check_version(program(tmp_path, text))


@pytest.mark.parametrize("text", ["BIRD version 2.0.7", "BIRD version 1.6.8", "what?", ""])
async def test_an_older_bird_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"need BIRD 2\.0\.12 or later"):
        await check_version(program(tmp_path, text))


async def test_tcp_ao_needs_a_later_bird(tmp_path: Path) -> None:
    what = "bgp_auth of office-1: TCP-AO needs"
    await check_version(program(tmp_path, "BIRD version 2.17.6"), OLDEST_AO, what)
    with pytest.raises(ConfigError, match=r"office-1: TCP-AO needs BIRD 2\.17 or later"):
        await check_version(program(tmp_path, "BIRD version 2.13"), OLDEST_AO, what)


@pytest.mark.parametrize("text", ["", "0", "-1", "no number", "999999999"])
async def test_a_pid_file_of_nobody_is_nobody(tmp_path: Path, text: str) -> None:
    files = BirdFiles(tmp_path)
    files.pid.write_text(text)
    assert find_running(files) is None


async def test_a_pid_of_somebody_else_is_not_ours(tmp_path: Path) -> None:
    files = BirdFiles(tmp_path)
    assert find_running(files) is None
    files.pid.write_text(str(os.getpid()))
    assert find_running(files) is None


async def test_the_end_of_a_process_is_seen_and_told(tmp_path: Path) -> None:
    files = BirdFiles(tmp_path)
    files.write_conf("bird.conf", "nothing that BIRD knows;")
    process = spawn(find_bird(), files, recover=False)
    await process.wait_ended()
    assert process.exit_text == "exit status 1"
    assert "syntax error" in files.log.read_text()
    process.forget()


async def test_a_configuration_is_for_its_owner_only(tmp_path: Path) -> None:
    file = BirdFiles(tmp_path).write_conf("bird.conf", "password")
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_killed_process_is_told_by_its_signal(tmp_path: Path) -> None:
    files = BirdFiles(tmp_path)
    files.write_conf("bird.conf", "router id 1.1.1.1;\nprotocol device { }\n")
    process = spawn(find_bird(), files, recover=True)
    assert process.is_alive
    process.kill()
    await process.wait_ended()
    assert process.exit_text == f"signal {int(signal.SIGKILL)}"
    process.forget()


def test_only_birds_routes_with_our_metric_are_flushed() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes a network namespace")
    with own_network():
        for family, ours, others in (
            ("-4", "10.1.0.0/16", ["10.2.0.0/16 dev lo proto bird metric 32"]),
            ("-6", "fd01::/48", ["fd02::/48 dev lo proto 85 metric 200000"]),
        ):
            ip(f"{family} route add {ours} dev lo proto bird metric 200000")
            for other in others:
                ip(f"{family} route add {other}")
        ip("-4 route add unreachable 10.1.0.0/16 proto 85 metric 4000000000")
        assert flush_routes(200_000, rtnetlink_socket()) == 2
        left = ip("-4 route") + ip("-6 route")
        assert "10.2.0.0/16" in left
        assert "fd02::/48" in left
        assert "unreachable 10.1.0.0/16" in left
        assert "metric 200000" not in left.replace("fd02::/48 dev lo proto 85 metric 200000", "")
        assert flush_routes(200_000, rtnetlink_socket()) == 0


def test_the_state_of_a_gateway_without_bgp_imports_nothing_slow() -> None:
    """Commands start fast: what they show of BGP needs no module of the routing."""
    code = "import sys, gateway.cli; print(*[m for m in sys.modules if 'gateway.routing' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
