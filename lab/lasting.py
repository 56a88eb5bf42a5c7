"""The command lines of trials by chance: how long they go on, and the seed that decides them."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

_MINUTES = 10.0


def parser(program: str, text: str | None, decides: str) -> argparse.ArgumentParser:
    """Return a parser for `--minutes` and `--seed`; the latter `decides` something."""
    made = argparse.ArgumentParser(prog=f"run {program}", description=text)
    made.add_argument("--minutes", type=float, default=_MINUTES, help="how long (10)")
    made.add_argument("--seed", type=int, help=f"a number that decides {decides}")
    return made


def parse(made: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what was chosen, with a seed in any case. Ends the program if it can not be."""
    chosen = made.parse_args(arguments)
    if not chosen.minutes > 0:
        made.error(f"--minutes: more than 0, not {chosen.minutes}")
    if chosen.seed is None:
        chosen.seed = random.SystemRandom().randrange(1 << 32)
    return chosen
