"""The systemd units and their companions: valid, hardened, and in step with the program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.control import DEFAULT_KEY_FILE, DEFAULT_SOCKET
from gateway.cli.store import DEFAULT_STORE
from gateway.control.secrets import CREDENTIAL
from gateway.control.setup import SERVICE_USER
from gateway.dataplane import seccomp
from gateway.dataplane.fastpath import TUNNELS_MAX
from gateway.dataplane.process import arguments
from gateway.dataplane.reach import SOCKET_NAME
from gateway.netns import wire
from gateway.netns.process import arguments as keeper_arguments

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = [
    "twinspan-gateway.service",
    "twinspan-dataplane.service",
    "twinspan-dataplane.socket",
    "twinspan-netns.service",
    "twinspan-netns.socket",
    "twinspan-control.service",
    "twinspan-control.socket",
]

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with a program that exists on every machine."""
    for name in UNITS:
        text = (DEPLOY / name).read_text().replace("/usr/bin/twinspan", "/bin/true")
        (tmp_path / name).write_text(text)
    return tmp_path


def settings(name: str) -> dict[str, list[str]]:
    """Return the settings of a unit; a key that stands twice has two values."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / name).read_text().splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", ["twinspan-gateway.service", "twinspan-dataplane.service"])
def test_what_carries_packets_comes_before_other_services_on_a_busy_machine(name: str) -> None:
    """Between services the weight decides (100 for who says nothing), not nice."""
    assert settings(name)["CPUWeight"] == ["1000"]


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong(units: Path, name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(units / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "twinspan" in line]
    assert complaints == []


@needs_systemd
def test_systemd_finds_nothing_wrong_with_a_gateway_of_a_fleet(units: Path) -> None:
    places = units / "twinspan-gateway.service.d"
    places.mkdir()
    example = (DEPLOY / "twinspan-gateway.service.d/fleet.conf.example").read_text()
    (places / "fleet.conf").write_text(
        example.replace("/usr/bin/twinspan", "/bin/true").replace("\n# Load", "\nLoad")
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(units / "twinspan-gateway.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if "twinspan" in line] == []


def test_the_options_of_a_gateway_of_a_fleet_are_the_programs() -> None:
    example = (DEPLOY / "twinspan-gateway.service.d/fleet.conf.example").read_text()
    (start,) = re.findall("^ExecStart=(/.*)", example, re.MULTILINE)
    options = set(re.findall(r"--[a-z-]+", start))
    known = CliRunner().invoke(app, ["gateway", "--help"], env={"COLUMNS": "200"}).output
    assert options
    assert not [option for option in options if option not in known]


@needs_systemd
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("twinspan-gateway.service", 30),
        ("twinspan-dataplane.service", 15),
        ("twinspan-netns.service", 50),  # without a mount namespace of its own
        ("twinspan-control.service", 20),
    ],
)
def test_exposure_stays_low(units: Path, name: str, most: int) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={most}", str(units / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_gateway_has_four_capabilities_and_the_data_plane_none() -> None:
    wanted = ["CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_BPF"]
    assert settings("twinspan-gateway.service")["AmbientCapabilities"] == wanted
    assert settings("twinspan-gateway.service")["CapabilityBoundingSet"] == wanted
    assert settings("twinspan-dataplane.service")["CapabilityBoundingSet"] == [""]
    assert settings("twinspan-dataplane.service")["AmbientCapabilities"] == [""]


def test_both_ends_of_the_data_plane_socket_name_the_same_place() -> None:
    (listen,) = settings("twinspan-dataplane.socket")["ListenSequentialPacket"]
    (start,) = settings("twinspan-gateway.service")["ExecStart"]
    runtime_dir = start.split("--runtime-dir ")[1].split()[0]
    assert listen == f"{runtime_dir}/{SOCKET_NAME}"


def test_both_ends_of_the_namespace_keepers_socket_name_the_same_place() -> None:
    (listen,) = settings("twinspan-netns.socket")["ListenSequentialPacket"]
    (start,) = settings("twinspan-gateway.service")["ExecStart"]
    runtime_dir = start.split("--runtime-dir ")[1].split()[0]
    assert listen == f"{runtime_dir}/{wire.SOCKET_NAME}"


def test_the_namespace_keeper_is_started_with_options_it_has() -> None:
    (start,) = settings("twinspan-netns.service")["ExecStart"]
    program, command, *options = start.split()
    assert (program, command) == ("/usr/bin/twinspan", "netns")
    (directory,) = settings("twinspan-netns.service")["RuntimeDirectory"]
    assert str(keeper_arguments(options).records) == f"/run/{directory}"


def test_the_namespace_keeper_has_what_it_needs_and_hides_no_mount() -> None:
    unit = settings("twinspan-netns.service")
    (bounds,) = unit["CapabilityBoundingSet"]
    for_bird = {"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"}
    to_become = {"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"}
    assert set(bounds.split()) == {"CAP_SYS_ADMIN", *for_bird, *to_become}
    hiding = {"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts"}
    hiding |= {"ProtectKernelTunables", "ProtectControlGroups", "ProtectProc", "ReadWritePaths"}
    assert not hiding & set(unit)
    assert unit["KillMode"] == ["process"]


@needs_systemd
def test_the_namespace_keeper_may_do_what_it_needs() -> None:
    allowed = allowed_calls("twinspan-netns.service")
    assert {"setns", "unshare", "mount", "umount2", "clone", "execve", "capset"} <= allowed
    assert {"setresuid", "setresgid", "setgroups", "prctl", "sendmsg", "recvmsg"} <= allowed
    assert not {"init_module", "ptrace", "bpf", "pivot_root", "chroot", "keyctl"} & allowed


def test_the_packaged_settings_are_those_of_a_namespace_that_we_make() -> None:
    """But for what is the whole machine's (net.core) and what is of devices by name."""
    lines = (DEPLOY / "sysctl.d" / "60-twinspan.conf").read_text().splitlines()
    pairs = [line.split(" = ") for line in lines if " = " in line and "*" not in line]
    pairs = [pair for pair in pairs if not pair[0].startswith("net.core.")]
    assert {key.removeprefix("net.").replace(".", "/"): value for key, value in pairs} == dict(
        wire.DEFAULTS
    )


