"""For how long at a time a control process answers nobody, as it tells Prometheus itself."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

from lab.commands import LabError
from lab.control import Control

PLACE = "127.0.0.1:9470"
OPTIONS = ("--metrics", PLACE)
ASK_S = 30.0  # it tells the worst of the last minute
_SERIES = "twinspan_control_loop_lag_worst_seconds "
_ASK = f"import urllib.request as u; print(u.urlopen('http://{PLACE}/metrics').read().decode())"


@contextlib.contextmanager
def watched(control: Control, worst_ms: list[float]) -> Iterator[None]:
    """Note the longest times while this lasts, and at its end. Raises LabError."""
    end = threading.Event()

    def watch() -> None:
        while not end.wait(ASK_S):
            with contextlib.suppress(LabError):  # at the end it is told
                worst_ms.append(_worst_ms(control))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
        worst_ms.append(_worst_ms(control))
    finally:
        end.set()
        thread.join()


def _worst_ms(control: Control) -> float:
    text = control.machine.run(sys.executable, "-c", _ASK)
    (line,) = (one for one in text.splitlines() if one.startswith(_SERIES))
    return round(float(line.removeprefix(_SERIES)) * 1e3, 1)
