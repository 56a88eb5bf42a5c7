"""
From a loopback port of this machine to one of a network namespace: `python -m lab.relay`.

So that a browser on the machine sees the console of a laboratory, which listens on loopback there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
from pathlib import Path

CLONE_NEWNET = 0x40000000
PORTION = 65536


def enter(name: str) -> None:
    """Take this thread, not the others, into the namespace /run/netns/NAME. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(Path("/run/netns") / name, os.O_RDONLY)
    try:
        if libc.setns(handle, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(handle)


def _copy(source: socket.socket, to: socket.socket) -> None:
    try:
        while data := source.recv(PORTION):
            to.sendall(data)
    except OSError:
        pass  # one end is gone; the other one is told
    for end, how in ((source, socket.SHUT_RD), (to, socket.SHUT_WR)):
        try:
            end.shutdown(how)
        except OSError:
            continue


def _serve(client: socket.socket, name: str, port: int) -> None:
    enter(name)
    with client, socket.socket() as server:
        try:
            server.connect(("127.0.0.1", port))
        except OSError:
            return
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def main(words: list[str]) -> None:
    """Relay for ever: the namespace, the port here, the port there."""
    name, here, there = words[0], int(words[1]), int(words[2])
    with socket.create_server(("127.0.0.1", here)) as listening:
        while True:
            client, _ = listening.accept()
            threading.Thread(target=_serve, args=(client, name, there), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])
