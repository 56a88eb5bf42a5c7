"""
The network namespaces of the Border Gateways: one `Netlink` for each that is in use.

"" names the namespace that this process is in, the VM's own. The others are made and opened by the
namespace keeper; their sockets are used here. Each has a directory in the runtime directory, for
its BIRD, and so that the next gateway process knows what this one has used.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from gateway.errors import GatewayError
from gateway.netns.client import KeeperClient
from gateway.netns.wire import SOCKETS, NamespaceError, What
from gateway.nft import nft_socket
from gateway.node.journal import Journal
from gateway.node.netlink import Netlink, Sockets
from gateway.routing.process import HERE, BirdFiles, BirdProcess, Place, namespace_of
from gateway.routing.routers import PREFIX

OWN = ""


class Namespaces:
    """Finds the `Netlink` of a namespace by the namespace's name."""

    def __init__(self, runtime_dir: Path, journal: Journal) -> None:
        self._runtime_dir = runtime_dir
        self._journal = journal
        self._keeper = KeeperClient(runtime_dir)
        self.own = Netlink()
        self._opened = {OWN: self.own}
        self._far: dict[str, tuple[int, Netlink]] = {}  # with the number of the namespace's inode
        self.troubles: dict[str, str] = {}  # namespaces that can not be used, and why

    def of(self, name: str) -> Netlink:
        """
        Return the kernel's networking in a namespace that `use` has opened. Raises NamespaceError.
        """
        if name not in self._opened:
            raise NamespaceError(self.troubles.get(name, f"namespace {name} is not in use"))
        return self._opened[name]

    def far(self, name: str) -> Netlink:
        """
        Return the kernel's networking in a namespace of somebody else. Raises NamespaceError.

        Another one may have the name by now, so it is looked at each time; what we hold of the old
        one would keep it alive.
        """
        if name in self._opened:
            return self._opened[name]
        try:
            number = self._number(name)
        except NamespaceError:
            self._forget_far(name)
            raise
        if name in self._far and self._far[name][0] != number:
            self._forget_far(name)
        if name not in self._far:
            self._far[name] = (number, self._netlink(name))
        return self._far[name][1]

    def _forget_far(self, name: str) -> None:
        if name in self._far:
            self._far.pop(name)[1].close()

    def _number(self, name: str) -> int:
        """Return the inode of the namespace that has a name now. Raises NamespaceError."""
        (descriptor,) = self._keeper.open(name, What.NAMESPACE)
        try:
            return _inode(descriptor)
        finally:
            os.close(descriptor)

    def netfilter(self, name: str) -> socket.socket:
        """Return a new socket for nf_tables in a namespace. Raises NamespaceError, OSError."""
        if name == OWN:
            return nft_socket()
        (fd,) = self._keeper.open(name, What.NETFILTER)
        return socket.socket(fileno=fd)

    def __iter__(self) -> Iterator[str]:
        """Return the names of the namespaces that are open."""
        return iter(tuple(self._opened))

    # ---- which there are ----

    def use(self, names: Collection[str]) -> None:
        """
        Make and open these, beside what is open, and what an earlier gateway process has used.

        Those for which that fails are in `troubles`; they are tried again the next time.
        """
        before, self.troubles = self.troubles, {}
        for name in names:
            if name not in self._opened:
                self._try(name)
        for name in self._left_behind() - set(names) - set(self._opened):
            with contextlib.suppress(NamespaceError, OSError):  # it went by itself
                self._open(name, make=False)
        for name, text in self.troubles.items():
            if before.get(name) != text:
                self._journal.error("namespace", name=name, text=text)

    def lost(self) -> list[str]:
        """Return those whose name is gone, or is another one's now (`ip netns del`)."""
        return [name for name in set(self._opened) - {OWN} if self._is_lost(name)]

    def _is_lost(self, name: str) -> bool:
        try:
            return self._number(name) != _inode(self._opened[name].namespace)
        except NamespaceError as error:
            return error.errno == errno.ENOENT

    def forget(self, name: str) -> None:
        """Close a namespace that was lost; `use` makes it anew."""
        self._opened.pop(name).close()
        self.troubles[name] = f"namespace {name} was removed by somebody else"
        self._journal.error("namespace", name=name, text=self.troubles[name])

    def release(self, names: Collection[str]) -> None:
        """Close those that are not named, and remove those of them that we have made."""
        gone = (set(self._opened) | self._left_behind()) - set(names) - {OWN}
        if not gone:
            return
        try:
            made = set(self._keeper.made())
            for name in sorted(gone):
                self._release(name, is_ours=name in made)
        except NamespaceError as error:  # their directories stay, so it is tried again
            self._journal.error("namespace", text=str(error))

    def _release(self, name: str, *, is_ours: bool) -> None:
        if name in self._opened:
            self._opened.pop(name).close()
        if is_ours:
            self._keeper.remove(name)
        shutil.rmtree(self._directory(name), ignore_errors=True)
        self._journal.info("namespace removed" if is_ours else "namespace left", name=name)

    def end(self) -> None:
        """Release all; the keeper ends if it was needed only by us."""
        self.release(())
        with contextlib.suppress(NamespaceError):
            self._keeper.end()

    def close(self) -> None:
        """Leave all as it is, for the next gateway process."""
        for kernel in (*self._opened.values(), *(far for _, far in self._far.values())):
            kernel.close()
        self._keeper.close()

    def _try(self, name: str) -> None:
        try:
            self._open(name, make=True)
        except (GatewayError, OSError) as error:
            self.troubles[name] = f"namespace {name}: {error}"

    def _open(self, name: str, *, make: bool) -> None:
        if make:
            self._directory(name).mkdir(mode=0o700, exist_ok=True)
            if self._keeper.make(name):
                self._journal.info("namespace made", name=name)
        self._opened[name] = self._netlink(name)

    def _netlink(self, name: str) -> Netlink:
        *descriptors, namespace = self._keeper.open(
            name, What.RTNETLINK, What.RTNETLINK, What.CONTROL, What.NAMESPACE
        )
        rtnetlink, second, control = (socket.socket(fileno=fd) for fd in descriptors)
        sockets = Sockets(rtnetlink, second, control, namespace)
        return Netlink(sockets, _Settings(self._keeper, name))

    def _directory(self, name: str) -> Path:
        return self._runtime_dir / (PREFIX + name)

    def _left_behind(self) -> set[str]:
        """Return the namespaces that have a directory."""
        return {path.name.removeprefix(PREFIX) for path in self._runtime_dir.glob(f"{PREFIX}*")}

    # ---- what runs there ----

    def open_socket(self, name: str, what: What) -> socket.socket:
        """Return a socket in a namespace. Raises NamespaceError, OSError."""
        if name == OWN:
            return socket.socket(*SOCKETS[what])
        (fd,) = self._keeper.open(name, what)
        return socket.socket(fileno=fd)

    def place_of(self, name: str) -> Place:
        """Return a namespace as a place for a BIRD."""
        return _Namespace(self._keeper, name, partial(self._inode_of, name)) if name else HERE

    def _inode_of(self, name: str) -> int | None:
        kernel = self._opened.get(name)
        return _inode(kernel.namespace) if kernel else None


