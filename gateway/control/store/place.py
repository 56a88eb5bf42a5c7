"""Where a store is, as people write it: `sqlite:PATH` or `etcd:HOST:PORT,HOST:PORT,...`."""

from __future__ import annotations

from pathlib import Path

from gateway.control.store.interface import Store
from gateway.errors import ConfigError

ETCD_PORT = 2379


async def open_store(place: str, *, create: bool = True) -> Store:
    """Return the store at `place`. Raises ConfigError for what is no place, Unavailable."""
    driver, _, rest = place.partition(":")
    if driver == "sqlite" and rest:
        from gateway.control.store.sqlite import open_sqlite

        return await open_sqlite(Path(rest), create=create)
    if driver == "etcd" and rest:
        return _open_etcd(etcd_targets(place))
    raise ConfigError([f"store: {place!r} must be sqlite:PATH or etcd:HOST:PORT,HOST:PORT"])


def etcd_targets(place: str) -> list[str]:
    """Return the endpoints of an etcd place, each with its port. Raises ConfigError."""
    targets = []
    for word in place.removeprefix("etcd:").split(","):
        host, colon, port = word.rpartition(":")
        if not colon or word.endswith("]"):
            host, port = word, str(ETCD_PORT)
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigError([f"store: {word!r} in {place!r} must be HOST:PORT"])
        targets.append(f"{host}:{port}")
    return targets


def _open_etcd(targets: list[str]) -> Store:
    try:
        from gateway.control.store.etcd import EtcdStore
    except ModuleNotFoundError as error:
        raise ConfigError(
            [f"store: etcd needs the Python package {error.name}: pip install 'twinspan[etcd]'"]
        ) from None
    return EtcdStore(targets)
