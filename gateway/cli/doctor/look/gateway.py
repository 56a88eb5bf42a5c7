"""What the gateway process says of itself, at its control socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from gateway.cli.client import CONTROL_SOCKET, Json, Refused, Unreachable, ask
from gateway.cli.doctor.facts import GatewaySeen, TunnelSeen
from gateway.cli.doctor.look import proc
from gateway.cli.doctor.verdict import Unseen
from gateway.unix import peer_of

_LINES = 2000  # of its log: all that it keeps
_PATIENCE_S = 10.0
_TAKEN, _REFUSED = ("gateway up", "reloaded"), ("reload refused", "reload failed")
_STEP_S = 1.0  # entries of a log follow one another; a clock that NTP slews goes back less


def pid_of(runtime_dir: Path) -> int | None:
    """Return the process that listens at the control socket, None if there is none to see."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(runtime_dir / CONTROL_SOCKET))
        except OSError:
            return None
        return peer_of(sock)[0]


def gateway(runtime_dir: Path, ours: frozenset[int]) -> GatewaySeen | Unseen:
    """Return the gateway process that serves `runtime_dir`; `ours` are all of our processes."""
    try:
        (status,) = _objects(runtime_dir, {"command": "status"})
        (bgp,) = _objects(runtime_dir, {"command": "bgp"})
        log = _objects(runtime_dir, {"command": "log", "lines": _LINES})
    except (Unreachable, Refused) as error:
        return Unseen(str(error))
    pid = int(str(status["pid"]))
    taken = [entry for entry in log if entry["event"] in _TAKEN]
    refused = [entry for entry in log if entry["event"] in _REFUSED]
    return GatewaySeen(
        pid=pid,
        source=_of_document(status, "source"),
        state_dir=_of_document(status, "state_dir"),
        tunnels=tuple(_tunnel(one) for one in _list(status["tunnels"])),
        notes=_texts(status["notes"]),
        birds=tuple((str(b["namespace"]), str(b["error"])) for b in _list(bgp["birds"])),
        counters=_counters(status),
        capabilities=proc.capabilities_of(pid),
        limits={_name(each, pid): proc.descriptors_of(each) for each in sorted({pid, *ours})},
        read_at=_at(taken),
        refused_at=_at(refused),
        refused=_text(refused),
        clock_jump_s=_jump(log, status, proc.age_s(pid)),
    )


def _objects(runtime_dir: Path, request: Json) -> list[Json]:
    """Return the results of a request. Raises Unreachable, Refused."""
    found = ask(runtime_dir, request, _PATIENCE_S)
    return [one for one in found if isinstance(one, dict)]


def _list(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else ()


def _of_document(status: Json, key: str) -> str:
    document = status.get("document")
    return str(document.get(key, "")) if isinstance(document, dict) else ""


def _tunnel(shown: Json) -> TunnelSeen:
    ike, mtu = shown["ike"], shown["mtu"]
    sides = ike if isinstance(ike, dict) and ike.get("peer_id") else {}
    return TunnelSeen(
        name=str(shown["name"]),
        status=str(shown["status"]),
        nat_local=sides.get("nat_local"),
        nat_remote=sides.get("nat_remote"),
        inner_mtu=mtu if isinstance(mtu, int) else None,
    )


def _counters(status: Json) -> dict[str, int]:
    counters = status["counters"]
    workers = counters.get("workers") if isinstance(counters, dict) else None
    return {name: int(value) for name, value in workers.items()} if workers else {}


def _name(pid: int, gateway_pid: int) -> str:
    if pid == gateway_pid:
        return "gateway process"
    return "data plane process" if _is_plane(pid) else f"{proc.program_of(pid)} (pid {pid})"


def _is_plane(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"dataplane" in words


def _at(entries: Sequence[Json]) -> float | None:
    at = entries[-1]["at"] if entries else None
    return float(at) if isinstance(at, int | float) else None


def _text(entries: Sequence[Json]) -> str:
    fields = entries[-1]["fields"] if entries else {}
    assert isinstance(fields, Mapping)
    return str(fields.get("problem") or fields.get("text") or "")


def _jump(log: Sequence[Json], status: Json, age_s: float | None) -> float:
    """
    Return how far the clock was set since the process began, seconds; 0.0 if it was not.

    Back: a later entry of the log has an earlier time. Forward: by the clock, the gateway has run
    for longer than its process.
    """
    times = [float(str(entry["at"])) for entry in log]
    steps = [later - before for before, later in pairwise(times)]
    back = min(steps, default=0.0)
    if back < -_STEP_S:
        return back
    forward = float(str(status["since_s"])) - age_s if age_s is not None else 0.0
    return max(0.0, forward)
