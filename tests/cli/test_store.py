"""`twinspan store` as an operator calls it, between SQLite and a real etcd."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.control.secrets import KeyRing, load_key_ring, master_key_id, read_master_keys
from gateway.control.store.interface import LEASE, Create, Key, Object, Page, Store
from gateway.control.store.place import etcd_targets, open_store
from gateway.control.store.transfer import all_objects
from gateway.errors import ConfigError
from gateway.secret import Secret
from lab.commands import wait_for
from lab.etcd import make_cluster
from tests.cli.control_process import control

KEYS = [Key(kind, f"x-{number}") for kind in ("gateway", "tunnel") for number in range(30)]
PSK = Secret(b"correct-horse-battery-staple")


@pytest.fixture
def etcd_place(tmp_path: Path) -> Iterator[str]:
    (member,) = make_cluster(tmp_path, 1)
    yield f"etcd:{member.target}"
    member.kill()


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A store in SQLite with objects and a lease."""
    place = f"sqlite:{tmp_path / 'store.db'}"

    async def fill(store: Store) -> None:
        for start in range(0, len(KEYS), 20):
            await store.commit(
                [Create(k, json.dumps({"tenant": "red"}).encode()) for k in KEYS[start:][:20]], "a"
            )
        await store.acquire("node-1", "n", 60)

    with_store(place, fill)
    return place


def with_store(place: str, work: object) -> object:
    async def run() -> object:
        store = await open_store(place)
        try:
            return await work(store)  # type: ignore[operator] # any coroutine function
        finally:
            await store.close()

    return asyncio.run(run())


def objects(place: str) -> dict[Key, bytes]:
    async def read(store: Store) -> dict[Key, bytes]:
        return {o.key: o.value async for o in all_objects(store, await store.revision())}

    found = with_store(place, read)
    assert isinstance(found, dict)
    return found


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["store", *map(str, words)])


def test_a_store_moves_from_sqlite_to_etcd_and_back(
    place: str, etcd_place: str, tmp_path: Path
) -> None:
    there, back = tmp_path / "there.jsonl", tmp_path / "back.jsonl"
    done = run("export", there, "--store", place)
    assert done.exit_code == 0, done.output
    assert there.stat().st_mode & 0o777 == 0o600
    told = json.loads(run("import", there, "--store", etcd_place, "--json").stdout)
    assert (told["ok"], told["created"]) == (True, 60)
    assert run("backup", back, "--store", etcd_place).exit_code == 0
    copy = f"sqlite:{tmp_path / 'copy.db'}"
    assert run("restore", back, "--store", copy).exit_code == 0
    assert objects(copy) == objects(etcd_place) == objects(place)
    assert set(objects(place)) == set(KEYS)


def test_a_store_with_objects_is_not_replaced_unasked(place: str, tmp_path: Path) -> None:
    file = tmp_path / "export"
    run("export", file, "--store", place)

    async def add(store: Store) -> None:
        await store.commit([Create(Key("tunnel", "new"), b"{}")], "a")

    with_store(place, add)
    done = run("import", file, "--store", place)
    assert done.exit_code == 1
    assert "the store has objects (" in done.stderr
    assert " tunnel" in done.stderr
    assert "): give --replace" in done.stderr
    assert len(objects(place)) == 61
    told = json.loads(run("import", file, "--store", place, "--replace", "--json").stdout)
    assert (told["created"], told["replaced"], told["deleted"]) == (0, 0, 1)
    assert len(objects(place)) == 60


def test_a_backup_of_sqlite_has_the_history_too(place: str, tmp_path: Path) -> None:
    file, copy = tmp_path / "backup.db", f"sqlite:{tmp_path / 'copy.db'}"
    assert run("backup", file, "--store", place).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("restore", file, "--store", copy).exit_code == 0

    async def history(store: Store) -> object:
        return await store.changes(0)

    assert with_store(copy, history) == with_store(place, history)
    again = run("restore", file, "--store", copy)
    assert (again.exit_code, "--replace" in again.stderr) == (1, True)
    assert run("restore", file, "--store", copy, "--replace").exit_code == 0


