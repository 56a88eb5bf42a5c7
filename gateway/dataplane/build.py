"""
Builds `gateway._native`, the C fast path, with cffi in API mode.

The declarations come out of `csrc/gw_dp.h` itself, between its two cffi marks, so C and Python
have one source. `setup.py` is the only caller; the running product never imports this module.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cffi import FFI
from setuptools import Extension
from setuptools.command.build_ext import build_ext

MODULE = "gateway._native"
ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
BUILD = ROOT / "build"

# Python 3.11's stable ABI: one shared object serves every later version too.
LIMITED_API = "0x030B0000"

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wvla",
    "-Werror",
]
# GNU's, for POSIX functions such as clock_gettime(); the language stays C11.
OPTIONS = ["-std=gnu11", "-O2", "-g", "-fvisibility=hidden"]
HARDENING = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]

# What cffi generates and Python's headers are not ours to correct.
GENERATED_PREFIX = """\
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wcast-function-type"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
"""


def declarations(header: str) -> str:
    """Return the ABI part of a header, without the compiler attributes cffi cannot parse."""
    abi = header.split("/* cffi: begin */")[1].split("/* cffi: end */")[0]
    return re.sub(r"\bGW_MUST_CHECK\b", "", abi)


def has_ipsecmb() -> bool:
    """Tell whether Intel's ipsec-mb can be used: x86-64, its header present, not switched off."""
    if os.environ.get("TWINSPAN_NO_IPSECMB") == "1":
        return False
    places = [Path("/usr/include"), Path("/usr/local/include")]
    places += [Path(place) for place in os.environ.get("CPATH", "").split(":") if place]
    found = any((place / "intel-ipsec-mb.h").exists() for place in places)
    return found and platform.machine() in ("x86_64", "AMD64")


def make_ffi() -> FFI:
    """Return the cffi builder of the native module, with the header's declarations."""
    ffi = FFI()
    ffi.cdef(declarations((CSRC / "gw_dp.h").read_text()))
    ffi.set_source(MODULE, '#include "gw_dp.h"\n', py_limited_api=True)
    return ffi


def write_generated(path: Path) -> None:
    """Write cffi's C file, only if it differs, so that an unchanged ABI compiles nothing again."""
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "native.c"
        make_ffi().emit_c_code(str(plain))
        source = GENERATED_PREFIX + plain.read_text()
    if not path.exists() or path.read_text() != source:
        path.write_text(source)


@contextmanager
def build_lock(directory: Path) -> Iterator[None]:
    """Hold the build directory's lock: two builds in one checkout would mix their object files."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class InstallAtOnce(build_ext):
    """`build_ext --inplace` that swaps the finished file in: there is no moment without one."""

    def copy_extensions_to_source(self) -> None:
        for extension in self.extensions:
            name = self.get_ext_filename(extension.name)  # type: ignore[no-untyped-call]  # setuptools
            built, place = Path(self.build_lib) / name, ROOT / name
            fresh = place.with_suffix(".new")
            shutil.copy2(built, fresh)
            fresh.replace(place)


def extension() -> Extension:
    """Return the extension: the generated binding, every C source of `csrc/`, and its libraries."""
    generated = BUILD / "native.c"
    write_generated(generated)
    macros: list[tuple[str, str | None]] = [("Py_LIMITED_API", LIMITED_API)]
    libraries = ["crypto"]
    if has_ipsecmb():
        macros.append(("GW_HAVE_IPSECMB", "1"))
        libraries.append("IPSec_MB")
    sources = [generated, *sorted(CSRC.glob("*.c"))]
    return Extension(
        MODULE,
        sources=[str(path.relative_to(ROOT)) for path in sources],
        depends=[str(path.relative_to(ROOT)) for path in sorted(CSRC.glob("*.h"))],
        include_dirs=["csrc"],
        define_macros=macros,
        libraries=libraries,
        extra_compile_args=[*OPTIONS, *WARNINGS, *HARDENING],
        extra_link_args=["-Wl,-z,relro,-z,now", "-Wl,--exclude-libs,ALL", "-pthread"],
        py_limited_api=True,
    )
