"""What is made once, before the control process first starts: master key and store."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from gateway.control.secrets import key_file_text, new_master_key, read_master_keys
from gateway.control.store.place import open_store

SERVICE_USER = "twinspan-control"  # of the systemd unit


async def prepare(store: str, key_file: Path) -> list[str]:
    """
    Make what is not there yet; return what was done, a line each.

    Raises ConfigError for a place or a key file that is wrong, StoreError, OSError.
    """
    done = [_prepare_key(key_file)]
    if store.startswith("sqlite:"):
        _prepare_folder(Path(store.removeprefix("sqlite:")).parent)
    opened = await open_store(store, create=True)
    try:
        revision = await opened.revision()
    finally:
        await opened.close()
    return [*done, f"store: {store}, revision {revision}"]


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
