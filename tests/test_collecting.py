"""The collector of cycles: what is old is left alone, and seen to now and then."""

from __future__ import annotations

import gc
import weakref

import pytest

from gateway import collecting
from gateway.collecting import short_collections, without_collecting


class Loop:
    """A cycle."""

    def __init__(self) -> None:
        self.itself = self


def test_what_a_long_collection_has_left_is_not_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collecting, "LONG_S", 0.0)
    with short_collections():
        gc.collect()
        assert gc.get_freeze_count() > 0
        loop = Loop()
        gone = weakref.ref(loop)
        gc.collect()  # it lives, so it is frozen
        del loop
        gc.collect()
        assert gone() is not None
        monkeypatch.setattr(collecting, "WHOLE_S", 0.0)
        gc.collect()  # once in an hour all is looked at
        assert gone() is None
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_the_collector_is_back_after_all_that_it_rested_for() -> None:
    with without_collecting():
        assert not gc.isenabled()
        with without_collecting():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
