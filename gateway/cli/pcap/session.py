"""One capture: taps on the outer device and the tunnel's own, until it is enough."""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO

from gateway.cli.client import Json, Refused, Unreachable, ask
from gateway.cli.doctor.look.network import device_toward
from gateway.cli.pcap import pcapng
from gateway.cli.pcap.taps import Taken, Tap
from gateway.cli.pcap.wireshark import key_line
from gateway.errors import GatewayError

_WAIT_S = 0.2
_ANSWER_S = 10.0
_MODE, _KEYS_MODE = 0o600, 0o700


@dataclass(frozen=True, slots=True)
class Limits:
    """When a capture ends; each 0 stands for never."""

    seconds: float
    packets: int
    octets: int


@dataclass(slots=True)
class Counts:
    """What a capture has."""

    outer: int = 0
    inner: int = 0
    octets: int = 0
    lost: int = 0
    keys: int = 0

    @property
    def packets(self) -> int:
        return self.outer + self.inner


class Desk:
    """What the gateway process says of a tunnel, read beside the packets."""

    def __init__(self, runtime_dir: Path, tunnel: str, *, with_keys: bool) -> None:
        self._lines: queue.Queue[Json | Exception] = queue.Queue()
        request: Json = {"command": "capture", "tunnel": tunnel, "keys": with_keys}
        reader = threading.Thread(target=self._read, args=(runtime_dir, request), daemon=True)
        reader.start()

    def _read(self, runtime_dir: Path, request: Json) -> None:
        try:
            for line in ask(runtime_dir, request, None):
                if isinstance(line, dict):
                    self._lines.put(line)
        except (Unreachable, Refused) as error:
            self._lines.put(error)

    def about(self) -> Json:
        """Return what the tunnel is. Raises Unreachable, Refused."""
        try:
            first = self._lines.get(timeout=_ANSWER_S)
        except queue.Empty:
            raise Unreachable("the gateway process does not answer") from None
        if isinstance(first, Exception):
            raise first
        return first

    def news(self) -> Iterator[Json]:
        """Yield what has come since; keys, if they were asked for."""
        while not self._lines.empty():
            line = self._lines.get()
            if isinstance(line, dict) and line["kind"] != "idle":
                yield line


class KeyFiles:
    """The files for Wireshark in a directory of their own, for their owner alone."""

    def __init__(self, directory: Path) -> None:
        """Make the directory. Raises FileExistsError, OSError."""
        directory.mkdir(mode=_KEYS_MODE)
        self._directory = directory
        self._written: set[str] = set()

    def add(self, key: Json) -> bool:
        """Write a key; return whether it is a new one that Wireshark can use."""
        found = key_line(key)
        if found is None or found[1] in self._written:
            return False
        name, line = found
        self._written.add(line)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with os.fdopen(os.open(self._directory / name, flags, _MODE), "w") as file:
            file.write(line + "\n")
        return True


def capture(
    file: BinaryIO, desk: Desk, limits: Limits, keys: KeyFiles | None, ready: Callable[[], None]
) -> Counts:
    """
    Write a tunnel's packets until a limit or Ctrl-C; `ready` is called when nothing is missed.

    Raises Unreachable, Refused, GatewayError, OSError.
    """
    about = desk.about()
    remote, local = (ip_address(str(about[key])) for key in ("remote", "local") if about[key])
    device = device_toward(remote, local)
    if device is None:
        raise GatewayError(f"no route to {remote}")
    with ExitStack() as stack:
        outer = stack.enter_context(closing(Tap(device, remote)))
        namespace, name = str(about["namespace"]), str(about["interface"])
        inner = stack.enter_context(closing(Tap(name, namespace=namespace)))
        _begin(file, str(about["tunnel"]), outer, inner)
        counts = Counts()
        ready()
        with suppress(KeyboardInterrupt):  # it is enough
            _run(file, desk, limits, keys, (outer, inner), counts)
        _take_keys(desk, keys, counts)
        counts.lost = outer.lost() + inner.lost()
        return counts


def _begin(file: BinaryIO, tunnel: str, outer: Tap, inner: Tap) -> None:
    file.write(pcapng.section("twinspan capture", f"VPN Tunnel {tunnel}"))
    for tap, side in ((outer, "outer"), (inner, "inner")):
        kind = pcapng.ETHERNET if tap.has_ethernet else pcapng.RAW_IP
        file.write(pcapng.interface(f"{tap.device} ({side})", kind))


def _run(
    file: BinaryIO,
    desk: Desk,
    limits: Limits,
    keys: KeyFiles | None,
    taps: tuple[Tap, Tap],
    counts: Counts,
) -> None:
    end_at = time.monotonic() + limits.seconds if limits.seconds else float("inf")
    while time.monotonic() < end_at:
        readable, _, _ = select.select(taps, [], [], _WAIT_S)
        for tap in readable:
            for taken in tap.read():
                _write(file, taps.index(tap), taken, counts)
                if _is_enough(limits, counts):
                    return
        _take_keys(desk, keys, counts)


def _take_keys(desk: Desk, keys: KeyFiles | None, counts: Counts) -> None:
    if keys is not None:
        counts.keys += sum(keys.add(key) for key in desk.news())


def _write(file: BinaryIO, number: int, taken: Taken, counts: Counts) -> None:
    counts.octets += file.write(
        pcapng.packet(number, taken.at_ns, taken.data, is_outbound=taken.is_outbound)
    )
    if number == 0:
        counts.outer += 1
    else:
        counts.inner += 1


def _is_enough(limits: Limits, counts: Counts) -> bool:
    return bool(limits.packets and counts.packets >= limits.packets) or bool(
        limits.octets and counts.octets >= limits.octets
    )