def _inode(descriptor: int) -> int:
    """Return the number by which the kernel tells namespaces apart."""
    return os.fstat(descriptor).st_ino


class _Settings:
    """The kernel's settings in another namespace."""

    def __init__(self, keeper: KeeperClient, name: str) -> None:
        self._keeper = keeper
        self._name = name

    def read(self, names: Sequence[str]) -> list[str]:
        try:
            return self._keeper.read(self._name, names) if names else []
        except NamespaceError:
            return ["" for _ in names]

    def write(self, name: str, value: str) -> None:
        try:
            self._keeper.write(self._name, name, value)
        except NamespaceError as error:
            raise OSError(error.errno, str(error)) from None


class _Namespace:
    """A place for a BIRD that only the keeper can enter."""

    def __init__(self, keeper: KeeperClient, name: str, inode: Callable[[], int | None]) -> None:
        self._keeper = keeper
        self._name = name
        self._inode = inode

    def holds(self, pid: int) -> bool:
        wanted = self._inode()
        return wanted is None or namespace_of(pid) in (None, wanted)

    def start_bird(self, binary: str, files: BirdFiles, *, recover: bool) -> BirdProcess:
        pid = self._keeper.start_bird(self._name, files.directory, recover=recover)
        return BirdProcess(pid)

    def rtnetlink(self) -> socket.socket:
        (fd,) = self._keeper.open(self._name, What.RTNETLINK)
        return socket.socket(fileno=fd)
