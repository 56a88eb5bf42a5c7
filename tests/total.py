"""`python -m tests.total FILE...`: the closing line of several runs, from pytest's JUnit XML."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

COUNTS = ("failures", "errors", "skipped")


def closing(texts: list[str]) -> str:
    """Return what pytest had said if the runs had been one; expected failures count as skipped."""
    counts: Counter[str] = Counter()
    seconds = 0.0
    for text in texts:
        for suite in ElementTree.fromstring(text).iter("testsuite"):
            counts.update({name: int(suite.attrib[name]) for name in ("tests", *COUNTS)})
            seconds += float(suite.attrib["time"])
    parts = [
        (counts["failures"], "failed"),
        (counts["tests"] - sum(counts[name] for name in COUNTS), "passed"),
        (counts["skipped"], "skipped"),
        (counts["errors"], "errors"),
    ]
    said = ", ".join(f"{count} {word}" for count, word in parts if count or word == "passed")
    minutes, rest = divmod(round(seconds), 60)
    return f"{said} in {seconds:.2f}s ({minutes // 60}:{minutes % 60:02}:{rest:02})".center(80, "=")


if __name__ == "__main__":
    if missing := [name for name in sys.argv[1:] if not Path(name).exists()]:
        sys.exit(f"pytest ended before it wrote {', '.join(missing)}")
    print(closing([Path(name).read_text() for name in sys.argv[1:]]))
