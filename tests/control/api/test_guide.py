"""The API guide: its blocks are run as they stand, against a real control process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.cli.control_process import Control, control

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "api.md").read_text()
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_RESOURCE = re.compile(r'^resource "restapi_object" "(\w+)" \{\n(.*?)^\}', re.DOTALL | re.MULTILINE)
_REFERENCE = re.compile(r"\$\{restapi_object\.(\w+)\.id\}")
MARK = "=== block {} ==="


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with control(tmp_path_factory.mktemp("control")) as process:
        yield process


def blocks() -> list[tuple[str, str]]:
    """Return each block of shell with what the page says it prints, "" for nothing."""
    found: list[tuple[str, str]] = []
    for kind, body in _FENCED.findall(PAGE):
        if kind == "sh":
            found.append((body, ""))
        elif kind == "text":
            assert not found[-1][1]
            found[-1] = (found[-1][0], body)
    return found


def test_every_block_of_the_guide_prints_what_it_says(running: Control, tmp_path: Path) -> None:
    script = "set -eu -o pipefail\n"
    for number, (body, _) in enumerate(blocks()):
        script += f"echo {MARK.format(number)!r}\n{body}"
    (tmp_path / "twinspan").write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n')
    (tmp_path / "twinspan").chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            **running.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "API": f"{running.url}/v1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    printed = re.split(r"^=== block \d+ ===\n", done.stdout, flags=re.MULTILINE)[1:]
    assert len(blocks()) > 12
    for (body, said), really in zip(blocks(), printed, strict=True):
        assert really == said, body


@dataclass(slots=True)
class RestApiObject:
    """
    One `restapi_object` of the page, and the requests that the provider sends for it.

    As terraform-provider-restapi does with `write_returns_object` and `update_method = "PATCH"`:
    the whole of `data` goes with create and update; `{id}` is put into the paths.
    """

    client: httpx.Client
    path: str
    destroy_path: str
    data: dict[str, object]
    id: str = ""

    def create(self) -> None:
        answer = self._send("POST", self.path, self.data)
        assert answer.status_code in range(200, 300), answer.text
        self.id = answer.json()["id"]

    def refresh(self) -> dict[str, tuple[object, object]] | None:
        """Return the drift: what the state has and the server says. None: it is gone."""
        answer = self._send("GET", f"{self.path}/{self.id}")
        if answer.status_code == 404:
            return None
        now = answer.json()
        return {key: (value, now[key]) for key, value in self.data.items() if now[key] != value}

    def update(self) -> None:
        answer = self._send("PATCH", f"{self.path}/{self.id}", self.data)
        assert answer.status_code in range(200, 300), answer.text
        assert answer.json()["id"] == self.id

    def destroy(self) -> None:
        answer = self._send("DELETE", self.destroy_path.replace("{id}", self.id))
        assert answer.status_code in range(200, 300), answer.text

    def _send(
        self, method: str, path: str, data: dict[str, object] | None = None
    ) -> httpx.Response:
        content = json.dumps(data, sort_keys=True) if data is not None else None
        headers = {"Content-Type": "application/json"} if data is not None else {}
        return self.client.request(method, f"/v1{path}", content=content, headers=headers)


def terraform(client: httpx.Client) -> dict[str, RestApiObject]:
    """Create the resources of the page in its order, which is that of their references."""
    (text,) = [body for kind, body in _FENCED.findall(PAGE) if kind == "hcl"]
    assert 'update_method        = "PATCH"' in text
    assert "write_returns_object = true" in text
    made: dict[str, RestApiObject] = {}
    for name, body in _RESOURCE.findall(text):
        fields = dict(re.findall(r'^  (\w+) += "(.*)"$', body, re.MULTILINE))
        data = re.search(r"jsonencode\((\{.*?\n  \})\)", body, re.DOTALL)
        assert data is not None
        resolved = _REFERENCE.sub(lambda found: made[found[1]].id, data[1])
        destroy = fields.get("destroy_path", fields["path"] + "/{id}")
        made[name] = RestApiObject(client, fields["path"], destroy, json.loads(resolved))
        made[name].create()
    return made


def test_the_terraform_example_is_made_refreshed_changed_and_destroyed(running: Control) -> None:
    for place in ("192.0.2.101", "192.0.2.102"):  # the operator has nodes and a pool already
        name = place.replace(".", "-")
        running.done("node", "create", f"n-{name}", "--public-addresses", place)
        running.done("pool", "create", f"p-{name}", "--addresses", place)
    token = str(running.json("token", "create", "terraform", "--scope", "admin")["token"])
    with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {token}"}) as client:
        made = terraform(client)
        assert {name: each.refresh() for name, each in made.items()} == {name: {} for name in made}

        client.patch(f"/v1/border-gateways/{made['hq'].id}", json={"asn": 65099})
        assert made["hq"].refresh() == {"asn": (65000, 65099)}
        made["hq"].update()
        assert made["hq"].refresh() == {}

        made["vpn"].data["routing"] = "static"
        made["vpn"].update()
        assert made["vpn"].refresh() == {}

        client.delete(f"/v1/routes/{made['to_the_office'].id}")
        assert made["to_the_office"].refresh() is None
        made["to_the_office"].create()

        for each in reversed(made.values()):
            each.destroy()
        assert {name: each.refresh() for name, each in made.items()} == dict.fromkeys(made)
