"""Messages to real servers on loopback: webhooks and mail, refusals, retries, a dead target."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import io
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.control.alarms import mail, template, webhook
from gateway.control.alarms.delivery import Deliveries
from gateway.control.alarms.message import Message, mail_of
from gateway.control.alarms.reach import NotDelivered, Reach
from gateway.control.alarms.settings import AlarmSettings
from gateway.control.events.events import Events, Wanted
from gateway.control.registry import Registry
from gateway.control.store.interface import Create, Key, Store
from gateway.control.store.sqlite import open_sqlite
from gateway.node.journal import Journal
from tests.control.alarms.receivers import drip, hook, mailbox
from tests.control.registry import RING, ROOT, make, running

HERE = Reach(AlarmSettings.model_validate({"target_networks": ["127.0.0.0/8"]}), "main")
MESSAGE = Message("alarm-aaaaaaaaaa-1-raised", "main", template.SAMPLE)
MAIL = {"sender": "vpn@example.org", "recipients": ["a@example.org", "b@example.org"]}
SECRET = "0123456789abcdef-signing"


def deliver(spec: dict[str, Any], **more: Any) -> None:
    full = {"server": "127.0.0.1", **MAIL, **spec}
    mail.send(full, more.pop("password", None), mail_of(full, MESSAGE, time.time()), HERE, **more)


# ---- webhooks ----


def test_a_webhook_gets_one_request_with_json() -> None:
    with hook() as seen:
        webhook.post(seen.url, b'{"a": 1}', {"X-A": "b"}, HERE)
    assert seen.bodies == [b'{"a": 1}']
    assert seen.headers[0]["Content-Type"] == "application/json"
    assert seen.headers[0]["Host"] == f"127.0.0.1:{seen.port}"
    assert seen.headers[0]["X-A"] == "b"


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(301, True), (307, True), (400, True), (410, True), (408, False), (429, False), (503, False)],
)
def test_what_is_no_success_is_told_and_a_redirect_is_not_followed(
    status: int, is_final: bool
) -> None:
    with hook(status) as seen, pytest.raises(NotDelivered, match=f"answers {status}") as caught:
        webhook.post(seen.url, b"{}", {}, HERE)
    assert caught.value.is_final is is_final
    assert len(seen.bodies) == 1


def test_a_target_that_may_not_be_reached_is_not_even_connected_to() -> None:
    with hook() as seen, pytest.raises(NotDelivered, match="is not public") as caught:
        webhook.post(seen.url, b"{}", {}, Reach(AlarmSettings(), "main"))
    assert caught.value.is_final
    assert seen.bodies == []
    with pytest.raises(NotDelivered, match=r"localhost \(.*\) is not public"):
        webhook.post(f"http://localhost:{seen.port}/", b"{}", {}, Reach(AlarmSettings(), "acme"))


def test_nobody_and_nonsense_at_the_other_end_are_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NotDelivered, match="connection refused"):
        webhook.post(f"http://127.0.0.1:{port}/", b"{}", {}, HERE)
    with mailbox() as box, pytest.raises(NotDelivered):
        webhook.post(f"http://127.0.0.1:{box.port}/", b"{}", {}, HERE)
    with hook() as seen, pytest.raises(NotDelivered):
        webhook.post(f"https://127.0.0.1:{seen.port}/", b"{}", {}, HERE)


def test_who_answers_by_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "MOST_S", 0.3)
    monkeypatch.setattr(mail, "MOST_S", 0.3)
    late = "was not done within 0 s"
    with drip(b"HTTP/1.1 200 OK\r\nX: ") as port, pytest.raises(NotDelivered, match=late):
        webhook.post(f"http://127.0.0.1:{port}/", b"{}", {}, HERE)
    with drip(b"220-") as port, pytest.raises(NotDelivered, match=late):
        deliver({"port": port, "security": "none"})
    with drip(b"") as port, pytest.raises(NotDelivered):  # it is no TLS either
        webhook.post(f"https://127.0.0.1:{port}/", b"{}", {}, HERE)
    assert [one for one in threading.enumerate() if isinstance(one, threading.Timer)] == []


def test_of_a_long_answer_the_beginning_is_read_and_the_connection_ends() -> None:
    with drip(b"HTTP/1.1 500 NO\r\n\r\n" + b"x" * 2000) as port:
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(NotDelivered, match="answers 500") as caught:
            webhook.post(f"http://127.0.0.1:{port}/", b"{}", {}, HERE)
        # What is new is the server's own end: whoever holds the error holds no connection by it.
        assert len(set(os.listdir("/proc/self/fd")) - before) <= 1, caught


# ---- mail ----


@dataclass(frozen=True)
class Tls:
    """A server's certificate of its own making, and who trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file: Path = tmp_path_factory.mktemp("tls") / "mail.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return Tls(server, ssl.create_default_context(cafile=str(file)))


