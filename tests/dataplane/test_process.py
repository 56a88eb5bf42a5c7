"""The data plane process itself: started, confined, left alone, reached again, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from gateway.dataplane import records
from gateway.dataplane.interface import EncapKind, Punt, PuntType, TunQueue
from gateway.dataplane.reach import SOCKET_NAME, connect, spawn_dataplane
from gateway.dataplane.remote import RemotePlane
from gateway.errors import DataPlaneError
from gateway.sa import Path as GatewayPath
from tests.dataplane.values import LEFT, OPTIONS, PATH, plane_sa

Spawn = Callable[..., RemotePlane]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start the data plane process of this test; it ends with the test."""
    planes: list[RemotePlane] = []

    def start(*options: str, timeout_s: float = 5.0) -> RemotePlane:
        planes.append(spawn_dataplane(tmp_path, ["--workers", "2", *options], timeout_s))
        return planes[-1]

    yield start
    for plane in planes:
        plane.close()
    with contextlib.suppress(OSError, DataPlaneError):
        connect(tmp_path / SOCKET_NAME).stop()
    for plane in planes:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(plane.pid, 0)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def wait_gone(pid: int) -> int:
    """Wait for a child to end and return its exit status."""
    descriptor = os.pidfd_open(pid)
    try:
        assert select.select([descriptor], [], [], 10.0)[0], "the process does not end"
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def udp_socket() -> int:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(("127.0.0.1", 0))
    return sock.detach()


def test_the_process_gives_up_every_right(spawn: Spawn) -> None:
    status = status_of(spawn().pid)
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert int(status["Threads"]) == 3


def test_the_process_leaves_no_core_and_is_in_a_session_of_its_own(spawn: Spawn) -> None:
    pid = spawn().pid
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    assert os.getsid(pid) == pid != os.getsid(0)


