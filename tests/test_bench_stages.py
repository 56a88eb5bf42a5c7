"""`bench/stages.py`: what it reads from callgrind and perf, and that it counts what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import stages
from bench.beds import callgrind, clock
from bench.beds.callgrind import CSRC, Where


def line_of(file: str, text: str) -> int:
    """Return the number of the first line of a source file that holds `text`."""
    lines = (CSRC / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_lines_are_counted_for_the_function_they_stand_in() -> None:
    inlined = line_of("checksum.h", "uint64_t word;") + 2
    text = f"""\
events: Ir
ob=/usr/lib/libIPSec_MB.so.1.3.0
fl=???
fn=0x1000
0 500

ob=/build/stages
fl={CSRC}/merge.c
fn=checksums_good
{line_of("merge.c", "checksums_good(const")} 10
fi={CSRC}/checksum.h
{inlined} 20
fe={CSRC}/merge.c
{line_of("merge.c", "first_is_good(struct")} 30
cob=/usr/lib/libc.so.6
cfi=???
cfn=read
calls=7 0
12 9999
"""
    profile = callgrind.read(text)
    assert profile.instructions == {
        Where("libIPSec_MB.so.1.3.0", "0x1000"): 500,
        Where("merge.c", "checksums_good"): 10,
        Where("checksum.h", "gw_sum_word"): 20,
        Where("merge.c", "first_is_good"): 30,
    }
    by_stage, calls = stages.per_packet(profile, 10)
    assert by_stage == {"AES-GCM": 50.0, "merge": 4.0, "checksums": 2.0}
    assert calls == 0.7


def test_samples_are_told_apart_by_what_called_them() -> None:
    text = """
\tffffffff81 _copy_to_iter ([kernel.kallsyms])
\tffffffff82 tun_do_read ([kernel.kallsyms])
\tffffffff83 vfs_read ([kernel.kallsyms])

\tffffffff84 udp_queue_rcv_one_skb+0x1 ([kernel.kallsyms])
\tffffffff85 handle_softirqs ([kernel.kallsyms])
\tffffffff86 __sys_sendmmsg ([kernel.kallsyms])

\t     12345 seal_chunk (/x/gateway/_native.abi3.so)
"""
    assert clock.stages(text) == {
        "kernel: read TUN, copy": 1,
        "kernel: what lies behind the devices": 1,
        "our code": 1,
    }


@pytest.mark.timeout(120)
def test_the_same_packets_cost_the_same_instructions(tmp_path: Path) -> None:
    program = callgrind.build(tmp_path)
    profile, packets = callgrind.count(program, ["96", "36", "0", "1"], "gw_inbound_batch")
    assert packets == 96
    by_stage, calls = stages.per_packet(profile, packets)
    # Found where they belong, and small packets of one flow share their system calls.
    assert by_stage["AES-GCM"] > 100
    assert by_stage["checksums"] > 50
    assert by_stage["merge"] > 50
    assert 0 < calls < 0.2
    again, _ = callgrind.count(program, ["96", "36", "0", "1"], "gw_inbound_batch")
    # Addresses of memory differ from run to run, and with them what the library aligns.
    total = sum(profile.instructions.values())
    assert abs(total - sum(again.instructions.values())) < total / 50
