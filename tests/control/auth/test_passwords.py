"""Passwords: what may be one, and hashes that are made beside the event loop, few at once."""

from __future__ import annotations

import asyncio

import pytest

from gateway.control.auth.passwords import (
    AT_ONCE,
    MAX_BYTES,
    WAITING_MAX,
    Cost,
    Passwords,
    judge_password,
)
from gateway.control.problems import ApiProblem

CHEAP = Cost(passes=1, memory_kib=8)
GOOD = "correct horse battery"


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "at least 12 characters, not 5"),
        ("a" * 40, "at least 5 different"),
        ("x" * (1 << 20), "at most 1024 bytes, not 1048576"),
        ("correct\0horse battery", "control characters"),
        ("correct horse \ud800 battery", "not valid Unicode"),
        ("Ann-of-the-Anns!", "the user's name"),
    ],
)
def test_a_bad_password_is_refused_and_not_told_back(password: str, why: str) -> None:
    with pytest.raises(ApiProblem, match=why) as error:
        judge_password(password, "ann")
    assert (error.value.status, error.value.code) == (422, "password_not_allowed")
    assert error.value.as_json()["value"] is None
    assert password not in str(error.value.as_json())


@pytest.mark.parametrize(
    "password", [GOOD, "пароль как поезд", "\u202ertl override ok", "a1b2c3d4e5f6"]
)
async def test_a_good_password_opens_and_another_does_not(password: str) -> None:
    judge_password(password, "ann")
    passwords = Passwords(CHEAP)
    hashed = await passwords.hash(password)
    assert hashed.startswith("$argon2id$")
    assert await passwords.verify(password, hashed)
    assert not await passwords.verify(password + "x", hashed)


async def test_a_password_is_the_same_however_it_is_typed() -> None:
    passwords = Passwords(CHEAP)
    hashed = await passwords.hash("se\u0301same ouvre-toi")
    assert await passwords.verify("s\u00e9same ouvre-toi", hashed)


@pytest.mark.parametrize("password", ["", "\0", "\ud800", "x" * (MAX_BYTES + 1)])
async def test_what_can_be_no_password_matches_nothing(password: str) -> None:
    passwords = Passwords(CHEAP)
    assert not await passwords.verify(password, await passwords.hash(GOOD))


async def test_a_user_who_does_not_exist_costs_one_hash_too() -> None:
    passwords = Passwords(Cost(passes=4, memory_kib=4096))
    hashed = await passwords.hash(GOOD)
    seconds = {hashed: 0.0, None: 0.0}
    clock = asyncio.get_running_loop().time
    for _ in range(8):
        for each in seconds:
            begun = clock()
            assert not await passwords.verify("another password", each)
            seconds[each] += clock() - begun
    ratio = seconds[None] / seconds[hashed]
    assert 0.4 < ratio < 2.5  # without the hash it would be hundreds


async def test_a_damaged_hash_matches_nothing() -> None:
    assert not await Passwords(CHEAP).verify(GOOD, "$argon2id$v=19$broken")


async def test_a_hash_of_another_cost_is_outdated() -> None:
    old, new = Passwords(CHEAP), Passwords(Cost(passes=2, memory_kib=8))
    hashed = await old.hash(GOOD)
    assert new.is_outdated(hashed)
    assert not old.is_outdated(hashed)
    assert await new.verify(GOOD, hashed)


async def test_few_may_wait_and_the_loop_goes_on_meanwhile() -> None:
    passwords = Passwords(Cost(passes=2, memory_kib=2048))
    asked = [asyncio.create_task(passwords.hash(GOOD)) for _ in range(AT_ONCE + WAITING_MAX + 3)]
    done = await asyncio.gather(*asked, return_exceptions=True)
    refused = [each for each in done if isinstance(each, ApiProblem)]
    assert len(refused) == 3
    assert {(each.status, each.retry_after_s) for each in refused} == {(429, 2)}
    assert (await passwords.hash(GOOD)).startswith("$argon2id$")
