"""
ESP packets sealed and opened: nanoseconds a packet, by suite, size and cipher back end.

`seal` and `open` are what a worker does for a run of 16 packets: header and trailer, cipher, ICV.
`library` (in the table: bare) is the library's call on the same buffers, one packet after the
other, with the same key and lengths: what is left between the two is ours. For AES-CBC with HMAC
the run is faster than the single calls, since ipsec-mb works on up to 16 packets side by side.

Each figure is the best of several rounds: on a shared machine the disturbed rounds say nothing
about the code. Rounds of ours and of the library alternate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File

from rich.console import Console
from rich.table import Table

from gateway._native import ffi, lib
from gateway.errors import DataPlaneError
from gateway.sa import Encr, Integ

SIZES = (64, 512, 1400, 8192)
BACKENDS = {lib.GW_BACKEND_IPSECMB: "ipsecmb", lib.GW_BACKEND_OPENSSL: "openssl"}
# One round of one figure takes about this long.
_ROUND_NS = 2_000_000
_ROUNDS = 15
_PROBE_PACKETS = 64


@dataclass(frozen=True, slots=True)
class Suite:
    """An ESP suite by its strongSwan name; key lengths in bytes, salt included."""

    name: str
    encr: Encr
    encr_key_len: int
    integ: Integ = Integ.NONE
    integ_key_len: int = 0


SUITES = (
    Suite("aes128gcm16", Encr.AES_GCM_16, 20),
    Suite("aes256gcm16", Encr.AES_GCM_16, 36),
    Suite("chacha20poly1305", Encr.CHACHA20_POLY1305, 36),
    Suite("aes128-sha256", Encr.AES_CBC, 16, Integ.HMAC_SHA2_256_128, 32),
    Suite("aes256-sha256", Encr.AES_CBC, 32, Integ.HMAC_SHA2_256_128, 32),
    Suite("aes256-sha384", Encr.AES_CBC, 32, Integ.HMAC_SHA2_384_192, 48),
    Suite("aes256-sha512", Encr.AES_CBC, 32, Integ.HMAC_SHA2_512_256, 64),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    suite: Suite
    backend: int
    size: int

    def key(self, what: str) -> str:
        """Return the flat name of one figure, such as `seal.aes256gcm16.1400.ipsecmb.ns`."""
        return f"{what}.{self.suite.name}.{self.size}.{BACKENDS[self.backend]}.ns"


# What is measured: name, seal or open, the bare library call or ours.
FIGURES = (
    ("seal", True, False),
    ("library", True, True),
    ("open", False, False),
    ("library_open", False, True),
)


def measure(case: Case, seal: bool, library: bool, count: int) -> float:
    """Return the nanoseconds of one packet, the mean of `count`; raises DataPlaneError."""
    sa = ffi.new("struct gw_sa *")
    sa.spi, sa.backend, sa.replay_window = 256, case.backend, 1024
    sa.encr, sa.encr_key_len = case.suite.encr, case.suite.encr_key_len
    sa.integ, sa.integ_key_len = case.suite.integ, case.suite.integ_key_len
    ffi.memmove(sa.encr_key, bytes(range(1, lib.GW_KEY_MAX + 1)), lib.GW_KEY_MAX)
    ffi.memmove(sa.integ_key, bytes(range(65, lib.GW_KEY_MAX + 65)), lib.GW_KEY_MAX)
    ns = ffi.new("double *")
    err = lib.gw_esp_bench(sa, seal, library, case.size, count, ns)
    if err != lib.GW_OK:
        raise DataPlaneError(f"{case.key('bench')}: error {err}", err)
    return float(ns[0])


def run(case: Case, rounds: int) -> dict[str, float]:
    """Return the figures of one case: the best of `rounds` each, taken in turns."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, seal, library in FIGURES:
            probe = best.get(name) or measure(case, seal, library, _PROBE_PACKETS)
            count = max(_PROBE_PACKETS, int(_ROUND_NS / max(probe, 1.0)))
            ns = measure(case, seal, library, count)
            best[name] = min(ns, best.get(name, ns))
    return {case.key(name): round(ns, 1) for name, ns in best.items()}


def cases(names: Sequence[str], sizes: Sequence[int]) -> Iterator[Case]:
    """Yield a case for each suite, back end of this machine and size."""
    for suite in SUITES:
        for backend in BACKENDS:
            usable = lib.gw_backend_name(suite.encr, suite.integ, suite.encr_key_len, backend)
            if usable != ffi.NULL and (not names or suite.name in names):
                yield from (Case(suite, backend, size) for size in sizes)


def table_of(done: Sequence[Case], figures: Mapping[str, float]) -> Table:
    """Return the table a person reads; Gbit/s is of inner packets being sealed."""
    table = Table(box=None, padding=(0, 1), title="ESP, ns a packet on one core")
    for column in ("suite", "by"):
        table.add_column(column, no_wrap=True)
    for column in ("bytes", "seal", "bare", "ratio", "open", "bare", "ratio", "Gbit/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for case in done:
        seal, bare, opened, bare_open = (figures[case.key(name)] for name, _, _ in FIGURES)
        table.add_row(
            case.suite.name,
            BACKENDS[case.backend],
            str(case.size),
            f"{seal:.0f}",
            f"{bare:.0f}",
            f"{seal / bare:.2f}",
            f"{opened:.0f}",
            f"{bare_open:.0f}",
            f"{opened / bare_open:.2f}",
            f"{case.size * 8 / seal:.1f}",
        )
    return table


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="./run bench esp", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = [suite.name for suite in SUITES]
    parser.add_argument("--suite", action="append", choices=names, default=[])
    parser.add_argument("--size", action="append", type=int, help="inner packet, bytes")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--json", type=File, metavar="FILE", help="write the figures there")
    options = parser.parse_args(argv)
    if any(not 1 <= size <= 65000 for size in options.size or []):
        parser.error("--size: from 1 to 65000")
    if not 1 <= options.rounds <= 1000:
        parser.error("--rounds: from 1 to 1000")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the figures."""
    options = arguments(argv)
    done = list(cases(options.suite, options.size or SIZES))
    figures: dict[str, float] = {}
    for case in done:
        figures |= run(case, options.rounds)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    Console().print(table_of(done, figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
