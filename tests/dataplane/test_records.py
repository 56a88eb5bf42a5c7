"""Records that the data plane keeps for the gateway process: as given, whole batches, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.records import KEY_MAX, VALUE_MAX, Records, pack, unpack
from gateway.errors import DataPlaneError

BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=20)), max_size=5),
    max_size=8,
)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=KEY_MAX), st.binary(max_size=50))))
def test_what_is_packed_is_unpacked(batch: list[tuple[bytes, bytes]]) -> None:
    assert unpack(pack(batch)) == batch


@given(st.binary(max_size=60))
def test_any_bytes_are_records_or_refused(content: bytes) -> None:
    try:
        assert pack(unpack(content)) == content
    except DataPlaneError:
        return


@given(BATCHES)
def test_the_last_word_of_each_key_is_kept(batches: list[list[tuple[bytes, bytes]]]) -> None:
    kept, model = Records(most=100), dict[bytes, bytes]()
    for batch in batches:
        for key, _ in batch:
            model.pop(key, None)
        latest = {key: value for key, value in batch if value}
        size = sum(len(key) + len(value) for key, value in (model | latest).items())
        if size > 100:
            with pytest.raises(DataPlaneError, match="no room"):
                kept.keep(pack(batch))
        else:
            kept.keep(pack(batch))
            model |= latest
        assert kept.all() == model


@pytest.mark.parametrize(
    "content", [b"\1", pack([(b"", b"1")]), pack([(b"k" * 65, b"1")]), pack([(b"a", b"12")])[:-1]]
)
def test_a_batch_that_cannot_be_read_leaves_nothing(content: bytes) -> None:
    kept = Records()
    kept.keep(pack([(b"a", b"1")]))
    with pytest.raises(DataPlaneError):
        kept.keep(content)
    assert kept.all() == {}


def test_a_record_that_is_too_long_takes_the_one_before_along() -> None:
    kept = Records()
    kept.keep(pack([(b"a", b"1"), (b"b", b"2")]))
    with pytest.raises(DataPlaneError, match="no room"):
        kept.keep(pack([(b"a", bytes(VALUE_MAX + 1))]))
    assert kept.all() == {b"b": b"2"}
