"""
The namespace keeper's work: each request as one small function.

It makes named network namespaces, remembers which are its own, opens sockets in them for the
gateway process and starts BIRD in them. It trusts its peer, whose user is checked, with what this
module does and with nothing else: names are checked, programs and settings are fixed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gateway.errors import ConfigError, WireError
from gateway.netns import bird, kernel
from gateway.netns.wire import (
    DESCRIPTORS_MAX,
    NAMES_MAX,
    SOCKETS,
    NamespaceError,
    Op,
    What,
    is_readable,
    is_writable,
    namespace_of,
    text_of,
    texts_of,
)
from gateway.routing.process import BirdFiles, argv_of, find_bird

Request = Mapping[str, object]
Answer = tuple[object, list[int]]  # the result, and descriptors that the caller closes


class Keeper:
    """Serves the requests of one gateway VM; `records` is the directory of its own namespaces."""

    def __init__(self, records: Path) -> None:
        self._records = records
        self.ended = False
        self._table: dict[Op, Callable[[Request, tuple[int, int]], Answer]] = {
            Op.MAKE: self._make,
            Op.OPEN: self._open,
            Op.READ: self._read,
            Op.WRITE: self._write,
            Op.BIRD: self._bird,
            Op.MADE: self._made,
            Op.REMOVE: self._remove,
            Op.END: self._end,
        }

    def answer(self, request: Request, user: tuple[int, int]) -> Answer:
        """
        Do what a request of `user` (uid, gid) says. Raises NamespaceError, WireError, OSError.
        """
        try:
            op = Op(text_of(request, "op"))
        except ValueError:
            raise WireError(f"no such request: {str(request.get('op'))[:40]!r}") from None
        return self._table[op](request, user)

    # ---- namespaces ----

    def _make(self, request: Request, user: tuple[int, int]) -> Answer:
        name = namespace_of(request)
        try:
            os.close(kernel.open_namespace(name))
        except NamespaceError as error:
            if error.errno != errno.ENOENT:
                raise
        else:
            return False, []
        made = kernel.unnamed()
        try:
            # Noted first: what is noted and never named is nobody's, the other way round it stays.
            self._note(name, kernel.inode(made))
            kernel.give_name(made, name)
        finally:
            os.close(made)
        return True, []

    def _note(self, name: str, inode: int) -> None:
        self._records.mkdir(mode=0o700, exist_ok=True)
        (self._records / name).write_text(json.dumps({"inode": inode}))

    def _is_ours(self, name: str) -> bool:
        """Return whether the namespace of that name is the one we have made."""
        try:
            noted = json.loads((self._records / name).read_text())["inode"]
            descriptor = kernel.open_namespace(name)
        except (OSError, ValueError, KeyError, NamespaceError):
            return False
        try:
            return bool(kernel.inode(descriptor) == noted)
        finally:
            os.close(descriptor)

    def _made(self, request: Request, user: tuple[int, int]) -> Answer:
        with contextlib.suppress(FileNotFoundError):
            names = sorted(file.name for file in self._records.iterdir())
            return [name for name in names if self._is_ours(name)], []
        return [], []

    def _remove(self, request: Request, user: tuple[int, int]) -> Answer:
        name = namespace_of(request)
        if not self._is_ours(name):
            raise NamespaceError(f"network namespace {name} was not made here: it stays")
        kernel.take_name(name)
        (self._records / name).unlink(missing_ok=True)
        return True, []

    # ---- in a namespace ----

    def _open(self, request: Request, user: tuple[int, int]) -> Answer:
        wanted = _descriptors_of(request)
        namespace = kernel.open_namespace(namespace_of(request))
        opened: list[int] = []
        try:
            with kernel.inside(namespace):
                opened += [_opened(what, namespace) for what in wanted]
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        finally:
            os.close(namespace)
        return len(opened), opened

    def _read(self, request: Request, user: tuple[int, int]) -> Answer:
        names = texts_of(request, "settings")
        if len(names) > NAMES_MAX or not all(is_readable(name) for name in names):
            raise WireError(f"no settings to be told: {str(names)[:80]}")
        with _in_namespace(request):
            return [_setting(name) for name in names], []

    def _write(self, request: Request, user: tuple[int, int]) -> Answer:
        name, value = text_of(request, "setting"), text_of(request, "value")
        if not is_writable(name) or value not in ("0", "1"):
            raise WireError(f"no setting to be set: {name[:80]!r} to {value[:10]!r}")
        with _in_namespace(request):
            (kernel.SYSCTL / name).write_text(value + "\n")
        return True, []

    def _bird(self, request: Request, user: tuple[int, int]) -> Answer:
        files = BirdFiles(Path(text_of(request, "directory")))
        if not files.directory.is_absolute():
            raise WireError(f"no absolute path: {str(files.directory)[:80]!r}")
        try:
            argv = argv_of(find_bird(), files, recover=request.get("recover") is True)
        except ConfigError as error:
            raise NamespaceError(str(error)) from None
        namespace = kernel.open_namespace(namespace_of(request))
        try:
            return bird.start(namespace, user, argv, files.log), []
        finally:
            os.close(namespace)

    def _end(self, request: Request, user: tuple[int, int]) -> Answer:
        self.ended = True
        return True, []


def _descriptors_of(request: Request) -> list[What]:
    """Return what a request wants to have opened. Raises WireError."""
    texts = texts_of(request, "what")
    try:
        wanted = [What(text) for text in texts]
    except ValueError:
        raise WireError(f"no such descriptors: {str(texts)[:80]}") from None
    if len(wanted) > DESCRIPTORS_MAX:
        raise WireError(f"{len(wanted)} descriptors are too many")
    return wanted


@contextlib.contextmanager
def _in_namespace(request: Request) -> Iterator[None]:
    """Work in the namespace that a request names. Raises NamespaceError, WireError."""
    namespace = kernel.open_namespace(namespace_of(request))
    try:
        with kernel.inside(namespace):
            yield
    finally:
        os.close(namespace)


def _setting(name: str) -> str:
    try:
        return (kernel.SYSCTL / name).read_text().strip()
    except OSError:
        return ""


def _opened(what: What, namespace: int) -> int:
    """Return a new descriptor in the namespace that this process is in. Raises OSError."""
    if what is What.NAMESPACE:
        return os.dup(namespace)
    return socket.socket(*SOCKETS[what]).detach()