def test_a_backup_of_sqlite_is_not_for_etcd(place: str, etcd_place: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    run("backup", file, "--store", place)
    done = run("restore", file, "--store", etcd_place)
    assert (done.exit_code, "restore it there, then export it" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda text: text[: len(text) // 2], "not an export of a store, or not whole"),
        (lambda text: "\n".join(text.split("\n")[:9]) + "\n", "is not whole"),
        (lambda text: text.replace("red", "sea", 1), "its hash does not fit"),
        (lambda text: "{}\n" + text, "not an export of a store in format 1"),
        (lambda _: "", "is not an export of a store"),
    ],
)
def test_a_file_that_is_not_whole_changes_nothing(
    place: str, tmp_path: Path, edit: object, said: str
) -> None:
    file = tmp_path / "export"
    run("export", file, "--store", place)
    file.write_text(edit(file.read_text()))  # type: ignore[operator] # one of the above
    copy = f"sqlite:{tmp_path / 'copy.db'}"
    done = run("import", file, "--store", copy)
    assert (done.exit_code, said in done.stderr) == (1, True), done.stderr
    assert not objects(copy)


def test_a_damaged_backup_changes_nothing(place: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    run("backup", file, "--store", place)
    data = bytearray(file.read_bytes())
    data[4096:12288] = bytes(8192)
    file.write_bytes(data)
    done = run("restore", file, "--store", place, "--replace")
    assert done.exit_code == 3
    assert "store.db: " in done.stderr
    assert len(objects(place)) == 60


def test_a_store_that_a_control_process_works_with_is_not_put_back(
    tmp_path: Path,
) -> None:
    """Its revisions would go back below what that process has seen."""
    file = tmp_path / "backup.db"

    def has_lease() -> bool:
        page = with_store(where, lambda store: store.list(LEASE))
        assert isinstance(page, Page)
        return bool(page.objects)

    with control(tmp_path) as plane:
        where = f"sqlite:{plane.place / 'control.db'}"
        assert run("backup", file, "--store", where).exit_code == 0
        plane.done("bgw", "create", "late")
        wait_for("its lease", has_lease, 10.0)
        done = run("restore", file, "--store", where, "--replace")
        assert (done.exit_code, "stop it first" in done.stderr) == (1, True)
        assert plane.done("bgw", "list", "-o", "name") == "late\n"
    assert run("restore", file, "--store", where, "--replace").exit_code == 0


def test_what_exists_is_not_written_over(place: str, tmp_path: Path) -> None:
    file = tmp_path / "export"
    file.write_text("mine")
    for command in ("export", "backup"):
        done = run(command, file, "--store", place)
        assert (done.exit_code, "exists already" in done.stderr) == (1, True)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("place", "status", "said"),
    [
        ("postgres:x", 1, "store: 'postgres:x' must be sqlite:PATH or etcd:HOST:PORT"),
        ("etcd:a:b", 1, "store: 'a:b' in 'etcd:a:b' must be HOST:PORT"),
        ("sqlite:/nowhere/store.db", 3, "/nowhere/store.db: there is no store"),
    ],
)
def test_a_wrong_place_is_named(tmp_path: Path, place: str, status: int, said: str) -> None:
    done = run("export", tmp_path / "export", "--store", place)
    assert (done.exit_code, said in done.stderr) == (status, True), done.output
    told = json.loads(run("export", tmp_path / "export", "--store", place, "--json").stdout)
    assert told["ok"] is False
    assert said in told["problems"][0]


def test_endpoints_have_etcds_port_where_none_is_given() -> None:
    assert etcd_targets("etcd:a,b:1,[::1],[::1]:2") == ["a:2379", "b:1", "[::1]:2379", "[::1]:2"]
    with pytest.raises(ConfigError):
        etcd_targets("etcd:a,,b")


def seal_in(place: str, file: Path, key: Key) -> None:
    ring = load_key_ring(file)

    async def add(store: Store) -> None:
        value = {"name": "office", "psk": ring.seal(PSK, key, "psk")}
        await store.commit([Create(key, json.dumps(value).encode())], "a")

    with_store(place, add)


def psk_of(place: str, key: Key) -> str:
    async def read(store: Store) -> Object:
        return await store.get(key)

    found = with_store(place, read)
    assert isinstance(found, Object)
    return str(json.loads(found.value)["psk"])


def test_the_master_key_is_rotated(place: str, tmp_path: Path) -> None:
    file, key = tmp_path / "keys", Key("tunnel", "sealed")
    options = ("--store", place, "--key-file", file)
    assert run("rotate-key", *options, "--add").exit_code == 0
    seal_in(place, file, key)
    (old,) = read_master_keys(file)
    done = run("rotate-key", *options, "--add", "--drop-old", "--json")
    told = json.loads(done.stdout)
    (new,) = read_master_keys(file)
    assert (told["objects"], told["key"]) == (1, new.id)
    assert new.id == master_key_id(psk_of(place, key)) != old.id
    assert KeyRing([new]).open(psk_of(place, key), key, "psk") == PSK
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(run("rotate-key", *options, "--json").stdout)["objects"] == 0


def test_a_secret_that_does_not_open_is_named_and_the_old_key_stays(
    place: str, tmp_path: Path
) -> None:
    file, other = tmp_path / "keys", tmp_path / "other"
    for each in (file, other):
        run("rotate-key", "--store", place, "--key-file", each, "--add")
    seal_in(place, other, Key("tunnel", "foreign"))
    seal_in(place, file, Key("tunnel", "ours"))
    done = run("rotate-key", "--store", place, "--key-file", file, "--add", "--drop-old")
    assert done.exit_code == 1
    assert "tunnel/foreign: psk: is sealed with the master key" in done.stderr
    assert "1 objects are sealed anew" in done.stderr
    assert len(read_master_keys(file)) == 2


def test_a_key_file_is_needed(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    done = run("rotate-key", "--store", place)
    assert (done.exit_code, "--key-file: needed" in done.stderr) == (1, True)
