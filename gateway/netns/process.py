"""
The namespace keeper: `twinspan netns`.

Making and entering network namespaces needs CAP_SYS_ADMIN, which the gateway process does not have.
This process has it, and does nothing else: it reads no packet, no document and no key. It serves
the gateway process over a Unix socket, one request after the other, and outlives it.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import ConfigError, WireError
from gateway.netns.keeper import Keeper
from gateway.netns.wire import NamespaceError, receive, send
from gateway.unix import activated, adopt, allowed_uids, peer_of

RECORDS = Path("/run/twinspan-netns")
CONNECTIONS_MAX = 16
ANSWER_S = 5.0  # a peer that does not take its answer is dropped


def log(event: str, **fields: object) -> None:
    """Write one logfmt line to stderr."""
    line = " ".join([f"netns {event}", *(f"{name}={value}" for name, value in fields.items())])
    try:
        os.write(2, line.encode() + b"\n")
    except OSError:
        return


class Process:
    """The loop: one listener, some connections, a signal to end."""

    def __init__(self, keeper: Keeper, listener: socket.socket) -> None:
        self._keeper = keeper
        self._allowed = allowed_uids(listener)
        self._ready = selectors.DefaultSelector()
        self._listener = listener
        listener.setblocking(False)
        self._ready.register(listener, selectors.EVENT_READ)
        self._wake, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._ready.register(self._wake, selectors.EVENT_READ)

    def serve(self) -> None:
        """Answer until a request or a signal ends it."""
        signal.set_wakeup_fd(self._wake_in.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        # Those that were started here are the gateway process's; nobody waits for them.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while not self._keeper.ended:
            for key, _ in self._ready.select():
                if key.fileobj is self._wake:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and not self._serve_one(key.fileobj):
                    self._ready.unregister(key.fileobj)
                    key.fileobj.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            log("accept_failed", reason=repr(error.strerror))
            return
        pid, uid, _ = peer_of(sock)
        is_allowed = self._allowed is None or uid in self._allowed
        if not is_allowed or len(self._ready.get_map()) >= CONNECTIONS_MAX:
            log("refused", pid=pid, uid=uid)
            sock.close()
            return
        sock.settimeout(ANSWER_S)
        self._ready.register(sock, selectors.EVENT_READ)

    def _serve_one(self, sock: socket.socket) -> bool:
        """Answer one request; return whether the connection goes on."""
        try:
            received = receive(sock)
            if received is None:
                return False
            request, descriptors = received
            for fd in descriptors:  # no request has any
                os.close(fd)
            self._answer(sock, request)
        except WireError as error:
            log("nonsense", reason=repr(str(error)))
            return False
        except OSError as error:
            log("connection_lost", reason=repr(error.strerror))
            return False
        return True

    def _answer(self, sock: socket.socket, request: dict[str, object]) -> None:
        _, uid, gid = peer_of(sock)
        opened: list[int] = []
        answer: dict[str, object]
        try:
            result, opened = self._keeper.answer(request, (uid, gid))
            answer = {"ok": result}
        except (NamespaceError, OSError) as error:
            answer = {"error": str(error), "errno": error.errno or 0}
            log("failed", request=request.get("op"), reason=repr(str(error)))
        try:
            send(sock, answer, opened)
        finally:
            for fd in opened:
                os.close(fd)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="twinspan netns", description=__doc__.split("\n")[1])
    parser.add_argument("--listen-fd", type=int, help="listen on this inherited socket")
    parser.add_argument(
        "--records", type=Path, default=RECORDS, help="directory of what was made here"
    )
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> None:
    """Serve until the end. Raises ConfigError, OSError if it can not begin."""
    if options.listen_fd is not None:
        listener = adopt(options.listen_fd, "--listen-fd")
    else:
        found = activated()
        if found is None:
            raise ConfigError(["need --listen-fd N or socket activation"])
        listener = found
    os.chdir("/")
    log("ready", pid=os.getpid())
    Process(Keeper(options.records), listener).serve()
    log("ended")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process and return its status: 0 ended as asked, 1 failed, 2 bad options."""
    try:
        run(arguments(sys.argv[1:] if argv is None else argv))
    except ConfigError as error:
        for problem in error.problems:
            log("refused", reason=repr(problem))
        return 2
    except OSError as error:
        log("failed", reason=repr(str(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
