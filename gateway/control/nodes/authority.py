"""The CA and the key of document tags as the store keeps them, sealed; made at the first start."""

from __future__ import annotations

import base64
import datetime
import json
import os
from dataclasses import dataclass

from gateway.control.nodes.ca import Authority, load_authority, new_authority
from gateway.control.resources.record import bytes_of
from gateway.control.secrets import KeyRing
from gateway.control.store.interface import Conflict, Create, Key, NotFound, Object, Store
from gateway.errors import ConfigError
from gateway.secret import Secret

KEY = Key("ca", "nodes")


@dataclass(frozen=True, slots=True)
class Trust:
    """The CA, and the key under which documents have their tags: these tell nobody a secret."""

    authority: Authority
    tag_key: Secret


async def load_trust(store: Store, ring: KeyRing, now: datetime.datetime) -> Trust:
    """Return what the store has, made first if it has none. Raises CannotOpen, ConfigError."""
    try:
        return _opened(await store.get(KEY), ring)
    except NotFound:
        pass
    made = Trust(new_authority(now), Secret(os.urandom(32)))
    try:
        await store.commit([Create(KEY, _sealed(made, ring))], "system:nodes")
    except Conflict:  # another control process was faster
        return _opened(await store.get(KEY), ring)
    return made


def _sealed(trust: Trust, ring: KeyRing) -> bytes:
    tag_key = Secret(base64.b64encode(trust.tag_key.reveal()))
    return bytes_of(
        {
            "tenant": "",
            "spec": {
                "certificate": trust.authority.pem,
                "key": ring.seal(trust.authority.key_text(), KEY, "spec/key"),
                "tag_key": ring.seal(tag_key, KEY, "spec/tag_key"),
            },
        }
    )


def _opened(found: Object, ring: KeyRing) -> Trust:
    try:
        spec = json.loads(found.value)["spec"]
        authority = load_authority(spec["certificate"], ring.open(spec["key"], KEY, "spec/key"))
        tag_key = base64.b64decode(ring.open(spec["tag_key"], KEY, "spec/tag_key").reveal())
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError([f"{KEY}: the CA in the store can not be used: {error}"]) from None
    return Trust(authority, Secret(tag_key))