def test_a_plain_server_takes_a_mail_for_all_recipients() -> None:
    with mailbox() as box:
        deliver({"port": box.port, "security": "none"})
    (got,) = box.mails
    assert got["Subject"].startswith("[warning] tunnel office-1 is down")
    assert box.recipients == [MAIL["recipients"]]


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # of the server: TLS from the start
@pytest.mark.parametrize("is_tls", [True, False])
def test_a_mail_goes_by_tls_or_starttls_with_a_password(tls: Tls, is_tls: bool) -> None:
    security = "tls" if is_tls else "starttls"
    with mailbox(tls.server, is_tls=is_tls, password=b"geheim") as box:
        spec = {"port": box.port, "security": security, "username": "vpn"}
        deliver(spec, password="geheim", context=tls.client)
        with pytest.raises(NotDelivered, match="does not accept user name and password") as caught:
            deliver(spec, password="wrong", context=tls.client)
    assert caught.value.is_final
    assert len(box.mails) == 1
    assert box.logins[0] == (b"vpn", b"geheim")


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # of the server: TLS from the start
def test_a_server_that_nobody_vouches_for_gets_no_password(tls: Tls) -> None:
    for security, is_tls in (("tls", True), ("starttls", False)):
        with mailbox(tls.server, is_tls=is_tls, password=b"geheim") as box:
            spec = {"port": box.port, "security": security, "username": "vpn"}
            with pytest.raises(NotDelivered, match="certificate"):
                deliver(spec, password="geheim")
        assert box.logins == []


def test_starttls_is_not_given_up_where_the_server_has_none() -> None:
    with mailbox() as box, pytest.raises(NotDelivered, match="STARTTLS"):
        deliver({"port": box.port, "security": "starttls"})
    assert box.mails == []


@pytest.mark.parametrize(("answer", "is_final"), [("451 later", False), ("550 never", True)])
def test_what_a_server_does_not_take_is_told(answer: str, is_final: bool) -> None:
    with mailbox() as box:
        box.refuse = answer
        with pytest.raises(NotDelivered, match=answer) as caught:
            deliver({"port": box.port, "security": "none"})
    assert caught.value.is_final is is_final


# ---- on their way ----


@dataclass
class Here:
    """Deliveries over a real store."""

    registry: Registry
    events: Events
    deliveries: Deliveries
    told: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def tell(self, message: Message = MESSAGE) -> None:
        self.deliveries.tell(message, self.told.release)

    async def until_told(self, count: int) -> None:
        async with asyncio.timeout(20):
            for _ in range(count):
                await self.told.acquire()

    async def codes(self) -> list[str]:
        await self.events.settled()
        return [each.event.code async for each in self.events.stored(Wanted())]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    store: Store = await open_sqlite(tmp_path / "store.db")
    allowed = b'{"spec": {"target_networks": ["127.0.0.0/8"]}}'
    await store.commit([Create(Key("setting", "alarms"), allowed)], "system:test")
    await store.commit([Create(Key("tenant", "acme"), b"{}")], "system:test")
    journal = Journal(io.StringIO(), time.time)
    async with running(store) as registry:
        events = Events(store, journal, time.time)
        made = Deliveries(registry.mirror, RING, events, journal, pauses_s=(0.01, 0.02))
        tasks = [asyncio.create_task(each) for each in (events.run(), made.run())]
        yield Here(registry, events, made)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
    await store.close()


async def target(here: Here, name: str, url: str, **more: Any) -> str:
    spec = {"name": name, "type": "webhook", "url": url, **more}
    return (await make(here.registry, "alarm_target", **spec)).id


