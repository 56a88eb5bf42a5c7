"""The node's questions to the control plane, one small function each; see `fleet/messages.py`."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from gateway.errors import ConfigError
from gateway.fleet.messages import (
    CONTROL_NAME,
    DEFAULT_PORT,
    DOCUMENT_BYTES_MAX,
    PATH,
    Credential,
    Heard,
    M,
    MessageError,
    Position,
    Registration,
    Renewal,
    Report,
    Turn,
    read,
)
from gateway.node.fleet import identity as identities
from gateway.node.fleet.http import Http, LinkError, Place, Response
from gateway.node.fleet.identity import Identity, IdentityError

ASK_S = 10.0  # how long a small answer may take
DOCUMENT_S = 30.0  # beside the wait: for a large document on a slow line
SMALL_BYTES = 1 << 17


class Refused(LinkError):
    """The control plane refuses: HTTP's status and the code of its problem document."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"the control plane refuses: {code}: {detail}")
        self.status = status
        self.code = code


def parse_url(url: str) -> Place:
    """Return where a control plane is: `https://HOST[:PORT]`. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        parts, port = urlsplit(""), 0
    has_more = parts.path not in ("", "/") or parts.query or parts.username is not None
    if parts.scheme != "https" or not parts.hostname or not port or has_more:
        raise ConfigError([f"--control: {url!r} must be https://HOST or https://HOST:PORT"])
    return Place(parts.hostname, port, CONTROL_NAME)


class Link:
    """Two connections to the control plane, so that reports do not wait behind a long question."""

    def __init__(self, place: Place, identity: Identity, folder: Path) -> None:
        context = identities.presenting(identity, folder)
        self.identity = identity
        self.clock_off_s = 0.0  # by how much the control plane's clock is ahead of ours
        self._waiting, self._talking = Http(place, context), Http(place, context)

    async def turn(self, at: Position, wait_s: float) -> Turn:
        """Return what there is beyond a position; wait for it that long. Raises LinkError."""
        query = urlencode(
            {"epoch": at.epoch, "after": at.generation, "tag": at.tag, "wait": f"{wait_s:g}"}
        )
        response = await self._waiting.request(
            "GET",
            f"{PATH}/document?{query}",
            timeout_s=wait_s + DOCUMENT_S,
            most_bytes=DOCUMENT_BYTES_MAX,
        )
        if response.status == 204:
            return Turn()
        return _message(Turn, response)

    async def report(self, report: Report) -> Heard:
        """Say what is. Raises LinkError."""
        body = report.model_dump_json(exclude_defaults=True).encode()
        response = await self._talking.request(
            "POST", f"{PATH}/report", body, timeout_s=ASK_S, most_bytes=SMALL_BYTES
        )
        self.clock_off_s = _clock_off_s(response)
        return _message(Heard, response)

    async def renew(self) -> Identity:
        """Return the next identity, with a key of its own. Raises LinkError, IdentityError."""
        key = identities.new_key()
        body = Renewal(csr=identities.request_for(key)).model_dump_json().encode()
        response = await self._talking.request(
            "POST", f"{PATH}/renew", body, timeout_s=ASK_S, most_bytes=SMALL_BYTES
        )
        renewed = identities.identity_of(_message(Credential, response), key)
        if renewed.node != self.identity.node:
            raise IdentityError(f"the certificate is for {renewed.node}, not for us")
        return renewed

    def close(self) -> None:
        """Let both connections go."""
        self._waiting.close()
        self._talking.close()


async def register(place: Place, secret: str, fingerprint: str, version: str) -> Identity:
    """
    Return the identity that a registration token gives. Raises LinkError, IdentityError.

    The token is told only to a server whose CA has the fingerprint.
    """
    ca = await _ca(place, fingerprint)
    key = identities.new_key()
    body = Registration(token=secret, csr=identities.request_for(key), version=version)
    trusting = Http(place, identities.trusting(ca))
    try:
        response = await trusting.request(
            "POST",
            f"{PATH}/register",
            body.model_dump_json().encode(),
            timeout_s=ASK_S,
            most_bytes=SMALL_BYTES,
        )
    finally:
        trusting.close()
    return identities.identity_of(_message(Credential, response), key)


async def _ca(place: Place, fingerprint: str) -> str:
    """Return the CA's certificate, which the fingerprint vouches for."""
    blind = Http(place, identities.blind())
    try:
        response = await blind.request("GET", f"{PATH}/ca", timeout_s=ASK_S, most_bytes=SMALL_BYTES)
    finally:
        blind.close()
    if response.status != 200:
        raise LinkError(f"no CA certificate: status {response.status}")
    ca = response.body.decode("ascii", "replace")
    found = identities.fingerprint(ca)
    if found != fingerprint:
        raise IdentityError(f"the CA there has the fingerprint {found}, expected is {fingerprint}")
    return ca


def _message(kind: type[M], response: Response) -> M:
    """Return the message in an answer. Raises LinkError, Refused."""
    if response.status != 200:
        raise _refusal(response)
    try:
        return read(kind, response.body)
    except MessageError as error:
        raise LinkError(f"the answer is no {kind.__name__.lower()}: {error}") from None


def _refusal(response: Response) -> LinkError:
    try:
        table = json.loads(response.body)
        return Refused(response.status, str(table["code"]), str(table["detail"])[:500])
    except (ValueError, KeyError, TypeError, RecursionError):
        return LinkError(f"the control plane answers with status {response.status}")


def _clock_off_s(response: Response) -> float:
    try:
        return parsedate_to_datetime(response.headers["date"]).timestamp() - time.time()
    except (KeyError, ValueError, TypeError):
        return 0.0
