"""What the tests of the control plane share: an etcd, and stores of both drivers."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.control.store.etcd import EtcdStore
from gateway.control.store.interface import Store
from gateway.control.store.sqlite import open_sqlite
from lab.etcd import Etcd, make_cluster

Opener = Callable[[], Awaitable[Store]]
_prefixes = itertools.count()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    (member,) = make_cluster(tmp_path_factory.mktemp("etcd"), 1)
    yield member
    member.kill()


@pytest.fixture
def prefix() -> str:
    """A place in the etcd of all tests that is empty."""
    return f"/test-{next(_prefixes)}/"


@pytest.fixture(params=["sqlite", "etcd"])
async def opener(
    request: pytest.FixtureRequest, tmp_path: Path, prefix: str
) -> AsyncIterator[Opener]:
    """Opens clients of one and the same new store, and closes them after the test."""
    opened: list[Store] = []
    member = request.getfixturevalue("etcd") if request.param == "etcd" else None

    async def open_one() -> Store:
        if member is not None:
            opened.append(EtcdStore([member.target], prefix))
        else:
            opened.append(await open_sqlite(tmp_path / "store.db"))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


@pytest.fixture
async def store(opener: Opener) -> Store:
    return await opener()
