"""
A gateway that may load no programs, as in a container, works with one queue a worker, and says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.node.network import ip, own_network
from tests.node.process import gateway

pytestmark = pytest.mark.system

# CAP_SYS_ADMIN implies CAP_BPF (capabilities(7)).
NO_RIGHT = ("setpriv", "--bounding-set=-bpf,-sys_admin")
# What a seccomp profile does that does not know bpf(): linux/filter.h, linux/seccomp.h
HIDES = """
import ctypes, os, struct, sys
from gateway.node.bpf import _SYS_BPF
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, _SYS_BPF[os.uname().machine]), (0x06, 0, 0, 0x50000 | 38)]
code = b"".join(struct.pack("=HBBI", *one) for one in (*steps, (0x06, 0, 0, 0x7FFF0000)))
kept = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(kept)))
libc, zero = ctypes.CDLL(None), ctypes.c_ulong(0)
assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
assert libc.prctl(22, ctypes.c_ulong(2), program, zero, zero) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
NO_CALL = (sys.executable, "-c", HIDES)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A network with the public addresses of the document, and a directory."""
    with own_network():
        for address in ("192.0.2.1/32", "198.51.100.1/32"):
            ip(f"addr add {address} dev lo")
        yield tmp_path


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ((), None),
        (NO_RIGHT, "CAP_BPF is needed"),
        (NO_CALL, "a container's seccomp profile hides it"),
    ],
    ids=["allowed", "no CAP_BPF", "no bpf()"],
)
def test_without_programs_each_worker_has_a_queue_and_status_says_so(
    place: Path, inside: tuple[str, ...], said: str | None
) -> None:
    with gateway(place, inside=inside) as running:
        told = cast(list[str], running.status()["notes"])
        devices = json.loads(ip("-d -j link show type tun"))
        log = running.log
    notes = [note for note in told if "lane for control" in note]
    assert len(devices) == 2
    assert {one["linkinfo"]["info_data"]["multi_queue"] for one in devices} == {said is None}
    assert len(notes) == (said is not None)
    assert said is None or (said in notes[0] and said in log)
