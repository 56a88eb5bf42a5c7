"""Registration, credentials, documents, reports and actions: a node's link with a real listener."""

from __future__ import annotations

import asyncio
import datetime
import io
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.control.nodes import actions, ca
from gateway.control.nodes.ca import new_authority
from gateway.control.nodes.credentials import CREDENTIAL, TOKEN
from gateway.control.nodes.documents import Effort
from gateway.control.problems import ApiProblem
from gateway.control.store.interface import Replace
from gateway.fleet.messages import (
    CONTROL_NAME,
    PATH,
    Counters,
    Credential,
    Heard,
    Position,
    Report,
    Result,
    RoundTrip,
    TunnelState,
    Verb,
    Why,
    parse_token,
)
from gateway.model.events import Event, Resource
from gateway.model.severity import Severity
from gateway.node.fleet import identity as identities
from gateway.node.fleet.http import Http, LinkError, Place
from gateway.node.fleet.identity import Identity, IdentityError
from gateway.node.fleet.link import Link, Refused, parse_url, register
from gateway.node.fleet.questions import READING
from gateway.node.fleet.source import ControlSource, Enrolment, Pause
from gateway.node.journal import Journal
from tests.control.registry import ROOT, connect, running
from tests.fleet.control import Control, control

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Control]:
    async with control(tmp_path) as one:
        yield one


async def enrol(plane: Control, folder: Path, name: str = "gw-a") -> Link:
    """Register a node and return its link."""
    secret, fingerprint = parse_token(await plane.token(name))
    identity = await register(parse_url(plane.url), secret, fingerprint, "1")
    return linked(plane, folder, identity)


def linked(plane: Control, folder: Path, identity: Identity) -> Link:
    folder.mkdir(exist_ok=True)
    identities.save(folder, identity)
    return Link(parse_url(plane.url), identity, folder)


@pytest.fixture
async def link(plane: Control, tmp_path: Path) -> AsyncIterator[Link]:
    one = await enrol(plane, tmp_path / "node")
    yield one
    one.close()


def report(number: int = 1, **fields: object) -> Report:
    values: dict[str, object] = {"session": "s", "number": number, "full": True}
    values |= {"at": Position(), "reads": sorted(READING), **fields}
    return Report.model_validate(values)


# ---- registration ----


async def test_a_token_makes_a_node_known_once(plane: Control, tmp_path: Path) -> None:
    token = await plane.token()
    secret, fingerprint = parse_token(token)
    place = parse_url(plane.url)
    made = await register(place, secret, fingerprint, "1")
    assert made.node == plane.node().id
    assert plane.nodes.statuses.of_node(plane.node())["registered"]
    assert secret not in str([c.changes for c in await plane.store.changes(0)])
    with pytest.raises(Refused, match="used, replaced or made up"):
        await register(place, secret, fingerprint, "1")


