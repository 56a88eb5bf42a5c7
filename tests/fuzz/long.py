"""
Every fuzzer for a long time: changed IKE messages, whole IKE endpoints, and the C code.

The IKE fuzzers run beside each other, each in a process of its own; then come all orders of the
messages of two ends that begin at once, however long they take, and one after the other the fuzzers
of the C code under the address and undefined behaviour sanitizers. What they must not find:
an exception that is not promised, an assertion, an error of memory; and a fuzzer of IKE may not
grow, since what it feeds may keep nothing of what it was fed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from lab import cpu, lasting
from tests.fuzz import fuzz_endpoint, fuzz_ike, orders
from tests.fuzz.tally import Tally

_C = Path(__file__).parent.parent / "c"
_TURN_S = 20.0  # after the first turn, memory is that of one at work
_MOST_GROWN_MIB = 16.0
_HEAD = ("fuzzer", "inputs", "of these", "minutes", "memory at begin and end", "what must not be")
IKE: Mapping[str, Callable[[float, int], Tally]] = {
    "fuzz_ike": fuzz_ike.run,
    "fuzz_endpoint": fuzz_endpoint.run,
}


@dataclass(frozen=True, slots=True)
class Found:
    """What one fuzzer did."""

    name: str
    fed: Mapping[str, int]  # by kind
    seconds: float
    first_mib: float = 0.0  # resident memory after the first turn; of the C code none is taken
    last_mib: float = 0.0  # and at the end
    error: str = ""  # or nothing

    @property
    def inputs(self) -> int:
        return sum(self.fed.values())

    @property
    def is_well(self) -> bool:
        return not self.error and self.last_mib - self.first_mib <= _MOST_GROWN_MIB

    def row(self) -> tuple[str, ...]:
        """Return its row of the result."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.fed.items()))
        memory = f"{self.first_mib:.1f}, {self.last_mib:.1f} MiB" if self.last_mib else "-"
        last = self.error.strip().rpartition("\n")[2] or ("none" if self.is_well else "it grows")
        minutes = f"{self.seconds / 60:.1f}"
        return f"`{self.name}`", f"{self.inputs:,}", kinds, minutes, memory, last


def run_ike(name: str, seconds: float, seed: int) -> Found:
    """Run a fuzzer of IKE in turns, each with a seed of its own."""
    began, fed, first_mib = time.monotonic(), Counter[str](), 0.0
    error = ""
    while not error and (left := began + seconds - time.monotonic()) > 0:
        try:
            fed.update(IKE[name](min(_TURN_S, left), seed + fed.total()).fed)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            break
        first_mib = first_mib or cpu.resident_mib([os.getpid()])
    last_mib = cpu.resident_mib([os.getpid()]) if first_mib else 0.0
    return Found(name, dict(fed), time.monotonic() - began, first_mib, last_mib, error)


def _answer(queue: SimpleQueue[Found], name: str, seconds: float, seed: int) -> None:
    queue.put(run_ike(name, seconds, seed))


def all_ike(seconds: float, seed: int) -> list[Found]:
    """Run the fuzzers of IKE beside each other."""
    context = multiprocessing.get_context("spawn")
    queue: SimpleQueue[Found] = context.SimpleQueue()
    workers = [
        context.Process(target=_answer, args=(queue, name, seconds, seed + 1000 * number))
        for number, name in enumerate(IKE)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = []
    while not queue.empty():
        found.append(queue.get())
    missing = IKE.keys() - {each.name for each in found}
    return found + [Found(name, {}, 0.0, error="ended without an answer") for name in missing]


def all_orders() -> Found:
    """Visit all that can become of two ends that begin at once."""
    began = time.monotonic()
    try:
        fed, error = orders.run(), ""
    except (AssertionError, BrokenProcessPool) as failure:
        fed, error = Counter[str](), str(failure)
    return Found("orders", dict(fed), time.monotonic() - began, error=error)


def all_c(seconds: float, seed: int, out: Path) -> list[Found]:
    """Build the fuzzers of the C code and run one after the other."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.c"))
    make = ["make", "-s", f"-j{os.cpu_count() or 1}", "-C", str(_C), f"OUT={out}", "fuzzers"]
    subprocess.run(make, check=True)
    return [_run_c(out, name, seconds / len(names), seed) for name in names]


def _run_c(out: Path, name: str, seconds: float, seed: int) -> Found:
    began = time.monotonic()
    corpus = out / f"{name}-corpus"
    corpus.mkdir()
    words = [f"-max_total_time={int(seconds) or 1}", "-max_len=4096", "-print_final_stats=1"]
    # The seed of libFuzzer has 32 bits, and 0 is none.
    words.append(f"-seed={seed % 0xFFFFFFFF + 1}")
    done = subprocess.run(
        [str(out / name), *words, str(corpus)], capture_output=True, text=True, check=False, cwd=out
    )
    stats = dict(
        line.removeprefix("stat::").replace(" ", "").split(":", 1)
        for line in done.stderr.splitlines()
        if line.startswith("stat::")
    )
    error = done.stderr[-3000:] if done.returncode else ""
    inputs = int(stats.get("number_of_executed_units", 0))
    return Found(name, {"inputs": inputs}, time.monotonic() - began, error=error)


def rows(found: Sequence[Found]) -> list[tuple[str, ...]]:
    """Return the rows of the result; the last one is of all messages of IKE together."""
    ike = [each for each in found if each.name in IKE]
    total = f"{sum(each.inputs for each in ike):,}"
    return [*(each.row() for each in found), ("IKE together", total, "", "", "", "")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it from the command line."""
    parser = lasting.parser("fuzz", __doc__, "what is changed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was done here")
    chosen = lasting.parse(parser, arguments)
    seed = chosen.seed
    print(f"fuzz: seed {seed}", flush=True)
    found = [*all_ike(40.0 * chosen.minutes, seed), all_orders()]
    with tempfile.TemporaryDirectory() as out:
        found += all_c(20.0 * chosen.minutes, seed, Path(out))
    lines = [lasting.heading(chosen.minutes, seed), "", *lasting.table(_HEAD, rows(found))]
    print("\n".join(lines))
    for each in found:
        if each.error:
            print(f"{each.name}: {each.error}")
    if chosen.write is not None:
        lasting.put(chosen.write, "./run fuzz", lines)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    return 0 if all(each.is_well for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
