"""The kernel, the clock, the processors and the programs of this machine."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import re
import socket
import struct
import subprocess
from pathlib import Path

from gateway._native import ffi, lib
from gateway.cli.doctor.facts import ClockSeen, CpuSeen, KernelSeen
from gateway.cli.doctor.judge.service import NETNS_UNIT, RIVALS, UNITS
from gateway.cli.doctor.verdict import Unseen
from gateway.errors import ConfigError
from gateway.routing.process import find_bird

_PATIENCE_S = 10.0
# linux/udp.h, linux/if_tun.h
_UDP_SEGMENT, _UDP_GRO, _TUNGETFEATURES = 103, 104, 0x800454CF
_TUN_FEATURES = {0x0100: "multi_queue", 0x4000: "vnet_hdr"}
_SUITES = {  # with the bytes of their keys, salt included
    "aes256gcm16": (lib.GW_ENCR_AES_GCM_16, lib.GW_INTEG_NONE, 36),
    "chacha20poly1305": (lib.GW_ENCR_CHACHA20_POLY1305, lib.GW_INTEG_NONE, 36),
    "aes256-sha256": (lib.GW_ENCR_AES_CBC, lib.GW_INTEG_SHA2_256_128, 32),
}


def output_of(*argv: str, is_any: bool = False) -> str | Unseen:
    """
    Return what a program prints, or why it does not; with `is_any` also what it says when it fails.
    """
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_PATIENCE_S, errors="replace"
        )
    except FileNotFoundError:
        return Unseen(f"the program {argv[0]} is not here")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Unseen(f"{argv[0]}: {error}")
    if is_any and done.returncode:
        return done.stdout + done.stderr
    if done.returncode:
        return Unseen(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()[:200]}")
    return done.stdout or done.stderr  # BIRD tells its version on standard error


def kernel() -> KernelSeen:
    """Return the kernel's release, and what it has of what we use, by trying it."""
    return KernelSeen(platform.release(), _udp(_UDP_SEGMENT, 1400), _udp(_UDP_GRO, 1), _tun())


def _udp(option: int, value: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_UDP, option, value)
        except OSError:
            return False
        return True


def _tun() -> frozenset[str] | Unseen:
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return Unseen(f"can not be opened: {error.strerror}")
    try:
        answer = fcntl.ioctl(fd, _TUNGETFEATURES, bytes(4))
    except OSError as error:
        return Unseen(f"tells no features: {error.strerror}")
    finally:
        os.close(fd)
    (flags,) = struct.unpack("=I", answer)
    return frozenset(name for bit, name in _TUN_FEATURES.items() if flags & bit)


class _Timex(ctypes.Structure):
    """The head of struct timex (linux/timex.h), and room for its rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # microseconds
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


_STA_UNSYNC, _TIME_ERROR = 0x40, 5


def clock() -> ClockSeen | Unseen:
    """Return what the kernel says of its clock."""
    answer = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(answer))
    if state < 0:
        return Unseen(f"adjtimex: {os.strerror(ctypes.get_errno())}")
    is_synchronised = state != _TIME_ERROR and not answer.status & _STA_UNSYNC
    return ClockSeen(is_synchronised, answer.maxerror / 1e6)


def ticks() -> tuple[int, int]:
    """Return the processors' time so far, all of it and what was stolen, in ticks."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    numbers = [int(word) for word in words]
    return sum(numbers), numbers[7] if len(numbers) > 7 else 0


def cpu(before: tuple[int, int]) -> CpuSeen:
    """Return the processors; `before` is what `ticks` was some time ago."""
    text = Path("/proc/cpuinfo").read_text()
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    total, stolen = (now - then for now, then in zip(ticks(), before, strict=True))
    return CpuSeen(
        os.cpu_count() or 1,
        frozenset(flags[1].split()) if flags else frozenset(),
        platform.machine() == "x86_64",
        {name: _backend(*suite) for name, suite in _SUITES.items()},
        frozenset(file.read_text().strip() for file in files),
        stolen / total if total else 0.0,
    )


def _backend(encr: int, integ: int, key_bytes: int) -> str:
    name = lib.gw_backend_name(encr, integ, key_bytes, lib.GW_BACKEND_BEST)
    if name == ffi.NULL:
        return ""
    text = ffi.string(name)
    return text.decode() if isinstance(text, bytes) else text


def bird() -> tuple[int, ...] | Unseen:
    """Return BIRD's version."""
    try:
        binary = find_bird()
    except ConfigError as error:
        return Unseen(error.problems[0])
    text = output_of(binary, "--version")
    if isinstance(text, Unseen):
        return text
    found = re.search(r"\d+(?:\.\d+)+", text)
    if found is None:
        return Unseen(f"{binary} --version says {text[:80]!r}")
    return tuple(int(part) for part in found[0].split("."))


def units() -> dict[str, str] | Unseen:
    """Return the state of our units and of rivals'."""
    if not Path("/run/systemd/system").is_dir():
        return Unseen("systemd does not run this machine")
    return {name: _state(name) for name in (*UNITS, NETNS_UNIT, *RIVALS)}


def _state(name: str) -> str:
    text = output_of("systemctl", "show", "-P", "ActiveState", name)
    return "unknown" if isinstance(text, Unseen) else text.strip()
