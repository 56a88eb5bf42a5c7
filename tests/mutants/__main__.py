"""
Whether the tests notice when the code is changed: each small change of some modules, one at a time.

Of the IKE core those that decide about message IDs, states, new Child SAs, selectors, cookies,
half-open IKE SAs and repeated answers; of the data plane the replay window, header and trailer of
ESP, and the sequence numbers and limits of an SA. A change that no test notices shows a test that
is missing, or changes nothing: the latter are explained in `explained.py`. Others are a failure.
Ctrl-C ends the module that is being tried and goes on with the next; what was tried counts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import cryptography.hazmat.primitives.asymmetric.x25519  # noqa: F401  # once, for all trials
import hypothesis.stateful  # noqa: F401

from lab import lasting
from lab.commands import run
from tests.mutants import c_code, quick, trial
from tests.mutants.changes import Change, changes
from tests.mutants.explained import EXPLAINED

ROOT = Path(__file__).parents[2]
_IKE = "tests/ike/"
# The tests that are to notice, the quickest first.
MODULES = {
    "gateway.ike.states": (
        "test_states.py",
        "test_snapshot.py",
        "test_handshake.py",
        "test_rekey_ike.py",
        "test_life.py",
        "test_redirect.py",
        "test_post_quantum.py",
    ),
    "gateway.ike.window": (
        "test_window.py",
        "test_snapshot.py",
        "test_bad_peer.py",
        "test_handshake.py",
        "test_write_ahead.py",
    ),
    "gateway.ike.selectors": ("test_selectors.py",),
    "gateway.ike.exchanges.create_child": (
        "test_new_child.py",
        "test_close_child.py",
        "test_one_way.py",
        "test_collisions.py",
        "test_resources.py",
        "test_slots.py",
        "conformance",
        "test_bad_peer.py",
        "test_interleavings.py",
    ),
    "gateway.ike.cookie": ("test_cookie_and_nat.py",),
    "gateway.ike.halfopen": ("test_half_open.py",),
    "gateway.ike.repeat": (
        "test_repeat.py",
        "test_cut_anew.py",
        "test_strangers.py",
        "test_bounds.py",
        "test_handshake.py",
    ),
}
PARTS = {part.name: part for part in c_code.PARTS}
_LEAST_S = 30.0
_TIMES = 8.0  # longer than the unchanged tests: it goes round in circles


@dataclass
class Result:
    """What became of the changes of one module."""

    module: str
    changes: int = 0
    tried: int = 0  # fewer, if it was ended before
    unnoticed: list[str] = field(default_factory=list)

    @property
    def unexplained(self) -> list[str]:
        known = EXPLAINED.get(self.module, {})
        return [one for one in self.unnoticed if one not in known]

    def row(self) -> tuple[str, ...]:
        """Return its row of the result."""
        left = len(self.unnoticed)
        tried = str(self.tried) if self.tried == self.changes else f"{self.tried} of {self.changes}"
        return f"`{self.module}`", tried, str(self.tried - left), str(left)


def path_of(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def files_of(module: str) -> list[str]:
    return [str(ROOT / _IKE / name) for name in MODULES[module]]


def python(module: str, jobs: int) -> Result:
    """Try all changes of a Python module."""
    result = Result(module)
    waiting = list(changes(path_of(module).read_text()))
    result.changes = len(waiting)
    try:
        for one in quick.noticed(module, path_of(module), waiting, files_of(module), jobs):
            waiting.remove(one)
            result.tried += 1
        _anew(result, waiting, jobs)
    except KeyboardInterrupt:
        print(f"{module}: ended", flush=True)
    return result


def _anew(result: Result, waiting: list[Change], jobs: int) -> None:
    """Try changes with everything imported anew: those that are left, few and slow."""
    if not waiting:
        return
    module = result.module
    most_s = _LEAST_S + _TIMES * _unchanged_s(module)
    running: list[tuple[trial.Trial, Change]] = []
    try:
        while running or waiting:
            while waiting and len(running) < jobs:
                one = waiting.pop(0)
                begun = trial.begin(module, path_of(module), one.tree(), files_of(module), most_s)
                running.append((begun, one))
            _collect(result, running)
            time.sleep(0.05)
    finally:
        for begun, _ in running:
            trial.stop(begun)


def _collect(result: Result, running: list[tuple[trial.Trial, Change]]) -> None:
    """Take the trials that have ended."""
    for at in tuple(running):
        noticed = trial.end(at[0])
        if noticed is not None:
            running.remove(at)
            _tell(result, at[1].key, noticed)


def _unchanged_s(module: str) -> float:
    """Return how long the tests of a module take. Ends the program if they fail as it is."""
    began = time.monotonic()
    begun = trial.begin(module, path_of(module), None, files_of(module), 3600.0)
    while (failed := trial.end(begun)) is None:
        time.sleep(0.05)
    if failed:
        sys.exit(f"mutants: the tests of {module} fail without any change")
    return time.monotonic() - began


def c(part: c_code.Part) -> Result:
    """Try all changes of a part of the C code."""
    result = Result(part.name)
    with tempfile.TemporaryDirectory() as folder:
        copy = c_code.Copy(Path(folder))
        if copy.is_noticed(part, part.text):
            sys.exit(f"mutants: the tests of {part.name} fail without any change")
        found = list(c_code.changes(part.text, part.functions))
        result.changes = len(found)
        with contextlib.suppress(KeyboardInterrupt):
            for text, changed in found:
                _tell(result, text, copy.is_noticed(part, changed))
    return result


def _tell(result: Result, text: str, noticed: bool) -> None:
    result.tried += 1
    if not noticed:
        result.unnoticed.append(text)
        mark = "explained" if text in EXPLAINED.get(result.module, {}) else "NOT NOTICED"
        print(f"{result.module}: {mark}: {text}", flush=True)


def lines(results: Sequence[Result], before: Sequence[str]) -> Iterator[str]:
    """Return what goes into the page: these results, and those of other modules as before."""
    revision = run("git", "rev-parse", "--short=10", "HEAD").strip()
    now = f"{datetime.now(UTC).date().isoformat()}, commit {revision}"
    rows = dict(_rows(before)) | {one.row()[0]: (*one.row()[1:], now) for one in results}
    names = [f"`{name}`" for name in (*MODULES, *PARTS)]
    head = ("module", "changes", "noticed by a test", "not noticed", "tried")
    yield from lasting.table(head, [(name, *rows[name]) for name in names if name in rows])
    yield ""
    yield "What no test can notice, and why:"
    yield ""
    tried = {_short(one.module) for one in results}
    yield from (line for line in before if line[:3] == "- `" and line.split("`")[1] not in tried)
    for one in results:
        known = EXPLAINED.get(one.module, {})
        for text in one.unnoticed:
            yield f"- `{_short(one.module)}`: `{text}`: {known.get(text, '**not explained**')}"


def _rows(page: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for line in page:
        if line.startswith("| `"):
            name, *cells = line.strip("| ").split(" | ")
            yield name, tuple(cells)


def _short(module: str) -> str:
    """Return the name of a module or a C file without where it is."""
    return Path(module).name if "/" in module else module.rpartition(".")[2]


def main(arguments: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(prog="run mutants", description=__doc__)
    made.add_argument(
        "modules", nargs="*", metavar="MODULE", help="some only, by the end of the name"
    )
    made.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (all cores)")
    made.add_argument("--write", type=Path, metavar="PAGE", help="a page to put the result into")
    chosen = made.parse_args(arguments)
    names = [*MODULES, *PARTS]
    wanted = [one for one in names if not chosen.modules or one.endswith(tuple(chosen.modules))]
    if not wanted:
        made.error(
            f"no module ends with {' or '.join(chosen.modules)}; there are {', '.join(names)}"
        )
    results = [c(PARTS[one]) if one in PARTS else python(one, chosen.jobs) for one in wanted]
    print("\n".join(lines(results, ())))
    if chosen.write is not None:
        before = lasting.lines_of(chosen.write, "./run mutants")
        lasting.put(chosen.write, "./run mutants", list(lines(results, before)))
    return 1 if any(result.unexplained for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
