"""The dashboard for Grafana: Prometheus takes each of its queries and has each series they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.node.failovers import Failovers
from gateway.node.metrics import metrics_text
from gateway.prometheus.scrape import Scrape
from tests.cli.control_process import control
from tests.control.test_service import free_port
from tests.node.test_metrics import INSIDE, status, tunnel
from tests.prometheus.server import NEEDED, prometheus

FILE = Path(__file__).parents[2] / "deploy/grafana/twinspan.json"
BOARD: dict[str, Any] = json.loads(FILE.read_text())
GRAFANAS = {"$__rate_interval": "1m", "$__range": "1h"}
NAME = re.compile(r"\b(?:twinspan_[a-z_]+|process_[a-z_]+|up)\b(?=[{\[\s)]|$)")


def queries() -> Iterator[str]:
    """Yield the queries of panels and variables."""
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in variables():
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), [a-z_]+\)", variable["definition"])
            assert found is not None
            yield found[1]


def variables() -> list[dict[str, Any]]:
    return list(BOARD["templating"]["list"])


def plain(query: str) -> str:
    """Return a query as Grafana sends it when all is chosen."""
    for name, value in GRAFANAS.items():
        query = query.replace(name, value)
    for variable in variables():
        query = query.replace(f"${variable['name']}", ".*")
    return query


def names() -> set[str]:
    """Return the series that are named, without labels' names and values."""
    bare = (re.sub(r"\{[^}]*\}|\b(?:by|on) \([^)]*\)", " ", query) for query in queries())
    return {name for query in bare for name in NAME.findall(query)}


def test_panels_have_places_of_their_own_and_know_their_variables() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    known = {variable["name"] for variable in variables()}
    text = json.dumps(BOARD)
    used = set(re.findall(r"\$\{?([a-z]+)\b", text))
    assert used == known == {"datasource", "node", "connection", "tunnel"}
    assert not re.search(r"\$(?!\{?[a-z]|__)", text)


def test_each_panel_says_what_it_shows_in_which_unit_and_of_whom() -> None:
    shown = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
    for panel in shown:
        title = panel["title"]
        assert panel["description"], title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title
        assert panel["targets"], title
        if panel["type"] not in ("stat", "table"):
            assert all(target["legendFormat"] for target in panel["targets"]), title
    assert len(shown) > 40


@NEEDED
async def test_prometheus_takes_each_query_and_has_each_series(tmp_path: Path) -> None:
    probe = {"rtt_ms": 1.0, "loss_percent": 0.0}
    session = {"state": "established", "bfd": "up"}
    whole = tunnel("t1", drops={"icv": 1}, probe=probe, bgp=session, round_trip={"inside": INSIDE})
    told = status(whole, tunnel("t2", status="up", reason=None))
    told["counters"]["send_errors"] = {"Network is unreachable": 1}
    scrape = Scrape(("127.0.0.1", 0), lambda: metrics_text(told, Failovers()))
    await scrape.open()
    port = free_port()
    jobs = {"twinspan": scrape.port, "twinspan-control": port}
    try:
        with control(tmp_path, "--metrics", f"127.0.0.1:{port}") as process:
            process.done("node", "create", "gw-a", "--public-addresses", "198.51.100.11")
            async with prometheus(tmp_path, jobs) as server:
                await server.query("twinspan_tunnel_up")
                await server.query("twinspan_control_tunnels")
                # An alarm that nobody has raised has no series.
                missing = names() - await server.names() - {"twinspan_control_alarms"}
                refused = [why for one in queries() if (why := await server.judge(plain(one)))]
    finally:
        await scrape.close()
    assert missing == set()
    assert refused == []
    assert len(names()) > 50