async def test_a_node_whose_certificate_has_ended_is_known_again_by_another_token(
    plane: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was off for a year: TLS refuses it before the control plane can say anything."""
    with monkeypatch.context() as patched:
        patched.setattr(ca, "NODE_DAYS", -0.5)
        link = await enrol(plane, tmp_path)
    link.close()
    token = tmp_path / "token"
    token.write_text(await plane.token())
    source = ControlSource(Enrolment(plane.url, tmp_path, token))
    log = io.StringIO()
    source._journal = Journal(log, time.time)
    source._open_folder()
    pause = Pause()
    assert await source._asked(0.0, pause) is None
    assert "this node's certificate has ended at" in log.getvalue()
    turn = await source._asked(0.0, pause)
    assert turn is not None
    assert turn.wanted is not None
    source.close()


async def test_of_two_that_use_a_token_at_once_one_is_registered(plane: Control) -> None:
    secret, fingerprint = parse_token(await plane.token())
    tries = [register(parse_url(plane.url), secret, fingerprint, "1") for _ in range(5)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, Identity) for one in done) == 1
    assert all(isinstance(one, Identity | Refused) for one in done)


async def test_a_token_ends_and_a_new_one_makes_the_one_before_void(plane: Control) -> None:
    first, second = await plane.token(), await plane.token()
    place = parse_url(plane.url)
    with pytest.raises(Refused, match="made up"):
        await register(place, *parse_token(first), "1")
    (record,) = plane.registry.mirror.of_kind(TOKEN)
    value = {**record.value, "spec": {**record.spec, "expires_at": 1.0}}
    await plane.store.commit(
        [Replace(record.key, json.dumps(value).encode(), record.revision)], "test"
    )
    with pytest.raises(Refused, match="has expired: twinspan node token makes another"):
        await register(place, *parse_token(second), "1")


async def test_a_token_is_not_told_to_a_server_of_another_ca(plane: Control) -> None:
    secret, _ = parse_token(await plane.token())
    with pytest.raises(IdentityError, match=r"has the fingerprint .* expected is 00000"):
        await register(parse_url(plane.url), secret, "0" * 64, "1")
    assert list(plane.registry.mirror.of_kind(TOKEN))  # nobody has seen it


async def test_who_guesses_tokens_is_slowed_down(plane: Control) -> None:
    fingerprint = plane.nodes.fingerprint
    for _ in range(10):
        with pytest.raises(Refused, match="made up"):
            await register(parse_url(plane.url), "x" * 43, fingerprint, "1")
    with pytest.raises(Refused, match="too many registrations from"):
        await register(parse_url(plane.url), "x" * 43, fingerprint, "1")


async def test_what_is_no_certificate_request_is_refused(plane: Control) -> None:
    secret, _ = parse_token(await plane.token())
    http = Http(parse_url(plane.url), identities.blind())
    for csr in ("", "x", identities.request_for(identities.new_key())[:-60]):
        body = json.dumps({"token": secret, "csr": csr}).encode()
        answer = await http.request("POST", f"{PATH}/register", body, timeout_s=5, most_bytes=10000)
        assert (answer.status, json.loads(answer.body)["field"]) == (422, "csr")
    http.close()


# ---- credentials ----


async def test_nothing_else_is_answered_without_a_certificate(plane: Control) -> None:
    http = Http(parse_url(plane.url), identities.blind())
    for method, path in (("GET", "document"), ("POST", "report"), ("POST", "renew")):
        answer = await http.request(method, f"{PATH}/{path}", b"{}", timeout_s=5, most_bytes=10000)
        assert (answer.status, json.loads(answer.body)["code"]) == (401, "unauthenticated")
    answer = await http.request("GET", "/v1/nodes", timeout_s=5, most_bytes=10000)
    assert answer.status == 404
    http.close()


async def test_a_certificate_of_another_ca_ends_the_handshake(
    plane: Control, tmp_path: Path
) -> None:
    other, key = new_authority(NOW), identities.new_key()
    issued = other.issue(identities.request_for(key), plane.node().id, NOW)
    # It trusts our CA, and shows what another one has signed.
    told = Credential(node="", certificate=issued.pem, ca=other.pem, renew_at=0)
    forged = identities.identity_of(told, key)
    identities.save(tmp_path, forged)
    context = identities.trusting(plane.nodes._authority.pem)
    context.load_cert_chain(tmp_path / identities.FILE)
    http = Http(Place("127.0.0.1", plane.port, CONTROL_NAME), context)
    with pytest.raises(LinkError, match=r"TLS|ended|closed"):
        await http.request("GET", f"{PATH}/document", timeout_s=5, most_bytes=10000)
    http.close()


async def test_tls_before_1_3_is_not_spoken(plane: Control) -> None:
    context = identities.blind()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    http = Http(parse_url(plane.url), context)
    with pytest.raises(LinkError, match=r"TLS|closed"):
        await http.request("GET", f"{PATH}/ca", timeout_s=5, most_bytes=10000)


async def test_a_renewed_certificate_takes_the_place_of_the_other_when_it_is_used(
    plane: Control, link: Link, tmp_path: Path
) -> None:
    await link.renew()  # the answer is lost
    renewed = linked(plane, tmp_path / "renewed", await link.renew())
    assert await link.report(report()) == Heard(full=False, events=0)
    assert len(list(plane.registry.mirror.of_kind(CREDENTIAL))) == 2  # in use, and the newest
    await renewed.report(report(2))
    assert len(list(plane.registry.mirror.of_kind(CREDENTIAL))) == 1
    with pytest.raises(Refused, match="revoked or replaced"):
        await link.report(report(3))
    renewed.close()


async def test_a_revoked_node_is_out_at_once_even_while_it_waits(
    plane: Control, link: Link
) -> None:
    turn = await link.turn(Position(), 0)
    assert turn.wanted is not None
    waiting = asyncio.create_task(link.turn(turn.wanted.at, 20))
    await asyncio.sleep(0.1)
    assert await plane.nodes.revoke(plane.node().id, ROOT) == 1
    with pytest.raises(Refused, match="credential_revoked"):
        await waiting
    with pytest.raises(Refused, match="credential_revoked"):
        await link.report(report())


async def test_a_new_token_ends_the_stolen_credential(
    plane: Control, link: Link, tmp_path: Path
) -> None:
    again = await enrol(plane, tmp_path / "again")
    with pytest.raises(Refused, match="credential_revoked"):
        await link.report(report())
    assert not (await again.report(report())).full
    again.close()


async def test_what_has_ended_is_swept_away(plane: Control, link: Link) -> None:
    await plane.token("gw-b")
    (token,) = plane.registry.mirror.of_kind(TOKEN)
    value = {**token.value, "spec": {**token.spec, "expires_at": 1.0}}
    await plane.store.commit(
        [Replace(token.key, json.dumps(value).encode(), token.revision)], "test"
    )
    await plane.registry.mirror.reached(await plane.store.revision())
    await plane.nodes.credentials.sweep()
    assert not list(plane.registry.mirror.of_kind(TOKEN))
    assert len(list(plane.registry.mirror.of_kind(CREDENTIAL))) == 1


# ---- documents ----


async def test_a_change_is_told_at_once_to_the_nodes_that_it_touches(
    plane: Control, link: Link, tmp_path: Path
) -> None:
    first = await link.turn(Position(), 0)
    assert first.wanted is not None
    assert first.wanted.node == plane.node().id
    waiting = asyncio.create_task(link.turn(first.wanted.at, 20))
    await asyncio.sleep(0.05)
    await plane.registry.update("customer_gateway", office(plane), {"description": "x"}, ROOT)
    await asyncio.sleep(0.05)
    assert not waiting.done()  # nothing of it is on this node

    done = await connect(plane.registry)
    second = await asyncio.wait_for(waiting, 2)
    assert second.wanted is not None
    assert second.wanted.at.generation > first.wanted.at.generation
    tunnel = next(t for t in done.others if t.allocated["node"] == plane.node().id)
    other = next(t for t in done.others if t is not tunnel)
    assert tunnel.id in str(second.wanted.document)
    assert other.id not in str(second.wanted.document)
    assert (await link.turn(second.wanted.at, 0)).wanted is None


def office(plane: Control) -> str:
    (record,) = plane.registry.mirror.of_kind("customer_gateway")
    return record.id


async def test_the_same_document_is_not_told_again_by_a_control_process_that_begins(
    tmp_path: Path,
) -> None:
    async with control(tmp_path) as plane:
        await connect(plane.registry)
        link = await enrol(plane, tmp_path / "node")
        first = await link.turn(Position(), 0)
        assert first.wanted is not None
        await plane.registry.update("node", plane.node("gw-b").id, {"cordoned": True}, ROOT)
        link.close()
    async with control(tmp_path) as plane:
        link = linked(plane, tmp_path / "node", link.identity)
        assert (await link.turn(first.wanted.at, 0)).wanted is None
        # The number that the node knows it by holds.
        generation = plane.nodes.documents.generation(plane.node().id)
        assert generation == first.wanted.at.generation
        await plane.registry.update("node", plane.node().id, {"workers": 2}, ROOT)
        second = await link.turn(first.wanted.at, 2)
        assert second.wanted is not None
        assert second.wanted.at.generation > first.wanted.at.generation
        link.close()


async def test_a_large_document_is_not_composed_for_each_who_asks_its_number(
    plane: Control, link: Link
) -> None:
    await connect(plane.registry)
    documents, node = plane.nodes.documents, plane.node().id
    turn = await link.turn(Position(), 1)
    assert turn.wanted is not None
    assert documents.generation(node) == turn.wanted.at.generation
    documents._efforts[node] = Effort(time.monotonic(), 60.0)  # as if it were of 100,000 tunnels
    done = await plane.registry.update("node", node, {"workers": 2}, ROOT)
    await asyncio.wait_for(documents.changed(node), 1.0)
    assert documents.generation(node) == done.record.revision
    assert node in documents._touched  # still to be composed
    # The node itself gets it, and then its number is known.
    second = await link.turn(turn.wanted.at, 1)
    assert second.wanted is not None
    assert documents.generation(node) == second.wanted.at.generation
    assert node not in documents._touched


async def test_a_store_that_was_put_back_begins_another_epoch(plane: Control, link: Link) -> None:
    turn = await link.turn(Position(), 0)
    assert turn.wanted is not None
    ahead = Position(epoch=1, generation=turn.wanted.at.generation + 500, tag="another")
    again = await link.turn(ahead, 2)
    assert again.wanted is not None
    assert again.wanted.at.epoch == 2
    assert again.wanted.document == turn.wanted.document
    assert (await link.turn(again.wanted.at, 0)).wanted is None


async def test_while_the_store_is_being_read_nodes_are_told_to_come_again(
    plane: Control, link: Link
) -> None:
    plane.registry.mirror.ready.clear()
    with pytest.raises(Refused, match="unavailable: the store is being read") as caught:
        await link.turn(Position(), 0)
    assert caught.value.status == 503
    plane.registry.mirror.ready.set()
    assert (await link.turn(Position(), 0)).wanted is not None


async def test_questions_that_make_no_sense_are_refused(plane: Control, link: Link) -> None:
    http = link._talking
    for query in ("after=x", "wait=nan", "epoch=1e9", "wait=" + "9" * 400):
        answer = await http.request(
            "GET", f"{PATH}/document?{query}", timeout_s=5, most_bytes=100000
        )
        assert answer.status in (200, 422)


# ---- reports ----


async def placed(plane: Control) -> str:
    """Make a connection and return its tunnel on gw-a."""
    done = await connect(plane.registry, routing="static")
    return next(t.id for t in done.others if t.allocated["node"] == plane.node().id)


def state(tunnel: str, operational: str = "up", **fields: object) -> TunnelState:
    values = {"name": tunnel, "admin": "up", "operational": operational, "since": 1.7e9}
    return TunnelState.model_validate(values | fields)


async def status(plane: Control, tunnel: str) -> dict[str, object]:
    record = plane.registry.mirror.get("vpn_tunnel", tunnel)
    assert record is not None
    return plane.nodes.statuses.of(record)


async def test_states_are_kept_and_counters_are_shown(plane: Control, link: Link) -> None:
    tunnel = await placed(plane)
    assert (await status(plane, tunnel))["reason"]["code"] == "node_new"  # type: ignore[index]
    carried = {tunnel: Counters(in_bytes=7)}
    await link.report(report(tunnels=(state(tunnel),), counters=carried))
    shown = await status(plane, tunnel)
    assert (shown["operational"], shown["reason"]) == ("up", None)
    assert shown["counters"]["in_bytes"] == 7  # type: ignore[index]
    assert shown["since"] == "2023-11-14T22:13:20.000Z"
    mirror = plane.registry.mirror
    while any(mirror.get("state", id) is None for id in (tunnel, plane.node().id)):
        await mirror.reached(mirror.revision + 1)  # they are written soon, not at once
    before = await plane.store.revision()
    trip = RoundTrip(state="answered", by="icmp", rtt_ms=12.5, loss_percent=0.0)
    carried = {tunnel: Counters(in_bytes=9, inside=trip)}
    await link.report(report(2, full=False, counters=carried))
    shown = await status(plane, tunnel)
    assert shown["round_trip"] == {"inside": trip.model_dump(), "outside": None}
    assert "inside" not in shown["counters"]  # type: ignore[operator]
    record = plane.registry.mirror.get("vpn_tunnel", tunnel)
    assert record is not None
    drawn = plane.nodes.counters_of(record)
    assert drawn is not None
    assert (drawn["inside_ms"], drawn["inside_loss"], "outside_ms" in drawn) == (12.5, 0.0, False)
    await asyncio.sleep(0.1)
    written = [c for c in await plane.store.changes(before) if c.changes[0].key.kind == "state"]
    assert written == []


async def test_a_credential_that_two_use_at_once_is_noticed(plane: Control, link: Link) -> None:
    for session in ("right", "right after a restart", "right after a crash"):
        await link.report(report(session=session))
    assert "node_twice" not in [event.code for _, event in plane.events]
    for session in ("thief", "right after a crash", "thief", "right after a crash"):
        await link.report(report(session=session))
    (twice,) = [event for _, event in plane.events if event.code == "node_twice"]
    assert twice.resource.name == "gw-a"
    assert "revoke" in twice.hint


async def test_a_report_that_was_missed_is_asked_for(plane: Control, link: Link) -> None:
    assert (await link.report(report(1, full=False))).full is False
    assert (await link.report(report(2, full=False))).full is False
    assert (await link.report(report(4, full=False))).full is True
    assert (await link.report(report(5, full=True))).full is False
    assert (await link.report(report(9, full=False, session="other"))).full is True


async def test_a_node_can_not_speak_for_the_tunnels_of_another(plane: Control, link: Link) -> None:
    done = await connect(plane.registry)
    foreign = next(t.id for t in done.others if t.allocated["node"] != plane.node().id)
    await link.report(report(tunnels=(state(foreign), state("tun-none"))))
    assert (await status(plane, foreign))["operational"] == "unknown"


async def test_a_node_that_is_silent_is_lost_and_its_tunnels_are_unknown(
    plane: Control, link: Link
) -> None:
    tunnel = await placed(plane)
    await link.report(report(tunnels=(state(tunnel),)))
    lease = plane.nodes.reports._known[plane.node().id].lease
    assert lease is not None
    assert lease.ttl_s == 15
    await plane.store.release(lease)  # as after 15 s
    await plane.registry.mirror.reached(await plane.store.revision())
    shown = await status(plane, tunnel)
    assert (shown["operational"], shown["reason"]["code"]) == ("unknown", "node_lost")  # type: ignore[index]
    assert plane.nodes.statuses.of_node(plane.node())["operational"] == "lost"
    plane.nodes.reports._known[plane.node().id].kept_at = 0.0
    await link.report(report(2, full=False))
    await plane.registry.mirror.reached(await plane.store.revision())
    assert (await status(plane, tunnel))["operational"] == "up"


async def test_tunnels_that_a_full_report_does_not_have_are_forgotten(
    plane: Control, link: Link
) -> None:
    tunnel = await placed(plane)
    mirror = plane.registry.mirror
    await link.report(report(tunnels=(state(tunnel),)))
    async with asyncio.timeout(10):
        while mirror.get("state", tunnel) is None:
            await mirror.reached(mirror.revision + 1)  # they are written soon, not at once
        await link.report(report(2))
        while mirror.get("state", tunnel) is not None:
            await mirror.reached(mirror.revision + 1)


async def test_a_refused_document_is_shown_with_the_nodes_words(plane: Control, link: Link) -> None:
    await link.report(report(problem=Why(code="document_refused", text="no, thanks")))
    shown = plane.nodes.statuses.of_node(plane.node())
    assert shown["reason"]["code"] == "document_refused"
    assert "no, thanks" in str(shown["reason"])


async def test_events_are_kept_once_and_acknowledged(plane: Control, link: Link) -> None:
    def event(sequence: int) -> dict[str, object]:
        what = Resource("vpn_tunnel", "tun-x")
        return Event(1.7e9, "tunnel_up", Severity.INFO, what, "up", sequence=sequence).as_json()

    heard = await link.report(report(events=(event(5), {"code": "NO"}, event(6))))
    assert heard.events == 6
    await link.report(report(2, full=False, events=(event(6), event(7))))
    mine = [e.sequence for _, e in plane.events if e.code == "tunnel_up"]
    assert mine == [5, 6, 7]


async def test_a_body_that_is_too_large_or_none_is_refused(plane: Control, link: Link) -> None:
    http = link._talking
    for body, expected in ((b"[]", 422), (b"\x00" * 10, 422), (b" " * (5 << 20), 413)):
        answer = await http.request("POST", f"{PATH}/report", body, timeout_s=10, most_bytes=100000)
        assert answer.status == expected


# ---- actions ----


async def test_an_action_is_told_at_once_and_its_result_is_kept(plane: Control, link: Link) -> None:
    tunnel = plane.registry.mirror.get("vpn_tunnel", await placed(plane))
    assert tunnel is not None
    turn = await link.turn(Position(), 0)
    assert turn.wanted is not None
    waiting = asyncio.create_task(link.turn(turn.wanted.at, 20))
    await asyncio.sleep(0.05)
    told = await plane.nodes.actions.act("rekey", tunnel, ROOT, ike=True)
    (action,) = (await asyncio.wait_for(waiting, 2)).actions
    assert (action.id, action.verb, action.ike) == (told["action"], Verb.REKEY, True)
    assert (await link.turn(turn.wanted.at, 0)).actions == ()  # told once, for now
    await link.report(report(results=(Result(id=action.id, ok=True, text="done"),)))
    ended = plane.nodes.actions.get(action.id, ROOT)
    assert (ended.allocated["state"], ended.allocated["text"]) == ("done", "done")


async def test_an_action_is_told_again_to_a_node_that_has_begun_anew(
    plane: Control, link: Link
) -> None:
    tunnel = plane.registry.mirror.get("vpn_tunnel", await placed(plane))
    assert tunnel is not None
    await link.report(report())
    await plane.nodes.actions.act("reset", tunnel, ROOT)
    (first,) = (await link.turn(Position(), 0)).actions
    await link.report(report(session="after a crash"))
    (again,) = (await link.turn(Position(), 0)).actions
    assert again == first


async def test_actions_are_told_in_the_order_in_which_they_were_asked_for(
    plane: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a control process that has begun since: a tunnel is to be as the last one says."""
    tunnel = plane.registry.mirror.get("vpn_tunnel", await placed(plane))
    assert tunnel is not None
    verbs = ["drain", "up", "rekey", "reset", "drain", "up", "rekey"]
    for verb in verbs:
        await plane.nodes.actions.act(verb, tunnel, ROOT)
    monkeypatch.setattr(actions, "TOLD_MAX", 4)
    async with running(plane.store) as other:
        later = actions.Actions(plane.store, other.mirror)
        told = [later.for_node(plane.node().id) for _ in range(3)]
    assert [[one.verb.value for one in each] for each in told] == [verbs[:4], verbs[4:], []]


async def test_another_node_can_not_end_an_action(
    plane: Control, link: Link, tmp_path: Path
) -> None:
    tunnel = plane.registry.mirror.get("vpn_tunnel", await placed(plane))
    assert tunnel is not None
    told = await plane.nodes.actions.act("drain", tunnel, ROOT)
    other = await enrol(plane, tmp_path / "b", "gw-b")
    await other.report(report(results=(Result(id=str(told["action"]), ok=True),)))
    assert plane.nodes.actions.get(str(told["action"]), ROOT).allocated["state"] == "pending"
    other.close()


async def test_a_verb_that_is_none_is_refused(plane: Control) -> None:
    tunnel = plane.registry.mirror.get("vpn_tunnel", await placed(plane))
    assert tunnel is not None
    with pytest.raises(ApiProblem, match="is none of up, down, drain"):
        await plane.nodes.actions.act("fly", tunnel, ROOT)


async def test_of_one_tunnel_a_few_actions_wait_and_a_few_are_kept(
    plane: Control, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "PENDING_MAX", 2)
    monkeypatch.setattr(actions, "ENDED_MAX", 3)
    tunnel = plane.registry.mirror.get("vpn_tunnel", await placed(plane))
    assert tunnel is not None
    made: list[str] = []
    for _ in range(5):
        made.append(str((await plane.nodes.actions.act("rekey", tunnel, ROOT))["action"]))
        await link.report(report(results=(Result(id=made[-1], ok=True),)))
    kept = [one.id for one in plane.registry.mirror.of_kind(actions.KIND)]
    assert sorted(kept) == sorted(made[-3:])
    for _ in range(2):
        await plane.nodes.actions.act("rekey", tunnel, ROOT)
    with pytest.raises(ApiProblem, match="2 actions wait for its node already") as refused:
        await plane.nodes.actions.act("rekey", tunnel, ROOT)
    assert refused.value.status == 429
