"""
Every order in which the messages of two ends can arrive that begin something at once, ML-KEM being
one more key exchange of it, in fragments: python -m tests.fuzz.orders

Nothing is drawn at random and nothing is left out, so this takes as long as it takes: about two
minutes. See `tests/ike/test_interleavings.py`, which has those that are done sooner.
"""

from __future__ import annotations

import sys
from collections import Counter

from tests.ike.test_interleavings import LONG_CASES, world
from tests.support.interleave import explore


def run() -> Counter[str]:
    """
    Visit all, and return how many worlds there were, and how many of them were ends.

    Raises AssertionError for one that does not end well, with the way that leads there.
    """
    fed = Counter[str]()
    for case in LONG_CASES:
        try:
            found = explore(world(case), case.end)
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from error
        fed["worlds"] += found.worlds - found.ends
        fed["ends"] += found.ends
    return fed


if __name__ == "__main__":
    print(dict(run()))
    sys.exit(0)
