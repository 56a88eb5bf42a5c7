"""Charts of more than the last hour: by the real Prometheus, and what becomes of bad answers."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.control.console.history import NAMES
from gateway.control.console.longer import POINTS, SPANS, Longer, LongerError, query
from gateway.control.listen import parse_prometheus
from gateway.errors import ConfigError
from gateway.node.failovers import Failovers
from gateway.node.metrics import metrics_text
from gateway.prometheus.scrape import Scrape
from tests.control.console.conftest import Site
from tests.control.registry import connect
from tests.node.test_metrics import INSIDE, status, tunnel
from tests.prometheus.server import NEEDED, prometheus

Answer = Callable[[bytes], bytes]


@NEEDED
async def test_prometheus_gives_rates_and_levels_of_one_tunnel(tmp_path: Path) -> None:
    silent = dict.fromkeys(INSIDE, None) | {"state": "no_answer"}
    counts = itertools.count(0, 125_000)

    def text() -> str:
        number = next(counts)
        carried = {"in_bytes": number, "out_packets": number, "drops": {"icv": number}}
        trips = {"inside": INSIDE, "outside": silent}
        one = tunnel("tun-a", **carried, round_trip=trips)
        return metrics_text(status(one, tunnel("tun-b")), Failovers())

    scrape = Scrape(("127.0.0.1", 0), text)
    await scrape.open()
    async with prometheus(tmp_path, {"twinspan": scrape.port}) as server:
        await server.query('rate(twinspan_tunnel_in_bytes_total{id="tun-a"}[1m])')
        address = f"http://127.0.0.1:{server.port}"
        end = time.monotonic() + 40.0  # Prometheus makes means of values at whole quarters
        while (await Longer(address).of("tun-a", "6h"))["inside_ms"][-1] is None:
            assert time.monotonic() < end
            await asyncio.sleep(0.5)
        for span, seconds in SPANS.items():
            found = await Longer(address).of("tun-a", span)
            assert set(found) == {"at", *NAMES}
            assert {len(values) for values in found.values()} == {POINTS}
            first, last = found["at"][0], found["at"][-1]
            assert first is not None
            assert last is not None
            assert last - first == pytest.approx(seconds * (POINTS - 1) / POINTS, abs=1)
            newest = {name: values[-1] for name, values in found.items()}
            if span != "7d":  # there of whole minutes
                assert newest["inside_ms"] == pytest.approx(12.5)
                assert newest["inside_loss"] == pytest.approx(2.5)
            assert newest["outside_ms"] is None
            in_bps, drops_ps = newest["in_bps"], newest["drops_ps"]
            assert in_bps is not None
            assert drops_ps is not None
            assert in_bps > 0.0
            assert in_bps == pytest.approx(8 * drops_ps, rel=1e-3)
            assert found["in_bps"][0] is None
        assert set((await Longer(address).of("tun-none", "6h"))["in_bps"]) == {None}
    await scrape.close()


# ---- bad answers ----


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[bytes], list[bytes]]]:
    """Something at an address that answers with what stands in a list; and what it was asked."""
    answers, asked = [b""], list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        asked.append(head + await reader.readexactly(length))
        writer.write(answers[0])
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", answers, asked
    listening.close()


def answer(status_line: str, body: bytes, *more: str) -> bytes:
    head = [f"HTTP/1.1 {status_line}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def matrix(*values: object) -> bytes:
    result = [{"metric": {"series": "in_bps"}, "values": list(values)}]
    return answer("200 OK", json.dumps({"status": "success", "data": {"result": result}}).encode())


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"", "has no answer"),
        (answer("200 OK", b"<html>"), "is not JSON"),
        (answer("200 OK", b"{}"), "not what it should"),
        (answer("200 OK", b'{"data": {"result": [{"metric": {"series": "x"}}]}}'), "not what"),
        (matrix([1, "many"]), "not what it should"),
        (answer("422 No", b'{"status": "error", "error": "query timed out"}'), "query timed out"),
        (answer("302 Found", b"", "Location: http://127.0.0.1:1/"), "answers 302"),
        (answer("200 OK", b"1" * (3 << 20)), "has more than"),
    ],
)
async def test_bad_answers_are_told_in_a_line_without_the_address(
    server: tuple[str, list[bytes], list[bytes]], said: bytes, text: str
) -> None:
    address, answers, asked = server
    answers[0] = said
    with pytest.raises(LongerError, match=text) as caught:
        await Longer(address).of("tun-a", "6h")
    assert address not in str(caught.value)
    assert len(asked) == 1


async def test_what_does_not_fit_is_left_out_and_an_answer_is_kept_a_while(
    server: tuple[str, list[bytes], list[bytes]],
) -> None:
    address, answers, asked = server
    now = [time.time()]
    answers[0] = matrix([now[0], "7"], [now[0] - 60, "NaN"], [now[0] - 120, "+Inf"], [9e9, "1"])
    longer = Longer(address, lambda: now[0])
    found = await longer.of("tun-a", "6h")
    assert found["in_bps"][-3:] == [None, None, 7.0]
    now[0] += 14.0
    assert await longer.of("tun-a", "6h") is found
    assert len(asked) == 1
    now[0] += 2.0
    await longer.of("tun-a", "6h")
    assert len(asked) == 2
    assert b"POST /api/v1/query_range " in asked[0]


def test_a_query_names_the_tunnel_and_nothing_else() -> None:
    assert query("tun-a", 60).count('id="tun-a"') == len(NAMES)
    assert query('x"} or up{y="', 60).count(r'{id="x\"} or up{y=\""') == len(NAMES)


# ---- who is asked, and the page ----


@pytest.mark.parametrize("text", ["http://127.0.0.1:9090", "https://p.example.net/prometheus/"])
def test_addresses_are_taken(text: str) -> None:
    assert parse_prometheus(text) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        *("", "127.0.0.1:9090", "file:///etc/passwd", "http://", "http://a:b@c", "http://a?x=1"),
        *("http://a/#x", "http://a:99999", "http://a b", "http://[::1"),
    ],
)
def test_other_addresses_are_refused_with_their_text(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_prometheus(text)
    assert repr(text) in caught.value.problems[0]


async def test_the_page_offers_spans_where_there_is_a_prometheus(
    site: Site, server: tuple[str, list[bytes], list[bytes]]
) -> None:
    address, answers, _ = server
    tunnel_id = (await connect(site.registry)).others[0].id
    await site.login()
    page, series = (f"/console/vpn-tunnels/{tunnel_id}{end}" for end in ("", "/series?span=6h"))
    assert "data-spans" not in await site.page(page)
    await site.page(series, 404)
    site.source.longer_by = Longer(address)
    text = await site.page(page)
    assert all(f'data-span="{span}"' in text for span in SPANS)
    answers[0] = answer("503 Busy", b"")
    assert json.loads(await site.page(series, 502)) == {
        "detail": "Prometheus has no answer: answers 503"
    }
    answers[0] = matrix([time.time(), "7"])
    assert json.loads(await site.page(series))["in_bps"][-1] == 7.0
    await site.page(series.replace("6h", "9y"), 404)
    await site.page("/console/vpn-tunnels/tun-none/series?span=6h", 404)