async def test_every_target_is_told_and_the_signature_fits(here: Here) -> None:
    with hook() as first, hook() as second, hook() as third:
        await target(here, "first", first.url, webhook_secret=SECRET)
        await target(here, "second", second.url)
        await target(here, "third", third.url, min_severity="error")
        here.tell()
        await here.until_told(1)
    assert json.loads(first.bodies[0])["text"] == template.SAMPLE["text"]
    at = first.headers[0]["X-Twinspan-Timestamp"]
    expected = hmac.new(SECRET.encode(), f"{at}.".encode() + first.bodies[0], hashlib.sha256)
    assert first.headers[0]["X-Twinspan-Signature"] == "sha256=" + expected.hexdigest()
    assert abs(int(at) - time.time()) < 10
    assert len(second.bodies) == 1
    assert "X-Twinspan-Signature" not in second.headers[0]
    assert third.bodies == []


async def test_a_message_is_sent_again_until_it_is_taken(here: Here) -> None:
    with hook(503, 503) as seen:
        await target(here, "busy", seen.url)
        here.tell()
        await here.until_told(1)
    assert len(seen.bodies) == 3
    assert await here.codes() == []


async def test_what_is_not_taken_in_the_end_is_an_event(here: Here) -> None:
    with hook(503, 503, 503, 204) as seen, hook(404) as final:
        await target(here, "busy", seen.url)
        await target(here, "gone", final.url)
        here.tell()
        await here.until_told(1)
    assert (len(seen.bodies), len(final.bodies)) == (3, 1)
    assert await here.codes() == ["alarm_not_delivered"] * 2


async def test_a_dead_target_holds_up_no_other(here: Here) -> None:
    with socket.socket() as silent, hook() as seen:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        await target(here, "silent", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        await target(here, "quick", seen.url)
        for _ in range(3):
            here.tell()
        await asyncio.to_thread(seen.wait_for, 3)
        assert here.told.locked()


async def test_what_nobody_expected_is_given_up_and_the_next_message_goes_out(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as seen:
        await target(here, "t", seen.url)
        with monkeypatch.context() as patch:
            patch.setattr(webhook, "post", lambda *_: int("none"))
            here.tell()
            await here.until_told(1)
        here.tell()
        await here.until_told(1)
    assert len(seen.bodies) == 1
    assert await here.codes() == ["alarm_not_delivered"]


async def test_a_tenant_is_told_its_own_and_main_what_is_the_operators(here: Here) -> None:
    with hook() as ours:
        await target(here, "ours", ours.url)
        for tenant in ("acme", "", "main"):
            values = {**template.SAMPLE, "tenant": tenant}
            here.tell(Message(f"m-{tenant}", tenant, values))
        await here.until_told(3)
    assert [json.loads(body)["tenant"] for body in ours.bodies] == ["", "main"]


async def test_no_secret_of_a_target_is_in_the_store_in_clear(here: Here) -> None:
    id = await target(here, "signed", "https://hooks.example.org/", webhook_secret=SECRET)
    record = here.registry.mirror.get("alarm_target", id)
    assert record is not None
    assert record.spec["webhook_secret"].startswith("sealed:v1:")


async def test_targets_that_never_answer_hold_up_no_other_tenant_and_no_login(here: Here) -> None:
    """Also not by dozens of tests of them at once: each holds a thread."""
    with socket.create_server(("127.0.0.1", 0)) as silent, hook() as good:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        spec = {"name": "tarpit", "type": "webhook", "url": url}
        acme = (await here.registry.create("alarm_target", spec, ROOT, tenant="acme")).record
        main = here.registry.mirror.get("alarm_target", await target(here, "good", good.url))
        assert main is not None
        stuck = [asyncio.create_task(here.deliveries.send(acme, MESSAGE)) for _ in range(40)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(2):
            await asyncio.to_thread(time.time)  # as a password is checked
            await here.deliveries.send(main, MESSAGE)
        for each in stuck:
            each.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        assert len(good.bodies) == 1


@pytest.mark.parametrize("text", ["fec0::1", "2002:a00:1::1", "64:ff9b::a00:1"])
def test_ipv6_is_no_way_around_to_private_addresses(text: str) -> None:
    assert not Reach(AlarmSettings(), "acme").allows(ip_address(text))
