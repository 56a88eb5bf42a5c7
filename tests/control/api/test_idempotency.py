"""Idempotency-Key: a POST that is sent again makes nothing new, whichever process it goes to."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway.control.api.idempotency import KEPT_S, KIND
from gateway.control.secrets import KeyRing
from gateway.control.store.interface import Key
from tests.control.api.conftest import Json, Plane, add_credentials, make_examples, make_plane
from tests.control.conftest import Opener

BGW = "/v1/border-gateways"


async def test_the_same_request_gets_the_same_answer(plane: Plane, api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "order 66"}
    first = await api.post(BGW, json={"name": "hq", "asn": 65001}, headers=headers)
    await api.patch(first.headers["location"], json={"asn": 65002})
    again = await api.post(BGW, json={"asn": 65001, "name": "hq"}, headers=headers)
    assert again.status_code == first.status_code == 201
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["etag"] == first.headers["etag"]
    assert len((await api.get(BGW)).json()["items"]) == 1


async def test_the_answer_stays_though_the_resource_is_gone(api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await api.post(BGW, json={"name": "hq"}, headers=headers)
    await api.delete(first.headers["location"])
    again = await api.post(BGW, json={"name": "hq"}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])


async def test_another_request_with_the_key_is_refused(
    plane: Plane, api: httpx.AsyncClient
) -> None:
    headers = {"Idempotency-Key": "k"}
    await api.post(BGW, json={"name": "hq"}, headers=headers)
    for path, body in (
        (BGW, {"name": "other"}),
        ("/v1/customer-gateways", {"name": "hq", "public_addresses": "any", "identity": "x"}),
    ):
        answer = await api.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    async with plane.client("main") as other:  # whose key it is not
        made = await other.post(BGW, json={"name": "other"}, headers=headers)
        assert made.status_code == 201


async def test_a_verb_that_is_sent_again_is_done_once(plane: Plane, api: httpx.AsyncClient) -> None:
    made = await make_examples(api)
    place, headers = f"/v1/vpn-tunnels/{made['vpn_tunnel']['id']}", {"Idempotency-Key": "k"}
    first = await api.post(f"{place}/rekey", headers=headers)
    again = await api.post(f"{place}/rekey", headers=headers)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert len(list(plane.mirror.of_kind("action"))) == 1
    other = await api.post(f"{place}/reset", headers=headers)
    assert other.json()["code"] == "idempotency_key_reused"
    assert (await api.post(f"{place}/rekey")).json()["action"] != first.json()["action"]


async def test_a_refused_request_keeps_nothing(api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    refused = await api.post(BGW, json={"name": "hq", "asn": 0}, headers=headers)
    assert refused.status_code == 422
    dry = await api.post(f"{BGW}?dry_run=true", json={"name": "hq", "asn": 1}, headers=headers)
    assert dry.status_code == 201
    made = await api.post(BGW, json={"name": "hq", "asn": 65001}, headers=headers)
    assert made.status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 129, "tab\there"])
async def test_a_key_that_is_none_is_400(api: httpx.AsyncClient, key: str) -> None:
    answer = await api.post(BGW, json={"name": "hq"}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


async def test_what_is_kept_is_sealed_and_goes_after_a_day(plane: Plane, ring: KeyRing) -> None:
    now = [1_800_000_000.0]
    later = make_plane(plane.store, ring, lambda: now[0])
    running = asyncio.create_task(later.mirror.run())
    await later.mirror.ready.wait()
    later.tokens |= plane.tokens
    headers = {"Idempotency-Key": "k"}
    async with later.client() as api:
        first = await api.post(BGW, json={"name": "headquarters"}, headers=headers)
        (kept,) = (await plane.store.list(KIND)).objects
        assert b"border-gateways" not in kept.value
        assert b"headquarters" not in kept.value
        now[0] += KEPT_S
        second = await api.post(BGW, json={"name": "headquarters"}, headers=headers)
        assert second.status_code == 409  # a new request: the name is in use
        other = await api.post(BGW, json={"name": "other"}, headers=headers)
        assert other.json()["id"] != first.json()["id"]
    assert await later.answers.sweep() == 0
    now[0] += KEPT_S
    assert await later.answers.sweep() == 1
    assert (await plane.store.list(KIND)).objects == ()
    running.cancel()


async def two_processes(
    opener: Opener, ring: KeyRing
) -> tuple[list[Plane], list[asyncio.Task[None]]]:
    """Return two control processes with one store and the same tokens, and what follows it."""
    planes = [make_plane(await opener(), ring) for _ in range(2)]
    running = [asyncio.create_task(each.mirror.run()) for each in planes]
    await asyncio.gather(*(each.mirror.ready.wait() for each in planes))
    await add_credentials(planes[0])
    planes[1].tokens |= planes[0].tokens
    return planes, running


async def test_the_answer_of_another_process_waits_until_its_resource_is_known(
    opener: Opener, ring: KeyRing
) -> None:
    """Its status is of the moment, and nothing is said of what this process has not heard of."""
    planes, running = await two_processes(opener, ring)
    await planes[1].mirror.reached(planes[0].mirror.revision)
    running.pop().cancel()
    body, headers = {"name": "hq"}, {"Idempotency-Key": "k"}
    first, again = [each.client() for each in planes]
    made = await first.post("/v1/border-gateways", json=body, headers=headers)
    waiting = asyncio.create_task(again.post("/v1/border-gateways", json=body, headers=headers))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    running.append(asyncio.create_task(planes[1].mirror.run()))
    assert (await waiting).json() == made.json()
    for client in (first, again):
        await client.aclose()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_two_control_processes_make_one_of_many_requests(
    opener: Opener, ring: KeyRing
) -> None:
    planes, running = await two_processes(opener, ring)
    clients = [each.client() for each in planes]
    await make_examples(clients[0])
    body: Json = {
        "name": "twice",
        "border_gateway": "hq",
        "customer_gateway": "office",
        "tunnels": 0,
    }
    await planes[1].mirror.reached(planes[0].mirror.revision)
    answers = await asyncio.gather(
        *(
            clients[number % 2].post(
                "/v1/vpn-connections", json=body, headers={"Idempotency-Key": "k"}
            )
            for number in range(10)
        )
    )
    assert {each.status_code for each in answers} == {201}, [each.text for each in answers]
    first = answers[0].json()
    assert [each.json() for each in answers] == [first] * len(answers)
    found = (await clients[1].get("/v1/vpn-connections?name=twice")).json()
    assert len(found["items"]) == 1
    await planes[1].store.get(Key("vpn_connection", found["items"][0]["id"]))
    for client in clients:
        await client.aclose()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert planes[0].bugs == planes[1].bugs == []
