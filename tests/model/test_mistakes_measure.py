"""What is refused about measuring."""

from __future__ import annotations

import pytest

from gateway.model.document import build_document
from tests.support.documents import CONNECTION, FIRST, document, edited, errors


@pytest.mark.parametrize("every_s", [0.0, 1.0, 5.0, 30.0])
def test_intervals_are_taken(every_s: float) -> None:
    assert (
        document(((*FIRST, "measure_s"), every_s)).vpn_connection[0].tunnel[0].measure_s == every_s
    )


@pytest.mark.parametrize(
    ("every_s", "text"),
    [
        (0.5, "must be 0 (off) or at least 1 (0.5)"),
        (31.0, "must be at most 30.0 (31.0)"),
        (-1.0, "must be at least 0.0 (-1.0)"),
        (float("nan"), "(nan)"),
        ("often", 'must be a number ("often")'),
    ],
)
def test_other_intervals_are_refused_with_their_value(every_s: object, text: str) -> None:
    path = (*CONNECTION, "measure_s")
    (problem,) = errors(build_document(edited((path, every_s)))[1])
    assert problem[0] == path
    assert text in problem[1]
