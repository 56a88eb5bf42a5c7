"""
Every order in which the messages of two ends can arrive that begin something at once, ML-KEM being
one more key exchange of it, in fragments: python -m tests.fuzz.orders

Nothing is drawn at random and nothing is left out, so this takes as long as it takes: about two
minutes. See `tests/ike/test_interleavings.py`, which has those that are done sooner. What was
visited is held until a case is done, a gigabyte of it at most: each has a process of its own.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.ike.test_interleavings import LONG_CASES, explored


def _explore(number: int) -> tuple[int, int, str]:
    """Return how many worlds a case has and how many ends, and what does not end well."""
    case = LONG_CASES[number]
    try:
        found = explored(case)
    except AssertionError as error:
        return 0, 0, f"{case}: {error}"
    return found.worlds, found.ends, ""


def run() -> Counter[str]:
    """
    Visit all, and return how many worlds there were, and how many of them were ends.

    Raises AssertionError for one that does not end well, with the way that leads there.
    """
    fed = Counter[str]()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as one_by_one:
        for worlds, ends, error in one_by_one.map(_explore, range(len(LONG_CASES))):
            if error:
                raise AssertionError(error)
            fed["worlds"] += worlds - ends
            fed["ends"] += ends
    return fed


if __name__ == "__main__":
    print(dict(run()))
    sys.exit(0)
