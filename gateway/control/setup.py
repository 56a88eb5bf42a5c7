"""What is made once, before the control process first starts: master key, store, first user."""

from __future__ import annotations

import asyncio
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from gateway.control.auth.desk import Desk
from gateway.control.auth.service import make_auth
from gateway.control.mirror import Mirror
from gateway.control.problems import ApiProblem
from gateway.control.secrets import (
    KeyRing,
    key_file_text,
    load_key_ring,
    new_master_key,
    read_master_keys,
)
from gateway.control.store.interface import Store
from gateway.control.store.place import open_store
from gateway.errors import ConfigError

ACTOR = "system:init"

SERVICE_USER = "twinspan-control"  # of the systemd unit


@dataclass(frozen=True, slots=True)
class Admin:
    """The first user: the operator, with every right."""

    name: str
    password: str


async def prepare(store: str, key_file: Path, admin: Admin | None) -> list[str]:
    """
    Make what is not there yet; return what was done, a line each.

    Raises ConfigError for a place, a key file or an admin that is wrong, StoreError, OSError.
    """
    done = [_prepare_key(key_file)]
    if store.startswith("sqlite:"):
        _prepare_folder(Path(store.removeprefix("sqlite:")).parent)
    opened = await open_store(store, create=True)
    try:
        done.append(f"store: {store}, revision {await opened.revision()}")
        if admin is not None:
            done.append(await _prepare_admin(opened, load_key_ring(key_file), admin))
    finally:
        await opened.close()
    return done


async def _prepare_admin(store: Store, ring: KeyRing, admin: Admin) -> str:
    """Make the user, unless there is one of the name. Raises ConfigError."""
    mirror = Mirror(store)
    following = asyncio.create_task(mirror.run())
    try:
        await mirror.ready.wait()
        auth = make_auth(Desk(store, mirror, ring))
        await auth.tenants.ensure_main()
        if auth.users.named(admin.name) is not None:
            return f"user {admin.name}: as he is"
        await auth.users.first_admin(admin.name, admin.password, ACTOR)
    except ApiProblem as problem:
        raise ConfigError([problem.detail]) from None
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return f"user {admin.name}: new, of the operator, scope admin"


def _prepare_key(file: Path) -> str:
    """Make the master key, in a file of its owner's alone, unless it is there."""
    if file.exists():
        return f"master key: {file}, {len(read_master_keys(file))} as they are"
    file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as opened:
        opened.write(key_file_text([new_master_key()]))
        opened.flush()
        os.fsync(opened.fileno())
    return f"master key: {file}, new: keep a copy where the store's backups are not"


def _prepare_folder(folder: Path) -> None:
    """Make the store's folder; root makes it the service's, who writes in it."""
    if folder.exists():
        return
    folder.mkdir(mode=0o700, parents=True)
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam(SERVICE_USER)
        except KeyError:  # no package is installed: who starts the process is its user
            return
        os.chown(folder, user.pw_uid, user.pw_gid)
