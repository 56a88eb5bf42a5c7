"""The real Prometheus, which asks some places every second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RULES = Path(__file__).parents[2] / "deploy/prometheus"
START_S = 20.0
NEEDED = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus")


@dataclass(frozen=True, slots=True)
class Prometheus:
    """It answers at a port of loopback."""

    port: int

    async def query(self, text: str) -> list[dict[str, Any]]:
        """Return what it answers, once it has anything."""
        return await asyncio.to_thread(self._query, text)

    async def names(self) -> frozenset[str]:
        """Return the names of all series that it has ever read."""
        return await asyncio.to_thread(self._names)

    def _names(self) -> frozenset[str]:
        address = f"http://127.0.0.1:{self.port}/api/v1/label/__name__/values"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return frozenset(json.load(answer)["data"])

    async def judge(self, text: str) -> str:
        """Return what it has against a query; nothing if it takes it."""
        return await asyncio.to_thread(self._judge, text)

    def _judge(self, text: str) -> str:
        asked = urllib.parse.urlencode({"query": text})
        address = f"http://127.0.0.1:{self.port}/api/v1/query?{asked}"
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError as error:
            with error:
                return f"{text}: {error.read().decode()}"
        return ""

    async def value(self, text: str) -> float:
        """Return the value of the one series that it answers with."""
        (found,) = await self.query(text)
        return float(found["value"][1])

    def _query(self, text: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": text})
        for _ in range(int(START_S / 0.2)):
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{self.port}/api/v1/query?{asked}", timeout=5
                ) as answer:
                    found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                if found:
                    return found
            except OSError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"Prometheus has nothing for {text}")


@contextlib.asynccontextmanager
async def prometheus(place: Path, jobs: Mapping[str, int]) -> AsyncIterator[Prometheus]:
    """Run it with our rules; it asks a port of loopback for each job."""
    scraped = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for job, port in jobs.items()
    ]
    config = {
        "global": {"scrape_interval": "1s"},
        "rule_files": [str(RULES / "twinspan.rules.yml")],
        "scrape_configs": scraped,
    }
    (place / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["prometheus", f"--config.file={place / 'prometheus.yml'}"]
    words += [f"--storage.tsdb.path={place / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield Prometheus(port)
    finally:
        process.kill()
        await process.wait()
