"""The place that Prometheus asks, over real sockets."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from gateway.errors import ConfigError
from gateway.prometheus.scrape import Scrape, ScrapeError, parse_place


async def ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


async def test_metrics_are_given_plain_or_compressed_and_nothing_else() -> None:
    scrape = Scrape(("127.0.0.1", 0), lambda: "twinspan_up 1\n")
    await scrape.open()
    head, body = await ask(scrape.port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b"twinspan_up 1\n"
    head, body = await ask(
        scrape.port, b"GET /metrics?x HTTP/1.1\r\nAccept-Encoding: br, gzip\r\n\r\n"
    )
    assert b"Content-Encoding: gzip" in head
    assert gzip.decompress(body) == b"twinspan_up 1\n"
    for request, said in (
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"405"),
        (b"x" * 10000, b""),
    ):
        head, _ = await ask(scrape.port, request)
        assert said in head.partition(b"\r\n")[0]
    other = Scrape(("127.0.0.1", scrape.port), str)
    with pytest.raises(ScrapeError, match=f"127.0.0.1:{scrape.port}: .*address already in use"):
        await other.open()
    await scrape.close()


@pytest.mark.parametrize("text", ["", "x:1", "127.0.0.1", "127.0.0.1:99999", "[::1]:x"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--metrics"):
        parse_place(text)


def test_a_place_of_ipv6_is_one() -> None:
    assert parse_place("[::1]:9469") == ("::1", 9469)
