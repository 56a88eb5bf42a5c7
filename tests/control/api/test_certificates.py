"""Certificates over the API: the private key is sealed and never comes back, the rest does."""

from __future__ import annotations

import httpx

from gateway.control.api.examples import EXAMPLES
from gateway.control.changes.compose import node_table
from gateway.control.resources.record import Record
from gateway.control.secrets import KeyRing
from gateway.model.document import build_document
from gateway.model.types import UNSEEN_KEY
from gateway.node.plan import plan
from tests.control.api.conftest import Plane, make_examples
from tests.model.test_auth import GOOD, OURS, PEER, key_pem

CONNECTIONS = "/v1/vpn-connections"


async def test_a_connection_with_certificates_reaches_its_nodes(
    plane: Plane, api: httpx.AsyncClient, ring: KeyRing
) -> None:
    await make_examples(api)
    wish = {**EXAMPLES["vpn_connection"], "name": "certified", "tunnels": 1, **GOOD}
    wish["remote_id"] = "*.office.test"
    wish |= {"remote_cidrs": ["10.99.0.0/16"]} if "remote_cidrs" in wish else {}
    made = await api.post(CONNECTIONS, json=wish)
    assert made.status_code == 201, made.text
    body = made.json()
    line = key_pem(OURS).splitlines()[1]
    assert line not in made.text
    assert "private_key" not in body
    assert (body["private_key_version"], body["certificate"]) == (1, GOOD["certificate"])
    mirror = plane.registry.mirror

    def opened(record: Record, where: str, value: str) -> str:
        return ring.open(value, record.key, where).reveal().decode()

    tunnels = list(mirror.children("vpn_tunnel", body["id"]))
    assert len(tunnels) == 1
    assert not [one for one in tunnels if "psk" in one.allocated]
    assert line not in str([one.value for one in mirror.of_kind("vpn_connection")])
    plans = []
    for node in mirror.of_kind("node"):
        document, problems = build_document(node_table(mirror, node, opened))
        assert not [one for one in problems if not one.is_warning]
        plans += [one for one in plan(document).tunnels if one.connection == body["id"]]
    assert len(plans) == 1
    for one in plans:
        assert one.ike.credentials is not None
        assert one.ike.credentials.key == OURS.private
        assert one.ike.psk is None


async def test_edits_judge_what_they_can_see(api: httpx.AsyncClient) -> None:
    await make_examples(api)
    wish = {**EXAMPLES["vpn_connection"], "name": "certified", "tunnels": 1, **GOOD}
    wish |= {"remote_cidrs": ["10.99.0.0/16"]} if "remote_cidrs" in wish else {}
    made = (await api.post(CONNECTIONS, json=wish)).json()
    place = f"{CONNECTIONS}/{made['id']}"
    assert (await api.patch(place, json={"revocation": "strict"})).status_code == 200
    for patch, field in (
        ({"private_key": key_pem(PEER)}, "vpn_connection.certificate"),
        ({"private_key": UNSEEN_KEY}, "vpn_connection.private_key"),
        ({"private_key": "no key"}, "vpn_connection.private_key"),
        ({"certificate_file": "/etc/passwd"}, "vpn_connection.certificate_file"),
        ({"ca": None}, "vpn_connection.ca"),
        ({"local_id": "other.test"}, "vpn_connection.local_id"),
    ):
        refused = await api.patch(place, json=patch)
        assert refused.status_code == 422, patch
        assert refused.json()["field"] == field, refused.text
        assert key_pem(PEER).splitlines()[1] not in refused.text
    assert (await api.get(place)).json()["private_key_version"] == 1
