"""The namespace keeper as a process, asked as the gateway process does; iproute2 is the judge."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from gateway.netns import kernel
from gateway.netns.client import MODULE, RECORDS, KeeperClient
from gateway.netns.wire import DEFAULTS, SOCKET_NAME, NamespaceError, What
from gateway.node.netlink import Netlink, Sockets
from gateway.routing.process import BirdFiles
from gateway.unix import bind_private, start_process

pytestmark = pytest.mark.system

_numbers = count(1)
NOBODY = 65534
BIRD_CONF = "router id 192.0.2.1;\nprotocol device { }\nprotocol kernel { ipv4 { export all; }; }\n"


@pytest.fixture
def name() -> Iterator[str]:
    """A name that nobody uses; what has it at the end is removed."""
    made = f"twt{os.getpid()}-{next(_numbers)}"
    yield made
    for pid in ip("netns", "pids", made).split():
        os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", made], check=False, capture_output=True)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[KeeperClient]:
    client = KeeperClient(tmp_path)
    yield client
    with contextlib.suppress(NamespaceError):
        client.end()
    client.close()


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    return done.stdout


def sysctl(name: str, key: str) -> str:
    argv = ["ip", "netns", "exec", name, "cat", f"/proc/sys/net/{key}"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def names() -> set[str]:
    return {line.split()[0] for line in ip("netns", "list").splitlines()}


def test_a_namespace_is_made_once_and_forwards(keeper: KeeperClient, name: str) -> None:
    assert keeper.make(name)
    assert not keeper.make(name)
    assert name in names()
    assert keeper.made() == [name]
    assert "UP" in ip("-n", name, "link", "show", "lo")
    for key, value in DEFAULTS.items():
        assert sysctl(name, key) == value
    assert keeper.read(name, list(DEFAULTS)) == list(DEFAULTS.values())


def test_it_is_removed_only_if_it_was_made_here(keeper: KeeperClient, name: str) -> None:
    keeper.make(name)
    keeper.remove(name)
    assert name not in names()
    assert keeper.made() == []
    ip("netns", "add", name)  # now somebody else's
    assert not keeper.make(name)
    assert keeper.made() == []
    with pytest.raises(NamespaceError, match="was not made here"):
        keeper.remove(name)
    assert name in names()


def test_a_namespace_of_somebody_else_under_a_name_of_ours_stays(
    keeper: KeeperClient, name: str
) -> None:
    keeper.make(name)
    ip("netns", "del", name)
    ip("netns", "add", name)
    assert keeper.made() == []
    with pytest.raises(NamespaceError, match="was not made here"):
        keeper.remove(name)


def test_what_it_has_made_is_known_to_the_next_keeper(keeper: KeeperClient, name: str) -> None:
    keeper.make(name)
    keeper.end()
    log = keeper_directory(keeper) / "netns.log"
    wait_until(lambda: "netns ended" in log.read_text())
    assert keeper.made() == [name]
    assert log.read_text().count("netns ready") == 2


def start(keeper: KeeperClient) -> None:
    """Have the keeper run: a request starts it."""
    with pytest.raises(NamespaceError, match="there is no network namespace"):
        keeper.open("twt-missing", What.CONTROL)


def keeper_directory(keeper: KeeperClient) -> Path:
    return Path(keeper.directory)


def opened(keeper: KeeperClient, name: str) -> Netlink:
    *fds, namespace = keeper.open(
        name, What.RTNETLINK, What.RTNETLINK, What.CONTROL, What.NAMESPACE
    )
    first, second, control = (socket.socket(fileno=fd) for fd in fds)
    return Netlink(Sockets(first, second, control, namespace))


def test_its_descriptors_work_in_the_namespace(keeper: KeeperClient, name: str) -> None:
    keeper.make(name)
    with contextlib.closing(opened(keeper, name)) as there:
        assert set(there.links()) == {"lo"}
        ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two")
        assert set(there.links()) == {"lo", "one", "two"}
        there.set_up("one", up=True)
        assert "UP" in ip("-n", name, "link", "show", "one")
        keeper.write(name, "ipv6/conf/one/ignore_routes_with_linkdown", "0")
        assert sysctl(name, "ipv6/conf/one/ignore_routes_with_linkdown") == "0"


def test_the_keeper_itself_comes_back_from_where_it_worked(keeper: KeeperClient, name: str) -> None:
    keeper.make(name)
    (fd,) = keeper.open(name, What.CONTROL)
    os.close(fd)
    pid = int((keeper_directory(keeper) / "netns.log").read_text().split("pid=")[1].split()[0])
    assert os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")


def test_raw_sockets_for_probes_are_of_the_namespace(keeper: KeeperClient, name: str) -> None:
    keeper.make(name)
    for fd in keeper.open(name, What.ICMP4, What.ICMP6):
        with socket.socket(fileno=fd) as sock:
            index = struct.pack("16s24x", b"lo")
            assert struct.unpack_from("=i", fcntl.ioctl(sock, 0x8933, index), 16) == (1,)
            assert sock.type == socket.SOCK_RAW
            with pytest.raises(OSError, match=r"unreachable|Cannot assign"):
                sock.connect(("192.0.2.1", 0) if sock.family == socket.AF_INET else ("fd00::1", 0))


def test_a_missing_namespace_and_a_file_that_is_none_are_told_apart(
    keeper: KeeperClient, name: str
) -> None:
    with pytest.raises(NamespaceError, match=f"there is no network namespace {name}"):
        keeper.open(name, What.CONTROL)
    kernel.PLACE.mkdir(exist_ok=True)
    (kernel.PLACE / name).touch()
    with pytest.raises(NamespaceError, match="is no network namespace; remove the file"):
        keeper.make(name)
    (kernel.PLACE / name).unlink()


def test_bird_runs_there_with_three_capabilities(
    keeper: KeeperClient, name: str, tmp_path: Path
) -> None:
    keeper.make(name)
    files = BirdFiles(tmp_path)
    files.write_conf("bird.conf", BIRD_CONF)
    pid = keeper.start_bird(name, tmp_path, recover=True)
    wait_until(lambda: files.pid.exists() and files.pid.read_text().strip() == str(pid))
    assert str(pid) in ip("netns", "pids", name).split()
    status = Path(f"/proc/{pid}/status").read_text()
    for kind in ("CapPrm", "CapEff", "CapAmb"):
        assert f"{kind}:\t0000000000003400\n" in status
    assert "NoNewPrivs:\t1\n" in status
    assert "-R" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def test_another_user_gets_bird_with_that_users_rights(name: str) -> None:
    """As the gateway process under its unit: a user without any right to enter a namespace."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        os.chown(directory, NOBODY, NOBODY)
        path = directory / SOCKET_NAME
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            bind_private(listener, path)
            os.chown(path, NOBODY, NOBODY)
            log, records = directory / "netns.log", ["--records", str(directory / RECORDS)]
            child = start_process(MODULE, listener.fileno(), log, records)
        files = BirdFiles(directory)
        os.chown(files.write_conf("bird.conf", BIRD_CONF), NOBODY, NOBODY)
        asking = multiprocessing.get_context("spawn").Process(
            target=ask_as_nobody, args=(directory, name)
        )
        asking.start()
        asking.join(20)
        assert asking.exitcode == 0, log.read_text()
        wait_until(lambda: files.pid.exists() and files.pid.read_text().strip())
        status = Path(f"/proc/{files.pid.read_text().strip()}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}\n" in status
        for kind in ("CapPrm", "CapEff", "CapAmb"):
            assert f"{kind}:\t0000000000003400\n" in status
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


def ask_as_nobody(directory: Path, name: str) -> None:
    """In a process of its own: what the gateway process asks, as a user without rights."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    client = KeeperClient(directory)
    assert client.make(name)
    for fd in client.open(name, What.RTNETLINK, What.NAMESPACE):
        os.close(fd)
    client.start_bird(name, directory, recover=False)


def test_without_keeper_and_right_the_message_names_the_unit(tmp_path: Path) -> None:
    asking = multiprocessing.get_context("spawn").Process(target=fail_as_nobody, args=(tmp_path,))
    asking.start()
    asking.join(20)
    assert asking.exitcode == 0


def fail_as_nobody(directory: Path) -> None:
    directory.chmod(0o777)
    os.chdir(directory)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    with pytest.raises(NamespaceError, match=r"need the unit twinspan-netns\.socket, or root"):
        KeeperClient(Path("/")).make("red")


def wait_until(holds: object) -> None:
    assert callable(holds)
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_bird_that_can_not_run_is_an_error_with_its_reason(
    keeper: KeeperClient, name: str, tmp_path: Path
) -> None:
    keeper.make(name)
    with pytest.raises(NamespaceError, match="No such file or directory"):
        keeper.start_bird(name, tmp_path / "missing", recover=False)


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "shell"},
        {"op": "make", "namespace": "../x"},
        {"op": "open", "namespace": "x", "what": ["tcp"]},
        {"op": "read", "namespace": "x", "settings": ["../../etc/shadow"]},
        {"op": "write", "namespace": "x", "setting": "ipv4/ip_forward", "value": "0"},
        {"op": "bird", "namespace": "x", "directory": "relative"},
        {},
    ],
)
def test_a_request_that_is_none_ends_the_connection_and_not_the_keeper(
    keeper: KeeperClient, tmp_path: Path, request_: dict[str, object]
) -> None:
    start(keeper)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(str(tmp_path / SOCKET_NAME))
        sock.send(json.dumps(request_).encode())
        assert sock.recv(1000) == b""
    assert keeper.made() == []


def test_another_user_is_turned_away(keeper: KeeperClient, tmp_path: Path) -> None:
    start(keeper)
    tmp_path.chmod(0o755)
    (tmp_path / SOCKET_NAME).chmod(0o666)
    code = (
        "import os, socket, sys\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        f"sock.connect({SOCKET_NAME!r})\n"
        "try:\n"
        "    sock.send(b'{}')\n"
        "    sys.exit(sock.recv(1000) != b'')\n"
        "except (BrokenPipeError, ConnectionResetError):\n"
        "    pass\n"
    )
    done = subprocess.run(["python3", "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "refused" in (tmp_path / "netns.log").read_text()
    assert not (tmp_path / RECORDS).exists()
