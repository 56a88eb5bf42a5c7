"""The real Prometheus: it takes our rules, and reads what we answer."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gateway.node.failovers import Failovers
from gateway.node.metrics import metrics_text
from gateway.prometheus.scrape import Scrape
from tests.node.test_metrics import status, tunnel
from tests.prometheus.server import NEEDED, RULES, prometheus

pytestmark = NEEDED


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
    try:
        async with prometheus(tmp_path, {"twinspan": scrape.port}) as server:
            found = await server.query("twinspan_tunnel_up")
            assert {one["metric"]["id"]: one["value"][1] for one in found} == {"t1": "1", "t2": "0"}
            assert await server.value('up{job="twinspan"}') == 1
    finally:
        await scrape.close()
