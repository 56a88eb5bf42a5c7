"""The real Prometheus, which asks one place every second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
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
async def prometheus(place: Path, job: str, target: int) -> AsyncIterator[Prometheus]:
    """Run it with our rules; it asks the port `target` of loopback."""
    scraped = {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    config = {
        "global": {"scrape_interval": "1s"},
        "rule_files": [str(RULES / "twinspan.rules.yml")],
        "scrape_configs": [scraped],
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