def test_the_process_holds_only_its_own_descriptors(spawn: Spawn) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    plane = spawn()
    os.close(write)
    # The pipe ends although the data plane lives.
    assert os.read(read, 1) == b""
    os.close(read)
    assert status_of(plane.pid)["State"].startswith(("S", "R"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_process_becomes_the_user_it_is_told(spawn: Spawn) -> None:
    plane = spawn("--user", "nobody")
    assert status_of(plane.pid)["Uid"].split() == ["65534"] * 4
    assert status_of(plane.pid)["Groups"] == ""
    plane.keep([(b"it", b"works")])
    assert plane.kept() == {b"it": b"works"}


def test_the_socket_is_for_its_owner_only(spawn: Spawn, tmp_path: Path) -> None:
    spawn()
    assert stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode) == 0o600


def test_memory_of_the_process_stays_small(spawn: Spawn) -> None:
    # Python and libraries take 22 MiB, the buffers of two workers the rest.
    assert int(status_of(spawn().pid)["VmRSS"].split()[0]) < 64 << 10


def test_a_new_gateway_process_finds_what_the_old_one_left(spawn: Spawn, tmp_path: Path) -> None:
    old = spawn()
    old.add_socket(udp_socket(), 0, LEFT, 4500, EncapKind.UDP)
    old.keep([(b"ike", b"sas")])
    state = old.state()
    old.close()
    with connect(tmp_path / SOCKET_NAME) as new:
        assert new.pid == old.pid
        assert new.state() == state
        assert new.state().sockets == (("192.0.2.1", 4500, 0),)
        assert new.kept() == {b"ike": b"sas"}


def test_spawning_reaches_the_process_that_runs(spawn: Spawn) -> None:
    first = spawn()
    first.close()
    assert spawn().pid == first.pid


def test_a_dead_process_is_replaced(spawn: Spawn) -> None:
    first = spawn()
    os.kill(first.pid, signal.SIGKILL)
    assert wait_gone(first.pid) == -signal.SIGKILL
    second = spawn()
    assert second.pid != first.pid
    assert second.kept() == {}


def test_a_second_gateway_process_is_told_why_it_must_wait(spawn: Spawn, tmp_path: Path) -> None:
    first = spawn()
    with pytest.raises(DataPlaneError, match=rf"another gateway process .*pid:{os.getpid()}"):
        connect(tmp_path / SOCKET_NAME)
    assert first.state().workers == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused(spawn: Spawn, tmp_path: Path) -> None:
    spawn().close()
    place = tmp_path / SOCKET_NAME
    place.chmod(0o666)
    for directory in (tmp_path, *tmp_path.parents):
        directory.chmod(directory.stat().st_mode | 0o111)
    code = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "s.connect(sys.argv[1]); print(s.recv(4096))"
    )
    argv = [sys.executable, "-c", code, str(place)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
    assert "uid 65534 may not control this data plane" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly(spawn: Spawn, number: signal.Signals) -> None:
    plane = spawn()
    plane.add_socket(udp_socket(), 0, LEFT, 4500, EncapKind.UDP)
    os.kill(plane.pid, number)
    assert wait_gone(plane.pid) == 0


def test_hangup_does_not_end_the_process(spawn: Spawn) -> None:
    plane = spawn()
    os.kill(plane.pid, signal.SIGHUP)
    assert plane.state().workers == 2


def test_stop_ends_the_process(spawn: Spawn, tmp_path: Path) -> None:
    plane = spawn()
    plane.stop()
    assert not Path(f"/proc/{plane.pid}").exists()
    with pytest.raises(ConnectionRefusedError):
        connect(tmp_path / SOCKET_NAME)


async def test_the_gateway_hears_at_once_that_the_process_died(spawn: Spawn) -> None:
    plane = spawn()
    loop = asyncio.get_running_loop()
    lost: asyncio.Future[str] = loop.create_future()
    plane.on_punt(lambda punt: None)
    plane.on_lost(lost.set_result)
    os.kill(plane.pid, signal.SIGKILL)
    assert "is gone" in await asyncio.wait_for(lost, 10.0)


def test_a_failed_call_leaves_the_descriptors_to_the_caller(spawn: Spawn) -> None:
    plane = spawn()
    descriptor = udp_socket()
    with pytest.raises(DataPlaneError):
        plane.add_socket(descriptor, 99, LEFT, 4500, EncapKind.UDP)
    with pytest.raises(DataPlaneError):
        plane.add_tunnel(0, "zero", [TunQueue(descriptor)], True, PATH, EncapKind.UDP, OPTIONS)
    os.close(descriptor)  # would raise if it were closed


def test_errors_have_text_and_code(spawn: Spawn) -> None:
    plane = spawn()
    with pytest.raises(DataPlaneError, match="add inbound SA 0x00000300 to tunnel 7: ") as caught:
        plane.add_inbound(7, plane_sa(0x300))
    assert caught.value.code == -4
    for call in (plane.tunnel_stats, plane.inbound_stats, plane.outbound_stats):
        with pytest.raises(DataPlaneError):
            call(12345)
    assert plane.worker_stats(1).counters["punted"] == 0
    with pytest.raises(DataPlaneError):
        plane.worker_stats(2)


def test_the_largest_record_is_kept_and_a_larger_one_takes_the_one_before_along(
    spawn: Spawn,
) -> None:
    plane = spawn()
    largest = bytes(records.VALUE_MAX)
    plane.keep([(b"sa", largest), (b"other", b"1")])
    assert plane.kept() == {b"sa": largest, b"other": b"1"}
    plane.keep([(b"sa", largest + b"x")])
    assert plane.kept() == {b"other": b"1"}
    assert plane.refused == 1


KEEPER = """
import os, select, signal, sys
from gateway.dataplane.records import VALUE_MAX
from gateway.dataplane.reach import connect
plane = connect(sys.argv[1])
plane.keep([(b"large", bytes(VALUE_MAX + 1))])
select.select([plane._channel], [], [])  # the refusal is there, and is not read
os.kill(plane.pid, signal.SIGSTOP)
for number in range(100):
    plane.keep([(b"sa", b"%d" % number)])
print(plane.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_gateway_process_has_sent_is_kept(spawn: Spawn, tmp_path: Path) -> None:
    """Even if the data plane reads it later, and the killed one had not read what it was sent."""
    spawn().close()
    argv = [sys.executable, "-c", KEEPER, str(tmp_path / SOCKET_NAME)]
    pid = int(subprocess.run(argv, capture_output=True, check=False, timeout=20).stdout)
    os.kill(pid, signal.SIGCONT)
    with connect(tmp_path / SOCKET_NAME) as new:
        assert new.kept() == {b"sa": b"99"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--socket", "/nonexistent/x.sock"], "No such file"),
        (["--socket", "/etc/passwd"], "not a socket"),
        (["--fd", "0"], "--fd: descriptor 0"),
        (["--fd", "99"], "--fd: descriptor 99"),
        ([], "need --socket PATH"),
        (["--socket", "SOCK", "--user", "no-such-user"], "no user no-such-user"),
        (["--socket", "SOCK", "--workers", "0"], "0 workers, need 1 to 16"),
    ],
)
def test_bad_options_are_refused_in_words(tmp_path: Path, options: list[str], reason: str) -> None:
    place = [str(tmp_path / "s") if word == "SOCK" else word for word in options]
    argv = [sys.executable, "-m", "gateway.dataplane.process", *place]
    done = subprocess.run(
        argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20, check=False
    )
    assert done.returncode in (1, 2)
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_that_can_not_start_says_why(spawn: Spawn) -> None:
    with pytest.raises(DataPlaneError, match=r"ended with status 2: .*no user no-such-user"):
        spawn("--user", "no-such-user")


def test_a_process_that_hangs_times_out(spawn: Spawn) -> None:
    plane = spawn(timeout_s=2.0)
    os.kill(plane.pid, signal.SIGSTOP)
    try:
        with pytest.raises(DataPlaneError, match=r"did not answer STATE in time"):
            plane.state()
    finally:
        os.kill(plane.pid, signal.SIGCONT)


def test_an_inherited_connection_is_served_until_it_closes() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [sys.executable, "-m", "gateway.dataplane.process", "--workers", "1"]
    with theirs:
        child = subprocess.Popen(
            [*argv, "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
    with RemotePlane(ours) as plane:
        assert plane.workers == 1
    _, words = child.communicate(timeout=20)
    assert child.returncode == 0
    assert "cannot come back" in words


def test_a_socket_of_systemd_is_served(tmp_path: Path) -> None:
    place = tmp_path / "activated.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(place))
        listener.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(tmp_path / "notify"))
            notify.settimeout(10)
            # systemd's part: the socket becomes descriptor 3, and the pid is the program's own.
            script = (
                'exec 3<&"$1"; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$2" -m "$3" --workers 1'
            )
            argv = ["bash", "-c", script, "-", str(listener.fileno()), sys.executable]
            watched = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
            environment = {**os.environ, **watched}
            with subprocess.Popen(
                [*argv, "gateway.dataplane.process"],
                pass_fds=[listener.fileno()],
                env=environment,
                stderr=subprocess.DEVNULL,
            ) as child:
                assert notify.recv(100) == b"READY=1"
                assert [notify.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
                with connect(place) as plane:
                    assert plane.pid == child.pid
                child.terminate()
                assert child.wait(10) == 0


@pytest.mark.parametrize("is_gone", [True, False])
def test_the_records_are_stored_at_its_end_only_where_no_gateway_process_can_change_them(
    tmp_path: Path, is_gone: bool
) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    place = tmp_path / "dataplane.sock"
    argv = [sys.executable, "-m", "gateway.dataplane.process", "--workers", "1"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, far:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(10)
        near.setblocking(False)
        with subprocess.Popen(
            [*argv, "--socket", str(place)],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=subprocess.DEVNULL,
        ) as child:
            said = [told(notify)]
            plane = connect(place)
            plane.add_tunnel(
                7, "a@b", [TunQueue(near.detach())], False, PATH, EncapKind.UDP, OPTIONS
            )
            plane.keep([(b"spi", b"sealed")])
            if is_gone:
                plane.close()  # what it has sent counts, whenever the other end reads that
            child.terminate()
            assert child.wait(10) == 0
            plane.close()
        said += [told(notify) for _ in range(2 if is_gone else 1)]
        notify.setblocking(False)
        with pytest.raises(BlockingIOError):
            notify.recv(4096)
    assert said == ["READY=1", "FDNAME=twinspan.t7", "FDNAME=twinspan.records"][: len(said)]


def told(notify: socket.socket) -> str:
    """Return what is ready, or the name of what is to be stored."""
    content, descriptors, _, _ = socket.recv_fds(notify, 4096, 253)
    for descriptor in descriptors:
        os.close(descriptor)
    return content.decode().splitlines()[:2][-1]


def test_ike_datagrams_come_up_and_go_out(spawn: Spawn) -> None:
    """A peer on port 4500 speaks IKE: zero marker, then the message (RFC 3948 section 2.2)."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
    ):
        for sock in (peer, ours):
            sock.bind(("127.0.0.1", 0))
        peer.settimeout(10)
        ours.setblocking(False)
        host, port = ours.getsockname()
        # The kernel reports the destination: that is the path's local address.
        ours.setsockopt(socket.IPPROTO_IP, 8, 1)
        plane = spawn()
        plane.add_socket(os.dup(ours.fileno()), 0, ip_address(host), port, EncapKind.UDP)
        got: list[Punt] = []
        plane.on_punt(got.append)
        peer.sendto(b"\0\0\0\0ike request", (host, port))
        while not got:
            plane.poll(10.0)
        assert (got[0].type, got[0].data) == (PuntType.IKE, b"ike request")
        assert got[0].path is not None
        assert (got[0].path.local_port, got[0].path.remote_port) == (port, peer.getsockname()[1])
        os.kill(plane.pid, signal.SIGSTOP)  # what is sent does not wait for that process
        plane.send_ike(got[0].path, b"ike response")
        os.kill(plane.pid, signal.SIGCONT)
        assert peer.recv(100) == b"\0\0\0\0ike response"


def test_an_ike_datagram_that_can_not_go_out_is_an_error(spawn: Spawn) -> None:
    """It is the data plane's to say why: the network is not there, or the socket."""
    plane = spawn()
    sock = udp_socket()
    with socket.socket(fileno=os.dup(sock)) as bound:
        port = bound.getsockname()[1]
    here, far = ip_address("127.0.0.1"), ip_address("203.0.113.9")
    with pytest.raises(DataPlaneError, match="no such SA, tunnel or socket"):
        plane.send_ike(GatewayPath(here, port, far, 4500), b"ike")
    plane.add_socket(sock, 0, here, port, EncapKind.UDP)
    with pytest.raises(DataPlaneError) as caught:
        plane.send_ike(GatewayPath(here, port, far, 4500), b"ike")
    assert caught.value.errno != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_in_a_closed_directory_the_mode_of_the_socket_decides(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    code = (
        "import os, socket, sys\n"
        "from gateway.dataplane.process import allowed_uids\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "s.bind(sys.argv[1])\n"
        "print(sorted(allowed_uids(s)))\n"
        "os.setuid(65534)\n"
        "print(allowed_uids(s))\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "closed" / "s")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout
    assert said.split() == ["[0]", "None"]
