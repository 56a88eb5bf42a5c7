"""What Prometheus is told of the control process, by the process itself and by its parts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gateway.control.api.requests import Requests
from gateway.control.metrics.fleet import FleetCounts
from gateway.control.nodes.reports import lease_name
from gateway.control.nodes.service import open_nodes
from gateway.control.store.interface import Conflict, Create, Delete, Key
from gateway.control.store.sqlite import open_sqlite
from tests.cli.control_process import control
from tests.control.registry import RING, connect, fleet, running
from tests.control.test_service import free_port
from tests.prometheus.server import NEEDED, RULES, prometheus

TEST = "twinspan-control.test.yml"
EMPTY = {(state, ""): 0 for state in ("up", "connecting", "down", "unknown")}


@NEEDED
def test_the_rules_are_good_and_say_what_they_should() -> None:
    for words in (("check", "rules", "twinspan-control.rules.yml"), ("test", "rules", TEST)):
        done = subprocess.run(
            ["promtool", *words], cwd=RULES, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stdout + done.stderr


@NEEDED
async def test_prometheus_reads_what_the_process_does(tmp_path: Path) -> None:
    port = free_port()
    with control(tmp_path, "--metrics", f"127.0.0.1:{port}") as process:
        for words in (
            "node create gw-a --public-addresses 198.51.100.11",
            "node create gw-b --public-addresses 198.51.100.12",
            "bgw create main",
            "cgw create office --public-addresses 203.0.113.50",
            "connection create office --border-gateway main --customer-gateway office "
            "--remote-cidrs 10.0.0.0/16",
        ):
            process.done(*words.split())
        request = urllib.request.Request(
            f"{process.url}/v1/nodes", headers={"Authorization": "Bearer nonsense"}
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            await asyncio.to_thread(urllib.request.urlopen, request, timeout=20)
        async with prometheus(tmp_path, {"twinspan-control": port}) as server:
            at_its_node = 'twinspan_control_tunnels{state="unknown",reason="node_new"}'
            assert await server.value(at_its_node) == 2
            assert await server.value("sum(twinspan_control_tunnels)") == 2
            assert await server.value('twinspan_control_nodes{state="new"}') == 2
            made = 'twinspan_control_requests_total{route="/v1/vpn-connections",status="201"}'
            assert await server.value(made) == 1
            took = 'twinspan_control_request_seconds_count{route="/v1/vpn-connections"}'
            assert await server.value(f"sum({took})") >= 1
            refused = 'twinspan_control_logins_refused_total{what="credential"}'
            assert await server.value(refused) == 1
            commits = 'twinspan_control_store_commit_seconds_count{result="done"}'
            assert await server.value(commits) >= 5
            assert await server.value("twinspan_control_mirror_revision") >= 5
            assert await server.value("twinspan_control_mirror_lag_seconds") == 0
            assert await server.value("twinspan_control_store_reachable") == 1
            assert await server.value("twinspan_control_loop_lag_seconds_count") > 10
            assert await server.value("process_resident_memory_bytes") > 10e6
            assert await server.value("twinspan_control_compose_seconds_count") >= 0
            assert await server.value("sum(twinspan_control_deliveries_total)") == 0
            found = await server.query('{__name__=~"twinspan_control_.+"}')
            assert len(found) < 2000


async def _keep(*_: object) -> None:
    """Keep no events."""


async def test_every_tunnel_is_counted_and_words_are_our_own(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "control.db")
    async with running(store) as registry:
        await fleet(registry)
        first, second = (await connect(registry)).others
        mirror = registry.mirror
        nodes = await open_nodes(store, mirror, RING, _keep, lambda *_: "1", Requests().see)
        counts = FleetCounts(mirror, nodes.statuses)
        assert list(counts.families()) == []  # better nothing than what is not so
        counting = asyncio.create_task(counts.run())
        try:
            await _until(counts, {("unknown", "node_new"): 2})
            for node in (str(one.allocated["node"]) for one in (first, second)):
                await store.acquire(lease_name(node), node, 60)
            await _until(counts, {("connecting", "not_applied"): 2})
            said = {"operational": "down", "reason": {"code": "made up", "text": ""}}
            state = Create(Key("state", first.id), json.dumps(said).encode())
            at = await store.commit([state], "system:test")
            await _until(counts, {("connecting", "not_applied"): 1, ("down", "other"): 1})
            await store.commit([Delete(Key("state", first.id), at)], "system:test")
            await _until(counts, {("connecting", "not_applied"): 2})
        finally:
            counting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await counting
    await store.close()


async def _until(counts: FleetCounts, wanted: dict[tuple[str, str], int]) -> None:
    """Wait until the tunnels are counted so."""
    lines = [
        f'twinspan_control_tunnels{{state="{state}",reason="{reason}"}} {count}'
        for (state, reason), count in {**EMPTY, **wanted}.items()
    ]
    async with asyncio.timeout(15):
        while sorted(lines) != sorted(  # noqa: ASYNC110 # counting has no event
            line
            for family in counts.families()
            for line in family
            if line.startswith("twinspan_control_tunnels{")
        ):
            await asyncio.sleep(0.05)


def test_requests_are_counted_by_their_route() -> None:
    requests = Requests()
    requests.see("GET", "/v1/nodes/{id}", 200, 0.003)
    requests.see("GET", "/v1/nodes/{id}", 404, 0.5)
    requests.see("BREW", "", 404, 0.1)
    text = "\n".join(line for family in requests.families() for line in family)
    counted = "twinspan_control_requests_total"
    assert f'{counted}{{method="GET",route="/v1/nodes/{{id}}",status="404"}} 1' in text
    assert f'{counted}{{method="other",route="",status="404"}} 1' in text
    took = "twinspan_control_request_seconds"
    assert f'{took}_bucket{{method="GET",route="/v1/nodes/{{id}}",le="0.005"}} 1' in text
    assert f'{took}_count{{method="GET",route="/v1/nodes/{{id}}"}} 2' in text


async def test_commits_are_counted_by_how_they_went(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "control.db")
    write = Create(Key("state", "x"), b"{}")
    await store.commit([write], "system:test")
    with pytest.raises(Conflict):
        await store.commit([write], "system:test")
    lines = store.commits.lines("c", "")
    assert 'c_count{result="done"} 1' in lines
    assert 'c_count{result="refused"} 1' in lines
    await store.close()
