"""
One end for all that is said on a connection. A timeout of a socket is for one call: who sends a
byte within each would hold a thread for ever.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from gateway.control.alarms.reach import NotDelivered, Reach


class Cut:
    """Whether a connection was cut because its time was over."""

    def __init__(self) -> None:
        self.is_late = False


@contextlib.contextmanager
def cut_after(sock: socket.socket, seconds: float) -> Iterator[Cut]:
    """
    Cut a connection that is not done with after so many seconds; who reads or writes wakes up.

    The socket may be closed, or wrapped in TLS, within: what is cut is a second descriptor of it.
    """
    found, twin = Cut(), sock.dup()

    def cut() -> None:
        found.is_late = True
        with contextlib.suppress(OSError):  # the other end was faster
            twin.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, seconds), cut)
    timer.daemon = True
    timer.start()
    try:
        yield found
    finally:
        timer.cancel()
        timer.join()  # else it could have the descriptor of another connection
        twin.close()


@contextlib.contextmanager
def connected(
    reach: Reach, host: str, port: int, timeout_s: float, most_s: float
) -> Iterator[socket.socket]:
    """
    Give a TCP connection for `most_s` seconds at most; each call on it may last `timeout_s`.

    Raises NotDelivered if there is none, and in place of whatever came of its being cut: an answer
    that ends where it was cut may look whole.
    """
    sock = reach.connect(host, port, timeout_s)
    late = NotDelivered(f"{host} port {port}: was not done within {most_s:.0f} s")
    with contextlib.closing(sock), cut_after(sock, most_s) as cut:
        try:
            yield sock
        except Exception:
            if cut.is_late:
                raise late from None
            raise
        if cut.is_late:
            raise late
