"""The real Prometheus: it takes our rules, and reads what we answer."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gateway.node.failovers import Failovers
from gateway.node.metrics import metrics_text
from gateway.prometheus.scrape import Scrape
from tests.node.test_metrics import status, tunnel

RULES = Path(__file__).parents[2] / "deploy/prometheus"
START_S = 20.0

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus")


def test_the_rules_are_good_and_say_what_they_should() -> None:
    for words in (
        ("check", "rules", "twinspan.rules.yml"),
        ("test", "rules", "twinspan.test.yml"),
    ):
        done = subprocess.run(
            ["promtool", *words], cwd=RULES, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stdout + done.stderr


async def test_prometheus_reads_every_tunnel(tmp_path: Path) -> None:
    told = status(tunnel("t1", status="up", reason=None), tunnel("t2"))
    scrape = Scrape(("127.0.0.1", 0), lambda: metrics_text(told, Failovers()))
    await scrape.open()
    config = {
        "global": {"scrape_interval": "1s"},
        "rule_files": [str(RULES / "twinspan.rules.yml")],
        "scrape_configs": [
            {
                "job_name": "twinspan",
                "static_configs": [{"targets": [f"127.0.0.1:{scrape.port}"]}],
            }
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["prometheus", f"--config.file={tmp_path / 'prometheus.yml'}"]
    words += [f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        found = await asyncio.to_thread(query, port, "twinspan_tunnel_up")
        assert {one["metric"]["id"]: one["value"][1] for one in found} == {"t1": "1", "t2": "0"}
        (up,) = await asyncio.to_thread(query, port, 'up{job="twinspan"}')
        assert up["value"][1] == "1"
    finally:
        process.kill()
        await process.wait()
        await scrape.close()


def query(port: int, text: str) -> list[dict[str, Any]]:
    """Return what Prometheus answers, once it has anything."""
    asked = urllib.parse.urlencode({"query": text})
    for _ in range(int(START_S / 0.2)):
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/api/v1/query?{asked}", timeout=5
            ) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"Prometheus has nothing for {text}")