def test_the_data_plane_is_started_with_options_it_has() -> None:
    (start,) = settings("twinspan-dataplane.service")["ExecStart"]
    program, command, *options = start.split()
    assert (program, command) == ("/usr/bin/twinspan", "dataplane")
    arguments(options)


def group(name: str) -> set[str]:
    """Return the system calls of one of systemd's groups."""
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    ).stdout
    found: set[str] = set()
    for line in listed.splitlines()[1:]:
        entry = line.strip()
        if entry and not entry.startswith("#"):
            found |= group(entry) if entry.startswith("@") else {entry}
    return found


def allowed_calls(unit: str) -> set[str]:
    """Return the system calls that a unit's filters leave, as systemd.exec(5) combines them."""
    allowed: set[str] = set()
    for line in settings(unit)["SystemCallFilter"]:
        named = line.removeprefix("~").split()
        calls = {call for each in named for call in (group(each) if each[0] == "@" else {each})}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def test_the_data_planes_store_has_room_for_all_tunnels_and_sockets() -> None:
    (most,) = settings("twinspan-dataplane.service")["FileDescriptorStoreMax"]
    assert int(most) >= 2 * TUNNELS_MAX  # and the sockets of as many public addresses


@needs_systemd
def test_the_data_plane_may_do_what_it_needs_and_not_become_anybody() -> None:
    allowed = allowed_calls("twinspan-dataplane.service")
    starting = {"capset", "seccomp", "prctl", "prlimit64", "mlockall", "execve", "openat"}
    assert set(seccomp.X86_64.numbers) | starting <= allowed
    assert not {"setuid", "mount", "init_module", "ptrace", "bpf"} & allowed


@needs_systemd
def test_the_gateway_may_do_what_it_needs() -> None:
    allowed = allowed_calls("twinspan-gateway.service")
    needed = {"socket", "bind", "ioctl", "setsockopt", "sendmsg", "flock", "memfd_create", "umask"}
    assert needed | {"epoll_create1", "eventfd2", "clone3", "openat", "unlink"} <= allowed
    assert "bpf" in allowed
    assert not {"setuid", "mount", "init_module", "ptrace", "chown"} & allowed


@needs_systemd
def test_the_users_of_the_units_are_made() -> None:
    made = (DEPLOY / "sysusers.d" / "twinspan.conf").read_text()
    for name in (
        "twinspan-gateway.service",
        "twinspan-dataplane.service",
        "twinspan-control.service",
    ):
        (user,) = settings(name)["User"]
        assert f"\nu {user} " in "\n" + made


def test_the_control_plane_has_no_capability_and_roots_socket_is_roots() -> None:
    unit, sock = settings("twinspan-control.service"), settings("twinspan-control.socket")
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [""]
    assert sock["ListenStream"] == [DEFAULT_SOCKET]
    assert (sock["SocketUser"], sock["SocketMode"]) == (["root"], ["0600"])


def test_the_control_plane_has_its_key_from_systemd_and_its_store_where_init_makes_it() -> None:
    unit = settings("twinspan-control.service")
    assert unit["LoadCredential"] == [f"{CREDENTIAL}:{DEFAULT_KEY_FILE}"]
    (directory,) = unit["StateDirectory"]
    assert DEFAULT_STORE.startswith(f"sqlite:/var/lib/{directory}/")
    assert unit["User"] == [SERVICE_USER]
    made = (DEPLOY / "tmpfiles.d" / "twinspan.conf").read_text()
    assert f"d /var/lib/{directory} 0700 {SERVICE_USER} {SERVICE_USER}" in made


@needs_systemd
def test_the_control_plane_may_do_what_it_needs() -> None:
    allowed = allowed_calls("twinspan-control.service")
    needed = {"socket", "bind", "listen", "accept4", "fsync", "fdatasync", "flock", "memfd_create"}
    assert needed | {"epoll_create1", "eventfd2", "clone3", "openat", "unlink"} <= allowed
    assert not {"setuid", "mount", "init_module", "ptrace", "bpf", "chown"} & allowed
