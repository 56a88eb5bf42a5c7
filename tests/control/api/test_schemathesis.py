"""
Requests that schemathesis makes of the API's own description: none ends in a 500, and every answer
is one that the description has. `./run fuzz-api` does the same for minutes, to a real process.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from gateway.control.api.server import make_server
from gateway.control.secrets import KeyRing
from gateway.control.store.sqlite import open_sqlite
from tests.control.api.conftest import Plane, add_credentials, make_examples, make_plane

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
EXAMPLES = 6  # of each operation


class Served:
    """A control plane in memory with the resources of the examples, served on loopback."""

    def __init__(self, path: Path, ring: KeyRing) -> None:
        self._path = path
        self._ring = ring
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}"
        self._up: Future[tuple[Plane, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self.plane, self._stop = self._up.result(10)
        self.headers = {"Authorization": f"Bearer {self.plane.tokens['operator']}"}

    async def _serve(self) -> None:
        store = await open_sqlite(self._path)
        plane = make_plane(store, self._ring)
        running = asyncio.create_task(plane.mirror.run())
        await plane.mirror.ready.wait()
        await add_credentials(plane)
        async with plane.client() as client:
            await make_examples(client)
        server, stop = make_server(plane.app), asyncio.Event()
        serving = asyncio.create_task(server.serve([self._sock]))
        await server.is_up.wait()
        self._loop = asyncio.get_running_loop()
        self._up.set_result((plane, stop))
        await stop.wait()
        server.should_exit = True
        await serving
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture
def served(tmp_path: Path, ring: KeyRing) -> Iterator[Served]:
    made = Served(tmp_path / "store.db", ring)
    yield made
    made.close()


def test_every_answer_is_one_of_the_description_and_none_is_a_500(served: Served) -> None:
    description = schemathesis.openapi.from_url(
        f"{served.url}/v1/openapi.json", headers=served.headers
    )
    operations = [each.ok() for each in description.get_all_operations() if isinstance(each, Ok)]
    assert len(operations) > 50
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Case[Any]) -> None:
            case.call_and_validate(headers=served.headers, checks=CHECKS)

        ask()
    assert served.plane.bugs == []
