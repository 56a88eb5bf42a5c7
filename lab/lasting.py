"""
Trials by chance: how long they go on, the seed that decides them, and the page with their results.

`docs/reliability.md` holds the last result of each; `--write` puts a new one there.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from lab.commands import run

_MINUTES = 10.0


def parser(
    program: str, text: str | None, decides: str, *, writes: bool = True
) -> argparse.ArgumentParser:
    """Return a parser for `--minutes`, `--seed`, which `decides` something, and `--write`."""
    made = argparse.ArgumentParser(prog=f"run {program}", description=text)
    made.add_argument("--minutes", type=float, default=_MINUTES, help="how long (10)")
    made.add_argument("--seed", type=int, help=f"a number that decides {decides}")
    if writes:
        made.add_argument("--write", type=Path, metavar="PAGE", help="put the result into a page")
    return made


def parse(made: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what was chosen, with a seed in any case. Ends the program if it can not be."""
    chosen = made.parse_args(arguments)
    if not chosen.minutes > 0:
        made.error(f"--minutes: more than 0, not {chosen.minutes}")
    if chosen.seed is None:
        chosen.seed = random.SystemRandom().randrange(1 << 32)
    return chosen


def heading(minutes: float, seed: int) -> str:
    """Return when, with what and for how long a trial was made."""
    revision = run("git", "rev-parse", "--short=10", "HEAD").strip()
    today = datetime.now(UTC).date().isoformat()
    return f"{today}, commit {revision}, seed {seed}, {minutes:g} minutes:"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of a page."""
    lines = (head, ["---"] * len(head), *rows)
    return [f"| {' | '.join(line)} |" for line in lines]


def lines_of(page: Path, maker: str) -> list[str]:
    """Return the lines of the result that stands in the page between the marks of who makes it."""
    return _parts(page, maker)[1].splitlines()


def put(page: Path, maker: str, lines: Sequence[str]) -> None:
    """
    Put a result into the page, between the two marks of who makes it.

    Raises ValueError if the page does not have them.
    """
    before, _, after = _parts(page, maker)
    page.write_text(f"{before}\n{chr(10).join(lines)}\n\n{after}")


def _parts(page: Path, maker: str) -> tuple[str, str, str]:
    """Return the page up to and with the first mark, what is between, and from the second on."""
    begin, end = f"<!-- made by {maker} -->\n", "<!-- end -->"
    before, mark, rest = page.read_text().partition(begin)
    if not mark:
        raise ValueError(f"{page} has no line {begin.strip()!r}")
    between, _, after = rest.partition(end)
    return before + begin, between, end + after
