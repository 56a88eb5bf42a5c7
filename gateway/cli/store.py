"""`twinspan store`: the store of the control plane as a whole."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.cli.client import EXIT_REFUSED, EXIT_UNREACHABLE, Json

if TYPE_CHECKING:
    from gateway.control.secrets import MasterKey
    from gateway.control.store.interface import Store

DEFAULT_STORE = "sqlite:/var/lib/twinspan-control/control.db"
SQLITE_HEAD = b"SQLite format 3\0"

app = typer.Typer(
    name="store",
    help="Move, back up and restore the store of the control plane; seal its secrets anew.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

_Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="TWINSPAN_STORE",
        metavar="PLACE",
        help="sqlite:PATH, or etcd:HOST:PORT,HOST:PORT",
    ),
]
_NewFile = Annotated[Path, typer.Argument(metavar="FILE", help="a file that does not exist yet")]
_OldFile = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="the file to read")
]
_Replace = Annotated[
    bool, typer.Option("--replace", help="also if the store has objects: they are lost")
]
_AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.command("export")
def export_(file: _NewFile, store: _Store = DEFAULT_STORE, as_json: _AsJson = False) -> None:
    """
    Write all objects of one moment to FILE, one JSON object a line, for another store to import.

    Secrets stay sealed: the other store needs the same master key.
    """
    _run(store, lambda opened: _export(opened, file), as_json=as_json)


@app.command("import")
def import_(
    file: _OldFile,
    store: _Store = DEFAULT_STORE,
    replace: _Replace = False,
    as_json: _AsJson = False,
) -> None:
    """
    Make the store hold what an export has, and nothing else. Revisions go on from the store's own.
    """
    _run(store, lambda opened: _import(opened, file, replace), as_json=as_json, create=True)


@app.command()
def backup(file: _NewFile, store: _Store = DEFAULT_STORE, as_json: _AsJson = False) -> None:
    """
    Write a backup to FILE while all runs: of SQLite the whole file with history, of etcd an export.
    """
    _run(store, lambda opened: _backup(opened, file), as_json=as_json)


@app.command()
def restore(
    file: _OldFile,
    store: _Store = DEFAULT_STORE,
    replace: _Replace = False,
    as_json: _AsJson = False,
) -> None:
    """
    Make the store what a backup has. Stop the control processes first.
    """
    _run(store, lambda opened: _restore(opened, file, replace), as_json=as_json, create=True)


@app.command("rotate-key")
def rotate_key(
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            envvar="TWINSPAN_KEY_FILE",
            help="the master keys; without it, the credential that systemd gives",
        ),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="make a new key first and put it on top of the file")
    ] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="afterwards leave only the first key in the file")
    ] = False,
    store: _Store = DEFAULT_STORE,
    as_json: _AsJson = False,
) -> None:
    """
    Seal the secrets of all objects with the first master key of the file.

    The other keys of the file open what is sealed with them until this is done.
    """
    _run(store, lambda opened: _rotate(opened, key_file, add, drop_old), as_json=as_json)


def _run(
    place: str,
    work: Callable[[Store], Awaitable[Json]],
    *,
    as_json: bool,
    create: bool = False,
) -> None:
    """Open the store, do the work, and say what it has done or why not."""
    # Imported here: asyncio and the drivers would slow every other command down.
    import asyncio

    from gateway.control.store.interface import StoreError, Unavailable
    from gateway.control.store.place import open_store
    from gateway.errors import ConfigError

    async def run() -> Json:
        opened = await open_store(place, create=create)
        try:
            return await work(opened)
        finally:
            await opened.close()

    try:
        done = asyncio.run(run())
    except Unavailable as error:
        _fail([str(error)], EXIT_UNREACHABLE, as_json=as_json)
    except ConfigError as error:
        _fail(error.problems, EXIT_REFUSED, as_json=as_json)
    except StoreError as error:
        _fail([str(error)], EXIT_REFUSED, as_json=as_json)
    except OSError as error:
        _fail([f"{error.filename}: {error.strerror}"], EXIT_REFUSED, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"ok": True, **done}, indent=2))
    else:
        typer.echo(", ".join(f"{name} {value}" for name, value in done.items()))


def _fail(problems: list[str], status: int, *, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"ok": False, "problems": problems}, indent=2))
    else:
        for problem in problems:
            typer.echo(f"twinspan: {problem}", err=True)
    raise typer.Exit(status)


async def _export(store: Store, file: Path) -> Json:
    from gateway.control.store.transfer import export_store

    _judge_new(file)
    made = await export_store(store)
    _write(file, made.text.encode())
    return {"objects": made.objects, "revision": made.revision}


async def _import(store: Store, file: Path, replace: bool) -> Json:
    from gateway.control.store.transfer import import_objects, read_export

    wanted = read_export(file.read_bytes(), str(file))  # noqa: ASYNC240 - a command has nothing else to do
    await _judge_empty(store, replace)
    done = await import_objects(store, wanted)
    return {
        "created": done.created,
        "replaced": done.replaced,
        "deleted": done.deleted,
        "revision": done.revision,
    }


async def _backup(store: Store, file: Path) -> Json:
    from gateway.control.store.sqlite import SqliteStore

    if not isinstance(store, SqliteStore):
        return await _export(store, file)
    _judge_new(file)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        copy = Path(folder) / file.name
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL, 0o600))
        await store.backup(copy)
        os.link(copy, file)
    return {"revision": await store.revision(), "bytes": os.stat(file).st_size}


async def _restore(store: Store, file: Path, replace: bool) -> Json:
    from gateway.control.store.sqlite import SqliteStore
    from gateway.errors import ConfigError

    with file.open("rb") as opened:
        is_sqlite = opened.read(len(SQLITE_HEAD)) == SQLITE_HEAD
    if not is_sqlite:
        return await _import(store, file, replace)
    if not isinstance(store, SqliteStore):
        raise ConfigError([f"{file}: is a backup of SQLite: restore it there, then export it"])
    await _judge_empty(store, replace)
    await _judge_stopped(store)
    await store.restore(file)
    return {"revision": await store.revision()}


async def _judge_empty(store: Store, replace: bool) -> None:
    """Raise ConfigError if the store has objects that nobody said may be lost."""
    from gateway.control.store.transfer import counts_of
    from gateway.errors import ConfigError

    if replace:
        return
    counts = await counts_of(store)
    if counts:
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        raise ConfigError([f"the store has objects ({told}): give --replace if they may be lost"])


async def _judge_stopped(store: Store) -> None:
    """
    Raise ConfigError if a control process works with the store: its revisions must not go back
    below what that one has seen.
    """
    from gateway.control.alarms.keeper import LEASE_NAME
    from gateway.control.store.interface import LEASE
    from gateway.errors import ConfigError

    leases = await store.list(LEASE)
    if any(lease.key.id == LEASE_NAME for lease in leases.objects):
        text = "a control process works with the store: stop it first"
        raise ConfigError([f"{text} (one that was killed counts as running for some seconds)"])


async def _rotate(store: Store, given: Path | None, add: bool, drop_old: bool) -> Json:
    from gateway.control import secrets
    from gateway.control.store.transfer import reseal_store
    from gateway.errors import ConfigError

    file = given or secrets.key_file()
    if file is None:
        raise ConfigError(["--key-file: needed where systemd gives no credential"])
    if add:
        old = secrets.read_master_keys(file) if file.exists() else []
        _write_keys(file, [secrets.new_master_key(), *old])
    ring = secrets.load_key_ring(file)
    done = await reseal_store(store, ring)
    if done.problems:
        raise ConfigError([*done.problems, f"{done.objects} objects are sealed anew"])
    # What a control process sealed with its old keys meanwhile is found by the second time.
    late = await reseal_store(store, ring)
    if drop_old:
        _write_keys(file, secrets.read_master_keys(file)[:1])
    return {"objects": done.objects + late.objects, "key": ring.current}


def _write_keys(file: Path, keys: list[MasterKey]) -> None:
    from gateway.control.secrets import key_file_text

    _write(file, key_file_text(keys).encode())


def _judge_new(file: Path) -> None:
    from gateway.errors import ConfigError

    if file.exists():
        raise ConfigError([f"{file}: exists already"])


def _write(file: Path, data: bytes) -> None:
    """Write a file of its owner's alone, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as opened:
            if file.exists():  # the keys of a service's user stay his when root rotates them
                os.fchown(opened.fileno(), file.stat().st_uid, file.stat().st_gid)
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        Path(name).replace(file)
    except OSError:
        Path(name).unlink()
        raise
