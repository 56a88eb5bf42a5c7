"""The customer's side: what a device is to be told, to read, and to take away as files."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from gateway.control.console import commands
from gateway.control.console.render import HEADERS, Visit, page
from gateway.control.console.source import Source, Table
from gateway.control.problems import ApiProblem, not_found
from gateway.control.resources.kinds import KINDS

CONNECTION = KINDS["vpn_connection"]
# What the form asks for beside the device, as the API's query has it.
ASKED = ("tunnel", "wan_interface", "lan_interface", "announce", "first_number")
_FOLDED = re.compile(r"[^A-Za-z0-9_-]+")


class Configs:
    """Makes the page, and the files. With keys only by a form: an address is not to hold a key."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def form(self, request: Request, visit: Visit, id: str) -> Response:
        """Return the page; without keys what the address asks for."""
        return await self._page(visit, id, dict(request.query_params) | {"secrets": ""})

    async def send(self, visit: Visit, id: str, typed: Mapping[str, str]) -> Response:
        """Return what a form asks for: the page, one file, or all of them in a ZIP archive."""
        do = typed.get("do", "show")
        if do == "show":
            return await self._page(visit, id, typed)
        resource = self._source.one(CONNECTION.name, id, visit.who)
        try:
            answer = await self._source.customer_config(id, _asked(typed), visit.who)
        except ApiProblem:
            return await self._page(visit, id, typed)
        name = _FOLDED.sub("-", f"{typed.get('tunnel') or resource['name']}-{answer['device']}")
        if do == "zip":
            return _download(_zipped(answer, name), f"{name}.zip", "application/zip")
        for file in answer["files"]:
            if do == f"file:{file['name']}":
                return _download(file["text"].encode(), file["name"], "text/plain; charset=utf-8")
        raise not_found("file", do.removeprefix("file:"))

    async def _page(self, visit: Visit, id: str, typed: Mapping[str, str]) -> Response:
        resource = self._source.one(CONNECTION.name, id, visit.who)
        devices = self._source.devices()
        asked = {"device": devices[0][0], **_asked(typed)}
        problem, status, answer = "", 200, Table()
        try:
            answer = await self._source.customer_config(id, asked, visit.who)
        except ApiProblem as found:
            problem, status = found.detail, found.status
        tunnels = [one for one in self._source.users(id, visit.who) if one["kind"] == "vpn_tunnel"]
        return page(
            "config.html",
            visit,
            CONNECTION.path,
            status,
            resource=resource,
            devices=devices,
            tunnels=sorted(tunnels, key=lambda one: str(one["name"])),
            asked={name: "" for name in (*ASKED, "secrets")} | asked,
            answer=answer,
            problem=problem,
            thing=commands.of_config(id, asked),
        )


def _asked(typed: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed as the query of the API."""
    texts = {name: typed.get(name, "").strip() for name in ("device", *ASKED)}
    found = {name: text for name, text in texts.items() if text}
    for name in ("wan_interface", "announce"):
        if name in found:
            found[name] = ",".join(re.split(r"[\s,]+", found[name]))
    return found | ({"secrets": "true"} if typed.get("secrets") else {})


def _zipped(answer: Table, folder: str) -> bytes:
    """Return the files in one folder. Who unpacks them is the only one to read what has keys."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in answer["files"]:
            info = zipfile.ZipInfo(f"{folder}/{file['name']}")
            info.external_attr = (0o100600 if file["is_secret"] else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, file["text"])
    return buffer.getvalue()


def _download(body: bytes, name: str, media_type: str) -> Response:
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type=media_type, headers=headers)
