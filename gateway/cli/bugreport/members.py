"""What stands in a bug report, each piece as a name and a text, or why there is none."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import gateway
from gateway.cli.client import Json, Refused, Unreachable, ask
from gateway.cli.diagnose import report
from gateway.cli.doctor.checkup import findings
from gateway.cli.doctor.facts import OWN, Facts
from gateway.cli.doctor.look.document import Table
from gateway.cli.doctor.look.machine import output_of
from gateway.cli.doctor.verdict import Unseen
from gateway.errors import GatewayError
from gateway.model.problem import SECRET_KEYS
from gateway.model.toml_text import toml_text
from gateway.netns.kernel import inside, open_namespace

MEMBER_BYTES_MAX = 4 << 20  # of each: the end is what matters
_LOG_LINES, _EVENTS = 2000, 5000
_PATIENCE_S = 15.0
_ANSWERS = ("status", "routes", "bgp")
_PACKAGES = ("twinspan", "bird2", "libipsec-mb1", "libssl3", "strongswan*", "nftables", "iproute2")
_UNITS = ("twinspan-gateway", "twinspan-dataplane", "twinspan-netns")
_COMMANDS: Sequence[tuple[str, ...]] = (
    ("ip", "-s", "-d", "link"),
    ("ip", "address"),
    ("ip", "rule"),
    ("ip", "-4", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "neighbour"),
    ("ip", "xfrm", "policy"),
    ("nft", "list", "ruleset"),
    ("ss", "-tunapw"),
    ("sysctl", "-a", "--pattern", r"^net\.(core|ipv4|ipv6|netfilter)\."),
)
_COUNTERS = ("snmp", "snmp6", "netstat", "softnet_stat", "dev", "udp", "raw")
_FILES = ("/etc/os-release", "/proc/version", "/proc/cmdline", "/proc/meminfo", "/proc/loadavg")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the report. `missing` says why it has no content."""

    name: str
    content: bytes = b""
    missing: str = ""


def members(facts: Facts, document: Table | None, runtime_dir: Path) -> Iterator[Member]:
    """Yield all files of a report. The calling thread is in the VM's own namespace."""
    yield _json("doctor.json", report(findings(facts, time.time())))
    yield _json("version.json", _versions())
    yield _document(document, facts.document.path)
    for command in _ANSWERS:
        yield _answer(f"{command}.json", runtime_dir, {"command": command})
    yield _answer("explain.json", runtime_dir, *_explanations(facts))
    yield _answer("log.json", runtime_dir, {"command": "log", "lines": _LOG_LINES})
    yield _answer("events.json", runtime_dir, {"command": "events", "lines": _EVENTS})
    yield from _logs(runtime_dir)
    yield from _birds(runtime_dir)
    yield _output("packages.txt", "dpkg-query", "-W", *_PACKAGES)
    yield _output("units.txt", "systemctl", "status", "--no-pager", "-l", *_UNITS)
    for name in _FILES:
        yield _file(f"machine/{Path(name).name}.txt", Path(name))
    for namespace in facts.namespaces:
        yield from _namespace(namespace)


def _json(name: str, value: object) -> Member:
    return Member(name, json.dumps(value, indent=1, ensure_ascii=False).encode())


def _versions() -> Json:
    wanted = ("cryptography", "cffi", "uvloop", "pydantic", "pyroute2", "typer", "structlog")
    installed = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    return {
        "twinspan": gateway.__version__,
        "python": sys.version,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": {name: installed.get(name) for name in wanted},
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "made_as_root": os.geteuid() == 0,
    }


def _document(table: Table | None, path: str) -> Member:
    """Return the document without secrets, and without comments: they may hold an old key."""
    if table is None:
        return Member("document.toml", missing=f"{path} can not be read, or is no document")
    try:
        return Member("document.toml", toml_text(_masked(table)).encode())
    except ValueError as error:
        return Member("document.toml", missing=f"{path}: {error}")


def _masked(table: Table) -> Table:
    return {key: "(not shown)" if key in SECRET_KEYS else _part(v) for key, v in table.items()}


def _part(value: object) -> object:
    if isinstance(value, dict):
        return _masked(value)
    return [_part(each) for each in value] if isinstance(value, list) else value


def _explanations(facts: Facts) -> Iterator[Json]:
    """Yield what asks for each tunnel that is not up; of one that is up, status says it all."""
    if isinstance(facts.gateway, Unseen):
        return
    for tunnel in facts.gateway.tunnels:
        if tunnel.status != "up":
            yield {"command": "explain", "tunnel": tunnel.name}


def _answer(name: str, runtime_dir: Path, *requests: Json) -> Member:
    try:
        found = [one for each in requests for one in ask(runtime_dir, each, _PATIENCE_S)]
    except (Unreachable, Refused) as error:
        return Member(name, missing=str(error))
    return _json(name, found)


def _logs(runtime_dir: Path) -> Iterator[Member]:
    units = [word for unit in _UNITS for word in ("-u", unit)]
    options = ("--no-pager", "-o", "short-iso-precise", "-n", str(_LOG_LINES))
    yield _output("journal.txt", "journalctl", *options, *units)
    for file in sorted(runtime_dir.glob("**/*.log")):
        yield _file(f"logs/{_flat(runtime_dir, file)}", file)


def _birds(runtime_dir: Path) -> Iterator[Member]:
    for file in sorted(runtime_dir.glob("**/bird.conf")):
        yield _file(f"bird/{_flat(runtime_dir, file)}", file)


def _flat(directory: Path, file: Path) -> str:
    return str(file.relative_to(directory)).replace("/", "-")


def _file(name: str, path: Path) -> Member:
    try:
        with path.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            opened.seek(max(0, size - MEMBER_BYTES_MAX))
            return Member(name, opened.read(MEMBER_BYTES_MAX))
    except OSError as error:
        return Member(name, missing=f"{path}: {error.strerror}")


def _output(name: str, *argv: str) -> Member:
    """Return what a program prints: what it says when it fails is worth as much."""
    text = output_of(*argv, is_any=True)
    if isinstance(text, Unseen):
        return Member(name, missing=text.why)
    return Member(name, text.encode("utf-8", "replace")[-MEMBER_BYTES_MAX:])


def _namespace(namespace: str) -> Iterator[Member]:
    place = f"network/{namespace or 'own'}"
    if namespace == OWN:
        yield from _network(place)
        return
    try:
        descriptor = open_namespace(namespace)
    except GatewayError as error:
        yield Member(f"{place}/missing.txt", missing=str(error))
        return
    try:
        with inside(descriptor):
            found = list(_network(place))
    except GatewayError as error:
        found = [Member(f"{place}/missing.txt", missing=str(error))]
    finally:
        os.close(descriptor)
    yield from found


def _network(place: str) -> Iterator[Member]:
    for argv in _COMMANDS:
        words = [word for word in argv if word.isalnum() or word.strip("-").isalnum()]
        yield _output(f"{place}/{'-'.join(word.strip('-') for word in words)}.txt", *argv)
    for name in _COUNTERS:
        yield _file(f"{place}/{name}.txt", Path("/proc/thread-self/net") / name)
