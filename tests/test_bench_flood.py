"""The floods of `bench/flood.py`: each is what it says, and the generator keeps its numbers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from bench import flood as bench
from gateway.ike.first_look import first_look
from gateway.ike.message import parse_header
from lab import flood, pacer


def test_each_flood_passes_the_checks_that_cost_less() -> None:
    kinds = bench.kinds()
    for name in ("init", "known"):
        datagram = kinds[name].data
        assert len(first_look(parse_header(datagram), datagram).nonce) == 32
    changed = b"\x05" * 16 + kinds["auth"].data[16:]
    assert parse_header(changed).exchange == 35
    assert kinds["auth4500"].data[:4] == bytes(4)
    assert kinds["esp"].data[:4] != bytes(4)
    for kind in kinds.values():
        assert all(at + length <= len(kind.data) for at, length in kind.spots)


def test_figures_are_named_by_the_flood() -> None:
    seen = bench.Seen(19999.6, (0.01, 0.5, 0.02), 3, 12.34, 0.5, 0.1, 17.26, 19000.2, 0.94)
    found = seen.figures("init")
    assert found["init.connect_max_s"] == 0.5
    assert found["init.connect_median_s"] == 0.02
    assert found["init.sent_per_s"] == 20000
    assert all(name.startswith("init.") for name in found)


@pytest.mark.skipif(os.geteuid() != 0, reason="forging addresses needs root")
@pytest.mark.system
def test_the_generator_sends_at_its_rate_from_many_addresses(tmp_path: Path) -> None:
    """In a network namespace of its own, where nothing listens."""
    file = tmp_path / "data"
    file.write_bytes(bytes(40))
    program = pacer.compiled(Path(flood.__file__).with_suffix(".c"))
    words = ["127.0.0.1", "500", "2000", "0.3", "127.5.0.0/1000", str(file), "0/8", "32/8"]
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', program, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    said = json.loads(done.stdout)
    assert 300 <= said["sent"] <= 601
